"""What the value of a configuration key may be: one small class per kind of value.

A rule turns what stands in the TOML file (``check``) or, for environment and flags, text (``read``, then ``check``)
into the value that the daemon uses. ``check`` raises ``ValueError`` whose text ends the sentence "this key ...";
``allowed`` is the same as documentation.
"""

import ipaddress
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from string import Template
from typing import Any, ClassVar, NamedTuple

from portsyncd.wire.database_config import (
    ENDPOINT_FORMS,
    MAX_PORT,
    MAX_SOCKET_PATH_BYTES,
    Endpoint,
    is_host,
    parse_endpoint,
)
from portsyncd.wire.schema import DEFAULT_NUMBERS


class Rule(ABC):
    """One kind of value. ``environ`` is for ``~`` and ``$VAR`` in paths."""

    @property
    @abstractmethod
    def allowed(self) -> str:
        """What is allowed, as the end of "must be ..."."""

    @abstractmethod
    def check(self, value: object, environ: Mapping[str, str], /) -> Any:
        """The value that the daemon uses. Raises ``ValueError`` with what is wrong and what is allowed."""

    def read(self, text: str) -> object:
        """What the text of a variable or a flag would be in TOML; the text itself if it is nothing else."""
        return text

    def refusal(self) -> ValueError:
        """The usual error: the value is not what is allowed."""
        return ValueError(f"must be {self.allowed}")


@dataclass(frozen=True, slots=True)
class Flag(Rule):
    """true or false, and nothing that resembles them."""

    allowed: ClassVar[str] = "true or false"

    def check(self, value: object, _environ: Mapping[str, str], /) -> bool:
        if not isinstance(value, bool):
            raise self.refusal()
        return value

    def read(self, text: str) -> object:
        return {"true": True, "false": False}.get(text, text)


@dataclass(frozen=True, slots=True)
class Whole(Rule):
    """A whole number within bounds, both included."""

    low: int
    high: int

    @property
    def allowed(self) -> str:
        return f"a whole number from {self.low} to {self.high}"

    def check(self, value: object, _environ: Mapping[str, str], /) -> int:
        # bool is a subclass of int.
        if type(value) is not int or not self.low <= value <= self.high:
            raise self.refusal()
        return value

    def read(self, text: str) -> object:
        try:
            return int(text)
        except ValueError:
            return text


@dataclass(frozen=True, slots=True)
class Number(Rule):
    """A number within bounds, both included; ``nan`` is within none."""

    low: float
    high: float

    @property
    def allowed(self) -> str:
        return f"a number from {self.low:.15g} to {self.high:.15g}"

    def check(self, value: object, _environ: Mapping[str, str], /) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            raise self.refusal()
        return float(value)

    def read(self, text: str) -> object:
        try:
            return float(text)
        except ValueError:
            return text


@dataclass(frozen=True, slots=True)
class Choice(Rule):
    """One of a few words."""

    options: tuple[str, ...]

    @property
    def allowed(self) -> str:
        return "one of " + ", ".join(f'"{option}"' for option in self.options)

    def check(self, value: object, _environ: Mapping[str, str], /) -> str:
        if not isinstance(value, str) or value not in self.options:
            raise self.refusal()
        return value


@dataclass(frozen=True, slots=True)
class Host(Rule):
    """A host name or an address."""

    allowed: ClassVar[str] = "a host name or an IP address"

    def check(self, value: object, _environ: Mapping[str, str], /) -> str:
        if not isinstance(value, str) or not is_host(value):
            raise self.refusal()
        return value


@dataclass(frozen=True, slots=True)
class Text(Rule):
    """Text that can stand in a line; may be empty."""

    allowed: ClassVar[str] = "printable text"

    def check(self, value: object, _environ: Mapping[str, str], /) -> str:
        if not isinstance(value, str) or not value.isprintable():
            raise self.refusal()
        return value


@dataclass(frozen=True, slots=True)
class Path(Rule):
    """A path in which ``~`` and ``$VAR`` (``$$`` for a dollar sign) are expanded.

    optional: may be empty. longest: bytes that it may have; 0: no bound of ours.
    """

    optional: bool = True
    longest: int = 0

    @property
    def allowed(self) -> str:
        bound = f" of at most {self.longest} bytes" if self.longest else ""
        return f"a path{bound}{' or empty' if self.optional else ''}"

    def check(self, value: object, environ: Mapping[str, str], /) -> str:
        if not isinstance(value, str):
            raise self.refusal()
        path = expand(value, environ)
        size = len(path.encode("utf-8", "surrogatepass"))
        if not path.isprintable() or (not path and not self.optional) or (self.longest and size > self.longest):
            raise self.refusal()
        return path


@dataclass(frozen=True, slots=True)
class Prefixes(Rule):
    """Beginnings of interface names; as text separated by commas."""

    # IFNAMSIZ is 16 with the closing NUL; the kernel (dev_valid_name) allows no white space, no slash and no colon.
    allowed: ClassVar[str] = "a list of 1 to 32 beginnings of interface names, each of 1 to 15 bytes"
    _NAME: ClassVar[re.Pattern[str]] = re.compile(r"[^\s/:\x00-\x1f\x7f]+")

    def check(self, value: object, _environ: Mapping[str, str], /) -> tuple[str, ...]:
        if not isinstance(value, list) or not 1 <= len(value) <= 32:
            raise self.refusal()
        if not all(isinstance(name, str) and self._NAME.fullmatch(name) and _fits(name, 15) for name in value):
            raise self.refusal()
        return tuple(value)

    def read(self, text: str) -> object:
        return text.split(",")


@dataclass(frozen=True, slots=True)
class Endpoints(Rule):
    """Where single databases live; as text ``STATE_DB=unix:/path,APPL_DB=host:port``."""

    allowed: ClassVar[str] = f"a table of {', '.join(DEFAULT_NUMBERS)} with {ENDPOINT_FORMS} each"

    def check(self, value: object, environ: Mapping[str, str], /) -> dict[str, Endpoint]:
        if not isinstance(value, dict):
            raise self.refusal()
        endpoints = {}
        for name, text in value.items():
            if name not in DEFAULT_NUMBERS or not isinstance(text, str):
                raise self.refusal()
            try:
                endpoints[name] = parse_endpoint(_expand_endpoint(text, environ))
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
        return endpoints

    def read(self, text: str) -> object:
        pairs = [pair.partition("=") for pair in text.split(",")] if text else []
        return {name: endpoint for name, _, endpoint in pairs}


class Listen(NamedTuple):
    """Where a server listens. host: an IPv6 address, with its zone where it has one; port: 0 lets the kernel choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}"

    @classmethod
    def parse(cls, text: str) -> "Listen":
        """Read ``[v6]:port``. Raises ``ValueError`` for anything else, and says so of IPv4 in every spelling."""
        bracketed, _, port = text.rpartition(":")
        host = bracketed.removeprefix("[").removesuffix("]")
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            raise ValueError(f"must be {ListenAddress.allowed}") from None
        if isinstance(address, ipaddress.IPv4Address) or address.ipv4_mapped is not None:
            # One family is one set of rules to get right; an IPv4-mapped address is IPv4 on the wire.
            raise ValueError(f"must be {ListenAddress.allowed}: it is served on IPv6 only, and {host} is IPv4")
        if bracketed != f"[{host}]" or not (port.isascii() and port.isdecimal() and int(port[:9]) <= MAX_PORT):
            raise ValueError(f"must be {ListenAddress.allowed}")
        return cls(host, int(port[:9]))


@dataclass(frozen=True, slots=True)
class ListenAddress(Rule):
    """An IPv6 address and a port to listen at (``Listen``)."""

    allowed: ClassVar[str] = "an IPv6 address and a port, as in [::1]:9090"

    def check(self, value: object, _environ: Mapping[str, str], /) -> str:
        if not isinstance(value, str):
            raise self.refusal()
        Listen.parse(value)
        return value


@dataclass(frozen=True, slots=True)
class Names(Rule):
    """Names, such as those in certificates; as text separated by commas."""

    allowed: ClassVar[str] = "a list of at most 64 names"

    def check(self, value: object, _environ: Mapping[str, str], /) -> tuple[str, ...]:
        if not isinstance(value, list) or len(value) > 64:
            raise self.refusal()
        if not all(isinstance(name, str) and name and name.isprintable() for name in value):
            raise self.refusal()
        return tuple(value)

    def read(self, text: str) -> object:
        return text.split(",") if text else []


SOCKET_PATH = Path(longest=MAX_SOCKET_PATH_BYTES)


def expand(path: str, environ: Mapping[str, str]) -> str:
    """Replace ``~`` at the beginning and ``$VAR``, ``${VAR}`` and ``$$`` anywhere. Raises ``ValueError``."""
    if path == "~" or path.startswith("~/"):
        path = "$HOME" + path[1:]
    elif path.startswith("~"):
        raise ValueError("must not begin with ~user: write that folder out")
    try:
        return Template(path).substitute(environ)
    except KeyError as error:
        raise ValueError(f"uses ${error.args[0]}, which is not set") from error
    except ValueError as error:
        raise ValueError("has a $ that no name follows; write $$ for the sign itself") from error


def _expand_endpoint(text: str, environ: Mapping[str, str]) -> str:
    scheme, colon, rest = text.partition(":")
    return f"unix:{expand(rest, environ)}" if scheme + colon == "unix:" else text


def _fits(name: str, size: int) -> bool:
    return len(name.encode("utf-8", "surrogatepass")) <= size
