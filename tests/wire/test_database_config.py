"""SONiC's lists of databases, and endpoints as text."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portsyncd.errors import ConfigError
from portsyncd.wire.database_config import (
    Database,
    Endpoint,
    is_host,
    is_socket_path,
    parse_database_config,
    parse_database_global,
    parse_endpoint,
    resolve,
)

CONFIG: dict[str, Any] = {
    "INSTANCES": {
        "redis": {"hostname": "127.0.0.1", "port": 6379, "unix_socket_path": "/var/run/redis/redis.sock"},
        "redis_tcp": {"hostname": "fe80::1%eth0", "port": 6380, "unix_socket_path": ""},
        "redis_bmp": {"hostname": 5},
    },
    "DATABASES": {
        "APPL_DB": {"id": 0, "separator": ":", "instance": "redis"},
        "ASIC_DB": {"id": "one"},
        "CONFIG_DB": {"id": 4, "separator": "|", "instance": "redis"},
        "STATE_DB": {"id": 6, "separator": "|", "instance": "redis_tcp", "other": 1},
    },
    "VERSION": "1.0",
}


def changed(path: str, value: object) -> str:
    """CONFIG as text, with the value at ``A.B.C`` replaced."""
    document = copy.deepcopy(CONFIG)
    *way, last = path.split(".")
    node = document
    for name in way:
        node = node[name]
    node[last] = value
    return json.dumps(document)


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("unix:/run/r.sock", Endpoint(unix_socket="/run/r.sock")),
        ("unix:/a:b c", Endpoint(unix_socket="/a:b c")),
        ("redis-1.lan:1", Endpoint(host="redis-1.lan", port=1)),
        ("unix:65535", Endpoint(host="unix", port=65535)),
        ("[::1]:6379", Endpoint(host="::1", port=6379)),
        ("[fe80::1%eth0]:6379", Endpoint(host="fe80::1%eth0", port=6379)),
    ],
)
def test_endpoint(text: str, endpoint: Endpoint) -> None:
    assert parse_endpoint(text) == endpoint
    assert str(endpoint) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "must be"),
        ("host", "must be"),
        ("::1:6379", "must be"),
        ("[localhost]:6379", "must be"),
        ("h:63790000", "must be"),
        ("h:-1", "must be"),
        ("h:٣", "must be"),
        ("unix:relative", "must be"),
        ("redis://h:1", "must be"),
        ("h:0", "from 1 to 65535"),
        ("h:65536", "from 1 to 65535"),
        ("unix:/" + "x" * 107, "107 bytes"),
        ("unix:/\0", "107 bytes"),
    ],
)
def test_text_that_is_no_endpoint(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_endpoint(text)


NAMES = st.text("abcXYZ019.-_", min_size=1)
SIX = st.ip_addresses(v=6).map(str)
PATHS = st.text(st.characters(exclude_characters="\0"), max_size=26).map(lambda text: "/" + text)
ENDPOINTS = st.builds(Endpoint, st.just(""), NAMES | SIX, st.integers(1, 65535)) | st.builds(Endpoint, PATHS)


@given(ENDPOINTS)
def test_an_endpoint_survives_being_written(endpoint: Endpoint) -> None:
    assert parse_endpoint(str(endpoint)) == endpoint


@given(st.text(st.characters()) | st.text("unix:/[]1.%h"))
def test_any_text_is_an_endpoint_that_can_be_used_or_none(text: str) -> None:
    try:
        endpoint = parse_endpoint(text)
    except ValueError:
        return
    assert parse_endpoint(str(endpoint)) == endpoint
    assert is_socket_path(endpoint.unix_socket) or is_host(endpoint.host)


def test_sonics_list() -> None:
    local = Endpoint(unix_socket="/var/run/redis/redis.sock")
    assert parse_database_config(json.dumps(CONFIG), "f") == {
        "APPL_DB": Database("APPL_DB", local, 0, ":"),
        "CONFIG_DB": Database("CONFIG_DB", local, 4, "|"),
        "STATE_DB": Database("STATE_DB", Endpoint(host="fe80::1%eth0", port=6380), 6, "|"),
    }


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("INSTANCES", None, "INSTANCES and DATABASES must both be there"),
        ("DATABASES", [], "INSTANCES and DATABASES must both be there"),
        ("DATABASES.STATE_DB", None, "DATABASES.STATE_DB is missing"),
        ("DATABASES.STATE_DB.id", "6", "DATABASES.STATE_DB.id must be"),
        ("DATABASES.STATE_DB.id", True, "DATABASES.STATE_DB.id must be"),
        ("DATABASES.STATE_DB.id", -1, "DATABASES.STATE_DB.id must be"),
        ("DATABASES.STATE_DB.separator", "", "DATABASES.STATE_DB.separator must be"),
        ("DATABASES.STATE_DB.separator", 1, "DATABASES.STATE_DB.separator must be"),
        ("DATABASES.STATE_DB.instance", "none", "DATABASES.STATE_DB.instance must name"),
        ("DATABASES.STATE_DB.instance", 1, "DATABASES.STATE_DB.instance must name"),
        ("INSTANCES.redis_tcp", "x", "DATABASES.STATE_DB.instance must name"),
        ("INSTANCES.redis_tcp.unix_socket_path", 5, "INSTANCES.redis_tcp.unix_socket_path must be"),
        ("INSTANCES.redis_tcp.unix_socket_path", "/" + "x" * 107, "INSTANCES.redis_tcp.unix_socket_path must be"),
        ("INSTANCES.redis_tcp.hostname", None, "INSTANCES.redis_tcp must have"),
        ("INSTANCES.redis_tcp.hostname", "a b", "INSTANCES.redis_tcp must have"),
        ("INSTANCES.redis_tcp.port", "6379", "INSTANCES.redis_tcp.port must be"),
        ("INSTANCES.redis_tcp.port", 0, "INSTANCES.redis_tcp.port must be"),
        ("INSTANCES.redis_tcp.port", 65536, "INSTANCES.redis_tcp.port must be"),
    ],
)
def test_a_list_that_is_wrong(path: str, value: object, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_database_config(changed(path, value), "f")
    (problem,) = caught.value.problems
    assert problem.startswith(f"f: {reason}")


def test_all_problems_of_a_list_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_database_config('{"INSTANCES": {}, "DATABASES": {}}', "f")
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ('{\n"a": }', "f:2: not JSON: "),
        ("", "f:1: not JSON: "),
        ("9" * 5000, "f: not readable as JSON: "),
        ("[" * 100000, "f: not readable as JSON: "),
        ("[]", "f: must be a JSON object"),
    ],
    ids=["syntax", "empty", "digits", "depth", "list"],
)
def test_a_file_that_is_no_json_object(text: str, start: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_database_config(text, "f")
    assert caught.value.problems[0].startswith(start)


INCLUDES = [
    {"include": "../../redis/sonic-db/database_config.json"},
    {"namespace": "asic0", "include": "../../redis0/sonic-db/database_config.json"},
    {"container_name": "dpu0", "include": "/abs/database_config.json"},
    {"namespace": "both", "container_name": "both", "include": "b.json"},
    {"namespace": "twice", "include": "1.json"},
    {"container_name": "twice", "include": "2.json"},
]


@pytest.mark.parametrize(
    ("namespace", "path"),
    [
        ("asic0", "/r/sonic-db/../../redis0/sonic-db/database_config.json"),
        ("dpu0", "/abs/database_config.json"),
        ("both", "/r/sonic-db/b.json"),
    ],
)
def test_a_namespace_or_container_picks_its_file(namespace: str, path: str) -> None:
    text = json.dumps({"INCLUDES": INCLUDES, "VERSION": "1.0"})
    assert parse_database_global(text, "/r/sonic-db/database_global.json", namespace) == path


@pytest.mark.parametrize(
    ("includes", "namespace", "reason"),
    [
        (INCLUDES, "asic9", 'f: no entry for namespace "asic9"; there are: asic0, both, dpu0, twice'),
        (INCLUDES, "twice", 'f: more than one entry for namespace "twice"'),
        ([], "asic0", 'f: no entry for namespace "asic0"; there are: none'),
        (None, "asic0", "f: INCLUDES must be there"),
        (["x"], "asic0", "f: INCLUDES[0] must be"),
        ([{"include": 5}], "asic0", "f: INCLUDES[0] must be"),
        ([{"include": ""}], "asic0", "f: INCLUDES[0] must be"),
    ],
)
def test_a_list_of_namespaces_that_does_not_help(includes: object, namespace: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_database_global(json.dumps({"INCLUDES": includes}), "f", namespace)
    assert caught.value.problems[0].startswith(reason)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=4,
)
LEAVES = [
    "INSTANCES", "INSTANCES.redis", "INSTANCES.redis.port", "INSTANCES.redis.hostname",
    "INSTANCES.redis.unix_socket_path", "DATABASES", "DATABASES.APPL_DB", "DATABASES.APPL_DB.id",
    "DATABASES.APPL_DB.separator", "DATABASES.APPL_DB.instance",
]  # fmt: skip


@given(st.sampled_from(LEAVES), JSON)
def test_any_value_anywhere_is_read_or_a_config_error(path: str, value: object) -> None:
    try:
        databases = parse_database_config(changed(path, value), "f")
    except ConfigError:
        return
    assert list(databases) == ["APPL_DB", "CONFIG_DB", "STATE_DB"]


@given(st.text(), JSON, st.text())
def test_any_list_of_namespaces_is_read_or_a_config_error(text: str, value: object, namespace: str) -> None:
    for document in (text, json.dumps(value), json.dumps({"INCLUDES": value}), json.dumps({"INCLUDES": [value]})):
        with pytest.raises(ConfigError):
            parse_database_global(document, "f", namespace)


def test_defaults() -> None:
    assert resolve(known={}, explicit=None, endpoints={}, numbers={}) == {
        "APPL_DB": Database("APPL_DB", Endpoint(host="127.0.0.1", port=6379), 0, ":"),
        "CONFIG_DB": Database("CONFIG_DB", Endpoint(host="127.0.0.1", port=6379), 4, "|"),
        "STATE_DB": Database("STATE_DB", Endpoint(host="127.0.0.1", port=6379), 6, "|"),
    }


KNOWN = {"STATE_DB": Database("STATE_DB", Endpoint(unix_socket="/known"), 16, "/")}


@pytest.mark.parametrize(
    ("explicit", "endpoints", "result"),
    [
        (None, {}, Endpoint(unix_socket="/known")),
        (Endpoint(host="e"), {}, Endpoint(host="e")),
        (Endpoint(host="e"), {"STATE_DB": Endpoint(unix_socket="/own")}, Endpoint(unix_socket="/own")),
        (None, {"APPL_DB": Endpoint(unix_socket="/own")}, Endpoint(unix_socket="/known")),
    ],
)
def test_the_most_explicit_endpoint_wins(
    explicit: Endpoint | None, endpoints: dict[str, Endpoint], result: Endpoint
) -> None:
    state = resolve(known=KNOWN, explicit=explicit, endpoints=endpoints, numbers={})["STATE_DB"]
    assert state == Database("STATE_DB", result, 16, "/")


def test_an_explicit_number_wins_also_if_it_is_zero() -> None:
    assert resolve(known=KNOWN, explicit=None, endpoints={}, numbers={"STATE_DB": 0})["STATE_DB"].number == 0
