"""The SONiC rules for one link message: what it means for a port, and what a port's STATE_DB entry says.

The rules are those of C++ portsyncd's ``linksync.cpp`` as far as the rest of a switch relies on them.
"""

from collections.abc import Sequence
from enum import Enum
from functools import lru_cache
from typing import Final

from portsyncd.wire import schema
from portsyncd.wire.netlink import AF_UNSPEC, IFF_RUNNING, IFF_UP, IFNAMSIZ, LinkMessage

# In the name of a VLAN sub-interface (SONiC's VLAN_SUB_INTERFACE_SEPARATOR; ``Ethernet0.10``). Those are in INTF_TABLE:
# APPL_DB's PORT_TABLE never has an entry for them, so that whoever counts ports leaves them out.
SUB_INTERFACE_SEPARATOR: Final = "."

# Values of schema.STATE_FIELDS, in that order; "" for a field that is absent in Redis.
Fields = tuple[str, str, str, str]

# An entry whose content is not known: a write to it was sent and no complete reply came back.
UNKNOWN: Final[Fields] = ("?", "", "", "")
_LAG_PREFIX = "PortChannel"
# Bytes that the kernel takes in no name: dev_valid_name with its own isspace (Latin-1), and % for a number to choose.
_NOT_IN_NAMES = frozenset(b"\0/:% \t\n\v\f\r\xa0")


class Verdict(Enum):
    """What a link message means for the port of its name; an ignored one says why."""

    PUBLISH = "publish"
    REMOVE = "remove"
    IGNORE_FAMILY = "a bridge's repeat of the message"
    IGNORE_TEAM = "a team device belongs to teamsyncd"
    IGNORE_LEFT_MASTER = "a removal that carries a master means that the link left it"
    IGNORE_NAME = "not a port by its name"
    IGNORE_INCOMPLETE = "no name or no MTU: to be asked for"

    @property
    def ignored(self) -> bool:
        """Whether the message changes nothing by itself."""
        return self not in (Verdict.PUBLISH, Verdict.REMOVE)


def judge(message: LinkMessage, prefixes: Sequence[str]) -> Verdict:
    """Apply the rules to one message, on its own: who owns the name is for the link view to say."""
    if message.family != AF_UNSPEC:
        return Verdict.IGNORE_FAMILY
    if message.kind == "team":
        return Verdict.IGNORE_TEAM
    if message.removed:
        return Verdict.IGNORE_LEFT_MASTER if message.master else Verdict.REMOVE
    if not message.name or message.mtu < 0:
        return Verdict.IGNORE_INCOMPLETE
    return Verdict.PUBLISH if message.name.startswith(tuple(prefixes)) else Verdict.IGNORE_NAME


@lru_cache(maxsize=4096)
def fields(flags: int, mtu: int) -> Fields:
    """The four fields of a link: oper is IFF_RUNNING, admin is IFF_UP. Equal arguments share one tuple."""
    return (
        schema.STATE_OK,
        schema.UP if flags & IFF_RUNNING else schema.DOWN,
        schema.UP if flags & IFF_UP else schema.DOWN,
        str(mtu),
    )


def published_fields(message: LinkMessage) -> Fields:
    """The four fields that a message says should stand in STATE_DB."""
    return fields(message.flags & (IFF_RUNNING | IFF_UP), message.mtu)


def admin_up(content: Fields | None) -> bool:
    """Whether these fields say admin_status up."""
    return content is not None and content[2] == schema.UP


def oper_up(content: Fields | None) -> bool:
    """Whether these fields say netdev_oper_status up."""
    return content is not None and content[1] == schema.UP


def flap_count(message: LinkMessage) -> int:
    """Carrier losses since the link was made: IFLA_CARRIER_DOWN_COUNT, or half of all changes on older kernels."""
    return message.carrier_down if message.carrier_down >= 0 else max(message.carrier_changes, 0) // 2


def is_front_panel(name: str, prefixes: Sequence[str]) -> bool:
    """Whether a name can be a front-panel port's link.

    A prefix of the configuration, but no LAG's; and a name that the kernel would take: 1 to 15 bytes, no slash, colon,
    percent sign or white space, not ``.`` or ``..``.
    """
    raw = name.encode("utf-8", "surrogateescape")
    return (
        name.startswith(tuple(prefix for prefix in prefixes if prefix != _LAG_PREFIX))
        and 0 < len(raw) < IFNAMSIZ
        and name not in (".", "..")
        and not _NOT_IN_NAMES.intersection(raw)
    )
