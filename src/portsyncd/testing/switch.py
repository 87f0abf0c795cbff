"""A SONiC switch in small: kernel, Redis, orchagent and the daemon, all real but the ASIC."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import redis

from portsyncd.testing.burst import Burst
from portsyncd.testing.daemon_process import Config, DaemonProcess
from portsyncd.testing.links import Links, LinkState
from portsyncd.testing.netns import NetworkNamespace
from portsyncd.testing.orchagent import Orchagent
from portsyncd.testing.redis_server import RedisServer
from portsyncd.testing.wait import until
from portsyncd.wire import schema

if TYPE_CHECKING:
    from portsyncd.testing.endpoint import Endpoint

T = TypeVar("T")

DEADLINE_SECONDS: Final = 30.0
SENTINEL: Final = "PortChannel999"
_WORDS: Final = {True: schema.UP, False: schema.DOWN}


def config_row(number: int) -> dict[str, str]:
    """CONFIG_DB's row of the port with this number (0, 1, ...), as a switch with four lanes a port has it."""
    lanes = ",".join(str(number * 4 + lane) for lane in range(4))
    return {
        "alias": f"etp{number + 1}",
        "lanes": lanes,
        "speed": "100000",
        "mtu": "9100",
        "index": str(number + 1),
        "admin_status": "up",
    }


class Switch:
    """One switch with its own namespace, Redis and folder; the daemon is configured and not yet started.

    server: a Redis to use instead of a plain one. state_server: another one for STATE_DB (``config`` has to say so too).
    Neither may run yet. metrics: with the metrics endpoint, and certificates for it; ``endpoint`` is then there.

    A context manager: everything that it started ends with the block.
    """

    def __init__(
        self,
        folder: Path,
        *,
        config: Config | None = None,
        server: RedisServer | None = None,
        state_server: RedisServer | None = None,
        metrics: bool = False,
        **daemon_options: Any,
    ) -> None:
        self._stack = ExitStack()
        self.redis = server or RedisServer(folder)
        self.state_redis = state_server or self.redis
        self.namespace = self._stack.enter_context(NetworkNamespace())
        self.links = self._stack.enter_context(Links(self.namespace))
        self.kernel = self._stack.enter_context(Burst(self.namespace))
        self.daemon = DaemonProcess(self.namespace, self.redis, folder, config=config, **daemon_options)
        self._endpoint = self._add_endpoint(folder / "certificates") if metrics else None
        self.orchagent = Orchagent(self.appl_db)
        self._sentinel_mtu = 0

    def _add_endpoint(self, folder: Path) -> "Endpoint":
        # Needed for this alone, and not light.
        from portsyncd.testing.certificates import Certificates
        from portsyncd.testing.endpoint import Endpoint

        certificates = Certificates(folder)
        self.daemon.configure(certificates.config())
        return Endpoint(certificates, namespace=self.namespace)

    @property
    def appl_db(self) -> redis.Redis:
        """A client of APPL_DB."""
        return self.redis.client(schema.DEFAULT_NUMBERS[schema.APPL_DB])

    @property
    def config_db(self) -> redis.Redis:
        """A client of CONFIG_DB."""
        return self.redis.client(schema.DEFAULT_NUMBERS[schema.CONFIG_DB])

    @property
    def state_db(self) -> redis.Redis:
        """A client of STATE_DB."""
        return self.state_redis.client(schema.DEFAULT_NUMBERS[schema.STATE_DB])

    @property
    def endpoint(self) -> "Endpoint":
        """The metrics endpoint, for its clients."""
        if self._endpoint is None:
            raise ValueError("this switch was made without metrics")
        return self._endpoint

    # ---- what an operator and the other daemons do

    def load_config(self, ports: Iterable[str], *, without: Iterable[str] = ()) -> None:
        """Write CONFIG_DB as ``sonic-cfggen`` does at boot: one row a port, then CONFIG_DB_INITIALIZED."""
        pipeline = self.config_db.pipeline(transaction=False)
        for number, name in enumerate(ports):
            row: dict[Any, Any] = {field: value for field, value in config_row(number).items() if field not in without}
            pipeline.hset(f"{schema.CONFIG_PORT_TABLE}|{name}", mapping=row)
        pipeline.set(schema.CONFIG_DB_INITIALIZED, "1")
        pipeline.execute()

    def add_ports(self, names: Iterable[str], *, up: bool = False) -> None:
        """Make the links of ports, as orchagent and syncd do once they know the ports."""
        for name in names:
            self.links.add_port(name)
            if up:
                self.links.set(name, up=True)
                self.links.carrier(name, up=True)

    def start(self) -> None:
        """Start daemon and orchagent (in SONiC's order), and wait for the daemon's first sync."""
        self.daemon.start()
        self.orchagent.start()
        self.daemon.wait_in_sync()

    def bring_up(self, ports: Iterable[str]) -> None:
        """A whole cold start: configuration, daemon and orchagent, then links, until PortInitDone was taken."""
        names = list(ports)
        self.load_config(names)
        self.start()
        self.wait(lambda: self.orchagent.configured, "orchagent knows every port")
        self.add_ports(names)
        self.wait_settled()

    def enable_warm_restart(self) -> None:
        """What ``config warm_restart enable system`` leaves in STATE_DB; the row of portsyncd stays as it is."""
        self.state_db.hset("WARM_RESTART_ENABLE_TABLE|system", "enable", "true")

    def barrier(self) -> None:
        """Wait until the daemon has dealt with everything that happened before this call.

        A link of its own (``SENTINEL``, a PortChannel, which no rule about ports concerns) changes, and its write is
        awaited: the kernel reports in order, and no write overtakes an earlier change. Carrier changes that linkwatch
        has not reported yet are not before this call.
        """
        if not self._sentinel_mtu:
            self._sentinel_mtu = 1500
            self.links.add(SENTINEL, "bridge")
        self.appl_db.hset(f"{schema.PORT_TABLE}:{SENTINEL}", "lanes", "0")
        self._sentinel_mtu += 1
        self.links.set(SENTINEL, mtu=self._sentinel_mtu)
        self.wait(lambda: self.state(SENTINEL).get("mtu") == str(self._sentinel_mtu), "the sentinel's write arrives")
        # A key of PORT_TABLE that is no port's would have a warm orchagent wipe the table.
        self.appl_db.delete(f"{schema.PORT_TABLE}:{SENTINEL}")

    # ---- what is to be seen

    def dropped_events(self) -> int:
        """Events that the kernel has dropped on the namespace's netlink sockets, for want of buffer."""
        table = self.namespace.run(["cat", "/proc/net/netlink"]).stdout.splitlines()
        column = table[0].split().index("Drops")
        return sum(int(line.split()[column]) for line in table[1:])

    def state(self, name: str) -> dict[str, str]:
        """The STATE_DB entry of a port; empty when there is none."""
        return {str(k): str(v) for k, v in self.state_db.hgetall(f"{schema.STATE_PORT_TABLE}|{name}").items()}

    def states(self) -> dict[str, dict[str, str]]:
        """Our four fields of every STATE_DB PORT_TABLE entry that carries ``state``."""
        prefix = f"{schema.STATE_PORT_TABLE}|"
        keys = sorted(str(key) for key in self.state_db.scan_iter(match=f"{prefix}*", count=1000))
        pipeline = self.state_db.pipeline(transaction=False)
        for key in keys:
            pipeline.hgetall(key)
        rows: dict[str, Mapping[str, str]] = dict(zip(keys, pipeline.execute(), strict=True))
        return {
            key.removeprefix(prefix): {field: row.get(field, "") for field in schema.STATE_FIELDS}
            for key, row in rows.items()
            if "state" in row
        }

    def differences(self) -> dict[str, tuple[Any, Any]]:
        """Where STATE_DB and the kernel differ: per port what is, and what ought to be (None: no entry).

        A link that APPL_DB does not know may have no entry, and may have kept an older one.
        """
        there = self.states()
        found = {name: as_fields(link) for name, link in self.links.states().items()}
        known = self.appl_db.pipeline(transaction=False)
        for name in found:
            known.exists(f"{schema.PORT_TABLE}:{name}")
        unknown = {name for name, exists in zip(found, known.execute(), strict=True) if not exists}
        return {
            name: (there.get(name), found.get(name))
            for name in (there.keys() | found.keys()) - unknown
            if there.get(name) != found.get(name)
        }

    def has_marker(self, name: str) -> bool:
        """Whether APPL_DB holds this marker, popped or staged."""
        return bool(self.appl_db.exists(f"{schema.PORT_TABLE}:{name}", f"{schema.STAGED_PORT_TABLE}:{name}"))

    def wait(
        self, condition: Callable[[], T], what: str | Callable[[], str], deadline_seconds: float = DEADLINE_SECONDS
    ) -> T:
        """``until``, with the daemon's log in the message."""

        def situation() -> str:
            return f"{what if isinstance(what, str) else what()}; the daemon said:\n{self.daemon.log()}"

        return until(condition, deadline_seconds, situation)

    def wait_equal(self, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        """Wait until STATE_DB says of every port what the kernel says."""
        self.wait(
            lambda: not self.differences(),
            lambda: f"STATE_DB equals the kernel; (is, ought): {list(self.differences().items())[:5]}",
            deadline_seconds,
        )

    def wait_settled(self, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        """Wait until STATE_DB equals the kernel and orchagent has heard PortInitDone; then it must have no complaint."""
        self.wait(lambda: self.orchagent.init_done, "orchagent hears PortInitDone", deadline_seconds)
        self.wait_equal(deadline_seconds)
        self.orchagent.check()

    def close(self) -> None:
        """End everything. Safe to call twice."""
        self.orchagent.stop()
        self.daemon.kill()
        self.redis.close()
        self.state_redis.close()
        self._stack.close()

    def __enter__(self) -> Self:
        try:
            for server in {self.redis, self.state_redis}:
                server.start()
        except BaseException:
            # Also on an interrupt: the namespace would stay for as long as this process lives.
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def as_fields(link: LinkState) -> dict[str, str]:
    """The four STATE_DB fields that stand for a link's state."""
    values = (schema.STATE_OK, _WORDS[link.oper_up], _WORDS[link.admin_up], str(link.mtu))
    return dict(zip(schema.STATE_FIELDS, values, strict=True))
