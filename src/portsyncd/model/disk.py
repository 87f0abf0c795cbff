"""Disks: when there is so little left that the history has to stand back, so that the state of the ports can still be saved."""

from collections.abc import Mapping
from typing import Final, NamedTuple

# What is kept on them.
PORT_STATE: Final = "port_state"
HISTORY: Final = "history"
FLOOR_BYTES: Final = 32 << 20
# Of a small disk it is this share.
FLOOR_SHARE: Final = 0.05
_MEGABYTE: Final = 1 << 20


class Space(NamedTuple):
    """Of one disk, in bytes. free: what this process can still write; size: all there is."""

    free: int
    size: int


def hold_back(spaces: Mapping[str, Space], held: str) -> str:
    """Why the history shall not be written, "" where it may; held: why it is not now.

    Below a floor it is held back, from twice the floor on it goes on. A disk that says nothing changes nothing.
    """
    space = spaces.get(HISTORY)
    if space is None:
        return held
    floor = min(FLOOR_BYTES, FLOOR_SHARE * space.size)
    if space.free >= (2 * floor if held else floor):
        return ""
    return held or (
        f"the history is held back: its disk has {space.free / _MEGABYTE:.1f} MB left, it goes on from "
        f"{2 * floor / _MEGABYTE:.1f} MB"
    )
