"""What a seed decides before anything runs: the switch, the daemon's configuration, how rough it gets."""

from dataclasses import dataclass, replace
from random import Random
from typing import Final

from portsyncd.config import Config
from portsyncd.options import (
    DaemonConfig,
    DatabaseConfig,
    HealthConfig,
    MetricsConfig,
    NetlinkConfig,
    PerformanceConfig,
    SelfHealingConfig,
    WarmRestartConfig,
)
from portsyncd.wire import schema

_SIZES = (1, 2, 3, 4, 4, 6, 8, 8, 12, 16, 16, 24, 32, 32)
_LARGE_SIZES = (128, 512)
_LARGE_SHARE = 0.03
# Switches on which Redis is asked request by request.
_SMALL = 32
_APPL, _CONFIG, _STATE = (schema.DEFAULT_NUMBERS[db] for db in (schema.APPL_DB, schema.CONFIG_DB, schema.STATE_DB))
_TOGETHER = ((_APPL, _CONFIG, _STATE),)
_SPLIT = (((_APPL, _CONFIG), (_STATE,)), ((_APPL, _STATE), (_CONFIG,)), ((_APPL,), (_CONFIG,), (_STATE,)))
# After the last fault, before what was counted is looked at.
QUIET_SECONDS: Final = 4.0
RECONCILE_SECONDS = (20.0, 60.0)


@dataclass(frozen=True, slots=True)
class Setting:
    """ports: front-panel ports in CONFIG_DB. linked: whether their links are there before the first start. notify: keyspace
    notifications are on. descriptors: somebody keeps the event socket over restarts. warm: STATE_DB asks for warm starts.
    layout: the databases' numbers, by Redis server; stride, page: see ``FakeRedis``. rounds: of faults, each of so many
    seconds. faults, changes: how many a minute, of each kind of thing. pop_seconds: orchagent pops after at most so long.
    mortal: the daemon may be killed and restarted. watch_seconds: the rules that hold all along are looked at so often.
    scrape_seconds: between two scrapes of the metrics endpoint, where there is one. keeps_connection: over one connection."""

    ports: int
    linked: bool
    notify: bool
    descriptors: bool
    warm: bool
    layout: tuple[tuple[int, ...], ...]
    stride: int
    page: int
    rounds: tuple[float, ...]
    faults: float
    changes: float
    pop_seconds: float
    config: Config
    mortal: bool = True
    watch_seconds: float = 1.0
    # As Prometheus often does; less than the endpoint waits for the next request.
    scrape_seconds: float = 15.0
    keeps_connection: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """Of the ports."""
        return tuple(f"Ethernet{4 * number}" for number in range(self.ports))

    @property
    def looks_often(self) -> bool:
        """The guardian has looked once all is quiet."""
        return self.config.self_healing.check_interval_secs < QUIET_SECONDS

    @property
    def detection_seconds(self) -> float:
        """A dead connection is found within so long: a check begins, and what it asks is not answered in time; a request that
        was under way when the check began may have to time out first."""
        healing = self.config.self_healing
        return healing.check_interval_secs + 2 * healing.probe_timeout_secs

    def __str__(self) -> str:
        config = self.config
        healing = config.self_healing
        heals = [kind for kind in _KINDS if healing.enabled and getattr(healing, f"heal_{kind}")]
        return (
            f"{self.ports} ports, linked {self.linked}, notify {self.notify}, keeps socket {self.descriptors}, "
            f"warm {self.warm and config.warm_restart.enabled}, existing_links {config.netlink.existing_links}, "
            f"state kept {bool(config.warm_restart.state_file)}, history kept {bool(config.metrics.storage_path)}, "
            f"endpoint {config.metrics.enabled}, keeps connection {self.keeps_connection}, "
            f"exit_to_restart {config.daemon.exit_to_restart}, mailbox {config.performance.max_event_queue}, "
            f"receive buffer {config.netlink.receive_buffer_bytes}, databases {self.layout} in strides of {self.stride} and "
            f"pages of {self.page}, heals {', '.join(heals) or 'nothing'}, "
            f"reconciles every {config.self_healing.reconcile_interval_secs:g} s, "
            f"rounds {', '.join(f'{seconds:.0f}' for seconds in self.rounds)} s"
        )


_KINDS = ("redis", "netlink", "reconcile", "memory", "stall", "disk", "certificates")


def choose(chance: Random, ports: int | None = None) -> Setting:
    """A setting of its own for every seed. ports: how many, where that is not left to chance."""
    large = chance.random() < _LARGE_SHARE
    chosen = chance.choice(_LARGE_SIZES if large else _SIZES)
    size = chosen if ports is None else ports
    config = Config(
        daemon=DaemonConfig(exit_to_restart=chance.random() < 0.3, log_level="warning"),
        database=DatabaseConfig(
            database_config="", connection_timeout_secs=chance.choice((0.5, 2.0, 2.0, 10.0)), retry_max_secs=5.0
        ),
        netlink=NetlinkConfig(
            # A port's event takes about a kilobyte of it.
            receive_buffer_bytes=chance.choice((4_000, 20_000, 1 << 20, 16 << 20)),
            existing_links=chance.choice(("auto", "auto", "adopt", "reset")),
        ),
        performance=PerformanceConfig(max_event_queue=chance.choice((max(1, size // 2), 100_000, 100_000, 100_000))),
        warm_restart=WarmRestartConfig(
            enabled=chance.random() < 0.8,
            state_file=chance.choice(("", "state.json", "state.json")),
            save_interval_secs=chance.choice((1.0, 30.0)),
            max_backups=2,
        ),
        metrics=MetricsConfig(
            enabled=False,
            storage_path=chance.choice(("", "metrics", "metrics")),
            sample_interval_secs=10.0,
            save_interval_secs=20.0,
            retention_days=0.02,
        ),
        health=HealthConfig(),
        self_healing=SelfHealingConfig(
            enabled=chance.random() < 0.9,
            check_interval_secs=2.0,
            reconcile_interval_secs=chance.uniform(*RECONCILE_SECONDS),
        ),
    )
    off = [kind for kind in _KINDS if chance.random() < 0.05]
    config = replace(
        config,
        self_healing=replace(config.self_healing, **{f"heal_{kind}": False for kind in off}),
        metrics=replace(config.metrics, enabled=chance.random() < 0.85),
    )
    return Setting(
        ports=size,
        linked=chance.random() < 0.5,
        notify=chance.random() < 0.8,
        descriptors=chance.random() < 0.4,
        warm=chance.random() < 0.3,
        layout=chance.choice(_SPLIT) if chance.random() < 0.3 else _TOGETHER,
        stride=chance.choice((1, 3, 1024)) if size <= _SMALL else 1024,
        page=chance.choice((2, 1024)) if size <= _SMALL else 1024,
        rounds=tuple(chance.uniform(8, 40) for _ in range(chance.choice((1, 2, 2, 3)))),
        faults=chance.choice((0.0, 6.0, 12.0, 20.0)),
        changes=chance.choice((20.0, 60.0, 200.0)) if size <= 64 else 60.0,
        pop_seconds=chance.choice((0.05, 0.5, 2.0)),
        # A handshake takes longer than all the rest of a scrape.
        keeps_connection=chance.random() < 0.75,
        config=config,
    )


def day(hours: int, ports: int) -> Setting:
    """One process for so many hours, with a fault now and then."""
    config = Config(
        daemon=DaemonConfig(log_level="warning"),
        database=DatabaseConfig(database_config=""),
        netlink=NetlinkConfig(receive_buffer_bytes=20_000, existing_links="adopt"),
        warm_restart=WarmRestartConfig(state_file="state.json", save_interval_secs=60.0, max_backups=2),
        metrics=MetricsConfig(
            storage_path="metrics",
            sample_interval_secs=30.0,
            save_interval_secs=300.0,
            retention_days=0.02,
        ),
        self_healing=SelfHealingConfig(check_interval_secs=30.0, reconcile_interval_secs=300.0),
    )
    return Setting(
        ports=ports,
        linked=False,
        notify=True,
        descriptors=False,
        warm=False,
        layout=_TOGETHER,
        stride=1024,
        page=1024,
        rounds=(3600.0,) * hours,
        faults=0.1,
        changes=2.0,
        pop_seconds=0.5,
        config=config,
        mortal=False,
        watch_seconds=60.0,
        scrape_seconds=60.0,
    )
