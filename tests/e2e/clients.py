"""curl and openssl as clients of the metrics endpoint: with a good certificate, and with those that must be refused."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from portsyncd.testing.certificates import Certificates
from portsyncd.testing.netns import NetworkNamespace
from portsyncd.tls.authority import Authority

Pair = tuple[Path, Path]

_DAY = timedelta(days=1)
_NOW = datetime.now(UTC)
# How a client's certificate may differ from a good one, each by itself enough to be refused.
ODD: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "self-signed": {"self_signed": True},
        "expired": {"not_before": _NOW - 2 * _DAY, "not_after": _NOW - _DAY},
        "not-yet-valid": {"not_before": _NOW + _DAY, "not_after": _NOW + 2 * _DAY},
        "no-client-auth": {"ekus": ("serverAuth",)},
        "p256": {"curve": "secp256r1"},
        "sha256": {"digest": "sha256"},
    }
)


def odd_client(certificates: Certificates, kind: str, *, sans: Sequence[str] = ()) -> Pair:
    """Certificate and key of a client of this kind: one of ``ODD``, or ``other-ca``."""
    if kind == "other-ca":
        return certificates.put(kind, Authority.make().issue_client(kind, sans))
    return certificates.client(kind, sans=sans, **ODD[kind])


def unrestricted() -> dict[str, str]:
    """The environment of a client that offers whatever it is told to; the profile of the tests' own process would keep
    it from that."""
    return {name: value for name, value in os.environ.items() if name != "OPENSSL_CONF"}


def curl(
    namespace: NetworkNamespace, ca: Path, url: str, *options: str, client: Pair | None
) -> subprocess.CompletedProcess[str]:
    """Fetch a URL over TLS 1.3. Standard output is the status (000: there was no answer), a blank, then the body.

    options win over what is set here, since curl heeds the last of a kind.
    """
    who = ["--cert", str(client[0]), "--key", str(client[1])] if client else []
    trust = ["--silent", "--show-error", "--max-time", "20", "--tlsv1.3", "--cacert", str(ca)]
    told = ["--output", "-", "--write-out", "%{stderr}status=%{http_code}"]
    done = namespace.run(["curl", *trust, *who, *told, *options, url], check=False, env=unrestricted())
    errors, _, status = done.stderr.rpartition("status=")
    return subprocess.CompletedProcess(done.args, done.returncode, f"{status} {done.stdout}", errors)


def s_client(
    namespace: NetworkNamespace, address: str, ca: Path, *options: str, client: Pair | None, request: str = ""
) -> subprocess.CompletedProcess[str]:
    """``openssl s_client``: shakes hands, sends ``request``, and reads until the server closes."""
    who: Sequence[str] = ["-cert", str(client[0]), "-key", str(client[1])] if client else []
    argv = ["openssl", "s_client", "-connect", address, "-CAfile", str(ca), "-verify_return_error", "-ign_eof", *who]
    return namespace.run([*argv, *options], check=False, env=unrestricted(), input=request, timeout=20)


def sample(exposition: str, series: str) -> float:
    """The value of one series, written as it stands there: ``name{label="value"}``. Raises ``StopIteration``."""
    lines = exposition.splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{series} "))
