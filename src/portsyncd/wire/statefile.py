"""The form of a kept document: JSON with a version, the moment, the place and a checksum over all of it.

A document is one JSON object on one line::

    {"sha256":"<64 hexadecimal digits>","kind":...,"version":...,"saved_at":...,"boot_id":...,"network_namespace":...,
     "content":{...}}

The digest is of every byte behind its own comma to the end, the closing newline included, so that it holds for the
bytes as they stand and needs no canonical form. Everything is ASCII; a byte of a name that is no UTF-8 (a lone
surrogate from U+DC80 to U+DCFF) is an escape, and comes back as it was.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from itertools import islice
from math import isinf
from typing import Any, Final, NoReturn

from portsyncd.errors import DecodeError

# A clock that was set back by less than this since the document was saved makes it none of the future.
FUTURE_TOLERANCE_SECONDS: Final = 60.0

_HEAD: Final = re.compile(rb'\{"sha256":"([0-9a-f]{64})",')
_END: Final = b"}\n"
# The last second of the year 9999: what lies beyond is no time.
_LATEST: Final = 253_402_300_799
# Members of an object that are written in one go: half a millisecond's work.
_SLICE: Final = 256


class Flaw(StrEnum):
    """Why a kept document is not trusted; also part of the name under which it is set aside."""

    EMPTY = "empty"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    FOREIGN = "foreign-version"
    TOO_OLD = "too-old"
    FUTURE = "future"

    @property
    def damage(self) -> bool:
        """Whether the bytes are not what was written, rather than of another version or time."""
        return self in (Flaw.EMPTY, Flaw.TRUNCATED, Flaw.CORRUPT)


class FlawedError(DecodeError):
    """A kept document that cannot be used. Caused by the disk, a power cut, another version of this program or whoever
    changed the file; nobody needs to act, the next older version serves."""

    def __init__(self, flaw: Flaw) -> None:
        super().__init__(f"the document is not usable: {flaw}")
        self.flaw = flaw


@dataclass(frozen=True, slots=True)
class Envelope:
    """What is kept, with when (Unix seconds) and where: the boot, and the network namespace's inode number."""

    saved_at: float
    boot_id: str
    network_namespace: int
    content: Mapping[str, Any]


def encode(kind: str, version: int, envelope: Envelope, pause: Callable[[], None] = lambda: None) -> bytes:
    """The whole document. kind, version: what ``decode`` will ask for. pause: called after each slice of the work.

    Raises ``ValueError`` for NaN and infinities, ``TypeError`` for what JSON has no form for.
    """
    head = {
        "kind": kind,
        "version": version,
        "saved_at": envelope.saved_at,
        "boot_id": envelope.boot_id,
        "network_namespace": envelope.network_namespace,
    }
    pieces = [_members(head), b',"content":{']
    for piece in _content(envelope.content):
        pieces.append(piece)
        pause()
    body = b"".join([*pieces, b"}", _END])
    return b'{"sha256":"%s",%s' % (sha256(body).hexdigest().encode(), body)


def _content(content: Mapping[str, Any]) -> Iterator[bytes]:
    """The members, with large objects among them in slices: no other thread runs during one call of json."""
    separator = b""
    for name, value in content.items():
        if not isinstance(value, dict) or len(value) <= _SLICE:
            yield separator + _members({name: value})
        else:
            yield separator + _json(name) + b":"
            separator = b"{"
            members = iter(value.items())
            while part := dict(islice(members, _SLICE)):
                yield separator + _members(part)
                separator = b","
            yield b"}"
        separator = b","


def _members(value: dict[str, Any]) -> bytes:
    return _json(value)[1:-1]


def _json(value: object) -> bytes:
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode("ascii")


def decode(raw: bytes, kind: str, version: int) -> Envelope:
    """Read a document of this kind and version. Raises ``FlawedError``, and nothing else, for any other bytes."""
    if not raw.strip(b"\0"):
        # A power cut can leave a file its size and take its content: then it is a hole of zeros.
        raise FlawedError(Flaw.EMPTY)
    if not raw.endswith(_END):
        raise FlawedError(Flaw.TRUNCATED)
    head = _HEAD.match(raw)
    if head is None or sha256(memoryview(raw)[head.end() :]).hexdigest() != head[1].decode():
        raise FlawedError(Flaw.CORRUPT)
    try:
        document = json.loads(raw, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise FlawedError(Flaw.CORRUPT) from None
    if (document.get("kind"), document.get("version")) != (kind, version):
        raise FlawedError(Flaw.FOREIGN)
    match document:
        case {
            "saved_at": int() | float() as saved_at,
            "boot_id": str() as boot_id,
            "network_namespace": int() as network_namespace,
            "content": dict() as content,
        } if 0 <= saved_at <= _LATEST:
            return Envelope(float(saved_at), boot_id, network_namespace, content)
    raise FlawedError(Flaw.CORRUPT)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def age_flaw(envelope: Envelope, now: float, max_age: float) -> Flaw | None:
    """Whether it is from too long ago or from the future. now: Unix seconds. max_age: seconds; infinite for what is as good
    at any time, whatever the clock says: a switch may boot with a clock that is years behind."""
    if isinf(max_age):
        return None
    age = now - envelope.saved_at
    if age < -FUTURE_TOLERANCE_SECONDS:
        return Flaw.FUTURE
    return Flaw.TOO_OLD if age > max_age else None
