"""Certificate, key and CA of the metrics endpoint: read once, checked before anything starts.

What the files hold is taken from here on, not the files: what was checked is what is served. Dates are asked for apart,
at any time: a switch that boots before NTP has right files and a wrong clock.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

from portsyncd.errors import ConfigError, DecodeError
from portsyncd.reading import privacy_problem, read_file
from portsyncd.tls import x509
from portsyncd.tls.x509 import Certificate, Role

MAX_BYTES: Final = 262144
# Of one file; who names the bundle of all public CAs here needs no hundred lines to see it.
_MAX_PROBLEMS = 5
_WAY_OUT = "make a set with `portsyncd certs make`, or do without the endpoint: metrics.enabled = false"
_T = TypeVar("_T")
# ``reading.read_file``, or what stands in for it.
Reader: TypeAlias = Callable[[Path, int], tuple[bytes, os.stat_result]]


@dataclass(frozen=True, slots=True)
class Files:
    """Paths of PEM files. cert: the server's certificate, then its chain; key: its private key; ca: who signs clients."""

    cert: Path
    key: Path
    ca: Path


@dataclass(frozen=True, slots=True)
class Material:
    """What the files held. server: the certificate and its chain, as sent; ca: each certificate that is trusted."""

    files: Files
    server: tuple[Certificate, ...]
    ca: tuple[Certificate, ...]
    key_pem: bytes = field(repr=False)

    def date_problems(self, now: datetime) -> list[str]:
        """One line for each certificate that is not valid at ``now`` (aware) and is needed; none: the set can be served.

        Of several CAs one that is valid will do: an old one may expire before it is taken out.
        """
        problems = _dated("metrics.cert", self.files.cert, self.server, now)
        of_cas = [_dated("metrics.ca", self.files.ca, (ca,), now) for ca in self.ca]
        if all(of_cas):
            problems += [line for lines in of_cas for line in lines]
        return problems

    def expiries(self) -> Mapping[str, float]:
        """Until when the set can be served as far as each role goes, in Unix seconds: the first end in the server's chain,
        the last of the CAs', of which one that is valid will do."""
        return {
            "server": min(certificate.not_after for certificate in self.server).timestamp(),
            "ca": max(certificate.not_after for certificate in self.ca).timestamp(),
        }


def read(files: Files, read_one: Reader = read_file) -> Material:
    """Read and check a set. Raises ``ConfigError`` with everything that is wrong with it, dates left out. read_one: a file, as
    ``reading.read_file``."""
    problems: list[str] = []
    server = _part("metrics.cert", files.cert, x509.parse_pem, problems, read_one) or ()
    key = _part("metrics.key", files.key, lambda pem: (x509.public_key_of(pem), pem), problems, read_one, private=True)
    ca = _part("metrics.ca", files.ca, x509.parse_pem, problems, read_one) or ()
    problems += _weak("metrics.cert", files.cert, server, _server_problems)
    problems += _weak("metrics.ca", files.ca, ca, lambda _, each: x509.profile_problems(each, Role.CA))
    if server and key and server[0].spki != key[0]:
        problems.append(
            f"metrics.key: {files.key} does not belong to the certificate in {files.cert} ({server[0].subject}); "
            "name the key that it was made with, or make both anew"
        )
    if problems or key is None:
        raise ConfigError(problems)
    return Material(files, server, ca, key[1])


def _part(
    key: str,
    path: Path,
    decode: Callable[[bytes], _T],
    problems: list[str],
    read_one: Reader,
    *,
    private: bool = False,
) -> _T | None:
    """What a file holds; None where it cannot be had, which ``problems`` then says."""
    try:
        content, status = read_one(path, MAX_BYTES)
        if private and (open_to := privacy_problem(path, status)):
            problems.append(f"{key}: {path}: {open_to}")
        return decode(content)
    except FileNotFoundError:
        problems.append(f"{key}: {path} does not exist; {_WAY_OUT}")
    except PermissionError:
        problems.append(
            f"{key}: {path} may not be read by user {os.geteuid()}, which the daemon runs as; chown or chmod it"
        )
    except OSError as error:
        problems.append(f"{key}: {path} cannot be read: {error.strerror or error}; name the right file")
    except DecodeError as error:
        problems.append(f"{key}: {path}: {error}")
    return None


def _server_problems(position: int, certificate: Certificate) -> Sequence[str]:
    # What comes after the first was signed for other purposes, but its signatures must hold as much.
    return x509.strength_problems(certificate) if position else x509.profile_problems(certificate, Role.SERVER)


def _weak(
    key: str, path: Path, certificates: Sequence[Certificate], judge: Callable[[int, Certificate], Iterable[str]]
) -> list[str]:
    found = [
        f"{key}: {path}: {_which(position, certificates)}{problem}; make one that fits: `portsyncd certs make`"
        for position, certificate in enumerate(certificates)
        for problem in judge(position, certificate)
    ]
    if len(found) > _MAX_PROBLEMS:
        return [*found[:_MAX_PROBLEMS], f"{key}: {path}: {len(found) - _MAX_PROBLEMS} more problems like these"]
    return found


def _dated(key: str, path: Path, certificates: Sequence[Certificate], now: datetime) -> list[str]:
    return [
        f"{key}: {path}: {certificate.subject}: {problem}; set the clock right or renew the certificate"
        for certificate in certificates
        for problem in x509.date_problems(certificate, now)
    ]


def _which(position: int, certificates: Sequence[Certificate]) -> str:
    subject = certificates[position].subject
    return f"{subject}: " if len(certificates) == 1 else f"certificate {position + 1} ({subject}): "
