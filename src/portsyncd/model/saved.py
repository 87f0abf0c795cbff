"""What is kept of the ports over a restart of the daemon, and what the next process can conclude from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Final, NamedTuple

from portsyncd.errors import DecodeError
from portsyncd.model.commands import Op
from portsyncd.model.ports import Fields

# More than any counter of the kernel reaches, and few enough digits for every arithmetic that follows.
_LARGEST: Final = 2**64
_OWED: Final = frozenset({"", *(op.value for op in Op)})


class SavedPort(NamedTuple):
    """One name as the last process knew it.

    fields, ifindex, carrier_losses: of its link, as it was last seen; Redis has acknowledged these fields, but for what was
    under way. ifindex is 0 where it had no link; then only its counts mean something. flaps, ups, downs: see
    ``PortCounters``. penalty: of its flaps, at the time of saving. owed: the kind of write (``Op``) that it owed Redis
    although its fields may say nothing of that; "" for none.
    """

    fields: Fields
    ifindex: int
    carrier_losses: int
    flaps: int
    ups: int
    downs: int
    penalty: float = 0.0
    owed: str = ""


@dataclass(frozen=True, slots=True)
class Saved:
    """What was kept.

    age: seconds since it was saved. trusted: it is of this boot and network namespace, so that ifindexes and the
    kernel's counters mean what they meant. ports: by name. awaited: expected ports without a link, and for how many
    seconds they had been awaited.
    """

    age: float
    trusted: bool
    ports: Mapping[str, SavedPort] = field(default_factory=dict)
    awaited: Mapping[str, float] = field(default_factory=dict)


def to_content(ports: Mapping[str, SavedPort], awaited: Mapping[str, float]) -> dict[str, Any]:
    """As a JSON document; a port is a row under ``columns``."""
    return {"columns": SavedPort._fields, "ports": ports, "awaited": awaited}


def from_content(content: Mapping[str, Any], *, age: float, trusted: bool) -> Saved:
    """The reverse. Raises ``DecodeError`` where it is not what ``to_content`` makes: the checksum has no key, so whoever can
    write the file can make it fit anything."""
    try:
        if tuple(content["columns"]) != SavedPort._fields:
            raise DecodeError(f"the columns of a port are {content['columns']}")
        ports = {name: SavedPort((*fields,), *others) for name, (fields, *others) in content["ports"].items()}
        awaited = dict(content["awaited"])
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise DecodeError(f"no saved ports: {problem!r}") from problem
    for name, port in ports.items():
        if not _is_sound(port):
            raise DecodeError(f"no saved port {name!r}")
    if not all(type(name) is str and _is_quantity(seconds) for name, seconds in awaited.items()):
        raise DecodeError("no saved times of awaited ports")
    return Saved(age, trusted, ports, awaited)


def _is_sound(port: SavedPort) -> bool:
    """Whether each value is of its kind."""
    fields, *counts, penalty, owed = port
    return (
        [type(text) for text in fields] == [str] * 4
        and all(type(count) is int and 0 <= count <= _LARGEST for count in counts)
        and _is_quantity(penalty)
        and owed in _OWED
    )


def _is_quantity(value: object) -> bool:
    # JSON has no infinity, but 1e999 reads as one.
    return isinstance(value, float) and isfinite(value)
