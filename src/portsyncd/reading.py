"""How files are read that the operator or SONiC names: never waiting, never without a bound; and which are private."""

import errno
import grp
import os
import stat
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Final

_PIECE_BYTES: Final = 65536
# As the units have it.
SERVICE_GROUP: Final = "portsyncd"


def read_file(path: str | Path, most: int, *, follow: bool = True) -> tuple[bytes, os.stat_result]:
    """Content and status of one regular file of at most ``most`` bytes, the same however the path changes meanwhile. follow: it
    may be a link. Raises ``OSError``, also for what is larger (EFBIG), and for a pipe or a device, whose other end is not
    waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file; a pipe or a device is not waited for")
        content = b""
        # Asked for again until nothing comes: a file of /proc says that it has no bytes. Not for all of ``most`` at once,
        # which may be more than this process can have.
        while len(content) <= most and (piece := os.read(descriptor, min(most, max(status.st_size, _PIECE_BYTES)) + 1)):
            content += piece
    finally:
        os.close(descriptor)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most // 1024} KiB")
    return content, status


def privacy_problem(path: str | Path, status: os.stat_result) -> str:
    """Why a file is not private to this process, or to the service, and what to do about it; "" if it is."""
    open_to = mode_problem(status.st_mode, status.st_gid, _own_groups())
    return open_to and f"{open_to}; allowed is 0600, or 0640 with a group of the service: chmod 0600 {path}, or chgrp"


def _own_groups() -> set[int]:
    """Those of this process. Root's is one for everybody, since root reads all (systemd's credentials have it). And root also
    asks for the service, which has a group of its own where it does not run as root."""
    groups = {0, os.getegid(), *os.getgroups()}
    if os.geteuid() == 0:
        with suppress(KeyError):
            groups.add(grp.getgrnam(SERVICE_GROUP).gr_gid)
    return groups


def mode_problem(mode: int, group: int, groups: Collection[int]) -> str:
    """Why a file of this mode and group is not private to the service, which has these groups; "" if it is."""
    if mode & stat.S_IRWXO:
        whom = "everybody"
    elif mode & stat.S_IRWXG and group not in groups:
        whom = f"group {_group_name(group)}, which is not the service's,"
    else:
        return ""
    return f"mode {stat.S_IMODE(mode):04o} gives {whom} access"


def _group_name(group: int) -> str:
    try:
        return grp.getgrgid(group).gr_name
    except KeyError:
        return str(group)
