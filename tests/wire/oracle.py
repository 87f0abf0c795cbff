"""pyroute2's decoder, saying what it reads in the terms of ``wire.netlink``: the oracle of the property tests."""

from typing import Any

from pyroute2.netlink.rtnl.marshal import MarshalRtnl

from portsyncd.wire.netlink import Decoded, LinkMessage
from tests.wire.frames import DELLINK, NEWLINK, NLMSG_DONE, NLMSG_ERROR, NLMSG_OVERRUN

NLM_F_DUMP_INTR = 0x10


def decode_by_pyroute2(datagram: bytes) -> Decoded:
    """Decode a well-formed datagram. Names have to be valid UTF-8."""
    messages: list[Any] = list(MarshalRtnl().parse(datagram))
    kinds = [message["header"]["type"] for message in messages]
    codes = [message["error"] for message in messages if message["header"]["type"] == NLMSG_ERROR]
    return Decoded(
        links=[_link(message) for message in messages if message["header"]["type"] in (NEWLINK, DELLINK)],
        done=NLMSG_DONE in kinds,
        interrupted=any(message["header"]["flags"] & NLM_F_DUMP_INTR for message in messages),
        acknowledged=0 in codes,
        errno=-codes[-1] if codes else 0,
        overrun=NLMSG_OVERRUN in kinds,
    )


def _link(message: Any) -> LinkMessage:
    mtu, changes, down = (
        message.get_attr(name) for name in ("IFLA_MTU", "IFLA_CARRIER_CHANGES", "IFLA_CARRIER_DOWN_COUNT")
    )
    return LinkMessage(
        removed=message["header"]["type"] == DELLINK,
        family=message["family"],
        ifindex=message["index"],
        flags=message["flags"],
        name=message.get_attr("IFLA_IFNAME") or "",
        mtu=-1 if mtu is None else mtu,
        master=message.get_attr("IFLA_MASTER") or 0,
        carrier_changes=-1 if changes is None else changes,
        carrier_down=-1 if down is None else down,
        kind=message.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") or "",
    )
