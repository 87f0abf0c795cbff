"""Warm or cold: what STATE_DB and the configuration say about this start, and what is written about it.

The rules are swss-common's (``warm_restart.cpp``, ``WarmStart::checkWarmStart``): enabled for the system or for swss;
enabled without a restore count is a cold start, since nothing can have been saved.
"""

from dataclasses import dataclass
from enum import StrEnum

from portsyncd.wire import schema


class WarmState(StrEnum):
    """``WARM_RESTART_TABLE|portsyncd`` field ``state``, in the order in which a warm start goes through them."""

    INITIALIZED = "initialized"
    RESTORED = "restored"
    RECONCILED = "reconciled"


@dataclass(frozen=True, slots=True)
class Start:
    """How this start goes. fields: what to write to the warm-restart row. remark: what the operator should know."""

    warm: bool
    fields: dict[str, str]
    remark: str = ""


def settle(*, enabled: bool, restore_count: str | None, allowed: bool = True) -> Start:
    """Decide from WARM_RESTART_ENABLE_TABLE, from the row's restore_count, and from our own configuration."""
    if not enabled or not allowed:
        remark = "warm restart is enabled in STATE_DB but not in the configuration" if enabled else ""
        return Start(warm=False, fields={"restore_count": "0"}, remark=remark)
    count = _number(restore_count)
    if count is None:
        return Start(
            warm=False,
            fields={"restore_count": "0"},
            remark=f"warm restart is enabled, but {schema.WARM_KEY} has no restore_count: cold start",
        )
    return Start(warm=True, fields={"restore_count": str(count + 1), "state": WarmState.INITIALIZED})


def timer_seconds(configured: str | None, default: float) -> float:
    """CONFIG_DB ``WARM_RESTART|swss`` portsyncd_timer, 1 to 9999 seconds; anything else gives the default."""
    seconds = _number(configured)
    return default if seconds is None or not 1 <= seconds <= 9999 else float(seconds)


def _number(text: str | None) -> int | None:
    """A decimal number as swss-common writes it (``uint32_t``); None for anything else."""
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) <= 10 else None
