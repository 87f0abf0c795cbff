"""What ``portsyncd certs`` finds in certificates and says about them: facts in, text or JSON out."""

import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from portsyncd.errors import DecodeError
from portsyncd.tls import x509
from portsyncd.tls.x509 import Certificate, Role

# The alerts on expiry start at 14 days; a command that somebody calls by hand may speak up earlier.
SOON_DAYS: Final = 30


@dataclass(slots=True)
class Finding:
    """One certificate file: what is in it, what is wrong with it (``problems``), and what one should know (``notes``)."""

    role: Role
    path: Path
    chain: tuple[Certificate, ...] = ()
    key_path: Path | None = None
    key_mode: int | None = None
    key_matches: bool | None = None
    days_left: int | None = None
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def folder_findings(folder: Path, now: datetime) -> list[Finding]:
    """All certificates of a folder: ``ca.crt``, ``server.crt``, and each other ``*.crt`` as a client's, keys beside them."""
    clients = sorted(path for path in folder.glob("*.crt") if path.stem not in {Role.CA, Role.SERVER})
    places = [
        (Role.CA, folder / "ca.crt"),
        (Role.SERVER, folder / "server.crt"),
        *((Role.CLIENT, path) for path in clients),
    ]
    # The CA's key is best kept elsewhere, and each client's with the client.
    keys = {path: path.with_suffix(".key") for _, path in places}
    found = [
        _finding(role, path, keys[path] if role is Role.SERVER or keys[path].exists() else None, now)
        for role, path in places
    ]
    ca, *others = found
    for each in others:
        problem = _chain_problem(each, ca)
        if problem:
            each.problems.append(problem)
    return found


def file_findings(cert: Path, key: Path, ca: Path, now: datetime) -> list[Finding]:
    """The three files that the daemon is given. The CA is that of its clients; the server's may be another one."""
    authority = _finding(Role.CA, ca, None, now)
    server = _finding(Role.SERVER, cert, key, now)
    problem = _chain_problem(server, authority)
    if problem:
        server.notes.append(f"{problem}; then clients must be given the server's CA (curl --cacert, ca_file)")
    return [authority, server]


def text(findings: Sequence[Finding]) -> str:
    """For people: one block a certificate, then the verdict."""
    blocks = ["\n".join(_block(each)) for each in findings]
    count = sum(len(each.problems) for each in findings)
    if count:
        blocks.append(f"{count} problem{'s' if count > 1 else ''}: a start or a handshake with these would be refused.")
    else:
        blocks.append("All is good: profile, dates, keys, issuer.")
    return "\n\n".join(blocks)


def document(findings: Sequence[Finding]) -> dict[str, Any]:
    """For programs. Times are ISO 8601 in UTC; ``serial`` and ``sha256`` are hexadecimal."""
    return {
        "ok": not any(each.problems for each in findings),
        "certificates": [_entry(each) for each in findings],
    }


def _finding(role: Role, path: Path, key_path: Path | None, now: datetime) -> Finding:
    finding = Finding(role, path, key_path=key_path)
    try:
        finding.chain = x509.parse_pem(path.read_bytes())
    except OSError as error:
        finding.problems.append(f"cannot be read: {error.strerror}")
    except DecodeError as error:
        finding.problems.append(str(error))
    several_cas = role is Role.CA and len(finding.chain) > 1
    one_is_valid = any(not x509.date_problems(each, now) for each in finding.chain)
    for number, each in enumerate(finding.chain):
        # What follows a leaf are the CAs above it, which need not be those of the clients.
        alone = number == 0 or role is Role.CA
        weak = x509.profile_problems(each, role) if alone else x509.strength_problems(each)
        dates = x509.date_problems(each, now)
        name = f"{each.subject}: " if number or several_cas else ""
        finding.problems += [f"{name}{problem}" for problem in weak]
        # An old CA may expire before it is taken out: the daemon goes by the others.
        told = finding.notes if several_cas and one_is_valid else finding.problems
        told += [f"{name}{problem}" for problem in dates]
    if finding.chain:
        finding.days_left = min((each.not_after - now).days for each in finding.chain)
        if 0 <= finding.days_left < SOON_DAYS:
            finding.notes.append(f"expires in {finding.days_left} days: renew it now")
        if role is Role.SERVER and not (finding.chain[0].sans.ip or finding.chain[0].sans.dns):
            finding.notes.append("without a name or address among its SANs curl and Prometheus refuse it")
    if key_path is not None:
        _look_at_key(finding, key_path)
    return finding


def _look_at_key(finding: Finding, path: Path) -> None:
    try:
        finding.key_mode = stat.S_IMODE(path.stat().st_mode)
        public = x509.public_key_of(path.read_bytes())
    except OSError as error:
        finding.problems.append(f"key {path} cannot be read: {error.strerror}")
        return
    except DecodeError as error:
        finding.problems.append(f"key {path}: {error}")
        return
    if finding.chain:
        finding.key_matches = public == finding.chain[0].spki
        if not finding.key_matches:
            finding.problems.append(f"key {path} does not belong to this certificate")
    if finding.key_mode & 0o007:
        finding.problems.append(f"key {path} has mode {finding.key_mode:04o}, open to all users: chmod 0600 {path}")
    elif finding.key_mode & 0o070:
        finding.notes.append(f"key {path} has mode {finding.key_mode:04o}: the daemon takes it from its own group only")


def _chain_problem(below: Finding, ca: Finding) -> str | None:
    """Why no CA of the file is above this certificate; None: one is, or a file cannot be read, which is said elsewhere."""
    if not below.chain or not ca.chain:
        return None
    current, *between = below.chain
    for _ in range(len(between) + 1):
        if any(x509.issued_by(current, each) for each in ca.chain):
            return None
        above = next((each for each in between if x509.issued_by(current, each)), None)
        if above is None:
            break
        current = above
    return f"not signed by a CA of {ca.path.name} (its issuer is {current.issuer})"


def _block(finding: Finding) -> list[str]:
    lines = [f"{finding.role}  {finding.path}"]
    for each in finding.chain:
        rows = {
            "subject": each.subject,
            "issuer": "itself" if each.self_signed else each.issuer,
            "names": "" if each.is_ca else str(each.sans),
            "valid": f"{x509.show_time(each.not_before)} to {x509.show_time(each.not_after)}",
            "key": str(each.key),
            "signature": each.digest_name,
            "used for": ", ".join(sorted(each.ekus or ())),
            "sha256": each.fingerprint,
        }
        lines += [f"  {name:<10} {value}" for name, value in rows.items() if value]
    if finding.days_left is not None:
        lines.append(f"  {'days left':<10} {finding.days_left}")
    if finding.key_matches:
        lines.append(f"  {'key file':<10} {finding.key_path} (mode {finding.key_mode:04o}) belongs to it")
    lines.append(f"  {'verdict':<10} {'good' if not finding.problems else 'not good'}")
    lines += [f"    problem: {problem}" for problem in finding.problems]
    lines += [f"    note: {note}" for note in finding.notes]
    return lines


def _entry(finding: Finding) -> dict[str, Any]:
    return {
        "role": finding.role.value,
        "file": str(finding.path),
        "key_file": str(finding.key_path) if finding.key_path else None,
        "key_matches": finding.key_matches,
        "key_mode": None if finding.key_mode is None else f"{finding.key_mode:04o}",
        "days_left": finding.days_left,
        "problems": finding.problems,
        "notes": finding.notes,
        "chain": [_facts(each) for each in finding.chain],
    }


def _facts(each: Certificate) -> dict[str, Any]:
    return {
        "subject": each.subject,
        "issuer": each.issuer,
        "self_signed": each.self_signed,
        "serial": f"{each.serial:x}",
        "sans": {"dns": each.sans.dns, "ip": each.sans.ip, "uri": each.sans.uri, "email": each.sans.email},
        "not_before": each.not_before.isoformat(),
        "not_after": each.not_after.isoformat(),
        "key": {"kind": each.key.kind, "bits": each.key.bits, "curve": each.key.curve or None},
        "digest": each.digest,
        "is_ca": each.is_ca,
        "path_length": each.path_length,
        "key_usages": None if each.key_usages is None else sorted(each.key_usages),
        "ekus": None if each.ekus is None else sorted(each.ekus),
        "sha256": each.fingerprint,
    }
