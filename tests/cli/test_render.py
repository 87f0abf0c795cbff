"""What the commands print."""

import json

from hypothesis import given
from hypothesis import strategies as st

from portsyncd import errors
from portsyncd.cli import facts, render
from portsyncd.config import parse
from portsyncd.wire.database_config import Database, Endpoint

TEXT = """
daemon.log_level = "debug"
[database]
unix_socket_path = "/run/$NAME\\u0022.sock"
redis_endpoints = { STATE_DB = "[::1]:5" }
connection_timeout_secs = 1
[netlink]
port_prefixes = ["Ethernet"]
"""
CONFIG = parse(TEXT, source="f", environ={"NAME": "ä", "PORTSYNCD_DATABASE_TLS": "false"})
DATABASES = {"APPL_DB": Database("APPL_DB", Endpoint(unix_socket="/s"), 0, ":")}


def test_what_is_shown_is_a_configuration_with_the_same_effect() -> None:
    shown = render.config_text(CONFIG, DATABASES, source="f")
    again = parse(shown)
    assert again == CONFIG
    assert set(again.given) == set(CONFIG.given)


def test_each_value_is_shown_with_where_it_comes_from() -> None:
    lines = render.config_text(CONFIG, DATABASES, source="f").splitlines()
    assert lines[0] == "# f"
    assert 'log_level = "debug"  # f:2' in lines
    assert "tls = false  # PORTSYNCD_DATABASE_TLS" in lines
    assert "# redis_port = 6379" in lines
    assert lines[-1] == '#   APPL_DB    number 0, separator ":", at unix:/s'


def test_the_same_as_json() -> None:
    document = json.loads(render.config_json(CONFIG, DATABASES, source="f"))
    assert document["ok"] is True
    assert document["source"] == "f"
    assert document["config"]["daemon"]["log_level"] == {"value": "debug", "from": "f:2"}
    assert document["config"]["database"]["redis_endpoints"]["value"] == {"STATE_DB": "[::1]:5"}
    assert document["config"]["database"]["redis_port"] == {"value": 6379, "from": "default"}
    assert document["databases"] == {"APPL_DB": {"endpoint": "unix:/s", "number": 0, "separator": ":"}}


@given(*[st.text(st.characters(exclude_categories=[]), min_size=1)] * 5)
def test_no_name_leaves_its_line_or_does_something_to_a_terminal(
    name: str, separator: str, socket: str, source: str, problem: str
) -> None:
    """Names of SONiC's files and of the configuration are what others wrote."""
    databases = {name: Database(name, Endpoint(unix_socket=socket), 0, separator)}
    config = parse("daemon.log_level = 'debug'", source=source)
    shown = render.config_text(config, databases, source=source, files={"certificates": [problem]}).split("\n")
    assert len(shown) == len(
        render.config_text(CONFIG, DATABASES, source="f", files={"password_file": ["p"]}).split("\n")
    )
    failed = render.failure(errors.ConfigError([problem, source])).split("\n")
    assert len(failed) == 4
    other = render.failure(errors.StoreUnavailableError(problem))
    assert all(line.isprintable() for line in (*shown, *failed, other))


def test_problems_of_a_configuration() -> None:
    one, two = errors.ConfigError(["f:1: a"]), errors.ConfigError(["f:1: a", "f:2: b"])
    assert render.failure(one).splitlines()[:2] == [
        "portsyncd: the configuration has a problem, so nothing was started.",
        "  f:1: a",
    ]
    assert "has 2 problems" in render.failure(two)
    assert json.loads(render.problems_json(two)) == {"ok": False, "problems": ["f:1: a", "f:2: b"]}


def test_other_errors_speak_for_themselves() -> None:
    assert render.failure(errors.NoPermissionError("grant CAP_NET_ADMIN")) == "portsyncd: grant CAP_NET_ADMIN"


def test_every_exit_code_of_an_error_is_explained() -> None:
    codes = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    assert set(facts.EXIT_CODES) == codes


def test_columns_are_aligned() -> None:
    assert render.columns({1: "one", "three": "two"}, 6) == "  1      one\n  three  two"
