"""``portsyncd certs``: make, check and renew the certificates of the metrics endpoint."""

import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from portsyncd import toml
from portsyncd.cli import render
from portsyncd.cli.cert_files import CERT_MODE, KEY_MODE, NewFile, existing, write_set
from portsyncd.config import DEFAULT_FILE, load
from portsyncd.errors import EXIT_CONFIG, EXIT_OK, ConfigError
from portsyncd.options import MetricsConfig

if TYPE_CHECKING:
    from portsyncd.tls.authority import Authority, Issued

_MAX_DAYS: Final = 36500
_CLIENT_FILE: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,61}[A-Za-z0-9_])?")
_TAKEN: Final = frozenset({"ca", "server"})
_SERVER_SANS: Final = ("::1", "localhost")
# What certs make writes as subject; others have more than can be taken over here.
_COMMON_NAME: Final = re.compile(r"CN=([A-Za-z0-9 ._-]+)")

_MAKE_EPILOG: Final = """\b
Examples:
  portsyncd certs make certs
  portsyncd certs make certs --san 2001:db8::7 --san leaf7.example
  portsyncd certs make certs --client prometheus --client operator
  portsyncd certs make leaf8 --ca certs/ca.crt --ca-key certs/ca.key \\
      --san leaf8.example
"""

_CHECK_EPILOG: Final = """\b
Examples:
  portsyncd certs check                  what the configuration names
  portsyncd certs check certs            a folder made by certs make
  portsyncd certs check --cert s.crt --key s.key --ca ca.crt --json
"""

_RENEWED: Final = """\
Copy them over the former ones. The daemon takes server.crt and server.key by itself, or at once on SIGHUP, without a
restart; Prometheus reads its files for each new connection. The former certificates stay valid until they expire."""

_RENEW_EPILOG: Final = """\b
Examples:
  portsyncd certs renew certs
  portsyncd certs renew certs --days 90
"""


class CertsError(click.ClickException):
    """Certificates or keys that were given cannot be used. Caused by who made them; each line says which and why."""

    exit_code = EXIT_CONFIG

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(("nothing was written.", *(f"  {problem}" for problem in problems))))


@click.group()
def certs() -> None:
    """Make, check and renew the metrics endpoint's certificates.

    The endpoint speaks mutual TLS only: it needs a certificate with its key, and the CA of those who may read it.
    """


def _days(default: int) -> Any:
    return {"type": click.IntRange(1, _MAX_DAYS), "default": default, "show_default": True, "metavar": "N"}


@certs.command(epilog=_MAKE_EPILOG)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--san", "sans", metavar="NAME", multiple=True, help="Address or name of the switch, beside ::1 and localhost."
)
@click.option(
    "--client", "clients", metavar="NAME", multiple=True, help="A client: NAME.crt, NAME.key.  [with a new CA: client]"
)
@click.option("--days", **_days(397), help="How long server and clients are valid.")
@click.option("--ca-days", **_days(1095), help="How long a new CA is valid.")
@click.option("--ca", "ca_cert", metavar="FILE", type=click.Path(path_type=Path), help="Use this CA; with --ca-key.")
@click.option("--ca-key", metavar="FILE", type=click.Path(path_type=Path), help="Its key; it is not copied.")
@click.option("--force", is_flag=True, help="Replace files that are there.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def make(
    ctx: click.Context,
    folder: Path,
    *,
    sans: tuple[str, ...],
    clients: tuple[str, ...],
    days: int,
    ca_days: int,
    ca_cert: Path | None,
    ca_key: Path | None,
    force: bool,
    as_json: bool,
) -> int:
    """Make a CA, a server's certificate and clients' ones.

    All keys are ECDSA P-384, all signatures SHA-384. DIR gets ca.crt, ca.key, server.crt, server.key, and .crt and
    .key of each client; keys with mode 0600. Either all files are written or none. What is printed says what belongs
    where.

    A client's name is also its subject alternative name, for client_allowed_sans.
    """
    from portsyncd.tls.authority import Authority

    if (ca_cert is None) != (ca_key is None):
        raise click.UsageError("--ca and --ca-key belong together: the certificate says who signs, the key does it.")
    # The next switch of a CA comes with no client that nobody asked for.
    names = tuple(dict.fromkeys(clients)) or (("client",) if ca_cert is None else ())
    _check_names(names, sans)
    authority = _load(ca_cert, ca_key) if ca_cert and ca_key else Authority.make(ca_days)
    server = authority.issue_server(tuple(dict.fromkeys((*_SERVER_SANS, *sans))), days)
    issued = {name: authority.issue_client(name, (name,), days) for name in names}
    files = [NewFile("ca.crt", authority.cert_pem, CERT_MODE)]
    if ca_key is None:
        files.append(NewFile("ca.key", authority.key_pem, KEY_MODE))
    files += _pairs({"server": server, **issued})
    in_the_way = existing(folder, files)
    if in_the_way and not force:
        raise click.UsageError(f"in {folder} there is already {', '.join(in_the_way)}; --force replaces it.", ctx)
    if ca_key and existing(folder, [NewFile("ca.key", authority.key_pem, KEY_MODE)]):
        # Beside another CA's certificate it would be half of a set.
        raise click.UsageError(f"{folder / 'ca.key'} is the key of another CA; keep it elsewhere, then remove it.", ctx)
    write_set(folder, files, replace=force)
    _tell(folder, files, names, as_json=as_json, ca_key=ca_key or folder / "ca.key")
    return EXIT_OK


@certs.command(epilog=_CHECK_EPILOG)
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option("--cert", metavar="FILE", type=click.Path(path_type=Path), help="The server's certificate.")
@click.option("--key", metavar="FILE", type=click.Path(path_type=Path), help="Its private key.")
@click.option("--ca", metavar="FILE", type=click.Path(path_type=Path), help="The CA of the clients.")
@click.option("--config", metavar="FILE", help="Configuration file, for what is not named otherwise.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(
    folder: Path | None,
    *,
    cert: Path | None,
    key: Path | None,
    ca: Path | None,
    config: str | None,
    as_json: bool,
) -> int:
    """Show certificates, and what is wrong with them.

    DIR holds ca.crt, server.crt and clients' certificates, with the keys beside them. Without DIR it is the files that
    the daemon would use, by configuration, environment and the options here.

    Exit code 0: all is good; 78: there are problems, wrong dates among them.
    """
    from portsyncd.cli import cert_report

    now = datetime.now(UTC)
    if folder is None:
        metrics = MetricsConfig() if cert and key and ca else load(config, os.environ, {}).metrics
        findings = cert_report.file_findings(
            cert or Path(metrics.cert), key or Path(metrics.key), ca or Path(metrics.ca), now
        )
    elif cert or key or ca or config:
        raise click.UsageError("DIR names all files; --cert, --key, --ca and --config are for use without it.")
    else:
        findings = cert_report.folder_findings(folder, now)
    click.echo(render.json_text(cert_report.document(findings)) if as_json else cert_report.text(findings))
    return EXIT_CONFIG if any(each.problems for each in findings) else EXIT_OK


@certs.command(epilog=_RENEW_EPILOG)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--days", **_days(397), help="How long the new certificates are valid.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def renew(folder: Path, *, days: int, as_json: bool) -> int:
    """Make new certificates and keys of the same names.

    DIR is a folder made by certs make, with ca.key. The CA stays, so the daemon and its clients can change one after
    the other; a running daemon takes the new files by itself.
    """
    authority = _load(folder / "ca.crt", folder / "ca.key")
    certificates = sorted(path for path in folder.glob("*.crt") if path.stem != "ca")
    if not certificates:
        raise CertsError([f"{folder}: no certificate beside ca.crt; portsyncd certs make makes them"])
    problems: list[str] = []
    issued = {path.stem: _again(authority, path, days, problems) for path in certificates}
    if problems:
        raise CertsError(problems)
    files = _pairs({name: each for name, each in issued.items() if each})
    write_set(folder, files, replace=True)
    written = [str(folder.absolute() / each.name) for each in files]
    if as_json:
        click.echo(render.json_text({"ok": True, "folder": str(folder.absolute()), "written": written}))
    else:
        click.echo("\n".join(("Written:", *(f"  {path}" for path in written), "", _RENEWED)))
    return EXIT_OK


def _check_names(clients: Sequence[str], sans: Sequence[str]) -> None:
    from portsyncd.tls.authority import general_name

    for name in clients:
        if not _CLIENT_FILE.fullmatch(name) or name.lower() in _TAKEN:
            raise click.BadParameter(
                f"{name!r}: a client's name becomes a file name and a DNS name: letters, digits, dots, hyphens, "
                f"underscores, 63 at most, and not {' or '.join(sorted(_TAKEN))}.",
                param_hint="--client",
            )
    for option, names in (("--client", clients), ("--san", sans)):
        for name in names:
            try:
                general_name(name)
            except ValueError as error:
                raise click.BadParameter(f"{error}.", param_hint=option) from error


def _load(cert: Path, key: Path) -> "Authority":
    from portsyncd.tls import x509
    from portsyncd.tls.authority import Authority

    try:
        authority = Authority.load(cert.read_bytes(), key.read_bytes())
    except OSError as error:
        raise CertsError([f"{error.filename} cannot be read: {error.strerror}"]) from error
    except ConfigError as error:
        raise CertsError([f"{problem} ({cert}, {key})" for problem in error.problems]) from error
    (facts,) = x509.parse_pem(authority.cert_pem)
    problems = [*x509.profile_problems(facts, x509.Role.CA), *x509.date_problems(facts, datetime.now(UTC))]
    if problems:
        # What it signed would be refused, so it is better said here.
        raise CertsError([f"CA certificate {cert}: {problem}" for problem in problems])
    return authority


def _again(authority: "Authority", path: Path, days: int, problems: list[str]) -> "Issued | None":
    """A new certificate with a new key for the subject and the names of this one; None where that adds to the problems."""
    from portsyncd.errors import DecodeError
    from portsyncd.tls import x509

    try:
        old = x509.parse_pem(path.read_bytes())[0]
        (ca,) = x509.parse_pem(authority.cert_pem)
        common_name = _COMMON_NAME.fullmatch(old.subject)
        if common_name is None or not x509.issued_by(old, ca):
            problems.append(f"{path}: not made by certs make with this CA (subject {old.subject}, issuer {old.issuer})")
            return None
        if path.stem == "server":
            return authority.issue_server(old.sans.all(), days, common_name=common_name[1])
        return authority.issue_client(common_name[1], old.sans.all(), days)
    except (OSError, DecodeError, ValueError) as error:
        problems.append(f"{path}: {error}")
        return None


def _pairs(issued: Mapping[str, "Issued"]) -> list[NewFile]:
    """Certificate and key of each, one after the other: a daemon that watches them sees both change at nearly one time."""
    files = []
    for name, each in issued.items():
        files.append(NewFile(f"{name}.key", each.key_pem, KEY_MODE))
        files.append(NewFile(f"{name}.crt", each.cert_pem, CERT_MODE))
    return files


def _tell(folder: Path, files: Sequence[NewFile], clients: Sequence[str], *, as_json: bool, ca_key: Path) -> None:
    place = folder.absolute()
    metrics = MetricsConfig()
    written = [str(place / each.name) for each in files]
    tls_config = {
        name: {
            "ca_file": str(place / "ca.crt"),
            "cert_file": str(place / f"{name}.crt"),
            "key_file": str(place / f"{name}.key"),
            "min_version": "TLS13",
        }
        for name in clients
    }
    curl = {
        name: ["curl", "--tlsv1.3", *_curl_files(each), f"https://{metrics.listen}/metrics"]
        for name, each in tls_config.items()
    }
    run = ["portsyncd", "run"]
    for flag, name in (("cert", "server.crt"), ("key", "server.key"), ("ca", "ca.crt")):
        run += [f"--metrics-{flag}", str(place / name)]
    if as_json:
        document = {
            "ok": True,
            "folder": str(place),
            "written": written,
            "ca_key": str(ca_key.absolute()),
            "configuration": {"metrics": {"cert": metrics.cert, "key": metrics.key, "ca": metrics.ca}},
            "run": run,
            "prometheus": {name: {"scheme": "https", "tls_config": each} for name, each in tls_config.items()},
            "curl": curl,
        }
        click.echo(render.json_text(document))
        return
    target = shlex.quote(str(Path(metrics.key).parent))
    server = [shlex.quote(str(place / name)) for name in ("ca.crt", "server.crt", "server.key")]
    lines = [
        "Written:",
        *(f"  {path}" for path in written),
        "",
        f"The CA's key is {ca_key.absolute()}. Whoever has it makes clients that the",
        "daemon accepts: keep it off the switch, and where nobody else can read it.",
        "",
        "On the switch, as root (the service runs as portsyncd; a daemon that root runs",
        "needs no group):",
        f"  install -d {target}",
        f"  install -m 0644 {server[0]} {server[1]} {target}",
        f"  install -m 0640 -g portsyncd {server[2]} {target}",
        "",
        f"In {DEFAULT_FILE} (these are the defaults, so they can be left out):",
        "  [metrics]",
        *(f"  {key} = {toml.show(getattr(metrics, key))}" for key in ("cert", "key", "ca")),
        "",
        "Or from where they are:",
        f"  {shlex.join(run)}",
    ]
    for name in clients:
        lines += [
            "",
            f"Prometheus as {name}:",
            "  scheme: https",
            "  tls_config:",
            *(f"    {key}: {json.dumps(value)}" for key, value in tls_config[name].items()),
            "curl:",
            f"  {shlex.join(curl[name])}",
        ]
    click.echo("\n".join(lines))


def _curl_files(tls_config: Mapping[str, str]) -> Sequence[str]:
    return (
        "--cacert",
        tls_config["ca_file"],
        "--cert",
        tls_config["cert_file"],
        "--key",
        tls_config["key_file"],
    )
