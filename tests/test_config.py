"""From flags, environment, file and defaults to a configuration; and from that to databases."""

import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portsyncd import logs, rules
from portsyncd.config import MAX_BYTES, Config, Override, load, parse, read_databases, sections, variable
from portsyncd.errors import ConfigError
from portsyncd.model.healing import Kind
from portsyncd.options import LOG_LEVELS, DatabaseConfig, SelfHealingConfig
from portsyncd.wire.database_config import Database, Endpoint

KEYS = [
    (section, key, key.metadata["rule"])
    for section, kind in sections().items()
    for key in dataclasses.fields(kind)
]  # fmt: skip


def problems_of(text: str, environ: Mapping[str, str] | None = None, **flags: str) -> tuple[str, ...]:
    overrides = {path.replace("__", "."): Override(f"--{path}", value) for path, value in flags.items()}
    with pytest.raises(ConfigError) as caught:
        parse(text, source="f", environ=environ or {}, overrides=overrides)
    return caught.value.problems


def outcome(text: str, environ: Mapping[str, str]) -> Config | tuple[str, ...]:
    try:
        return parse(text, environ=environ)
    except ConfigError as error:
        return error.problems


def test_nothing_given_is_all_defaults() -> None:
    config = parse("")
    assert config == Config()
    assert config.given == {}


@pytest.mark.parametrize(("section", "key", "rule"), KEYS, ids=lambda value: getattr(value, "name", None))
def test_every_default_is_allowed(section: str, key: dataclasses.Field[Any], rule: rules.Rule) -> None:
    default = getattr(getattr(Config(), section), key.name)
    assert rule.check(list(default) if isinstance(default, tuple) else default, {}) == default
    # Each is the beginning of a sentence wherever it is shown; that adds the full stop.
    for text in (key.metadata["meaning"], key.metadata["why"]):
        assert text
        assert text == text.strip().removesuffix(".")


def test_the_more_specific_source_wins() -> None:
    text = "[daemon]\nlog_level = 'debug'\nlog_format = 'json'\n[database]\nredis_port = 1\n"
    environ = {"PORTSYNCD_DAEMON_LOG_LEVEL": "warning", "PORTSYNCD_DATABASE_REDIS_PORT": "2", "OTHER": "x"}
    flags = {"daemon.log_level": Override("--log-level", "error")}
    config = parse(text, source="f", environ=environ, overrides=flags)
    assert (config.daemon.log_level, config.database.redis_port, config.daemon.log_format) == ("error", 2, "json")
    assert config.given == {
        "daemon.log_level": "--log-level",
        "database.redis_port": "PORTSYNCD_DATABASE_REDIS_PORT",
        "daemon.log_format": "f:3",
    }


def test_a_default_that_is_given_counts_as_given() -> None:
    config = parse("[database]\nredis_port = 6379")
    assert config == Config()
    assert "database.redis_port" in config.given


def test_all_problems_are_told_at_once_with_place_key_value_and_what_is_allowed() -> None:
    text = """\
[daemon]
log_level = "loud"

[database]
redis_hst = "x"
redis_port = 70000
log_level = "info"
zzz = 1
[jobs]
[netlink]
port_prefixes = [
  "",
]
"""
    environ = {"PORTSYNCD_DATABASE_TLS": "yes", "PORTSYNCD_DATABASE_REDIS_HSOT": "h", "PORTSYNCD_Q": "1"}
    assert problems_of(text, environ, netlink__run_dir="") == (
        'f:2: daemon.log_level = "loud": must be one of "debug", "info", "notice", "warning", "error"',
        "f:5: database.redis_hst: unknown key; did you mean database.redis_host?",
        "f:6: database.redis_port = 70000: must be a whole number from 1 to 65535",
        "f:7: database.log_level: unknown key; did you mean daemon.log_level?",
        "f:8: database.zzz: unknown key; there are " + ", ".join(f.name for f in dataclasses.fields(DatabaseConfig)),
        "f:9: jobs: unknown section; there are " + ", ".join(sections()),
        f'f:11: netlink.port_prefixes = [""]: must be {rules.Prefixes.allowed}',
        "environment: PORTSYNCD_DATABASE_REDIS_HSOT: unknown key; did you mean PORTSYNCD_DATABASE_REDIS_HOST?",
        'environment: PORTSYNCD_DATABASE_TLS = "yes": must be true or false',
        "environment: PORTSYNCD_Q: unknown key; there are PORTSYNCD_<SECTION>_<KEY>",
        'command line: --netlink__run_dir = "": must be a path',
    )


def test_text_that_is_not_toml_does_not_hide_other_problems() -> None:
    first, second = problems_of("[daemon]\nlog_level = \n", {"PORTSYNCD_DAEMON_LOG_LEVEL": "x"})
    assert first.startswith("f:2: not TOML: ")
    assert second.startswith("environment: PORTSYNCD_DAEMON_LOG_LEVEL")


def test_a_section_must_be_a_table() -> None:
    assert problems_of("daemon = 5") == ("f:1: daemon = 5: must be a section, [daemon], with keys",)


def test_an_overridden_value_is_checked_too() -> None:
    (problem,) = problems_of("[daemon]\nlog_level = 5", daemon__log_level="info")
    assert problem.startswith("f:2: ")


@pytest.mark.parametrize("key", ["jobs.enabled", "instance.instance_id"])
def test_sections_of_features_that_do_not_exist_are_refused(key: str) -> None:
    section, _, name = key.partition(".")
    assert "unknown section" in problems_of(f"[{section}]\n{name} = true")[0]


def test_each_kind_of_healing_can_be_switched_off() -> None:
    switches = {key.name for key in dataclasses.fields(SelfHealingConfig) if key.name.startswith("heal_")}
    assert switches == {f"heal_{kind.value}" for kind in Kind}
    off = parse("[self_healing]\n" + "".join(f"{name} = false\n" for name in switches)).self_healing
    assert not any(getattr(off, name) for name in switches)
    assert off.enabled


@pytest.mark.parametrize(
    "value",
    [
        "check_interval_secs = 0",
        "check_interval_secs = 61",
        "probe_timeout_secs = 0",
        "probe_timeout_secs = 31",
        "reconcile_interval_secs = 0",
        "reconcile_interval_secs = 86401",
        "memory_limit_mb = 63",
        "memory_limit_mb = 512.5",
        "memory_growth_mb_per_hour = 0",
        'heal_redis = "no"',
    ],
)
def test_what_healing_cannot_be_told(value: str) -> None:
    (problem,) = problems_of(f"[self_healing]\n{value}")
    assert problem.startswith("f:2: self_healing.")


@pytest.mark.parametrize(
    "value", ["enable_watchdog = 15", "watchdog_interval_secs = 0", "watchdog_interval_secs = 3601"]
)
def test_what_the_watchdog_cannot_be_told(value: str) -> None:
    (problem,) = problems_of(f"[health]\n{value}")
    assert problem.startswith("f:2: health.")


@pytest.mark.parametrize(
    "text",
    [
        "database.password = 'hunter2'",
        "database.redis_password = 'hunter2'",
        "database.redis_host = 'redis://:hunter2@10.0.0.1:6379'",
        "database.redis_endpoints = { APPL_DB = 'user:hunter2@h:1' }",
    ],
)
def test_a_password_is_not_repeated_in_a_message(text: str) -> None:
    (problem,) = problems_of(text)
    assert "hunter2" not in problem


def test_a_password_in_the_file_is_answered_with_where_it_belongs() -> None:
    assert problems_of("database.password = 'x'")[0].endswith("which database.password_file names")


def test_a_long_value_is_cut_in_a_message() -> None:
    (problem,) = problems_of(f"daemon.log_level = '{'x' * 1000}'")
    assert len(problem) < 200


def test_certificates_without_tls_are_refused() -> None:
    assert problems_of("[database]\ntls_ca = '/x'") == (
        "f:2: database.tls_ca: has no effect without database.tls = true",
    )
    assert problems_of("", {"PORTSYNCD_DATABASE_TLS_CA": "/x"}) == (
        "environment: PORTSYNCD_DATABASE_TLS_CA: has no effect without database.tls = true",
    )
    assert parse("[database]\ntls_ca = '/x'\ntls = true").database.tls_ca == "/x"


def test_paths_are_expanded_from_the_given_environment() -> None:
    environ = {"HOME": "/home/op", "PORTSYNCD_NETLINK_RUN_DIR": "$HOME/run"}
    config = parse("database.password_file = '~/pw'", environ=environ)
    assert (config.database.password_file, config.netlink.run_dir) == ("/home/op/pw", "/home/op/run")


def test_names_of_variables_are_unambiguous() -> None:
    names = [variable(f"{section}.{key.name}") for section, key, _ in KEYS]
    assert len(set(names)) == len(names)
    assert variable("warm_restart.enabled") == "PORTSYNCD_WARM_RESTART_ENABLED"


def test_levels_are_those_of_the_log() -> None:
    assert tuple(logs.LEVELS) == LOG_LEVELS


LINES = st.sampled_from(
    ["[daemon]", "[database]", "[netlink]", "[[netlink]]", "enabled = true", "redis_port = 5", "tls = 1", "a.b = {}",
     "daemon = 1", "port_prefixes = [", "'x',", "]", '"""', "run_dir = '''", "redis_endpoints = { APPL_DB = 'x:1' }",
     "redis_port = 0xFFFFFFFFFFFFFFFFFFFFFFFF", "max_stall_seconds = nan", "# x", "x = 1979-05-27"]
)  # fmt: skip


@given(st.text(st.characters()) | st.lists(LINES).map("\n".join))
def test_any_text_is_a_configuration_or_a_config_error(text: str) -> None:
    result = outcome(text, {})
    assert isinstance(result, Config) or (result and all(result))


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ("{a=", "}")])
@pytest.mark.parametrize("depth", range(20, 1000, 40))
def test_any_depth_is_a_config_error(opening: str, closing: str, depth: int) -> None:
    assert problems_of(f"daemon.enabled = {opening * depth}1{closing * depth}")


VARIABLES = st.sampled_from([variable(f"{section}.{key.name}") for section, key, _ in KEYS])


@given(st.dictionaries(VARIABLES, st.text(st.characters()), max_size=5))
def test_any_environment_is_a_configuration_or_a_config_error(environ: dict[str, str]) -> None:
    result = outcome("", environ)
    if isinstance(result, Config):
        assert set(result.given.values()) == set(environ)
    else:
        assert all(problem.startswith("environment: PORTSYNCD_") for problem in result)


# -- files


def test_load_reads_the_file_that_is_named(tmp_path: Path) -> None:
    path = tmp_path / "p.conf"
    path.write_text("[daemon]\nlog_level = 'debug'\n")
    config = load(str(path), {}, {})
    assert config.daemon.log_level == "debug"
    assert config.given == {"daemon.log_level": f"{path}:2"}


def test_load_needs_a_file_that_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        load(str(tmp_path / "none"), {}, {})


def test_load_does_not_need_the_default_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portsyncd.config.DEFAULT_FILE", str(tmp_path / "portsyncd.conf"))
    assert load(None, {}, {}) == Config()
    (tmp_path / "portsyncd.conf").write_text("daemon.enabled = false")
    assert load(None, {}, {}).daemon.enabled is False


@pytest.mark.parametrize("content", [None, b"\xff\xfe"], ids=["folder", "not UTF-8"])
def test_load_refuses_what_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "p.conf"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be read"):
        load(str(path), {}, {})


def too_large(path: Path) -> None:
    path.write_bytes(b"#" * (MAX_BYTES + 1))


ODD_FILES = pytest.mark.parametrize(
    ("make", "text"),
    [
        (os.mkfifo, "it is no regular file; a pipe or a device is not waited for"),
        (lambda path: path.symlink_to("/dev/zero"), "it is no regular file"),
        (too_large, "it is larger than 1024 KiB"),
    ],
    ids=["pipe", "device", "too large"],
)


@ODD_FILES
def test_load_waits_for_nobody_and_has_a_bound(tmp_path: Path, make: Callable[[Path], None], text: str) -> None:
    make(tmp_path / "p.conf")
    with pytest.raises(ConfigError, match=f"p.conf: cannot be read: {text}"):
        load(str(tmp_path / "p.conf"), {}, {})


@pytest.mark.parametrize("name", ["database_config.json", "database_global.json"])
@ODD_FILES
def test_sonics_files_are_read_likewise(tmp_path: Path, name: str, make: Callable[[Path], None], text: str) -> None:
    make(tmp_path / name)
    environ = {"CONFIG": str(tmp_path / "database_config.json")}
    with pytest.raises(ConfigError, match=f"{name}: cannot be read: {text}"):
        databases_of("", DATABASE_CONFIG=environ["CONFIG"], NAMESPACE="asic0" if "global" in name else "")


def test_a_file_of_the_largest_size_is_read_at_once(tmp_path: Path) -> None:
    """Each value of a list on a line of its own: its lines are not tried one by one."""
    path = tmp_path / "p.conf"
    path.write_text("[netlink]\nport_prefixes = [\n" + '  "Ethernet",\n' * 70_000 + "]\nunknown = 1\n")
    with pytest.raises(ConfigError) as caught:
        load(str(path), {}, {})
    assert f"{path}:70004: netlink.unknown: unknown key" in caught.value.problems[-1]


# -- databases


def sonic_file(folder: Path, socket: str = "/var/run/redis/redis.sock", number: int = 10) -> Path:
    """A database_config.json whose databases have the numbers ``number``, + 1 and + 2."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "database_config.json"
    databases = {
        name: {"id": number + index, "separator": "/", "instance": "redis"}
        for index, name in enumerate(("APPL_DB", "CONFIG_DB", "STATE_DB"))
    }
    instance = {"hostname": "127.0.0.1", "port": 6379, "unix_socket_path": socket}
    path.write_text(json.dumps({"INSTANCES": {"redis": instance}, "DATABASES": databases}))
    return path


def databases_of(text: str, **environ: str) -> dict[str, Database]:
    return read_databases(parse(text, environ={f"PORTSYNCD_DATABASE_{key}": value for key, value in environ.items()}))


def test_without_any_file_the_defaults_serve() -> None:
    assert databases_of("database.database_config = ''") == {
        "APPL_DB": Database("APPL_DB", Endpoint(host="127.0.0.1", port=6379), 0, ":"),
        "CONFIG_DB": Database("CONFIG_DB", Endpoint(host="127.0.0.1", port=6379), 4, "|"),
        "STATE_DB": Database("STATE_DB", Endpoint(host="127.0.0.1", port=6379), 6, "|"),
    }


def test_sonics_file_says_what_is_not_configured(tmp_path: Path) -> None:
    path = sonic_file(tmp_path)
    assert databases_of("", DATABASE_CONFIG=str(path))["STATE_DB"] == Database(
        "STATE_DB", Endpoint(unix_socket="/var/run/redis/redis.sock"), 12, "/"
    )


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("unix_socket_path = '/s'\nredis_port = 1", Endpoint(unix_socket="/s")),
        ("redis_host = '127.0.0.1'", Endpoint(host="127.0.0.1", port=6379)),
        ("redis_port = 6380", Endpoint(host="127.0.0.1", port=6380)),
        ("redis_endpoints.STATE_DB = 'h:1'\nunix_socket_path = '/s'", Endpoint(host="h", port=1)),
        ("unix_socket_path = ''", Endpoint(unix_socket="/var/run/redis/redis.sock")),
    ],
)
def test_what_is_configured_wins_over_sonics_file(tmp_path: Path, text: str, endpoint: Endpoint) -> None:
    databases = databases_of(f"[database]\n{text}", DATABASE_CONFIG=str(sonic_file(tmp_path)))
    assert databases["STATE_DB"].endpoint == endpoint
    assert databases["STATE_DB"].number == 12


def test_a_number_that_is_configured_wins_over_sonics_file(tmp_path: Path) -> None:
    databases = databases_of("database.state_db_number = 6", DATABASE_CONFIG=str(sonic_file(tmp_path)))
    assert [each.number for each in databases.values()] == [10, 11, 6]


def test_a_configuration_that_was_made_in_code_is_explicit_about_its_socket() -> None:
    config = Config(database=DatabaseConfig(unix_socket_path="/s", database_config=""))
    assert read_databases(config)["APPL_DB"].endpoint == Endpoint(unix_socket="/s")


def test_sonics_file_need_not_exist_unless_it_is_named(tmp_path: Path) -> None:
    missing = str(tmp_path / "none.json")
    config = Config(database=DatabaseConfig(database_config=missing))
    assert read_databases(config)["APPL_DB"].endpoint == Endpoint()
    with pytest.raises(ConfigError, match="there is no such file"):
        databases_of("", DATABASE_CONFIG=missing)


@pytest.mark.parametrize("content", [None, "{", "{}"], ids=["folder", "not JSON", "incomplete"])
def test_a_broken_file_of_sonic_is_a_config_error(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "database_config.json"
    if content is None:
        path.mkdir()
    else:
        path.write_text(content)
    with pytest.raises(ConfigError, match=r"database_config\.json"):
        read_databases(Config(database=DatabaseConfig(database_config=str(path))))


def test_a_namespace_picks_its_file(tmp_path: Path) -> None:
    path = sonic_file(tmp_path / "redis" / "sonic-db")
    sonic_file(tmp_path / "redis1" / "sonic-db", socket="/run/redis1.sock")
    includes = [
        {"include": "../../redis/sonic-db/database_config.json"},
        {"namespace": "asic1", "include": "../../redis1/sonic-db/database_config.json"},
        {"namespace": "asic2", "include": "../../redis2/sonic-db/database_config.json"},
    ]
    path.with_name("database_global.json").write_text(json.dumps({"INCLUDES": includes}))
    databases = databases_of("", DATABASE_CONFIG=str(path), NAMESPACE="asic1")
    assert databases["APPL_DB"].endpoint == Endpoint(unix_socket="/run/redis1.sock")
    with pytest.raises(ConfigError, match=r"redis2/sonic-db/database_config\.json: there is no such file"):
        read_databases(Config(database=DatabaseConfig(database_config=str(path), namespace="asic2")))
    with pytest.raises(ConfigError, match='no entry for namespace "asic7"; there are: asic1, asic2'):
        databases_of("", DATABASE_CONFIG=str(path), NAMESPACE="asic7")


def test_a_namespace_needs_the_list_of_namespaces(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="namespace asic0 needs it"):
        databases_of("", DATABASE_CONFIG=str(sonic_file(tmp_path)), NAMESPACE="asic0")
    with pytest.raises(ConfigError, match="namespace asic0 needs"):
        databases_of("", DATABASE_CONFIG="", NAMESPACE="asic0")
