"""Files that the daemon keeps: the list of old links, in a folder under /run that a boot empties."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import trio

from portsyncd.errors import FileError
from portsyncd.model.commands import OldLinks

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_NETWORK_NAMESPACE = Path("/proc/self/ns/net")


@dataclass(frozen=True, slots=True)
class Place:
    """Where ifindexes mean something: a boot of the machine, and a network namespace (its inode number)."""

    boot_id: str
    network_namespace: int


def here() -> Place:
    """The place of this process."""
    return Place(_BOOT_ID.read_text(encoding="ascii").strip(), _NETWORK_NAMESPACE.stat().st_ino)


class OldLinksFile:
    """See ``backends.base.OldLinksStore``; one small JSON file, replaced as a whole."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "old_links.json"

    async def load(self) -> OldLinks | None:
        """What was kept in this boot and network namespace; None when nothing usable was."""
        return await trio.to_thread.run_sync(self._load)

    def _load(self) -> OldLinks | None:
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))
            place = here()
            if (kept["boot_id"], kept["network_namespace"]) != (place.boot_id, place.network_namespace):
                return None
            return OldLinks(str(kept["generation"]), frozenset(int(ifindex) for ifindex in kept["ifindexes"]))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            # Absent, or not what this daemon writes: as good as nothing.
            return None

    async def save(self, old: OldLinks) -> None:
        """Keep this instead. Raises ``FileError``."""
        await trio.to_thread.run_sync(self._save, old)

    def _save(self, old: OldLinks) -> None:
        # Another process may write the same file (a second start by mistake); each replaces it as a whole.
        temporary = self._path.with_suffix(f".{os.getpid()}")
        try:
            place = here()
            content = {
                "boot_id": place.boot_id,
                "network_namespace": place.network_namespace,
                "generation": old.generation,
                "ifindexes": sorted(old.ifindexes),
            }
            self._path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            temporary.write_text(json.dumps(content), encoding="utf-8")
            temporary.replace(self._path)
        except OSError as problem:
            raise FileError(f"could not write {self._path}: {problem}") from problem
