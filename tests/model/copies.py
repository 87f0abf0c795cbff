"""Copies of a whole state, and a key that is equal for equal states: what a search over states stands on.

Both know plain containers, values that nobody changes, and objects by their attributes; so they follow the code when it
changes. They are called a hundred thousand times: what is looked up by type is kept.
"""

from collections import deque
from collections.abc import Callable, Hashable
from enum import Enum
from operator import attrgetter
from typing import Any


def clone(value: Any) -> Any:
    """A copy of ``value`` in which nothing that can be changed is shared with it."""
    return _CLONERS[type(value)](value)


def key_of(value: Any) -> Hashable:
    """Hashable, and equal for equal states. The order of a dict counts: some of the code's dicts are queues."""
    key: Hashable = _KEYERS[type(value)](value)
    return key


class _ByType(dict[type, Callable[[Any], Any]]):
    def __init__(self, make: Callable[[type], Callable[[Any], Any]]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, kind: type) -> Callable[[Any], Any]:
        made = self[kind] = self._make(kind)
        return made


def _same(value: Any) -> Any:
    return value


def _is_value(kind: type) -> bool:
    """Whether nobody changes objects of this class."""
    parameters = getattr(kind, "__dataclass_params__", None)
    return issubclass(kind, Enum | tuple) or (parameters is not None and parameters.frozen)


def _slots(kind: type) -> tuple[str, ...]:
    return tuple(name for base in kind.__mro__ for name in getattr(base, "__slots__", ()))


def _reader(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]] | None:
    """Reads all of these attributes at once; None for none."""
    if len(names) == 1:
        return lambda value: (getattr(value, names[0]),)
    return attrgetter(*names) if names else None


def _cloner(kind: type) -> Callable[[Any], Any]:
    if _is_value(kind):
        return _same
    names = _slots(kind)
    read = _reader(names)

    def clone_object(value: Any) -> Any:
        made: Any = object.__new__(kind)
        if read is None:
            made.__dict__.update(clone(value.__dict__))
        else:
            for name, held in zip(names, read(value), strict=True):
                setattr(made, name, held if type(held) in _PLAIN else clone(held))
        return made

    return clone_object


def _keyer(kind: type) -> Callable[[Any], Hashable]:
    if issubclass(kind, Enum):
        return _same
    if issubclass(kind, tuple):
        return _key_of_sequence
    read = _reader(_slots(kind))

    def key_of_object(value: Any) -> Hashable:
        return _key_of_sequence(value.__dict__.values() if read is None else read(value))

    if not _is_value(kind):
        return key_of_object
    # The object is kept with its key, so that its id stays its own.
    keys: dict[int, tuple[Any, Hashable]] = {}

    def key_of_value(value: Any) -> Hashable:
        if id(value) not in keys:
            keys[id(value)] = value, key_of_object(value)
        return keys[id(value)][1]

    return key_of_value


def _clone_dict(value: dict[Any, Any]) -> dict[Any, Any]:
    return {name: held if type(held) in _PLAIN else clone(held) for name, held in value.items()}


def _key_of_dict(value: dict[Any, Any]) -> Hashable:
    return (*value, *_key_of_sequence(value.values()))


def _key_of_sequence(value: Any) -> tuple[Hashable, ...]:
    return tuple([held if type(held) in _PLAIN else _KEYERS[type(held)](held) for held in value])


_PLAIN: frozenset[type] = frozenset({str, int, float, bool, type(None), frozenset})
_CLONERS = _ByType(_cloner)
_KEYERS = _ByType(_keyer)
for _kind in _PLAIN:
    _CLONERS[_kind] = _KEYERS[_kind] = _same
_CLONERS.update({dict: _clone_dict, set: set, list: lambda value: list(map(clone, value)), deque: deque})
_KEYERS.update({dict: _key_of_dict, set: frozenset, list: _key_of_sequence, deque: _key_of_sequence})
