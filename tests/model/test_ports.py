"""The SONiC rules for one link message, one by one."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2 import NetlinkError

from portsyncd.model.ports import (
    UNKNOWN,
    Verdict,
    admin_up,
    fields,
    flap_count,
    is_front_panel,
    judge,
    oper_up,
    published_fields,
)
from portsyncd.testing.links import Links
from portsyncd.testing.netns import NetworkNamespace
from portsyncd.wire import schema
from portsyncd.wire.netlink import IFF_RUNNING, IFF_UP, LinkMessage
from tests.wire.frames import AF_BRIDGE, FRAMES, SAMPLES

PREFIXES = ("Ethernet", "PortChannel")
PORT = LinkMessage(False, 0, 7, IFF_UP | IFF_RUNNING, "Ethernet0", 9100, 0, 4, 2, "veth")


def judged(message: LinkMessage) -> Verdict:
    return judge(message, PREFIXES)


# ---- what a message means


@pytest.mark.parametrize("name", ["Ethernet0", "Ethernet", "EthernetX", "PortChannel1", "Ethernet0.10"])
def test_names_of_the_prefixes_are_published(name: str) -> None:
    assert judged(PORT._replace(name=name)) is Verdict.PUBLISH


@pytest.mark.parametrize("name", ["eth0", "ethernet0", "Ether0", "lo", "Bridge", "xEthernet0", "Vlan100", "pEthernet0"])
def test_other_names_are_ignored(name: str) -> None:
    assert judged(PORT._replace(name=name)) is Verdict.IGNORE_NAME


def test_prefixes_are_those_of_the_configuration() -> None:
    assert judge(PORT._replace(name="swp1"), ["swp"]) is Verdict.PUBLISH
    assert judge(PORT, ["swp"]) is Verdict.IGNORE_NAME


@pytest.mark.parametrize("removed", [False, True])
def test_messages_of_another_family_are_ignored(removed: bool) -> None:
    # AF_BRIDGE repeats; its removal means that the link left the bridge.
    assert judged(PORT._replace(family=AF_BRIDGE, removed=removed)) is Verdict.IGNORE_FAMILY


@pytest.mark.parametrize("removed", [False, True])
def test_team_devices_are_teamsyncds(removed: bool) -> None:
    message = PORT._replace(name="PortChannel1", kind="team", removed=removed)
    assert judged(message) is Verdict.IGNORE_TEAM
    assert judged(message._replace(kind="teamx")) is not Verdict.IGNORE_TEAM


def test_a_removal_removes() -> None:
    assert judged(PORT._replace(removed=True)) is Verdict.REMOVE


def test_a_removal_that_carries_a_master_is_ignored() -> None:
    assert judged(PORT._replace(removed=True, master=4)) is Verdict.IGNORE_LEFT_MASTER
    # Of a link that has one, everything else counts.
    assert judged(PORT._replace(master=4)) is Verdict.PUBLISH


def test_a_removal_counts_whatever_the_name() -> None:
    # Which port it concerns is found by its ifindex: it may have been renamed away.
    assert judged(PORT._replace(removed=True, name="away")) is Verdict.REMOVE
    assert judged(PORT._replace(removed=True, name="", mtu=-1)) is Verdict.REMOVE


@pytest.mark.parametrize("lacking", [{"name": ""}, {"mtu": -1}, {"name": "", "mtu": -1}])
def test_a_message_that_lacks_name_or_mtu_is_to_be_asked_for(lacking: dict[str, Any]) -> None:
    assert judged(PORT._replace(**lacking)) is Verdict.IGNORE_INCOMPLETE


def test_an_mtu_of_zero_is_one() -> None:
    assert judged(PORT._replace(mtu=0)) is Verdict.PUBLISH


def test_an_ignored_verdict_says_why() -> None:
    assert {verdict for verdict in Verdict if not verdict.ignored} == {Verdict.PUBLISH, Verdict.REMOVE}
    assert all(len(verdict.value) > 15 for verdict in Verdict if verdict.ignored)


def test_what_the_captured_life_of_a_port_means() -> None:
    port = {"Ethernet0", "Ethernet4"}
    said = [judged(link) for frame in FRAMES for link in frame.expected.links if link.name in port]
    assert said.count(Verdict.REMOVE) == 1
    assert said.count(Verdict.IGNORE_FAMILY) == 4
    assert set(said) == {Verdict.PUBLISH, Verdict.REMOVE, Verdict.IGNORE_FAMILY}
    others = {judged(link) for frame in SAMPLES["15-dump"] for link in frame.expected.links if link.name not in port}
    assert others == {Verdict.IGNORE_NAME}


# ---- what is published


@pytest.mark.parametrize(
    ("flags", "oper", "admin"),
    [
        (0, "down", "down"),
        (IFF_UP, "down", "up"),
        (IFF_UP | IFF_RUNNING, "up", "up"),
        (IFF_RUNNING, "up", "down"),
        (0xFFFFFFFF & ~(IFF_UP | IFF_RUNNING), "down", "down"),
        (0xFFFFFFFF, "up", "up"),
    ],
)
def test_oper_is_running_and_admin_is_up(flags: int, oper: str, admin: str) -> None:
    content = published_fields(PORT._replace(flags=flags))
    assert content == ("ok", oper, admin, "9100")
    assert (oper_up(content), admin_up(content)) == (oper == "up", admin == "up")


def test_the_order_of_the_fields_is_the_schemas() -> None:
    named = dict(zip(schema.STATE_FIELDS, published_fields(PORT), strict=True))
    assert named == {"state": "ok", "netdev_oper_status": "up", "admin_status": "up", "mtu": "9100"}


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_equal_states_share_one_tuple(flags: int, mtu: int) -> None:
    # A hundred thousand ports have few different states.
    assert published_fields(PORT._replace(flags=flags, mtu=mtu)) == fields(flags, mtu)
    assert published_fields(PORT._replace(flags=flags, mtu=mtu)) is published_fields(
        PORT._replace(flags=flags, mtu=mtu)
    )


def test_of_nothing_and_of_unknown_content_nothing_is_up() -> None:
    for content in (None, UNKNOWN):
        assert not admin_up(content)
        assert not oper_up(content)


def test_unknown_content_equals_no_real_one() -> None:
    assert all(fields(flags, 1500) != UNKNOWN for flags in (0, IFF_UP, IFF_RUNNING, IFF_UP | IFF_RUNNING))


@pytest.mark.parametrize(
    ("down", "changes", "flaps"), [(3, 100, 3), (0, 100, 0), (-1, 7, 3), (-1, 6, 3), (-1, 0, 0), (-1, -1, 0)]
)
def test_flaps_are_carrier_losses_or_half_of_all_changes(down: int, changes: int, flaps: int) -> None:
    assert flap_count(PORT._replace(carrier_down=down, carrier_changes=changes)) == flaps


# ---- which CONFIG_DB names can be front-panel ports


def front_panel(name: str, prefixes: Sequence[str] = PREFIXES) -> bool:
    return is_front_panel(name, prefixes)


@pytest.mark.parametrize(
    "name", ["Ethernet0", "Ethernet512", "Ethernet-BP1024", "Ethernet1234567", "Ethernet\x1c", "Ethernetö"]
)
def test_names_that_can_be_front_panel_ports(name: str) -> None:
    assert front_panel(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "foo",
        "ethernet0",
        "PortChannel1",  # a LAG is nothing that orchagent makes from a PORT row
        "Ethernet12345678",  # 16 bytes; with its zero a name has 16
        "Ethernetöööö",  # as many
        "Ethernet 0",
        "Ethernet\t",
        "Ethernet\n",
        "Ethernet/0",
        "Ethernet:0",
        "Ethernet%d",  # the kernel would choose a number
        "Ethernet\0",
        "Ethernetà",  # its second byte is a Latin-1 space
    ],
)
def test_names_that_can_not(name: str) -> None:
    assert not front_panel(name)


@pytest.mark.parametrize("name", [".", ".."])
def test_the_folders_of_sysfs_are_no_names(name: str) -> None:
    assert not front_panel(name, ["."])
    assert front_panel("...", ["."])


def test_lag_names_are_none_even_if_other_prefixes_are_configured() -> None:
    assert not front_panel("PortChannel1", ["PortChannel"])
    assert front_panel("swp1", ["PortChannel", "swp"])


@given(st.text(st.characters(exclude_categories=[])), st.sampled_from(["", "Ethernet"]))
def test_any_name_has_an_answer(tail: str, head: str) -> None:
    name = (head + tail).encode("utf-8", "replace").decode("utf-8", "surrogateescape")
    assert front_panel(name) in (True, False)


@pytest.mark.root
def test_the_kernel_agrees_byte_by_byte() -> None:
    names = [f"Ethernet{chr(code)}0" for code in range(1, 256)] + ["Ethernet%d", "Ethernet1234567", "Ethernet12345678"]
    taken = set()
    with NetworkNamespace() as namespace, Links(namespace) as links:
        for name in names:
            try:
                links.add(name, "ifb")
            except (NetlinkError, KeyError):
                continue
            taken.add(name)
    assert taken == {name for name in names if front_panel(name)}
