"""What values keys accept: each rule with the values at and beyond its edges."""

import math
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portsyncd import rules
from portsyncd.wire.database_config import Endpoint

ENVIRON: Mapping[str, str] = {"HOME": "/home/op", "RUN": "/run/r", "EMPTY": ""}
LONGEST = "/" + "s" * 106

ACCEPTED = [
    (rules.Flag(), True, True),
    (rules.Whole(1, 9), 1, 1),
    (rules.Whole(1, 9), 9, 9),
    (rules.Number(0.1, 60), 0.1, 0.1),
    (rules.Number(0.1, 60), 60, 60.0),
    (rules.Choice(("a", "b")), "b", "b"),
    (rules.Host(), "redis-1.lan", "redis-1.lan"),
    (rules.Host(), "fe80::1%eth0", "fe80::1%eth0"),
    (rules.Text(), "", ""),
    (rules.Text(), "asic0", "asic0"),
    (rules.Path(), "", ""),
    (rules.Path(), "$EMPTY", ""),
    (rules.Path(), "~", "/home/op"),
    (rules.Path(), "~/x", "/home/op/x"),
    (rules.Path(), "/a~", "/a~"),
    (rules.Path(), "$RUN/${HOME}x$$", "/run/r//home/opx$"),
    (rules.SOCKET_PATH, LONGEST, LONGEST),
    (rules.Prefixes(), ["Ethernet"], ("Ethernet",)),
    (rules.Prefixes(), ["a" * 15] * 32, ("a" * 15,) * 32),
    (rules.ListenAddress(), "[::1]:9090", "[::1]:9090"),
    (rules.ListenAddress(), "[::]:0", "[::]:0"),
    (rules.ListenAddress(), "[fe80::1%eth0]:65535", "[fe80::1%eth0]:65535"),
    (rules.Names(), [], ()),
    (rules.Names(), ["prometheus.lan", "::1"], ("prometheus.lan", "::1")),
    (rules.Endpoints(), {}, {}),
    (rules.Endpoints(), {"STATE_DB": "unix:~/s"}, {"STATE_DB": Endpoint(unix_socket="/home/op/s")}),
    (rules.Endpoints(), {"APPL_DB": "h:1", "CONFIG_DB": "[::1]:2"},
     {"APPL_DB": Endpoint(host="h", port=1), "CONFIG_DB": Endpoint(host="::1", port=2)}),
]  # fmt: skip

REFUSED = [
    (rules.Flag(), 1, "true or false"),
    (rules.Flag(), "true", "true or false"),
    (rules.Whole(1, 9), 0, "from 1 to 9"),
    (rules.Whole(1, 9), 10, "from 1 to 9"),
    (rules.Whole(1, 9), 2.0, "whole number"),
    (rules.Whole(1, 9), True, "whole number"),
    (rules.Number(0.1, 60), 0.09, "from 0.1 to 60"),
    (rules.Number(0.1, 60), math.nan, "from 0.1 to 60"),
    (rules.Number(0.1, 60), math.inf, "from 0.1 to 60"),
    (rules.Number(0.01, 31536000), -1, "from 0.01 to 31536000"),
    (rules.Number(0, 1), True, "number"),
    (rules.Number(0, 1), "1", "number"),
    (rules.Choice(("a", "b")), "A", '"a", "b"'),
    (rules.Choice(("a", "b")), ["a"], '"a", "b"'),
    (rules.Host(), "", "host name"),
    (rules.Host(), "a b", "host name"),
    (rules.Host(), 5, "host name"),
    (rules.ListenAddress(), 9090, "[::1]:9090"),
    (rules.ListenAddress(), "127.0.0.1:9090", "served on IPv6 only, and 127.0.0.1 is IPv4"),
    (rules.ListenAddress(), "0.0.0.0:9090", "IPv4"),
    (rules.ListenAddress(), "[::ffff:127.0.0.1]:9090", "::ffff:127.0.0.1 is IPv4"),
    (rules.ListenAddress(), "[::FFFF:7f00:1]:9090", "IPv4"),
    (rules.ListenAddress(), "::1:9090", "[::1]:9090"),
    (rules.ListenAddress(), "[::1]", "[::1]:9090"),
    (rules.ListenAddress(), "[::1]:", "[::1]:9090"),
    (rules.ListenAddress(), "[::1]:65536", "[::1]:9090"),
    (rules.ListenAddress(), "[::1]:1\u0663", "[::1]:9090"),
    (rules.ListenAddress(), "localhost:9090", "[::1]:9090"),
    (rules.Names(), "prometheus", "list"),
    (rules.Names(), [""], "list"),
    (rules.Names(), ["a\n"], "list"),
    (rules.Names(), ["a"] * 65, "at most 64"),
    (rules.Text(), "a\n", "printable"),
    (rules.Text(), 1, "printable"),
    (rules.Path(), 1, "a path"),
    (rules.Path(), "/a\0", "a path"),
    (rules.Path(), "$NONE/x", "$NONE, which is not set"),
    (rules.Path(), "/a$", "has a $"),
    (rules.Path(), "~bob/x", "~user"),
    (rules.Path(optional=False), "", "a path"),
    (rules.SOCKET_PATH, LONGEST + "s", "107 bytes"),
    (rules.SOCKET_PATH, "ä" * 54, "107 bytes"),
    (rules.Prefixes(), [], "1 to 32"),
    (rules.Prefixes(), ["a"] * 33, "1 to 32"),
    (rules.Prefixes(), "Ethernet", "a list"),
    (rules.Prefixes(), [""], "15 bytes"),
    (rules.Prefixes(), ["a" * 16], "15 bytes"),
    (rules.Prefixes(), ["ä" * 8], "15 bytes"),
    (rules.Prefixes(), ["a b"], "interface names"),
    (rules.Prefixes(), ["a/b"], "interface names"),
    (rules.Prefixes(), [1], "interface names"),
    (rules.Endpoints(), "unix:/x", "a table"),
    (rules.Endpoints(), {"ASIC_DB": "unix:/x"}, "APPL_DB, CONFIG_DB, STATE_DB"),
    (rules.Endpoints(), {"APPL_DB": 6379}, "a table"),
    (rules.Endpoints(), {"APPL_DB": "6379"}, "APPL_DB: must be"),
    (rules.Endpoints(), {"APPL_DB": "unix:$NONE"}, "$NONE"),
]

READ = [
    (rules.Flag(), "true", True),
    (rules.Flag(), "false", False),
    (rules.Flag(), "yes", "yes"),
    (rules.Whole(0, 9), "5", 5),
    (rules.Whole(0, 9), "5.0", "5.0"),
    (rules.Number(0, 9), "0.5", 0.5),
    (rules.Number(0, 9), "", ""),
    (rules.Text(), "5", "5"),
    (rules.Prefixes(), "Ethernet,PortChannel", ["Ethernet", "PortChannel"]),
    (rules.Names(), "", []),
    (rules.Names(), "a,b", ["a", "b"]),
    (rules.Endpoints(), "", {}),
    (rules.Endpoints(), "STATE_DB=unix:/s,APPL_DB=h:1", {"STATE_DB": "unix:/s", "APPL_DB": "h:1"}),
]

ALL = [rules.Flag(), rules.Whole(1, 9), rules.Number(0.1, 60), rules.Choice(("a",)), rules.Host(), rules.Text(),
       rules.Path(), rules.SOCKET_PATH, rules.Prefixes(), rules.Endpoints(), rules.ListenAddress(), rules.Names()]  # fmt: skip

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("APPL_DB"), inner),
    max_leaves=5,
)


@pytest.mark.parametrize(("rule", "value", "result"), ACCEPTED)
def test_accepts(rule: rules.Rule, value: object, result: object) -> None:
    checked = rule.check(value, ENVIRON)
    assert checked == result
    assert type(checked) is type(result)


@pytest.mark.parametrize(("rule", "value", "reason"), REFUSED)
def test_refuses_and_says_why(rule: rules.Rule, value: object, reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        rule.check(value, ENVIRON)
    assert reason in str(caught.value)


@pytest.mark.parametrize(("rule", "text", "value"), READ)
def test_reads_text(rule: rules.Rule, text: str, value: object) -> None:
    assert rule.read(text) == value


def refusal(rule: rules.Rule, value: object) -> str | None:
    try:
        rule.check(value, ENVIRON)
    except ValueError as error:
        return str(error)
    return None


@pytest.mark.parametrize("rule", ALL, ids=repr)
@given(value=ANYTHING)
def test_any_value_is_accepted_or_refused(rule: rules.Rule, value: object) -> None:
    assert refusal(rule, value) != ""


@pytest.mark.parametrize("rule", ALL, ids=repr)
@given(text=st.text(st.characters()))
def test_any_text_is_accepted_or_refused(rule: rules.Rule, text: str) -> None:
    assert refusal(rule, rule.read(text)) != ""
