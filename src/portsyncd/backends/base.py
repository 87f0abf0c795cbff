"""What the services ask of the kernel and of Redis, as Protocols.

The concrete backends beside this file and the fakes in ``portsyncd.testing`` implement them; one contract suite
(``tests/contract``) holds both to the same behaviour. All waiting is Trio's; every method that may wait is a
checkpoint and may be cancelled at any time: a cancelled request leaves its effect unknown, never half a reply.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from portsyncd.analytics.history import LATEST, History, PortFlaps, Sample, Start
from portsyncd.model.commands import Look, OldLinks, PortNames, PortRead, PortWrite, Snapshot
from portsyncd.wire.netlink import LinkMessage
from portsyncd.wire.producer import Row
from portsyncd.wire.statefile import Flaw


@dataclass(frozen=True, slots=True)
class Received:
    """What one non-blocking read of the event socket brought.

    datagrams: raw netlink datagrams, oldest first, each whole, all from the kernel (port id 0).
    lost: the kernel dropped events or cut one short (ENOBUFS, MSG_TRUNC): truth must be re-read.
    drained: the socket was empty at the end (EAGAIN); False when the limit ended the read.
    """

    datagrams: list[bytes]
    lost: bool
    drained: bool


class LinkSource(Protocol):
    """The kernel's links: a stream of events, and questions that can be asked at any time.

    All methods raise ``LinkSourceError`` when a socket is beyond use.
    """

    @property
    def receive_buffer_bytes(self) -> int:
        """The event socket's buffer as the kernel reports it (it doubles what is asked)."""

    @property
    def filtering(self) -> bool:
        """Whether the kernel took the socket filter; False: noise of other links reaches this process."""

    @property
    def adopted(self) -> bool:
        """Whether the socket is one that a former process left; its queue holds what has happened since."""

    def open(self) -> None:
        """Join RTNLGRP_LINK, or take the socket over that a former process left in the descriptor store: the kernel keeps
        events from here on, of all links until ``listen_to`` is called. The store keeps this socket from now on, and no
        other."""

    def close(self) -> None:
        """Give the socket back; a task that waits for it is told. Safe to call at any time, also twice. What the
        descriptor store keeps goes on listening, for the next process or until the next ``open``."""

    async def readable(self) -> None:
        """Wait until the event socket has something to read (an error counts)."""

    def receive(self, limit: int) -> Received:
        """Read at most ``limit`` datagrams without waiting."""

    def drops(self) -> int:
        """How many events the kernel has dropped on the event socket so far (SO_MEMINFO, SK_MEMINFO_DROPS)."""

    async def dump(self, handle: Callable[[Sequence[LinkMessage]], None]) -> bool:
        """Ask for all links and pass them on in chunks, until NLMSG_DONE.

        Returns True when the kernel says that the dump is inconsistent (NLM_F_DUMP_INTR on any of its messages).
        """

    async def ask(self, targets: Sequence[str | int]) -> list[LinkMessage | None]:
        """Ask for single links by name or by ifindex; None for each that does not exist (ENODEV)."""

    async def set_down(self, ifindexes: Collection[int]) -> list[int]:
        """Clear IFF_UP of these links; those that are gone are passed over. Returns those that the kernel left as they
        are, for whatever reason of its own. Raises ``NoPermissionError``."""

    def listen_to(self, first: int, last: int) -> None:
        """From now on also let through events of ifindexes ``first`` to ``last``, whatever their name."""

    async def probe(self) -> None:
        """Make sure that the event socket is open and still a member of RTNLGRP_LINK, and that the kernel answers. What waits
        to be read stays as it is; another task may wait in ``readable`` meanwhile. An answer that has come counts, also
        where the caller has been cancelled."""

    def has_events(self) -> bool:
        """Whether the event socket has something to read now (an error counts). False where it is closed."""


@dataclass(frozen=True, slots=True)
class Notices:
    """What Redis' notifications said; only hints, the databases are the truth.

    ports: names whose APPL_DB entry may have appeared.
    config_ports: CONFIG_DB PORT keys that changed or went.
    logger: the CONFIG_DB LOGGER row of this daemon changed.
    """

    ports: frozenset[str] = frozenset()
    config_ports: frozenset[str] = frozenset()
    logger: bool = False

    def also(self, other: "Notices") -> "Notices":
        """Both in one."""
        return Notices(self.ports | other.ports, self.config_ports | other.config_ports, self.logger or other.logger)


class Store(Protocol):
    """One session with SONiC's databases. A session that failed is closed and a new one opened, never repaired.

    Every request raises ``StoreUnavailableError``, ``StoreLoadingError`` or ``StoreRefusedError``.
    """

    async def open(self) -> None:
        """Connect and authenticate every database, and subscribe to what is watched always."""

    def close(self) -> None:
        """Shut every connection down at once; requests under way in other tasks fail. Safe to call twice."""

    @property
    def notifying(self) -> bool:
        """Whether keyspace notifications are on for what is watched; False: poll."""

    @property
    def waiting_since(self) -> float | None:
        """Since when the oldest request has waited for its reply (monotonic seconds), None: none does. To be opened is a
        request, too; to hear notifications is none."""

    async def probe(self) -> None:
        """A round trip on every connection, those for notifications among them; a refusal is an answer, too. ``watch``
        must be running in another task meanwhile; it fails where others find another server by now."""

    async def config_initialized(self) -> str | None:
        """CONFIG_DB_INITIALIZED, or None where the key does not exist."""

    async def config_is_empty(self) -> bool:
        """Whether CONFIG_DB holds no key at all."""

    async def snapshot(self) -> Snapshot:
        """Read everything that a decision at the start of a session needs."""

    async def write_ports(self, writes: Sequence[PortWrite]) -> list[bool]:
        """Carry out port writes in order; per write, whether it was carried out.

        False: APPL_DB has no ``PORT_TABLE:<name>``; then nothing was set (a removal that the write asked for was done).
        """

    async def produce(self, rows: Sequence[Row]) -> None:
        """ProducerStateTable set on APPL_DB PORT_TABLE, row by row, each row atomic, in order."""

    async def set_hash(self, db: str, key: str, fields: Mapping[str, str]) -> None:
        """One HSET of all fields on a database named by its SONiC name."""

    async def look(self) -> Look:
        """The small look that is taken once a second: which generation, which markers, is our own row still there."""

    async def config_port_names(self) -> frozenset[str]:
        """The names of CONFIG_DB's PORT keys."""

    async def port_names(self) -> PortNames:
        """Which ports the databases hold. It is asked of Redis bit by bit, so that a name that comes or goes meanwhile may
        be among them or not."""

    async def read_ports(self, names: Sequence[str]) -> list[PortRead]:
        """What the databases hold of these names, in their order. A key that is no hash holds nothing."""

    async def log_level(self) -> str | None:
        """LOGLEVEL of CONFIG_DB ``LOGGER|portsyncd``; None where the row is absent."""

    async def wait_for_ports(self, names: Collection[str]) -> None:
        """Make ``watch`` report these names, and only these, from when this returns.

        ``watch`` must be running in another task meanwhile.
        """

    async def watch(self, report: Callable[[Notices], None]) -> None:
        """Report notifications as they come, until cancelled. Raises ``StoreUnavailableError``."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was found of a kept document.

    content: None where nothing usable was found. saved_at: Unix seconds, 0 without content. trusted: it was saved in this
    boot and network namespace. backup: it is not the newest that was there, or should have been. set_aside: per file
    that was found unusable, why (``wire.statefile.Flaw``); they have been renamed.
    """

    content: Mapping[str, Any] | None = None
    saved_at: float = 0.0
    trusted: bool = False
    backup: bool = False
    set_aside: tuple[Flaw, ...] = ()


@dataclass(frozen=True, slots=True)
class Kept:
    """What keeping a document did: backups that were made, and old ones that were deleted. size: bytes written."""

    backups_created: int
    backups_cleaned: int
    size: int


class KeptDocument(Protocol):
    """A JSON document that outlives the process, with backups of its earlier versions. Nothing of it runs on the event
    loop's thread."""

    async def load(self) -> Loaded:
        """The newest version that can be trusted. What cannot be is set aside. Never raises: a folder that cannot be read
        is as good as an empty one."""

    async def save(self, content: Mapping[str, Any]) -> Kept:
        """Replace it as a whole; what was there becomes a backup. Raises ``FileError``; the former version is intact then."""


class HistoryStore(Protocol):
    """The past, as ``analytics.history`` has it. Nothing of it runs on the event loop's thread. All methods but ``close``
    raise ``FileError``; the store can be used again after that, and loses no more than what was to be written. A request
    that is cancelled may go on: what was handed over must not change afterwards."""

    @property
    def damaged(self) -> int:
        """How many damaged files have been set aside, by any request so far."""

    async def counted(self) -> Mapping[str, int]:
        """What each port had counted when its flaps were written last."""

    async def begin(self, start: Start) -> None:
        """A life of the daemon begins; ``update`` and ``append`` are about it from now on."""

    async def update(self, start: Start) -> None:
        """What is now known of this life."""

    async def append(self, sample: Sample, flaps: Sequence[PortFlaps]) -> None:
        """Add one interval."""

    async def trim(self, before: float) -> None:
        """Delete what is older than this (Unix seconds), and the oldest of what is too much. What is dated in the future
        stays: who is wrong may be the clock of today."""

    async def read(self, since: float, until: float = LATEST) -> History:
        """What is known of the time from ``since`` to ``until`` (Unix seconds). Starts are those up to ``LATEST``: one that a
        clock which was ahead has dated did happen."""

    async def close(self) -> None:
        """Give files back. Safe to call twice."""


class DescriptorStore(Protocol):
    """Keeps descriptors open while no process of this service runs (systemd's file descriptor store)."""

    def keep(self, descriptor: int, name: str) -> bool:
        """Keep this one under this name, until told otherwise or handed to the next process. False: nobody does."""

    def forget(self, name: str) -> None:
        """Keep what has this name no longer."""

    def take(self) -> Sequence[tuple[str, int]]:
        """The descriptors that were kept when this process began, with their names; the caller's from here on, and given
        once. They are kept until they are forgotten."""


class ServiceManager(DescriptorStore, Protocol):
    """Who has started this process and looks after it (systemd). What it is told are fields of sd_notify(3)."""

    @property
    def listens(self) -> bool:
        """Whether there is anybody to be told."""

    @property
    def watchdog(self) -> float | None:
        """Seconds within which it wants to hear WATCHDOG=1, from start-up on; None: it does not."""

    def notify(self, **fields: str | int) -> bool:
        """One message of these fields. False: it was not sent, and nothing else comes of that. Does not wait."""

    def monotonic_usec(self) -> int:
        """The manager's clock now (CLOCK_MONOTONIC in microseconds), which RELOADING=1 has to come with."""


class OldLinksStore(Protocol):
    """Where the list of old links is kept over restarts of the daemon. Losing it costs no more than adopting links."""

    async def load(self) -> OldLinks | None:
        """What was kept in this boot and network namespace; None when nothing usable was, or it is not to be had in time."""

    async def save(self, old: OldLinks) -> None:
        """Keep this instead. Raises ``FileError``, also where that takes too long."""
