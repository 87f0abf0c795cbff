"""The command tree of ``portsyncd``, and the exit codes of its ends.

Start-up time counts here: what only one command needs is imported inside it.
"""

import os
import platform
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from portsyncd import __version__
from portsyncd.cli import facts, render
from portsyncd.cli.analytics import analytics
from portsyncd.cli.certs import certs
from portsyncd.cli.installed import completion, config_example
from portsyncd.config import DEFAULT_FILE, Config, Override, load, read_databases
from portsyncd.errors import EXIT_CONFIG, EXIT_OK, EXIT_UNEXPECTED, EXIT_USAGE, ConfigError, PortsyncdError
from portsyncd.options import EXISTING_LINKS, LOG_LEVELS
from portsyncd.wire.database_config import Endpoint, parse_endpoint

_LIBRARIES: Final = (
    "click",
    "cryptography",
    "hiredis",
    "hypercorn",
    "prometheus-client",
    "quart-trio",
    "redis",
    "structlog",
    "trio",
)
_HELP: Final = {"help_option_names": ["-h", "--help"]}

# For the completion of shells; whether a path is good is seen where it is used.
_FILE: Final = click.Path(readable=False)

_EPILOG: Final = f"""\b
Examples:
{render.columns(facts.EXAMPLES, 38)}
\b
Configuration: flags win over environment, file, default.
  {DEFAULT_FILE:<38} TOML; need not exist
  PORTSYNCD_<SECTION>_<KEY>              any key of the file, such as
                                         PORTSYNCD_DAEMON_LOG_LEVEL=debug
  NO_COLOR                               no colours in the log on a terminal
\b
Exit codes:
{render.columns(facts.EXIT_CODES, 3)}
\b
More: portsyncd COMMAND --help; portsyncd(8), where it is installed.
"""

_RUN_EPILOG: Final = """\b
Under systemd:
  systemctl start portsyncd    returns once the first sync is over
  systemctl status portsyncd   says how many ports are in sync or awaited
  systemctl reload portsyncd   log level and certificates, without a restart
  journalctl -u portsyncd      the log; why it did not start stands there
"""


class Program(click.Group):
    """The commands. Without the name of one, ``run`` is meant; every end has its exit code."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {name for parameter in self.get_params(ctx) for name in parameter.opts}
        # Where a shell completes the first word (resilient_parsing), it may become any command.
        if (not args and not ctx.resilient_parsing) or (args and args[0].startswith("-") and args[0] not in own):
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """What a shell may complete the first word to: a command, or an option of our own or of ``run``."""
        items = super().shell_complete(ctx, incomplete)
        own = {item.value for item in items}
        flags = run.shell_complete(click.Context(run, parent=ctx), incomplete)
        return [*items, *(item for item in flags if item.value not in own)]

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line and exit. Click's own way ends a wrong command line with 2."""
        try:
            code = super().main(*args, **{**kwargs, "prog_name": "portsyncd", "standalone_mode": False})
        except click.ClickException as error:
            error.show()
            code = EXIT_USAGE if isinstance(error, click.UsageError) else error.exit_code
        except PortsyncdError as error:
            click.echo(render.failure(error), err=True)
            code = error.exit_code
        except click.Abort:
            # SIGINT before the daemon has its own handler: it stops as it was asked to.
            code = EXIT_OK
        sys.exit(code)


def _tcp(ctx: click.Context, param: click.Parameter, value: str | None) -> Endpoint | None:
    if value is None:
        return None
    try:
        endpoint = parse_endpoint(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from error
    if endpoint.unix_socket:
        raise click.BadParameter("a Unix socket is named with --redis-socket", ctx, param)
    return endpoint


def _version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"portsyncd {__version__}")
        ctx.exit()


@click.group(cls=Program, context_settings=_HELP, epilog=_EPILOG)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
def cli() -> None:
    """Keep a SONiC switch's Redis databases true to its kernel's links.

    Without a command: run.
    """


for _command in (certs, analytics, config_example, completion):
    cli.add_command(_command)


@cli.command(epilog=_RUN_EPILOG)
@click.option("--config", metavar="FILE", type=_FILE, help=f"Configuration file instead of {DEFAULT_FILE}; must exist.")
@click.option("--log-level", type=click.Choice(LOG_LEVELS), help="Least urgent lines that are logged.")
@click.option("--redis-socket", metavar="PATH", type=_FILE, help="Redis on this Unix socket.")
@click.option("--redis", metavar="HOST:PORT", callback=_tcp, help="Redis over TCP; an IPv6 address as [V6]:PORT.")
@click.option("--namespace", metavar="NAME", help="On a switch with several ASICs: which one, as in asic0.")
@click.option("--existing-links", type=click.Choice(EXISTING_LINKS), help="What to do with links of an earlier life.")
@click.option("--state-file", metavar="PATH", type=_FILE, help="Where the state of the ports is kept over restarts.")
@click.option("--metrics-enabled", type=click.Choice(("true", "false")), help="Whether there is a metrics endpoint.")
@click.option("--metrics-addr", metavar="[V6]:PORT", help="Where the metrics endpoint listens.")
@click.option("--metrics-cert", metavar="PATH", type=_FILE, help="The endpoint's certificate.")
@click.option("--metrics-key", metavar="PATH", type=_FILE, help="Its private key.")
@click.option("--metrics-ca", metavar="PATH", type=_FILE, help="Certificates that sign clients' certificates.")
@click.option("--validate-config", is_flag=True, help="Only check the configuration, as check-config does.")
def run(config: str | None, *, validate_config: bool, **flags: Any) -> int:
    """Run the daemon until SIGTERM or SIGINT.

    It stays in the foreground and logs to standard error. Setting links down and a large receive buffer need
    CAP_NET_ADMIN. SIGHUP reads the log level and the certificates again; SIGUSR1 ends the wait for ports that hold
    PortInitDone back; SIGUSR2 compares all that Redis holds with the kernel, now.

    Metrics are served to clients with a certificate only: `portsyncd certs make` makes a set to begin with.
    """
    overrides = _overrides(**flags)

    def reload() -> Config:
        return load(config, os.environ, overrides)

    if validate_config:
        return _check(reload, source=config or DEFAULT_FILE, as_json=False)
    return _run(reload)


@cli.command("check-config")
@click.argument("file", required=False, type=_FILE)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check_config(file: str | None, *, as_json: bool) -> int:
    """Check the configuration and show it.

    FILE is the default file if left out; a pipe is not read. The environment counts too: yours, not that of a systemd
    unit. Each value is shown with where it comes from. All problems are reported at once, on standard error, with exit
    code 78.
    Certificates that `run` would refuse on this machine are named, and change nothing about the exit code; `portsyncd
    certs check` shows them.

    A running daemon takes the log level on SIGHUP (systemctl reload portsyncd), everything else at its next start.
    """
    return _check(lambda: load(file, os.environ, {}), source=file or DEFAULT_FILE, as_json=as_json)


@cli.command()
@click.option(
    "--duration", type=click.FloatRange(min=0), default=20.0, show_default=True, help="Seconds; 0: until Ctrl-C."
)
@click.option("--ports", type=click.IntRange(1, 512), default=8, show_default=True, help="How many ports.")
@click.option("--chaos", is_flag=True, help="Kill Redis, overrun the socket, kill services, while you watch it heal.")
@click.option("--no-tty", is_flag=True, help="Plain lines instead of the live view; also when CI is set.")
def demo(*, duration: float, ports: int, chaos: bool, no_tty: bool) -> int:
    """See the daemon at work, on a real kernel and a real Redis.

    It makes a network namespace with ports as veth pairs and a private Redis, plays orchagent, flaps ports, and shows
    what arrives. At the end STATE_DB must equal the kernel: exit code 0, else 1. Nothing is left behind, and nothing
    outside is touched. Needs no privilege where unprivileged user namespaces are allowed.
    """
    try:
        from portsyncd.cli.demo.stage import Options
        from portsyncd.cli.demo.stage import run as play
    except ImportError as error:
        raise click.ClickException(f"{error.name} is missing; pip install 'portsyncd[demo]' brings it") from error
    live = not no_tty and not os.environ.get("CI") and sys.stdout.isatty()
    options = Options(ports=ports, duration=duration or float("inf"), chaos=chaos, live=live)
    return play(options, click.echo)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the versions of what it runs on.")
def version(*, as_json: bool) -> int:
    """Show the version."""
    if as_json:
        from importlib.metadata import version as version_of

        libraries = {name: version_of(name) for name in _LIBRARIES}
        click.echo(
            render.json_text({"portsyncd": __version__, "python": platform.python_version(), "libraries": libraries})
        )
    else:
        click.echo(f"portsyncd {__version__}")
    return EXIT_OK


def _overrides(
    *,
    log_level: str | None,
    redis_socket: str | None,
    redis: Endpoint | None,
    namespace: str | None,
    existing_links: str | None,
    state_file: str | None,
    metrics_enabled: str | None,
    metrics_addr: str | None,
    metrics_cert: str | None,
    metrics_key: str | None,
    metrics_ca: str | None,
) -> Mapping[str, Override]:
    """The keys that run's flags stand for."""
    if redis_socket is not None and redis is not None:
        raise click.UsageError("--redis and --redis-socket exclude each other: Redis listens at one place.")
    given = {
        "daemon.log_level": ("--log-level", log_level),
        "database.unix_socket_path": ("--redis-socket", redis_socket),
        "database.namespace": ("--namespace", namespace),
        "netlink.existing_links": ("--existing-links", existing_links),
        "warm_restart.state_file": ("--state-file", state_file),
        "metrics.enabled": ("--metrics-enabled", metrics_enabled),
        "metrics.listen": ("--metrics-addr", metrics_addr),
        "metrics.cert": ("--metrics-cert", metrics_cert),
        "metrics.key": ("--metrics-key", metrics_key),
        "metrics.ca": ("--metrics-ca", metrics_ca),
    }
    if redis is not None:
        # A socket in the file would win over host and port; the flag is meant to win over the file.
        given["database.unix_socket_path"] = ("--redis", "")
        given["database.redis_host"] = ("--redis", redis.host)
        given["database.redis_port"] = ("--redis", str(redis.port))
    return {path: Override(flag, text) for path, (flag, text) in given.items() if text is not None}


def _check(read: Callable[[], Config], *, source: str, as_json: bool) -> int:
    if not Path(source).exists():
        source = f"{source} (there is no such file)"
    try:
        config = read()
        databases = read_databases(config)
    except ConfigError as error:
        if as_json:
            click.echo(render.problems_json(error))
        click.echo(render.failure(error), err=True)
        return EXIT_CONFIG
    show = render.config_json if as_json else render.config_text
    click.echo(show(config, databases, source=source, files=_refused_files(config)))
    return EXIT_OK


def _refused_files(config: Config) -> dict[str, tuple[str, ...]]:
    """Why `run` would refuse here what the configuration names. No reason to call that wrong: it may be meant for another
    machine."""
    from portsyncd.inputs import read_access
    from portsyncd.tls.files import Files, read

    metrics = config.metrics
    files = Files(Path(metrics.cert), Path(metrics.key), Path(metrics.ca))
    return {
        "certificates": _problems_of(lambda: read(files)) if metrics.enabled else (),
        "password_file": _problems_of(lambda: read_access(config)),
    }


def _problems_of(attempt: Callable[[], object]) -> tuple[str, ...]:
    try:
        attempt()
    except ConfigError as error:
        return error.problems
    return ()


def _run(reload: Callable[[], Config]) -> int:
    """Run the daemon; from here on everything that goes wrong is told in the log."""
    config = reload()
    from portsyncd import logs

    logs.configure(config.daemon.log_level, config.daemon.log_format, None, os.environ)
    log = logs.get_logger()
    try:
        from portsyncd.daemon import main as daemon_main

        return daemon_main(config, reload=reload)
    except PortsyncdError as error:
        for problem in error.problems if isinstance(error, ConfigError) else (str(error),):
            log.error(problem)
        return error.exit_code
    except Exception as error:  # The last line of defence: whatever it was, the operator gets one line and a code.
        log.error("stopped by an unexpected error, a fault of portsyncd; log level debug shows where", exc_info=error)
        return EXIT_UNEXPECTED


def main() -> None:
    """The ``portsyncd`` command."""
    cli()
