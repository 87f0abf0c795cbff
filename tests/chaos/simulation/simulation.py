"""One simulation: a switch, the whole daemon on it, and a driver whose every choice comes from one seed."""

import math
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any, Final, TextIO

import trio
from trio.testing import MockClock

from portsyncd import logs
from portsyncd.config import Config
from portsyncd.daemon import Daemon
from portsyncd.errors import EXIT_UNAVAILABLE, BudgetExhaustedError, ConfigError, MemoryLimitError, PortsyncdError
from portsyncd.metrics import Metrics
from portsyncd.model.healing import Kind
from portsyncd.wire import schema
from tests.chaos.simulation import rare, rules
from tests.chaos.simulation.book import Book
from tests.chaos.simulation.churn import Churn
from tests.chaos.simulation.crashes import Crasher
from tests.chaos.simulation.endpoint_faults import ENDPOINT_FAULTS
from tests.chaos.simulation.faults import (
    DEADLY,
    FAULTS,
    FREE_BYTES,
    PROCESS_BYTES,
    a_connection_is_half_open,
    the_socket_is_deaf,
)
from tests.chaos.simulation.machine import APPL, CONFIG, STATE, Redis, Servers, Switch
from tests.chaos.simulation.measure import sizes
from tests.chaos.simulation.scraper import Endpoint
from tests.chaos.simulation.setting import QUIET_SECONDS, Setting, choose
from tests.chaos.simulation.trace import LogSink, Trace

# After the last fault STATE_DB says what the kernel says within this, if nothing that only reconciliation finds was
# damaged: a restart of the daemon or of a service that has failed often (5 s), a first connection, a look (1 s), a poll. The
# time in which a dead connection is found comes on top.
SETTLE_SECONDS: Final = 7.0
_LOOK_SECONDS: Final = 0.1
_LATER_LOOK_SECONDS: Final = 0.5
_ORCHAGENT_SECONDS: Final = 1.0
_SCRAPE_LOOKS: Final = 15
# Longer than a start may take without a word.
_LATE_REDIS_SHARE: Final = 0.05
_LATE_REDIS_SECONDS: Final = (31.0, 150.0)
_STOP_SECONDS: Final = 3.0
# At the end of all nothing may be ill any more after so long: the disk is looked at every 10 s, memory every 30 s, and what
# could not be saved is tried again after 30 s.
_WELL_SECONDS: Final = 70.0
_WELL_LOOKS: Final = 35
# So long after a link has changed Redis says so, unless something fails.
_PROMPT_SECONDS: Final = 0.3
# Computing without any virtual time that passes; a step takes milliseconds.
_STUCK_SECONDS: Final = 3
_EXPECTED_ENDS: Final = (BudgetExhaustedError, MemoryLimitError)

_log = LogSink()


class ViolationError(Exception):
    """A rule was broken."""


@dataclass(slots=True)
class Outcome:
    """What came of one seed. violation: "" for none. settle: seconds that each round took to be right again.
    sizes: what was kept after each round, see ``sizes``."""

    seed: int
    digest: str = ""
    violation: str = ""
    lines: list[str] = field(default_factory=list)
    setting: str = ""
    settle: list[float] = field(default_factory=list)
    faults: dict[str, int] = field(default_factory=dict)
    virtual: float = 0.0
    sizes: list[dict[str, int]] = field(default_factory=list)


def play(seed: int, *, ports: int | None = None, echo: TextIO | None = None, setting: Setting | None = None) -> Outcome:
    """Run one seed to its end."""
    chance = Random(seed)
    chosen = setting or choose(chance, ports)
    trace = Trace(echo)
    outcome = Outcome(seed, setting=str(chosen))
    clock = MockClock(autojump_threshold=0)
    stuck: list[str] = []
    try:
        with deterministic(seed), _ended_when_stuck(clock, stuck):
            trio.run(_play, seed, chosen, chance, trace, outcome, clock=clock)
    except BaseException as error:
        found = _first(error)
        if isinstance(found, KeyboardInterrupt):
            raise
        outcome.violation = str(found) if isinstance(found, ViolationError) else f"{type(found).__name__}: {found}"
        if stuck:
            # Whatever became of the error on its way.
            outcome.violation = stuck[0]
        elif not isinstance(found, ViolationError) and echo is not None:
            raise
    outcome.digest, outcome.lines = trace.digest, list(trace.lines)
    return outcome


async def _play(seed: int, setting: Setting, chance: Random, trace: Trace, outcome: Outcome) -> None:
    _log.trace = trace
    logs.configure(setting.config.daemon.log_level, "text", _log, {})  # type: ignore[arg-type]
    simulation = Simulation(seed, setting, chance, trace, outcome)
    _log.heed = simulation.endpoint.heed
    await simulation.run()
    outcome.virtual = trio.current_time()


@contextmanager
def deterministic(seed: int) -> Iterator[None]:
    """Trio shuffles the tasks that may run; it does so by this seed meanwhile, as for Hypothesis."""
    run: Any = trio._core._run
    before, run._ALLOW_DETERMINISTIC_SCHEDULING = run._ALLOW_DETERMINISTIC_SCHEDULING, True
    state = run._r.getstate()
    run._r.seed(seed)
    try:
        yield
    finally:
        run._ALLOW_DETERMINISTIC_SCHEDULING = before
        run._r.setstate(state)


class _StuckError(BaseException):
    """No ``Exception``: nobody takes it for a failure of his own."""


@contextmanager
def _ended_when_stuck(clock: MockClock, stuck: list[str]) -> Iterator[None]:
    """Where no virtual time passes, no virtual deadline helps: computing alone ends it. stuck: takes in what came of that."""
    moment, ticks = -1.0, 0

    def tick(_number: int, _frame: object) -> None:
        nonlocal moment, ticks
        now = clock.current_time()
        moment, ticks = now, ticks + 1 if now == moment else 0
        if ticks >= _STUCK_SECONDS:
            stuck.append(f"it turns in a circle: no virtual time passes any more after {now:.3f} s")
            # Again a second later, should somebody keep it.
            raise _StuckError

    before = signal.signal(signal.SIGVTALRM, tick)
    signal.setitimer(signal.ITIMER_VIRTUAL, 1.0, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        inner = error.subgroup(ViolationError) or error
        error = inner.exceptions[0]
    return error


class Simulation:
    """See the module's docstring. What faults use is public."""

    def __init__(self, seed: int, setting: Setting, chance: Random, trace: Trace, outcome: Outcome) -> None:
        self.setting = setting
        self.chance = chance
        self.trace = trace
        self.outcome = outcome
        self.book = Book()
        self.redis = Servers(self.book, trace, setting.layout, notify=setting.notify)
        for server in self.redis.each:
            server.stride, server.page = setting.stride, setting.page
        self.world = Switch(setting.config, self.book, self.redis, descriptors=setting.descriptors, seed=seed)
        self.kernel = self.world.kernel
        self.book.has_link = lambda name: self.kernel.find(name) is not None
        self.book.config_ports = self.redis.config_ports
        self.endpoint = Endpoint(self)
        self.kernel.chunk = max(2, setting.ports // 16)
        self._calm = self.kernel.during_dump
        self.churn = Churn(self.kernel, setting.names, chance, lambda what: trace.say(f"kernel: {what}"))
        self.daemon: Daemon | None = None
        self.reloaded: Config | ConfigError = setting.config
        self.crasher: Crasher | None = None
        self.lives = 0
        self.crashes: dict[str, int] = {}
        self._send: trio.MemorySendChannel[int] | None = None
        self._life = trio.CancelScope()
        self._told_to_end: float | None = None
        self._over = False
        self._gone = trio.Event()
        # When a fault, or a link, last changed something.
        self.disturbed_at = 0.0
        # What only a comparison of everything finds.
        self.damaged = False
        self.broken_off = 0
        # Services that hung in this life and were begun anew; what ended the last one by itself.
        self.begun_anew: Counter[str] = Counter()
        self.ended: BaseException | None = None
        # When all was well last: the life, how often something may have gone unseen, how often others wrote; and how many
        # differences had been found.
        self._before = ((0, 0, 0), 0)
        self._damaged_once: set[str] = set()

    # ---- what faults do

    def load_config(self) -> None:
        """CONFIG_DB as it is once it has been loaded."""
        if self.config_is_loaded:
            return
        for name in self.setting.names:
            self.redis.hset(CONFIG, f"PORT|{name}", {"alias": name, "mtu": "9100"})
        self.redis.hset(CONFIG, schema.LOGGER_KEY, {"LOGLEVEL": "NOTICE", "LOGOUTPUT": "SYSLOG"})
        self.redis.of(CONFIG).set(CONFIG, schema.CONFIG_DB_INITIALIZED, "1")

    @property
    def config_is_loaded(self) -> bool:
        """Whether config-setup has loaded CONFIG_DB."""
        return schema.CONFIG_DB_INITIALIZED in self.redis.database(CONFIG)

    def any_server(self) -> Redis:
        """One of those of Redis."""
        return self.chance.choice(self.redis.each)

    def ask_for_warm_starts(self, wanted: bool) -> None:
        """The operator enables them while all is well; a cold start of swss ends that."""
        if self.setting.warm:
            self.redis.hset(STATE, schema.WARM_ENABLE_KEYS[0], {"enable": "true" if wanted else "false"})

    def heals(self, kind: Kind) -> bool:
        """Whether the daemon may."""
        healing = self.setting.config.self_healing
        return healing.enabled and bool(getattr(healing, f"heal_{kind.value}"))

    def damage(self, name: str) -> None:
        """Somebody else writes to a port's entry, or makes one for a link that there is not. Who does so again and again is
        left alone, so once a port is enough."""
        if name in self._damaged_once:
            return
        self._damaged_once.add(name)
        key = f"{schema.STATE_PORT_TABLE}|{name}"
        match self.chance.choice(("change", "remove", "orphan")):
            case "change" if self.redis.hash(STATE, key):
                self.redis.hset(STATE, key, {"netdev_oper_status": "?", "mtu": "68"})
            case "remove" if self.redis.hash(STATE, key):
                self.redis.delete(STATE, key)
            case _:
                key = f"{schema.STATE_PORT_TABLE}|{name}99"[: len(schema.STATE_PORT_TABLE) + 16]
                self.redis.hset(STATE, key, dict.fromkeys(schema.STATE_FIELDS, "ok"))
        self.trace.say(f"somebody writes {key}")
        self.book.excuse([name])
        self.book.names.add(key.partition("|")[2])
        self.book.foreign += 1
        self.damaged = True

    @property
    def told_to_end(self) -> bool:
        """Whether this process was."""
        return self._told_to_end is not None

    def children(self) -> list[str]:
        """The services' names."""
        return (
            []
            if self.daemon is None
            else [child.name for child in self.daemon.services.supervisor.statistics().children]
        )

    def crash(self, child: str, awaits: int) -> None:
        """Let it raise."""
        if self.crasher is not None and child in self.children():
            self.crasher.arm(child, awaits)

    def signal(self, number: int) -> None:
        """To the daemon."""
        if self._send is not None and self.daemon is not None:
            if number == signal.SIGTERM and self._told_to_end is None:
                self._told_to_end = trio.current_time()
            self._send.send_nowait(number)

    def kill(self) -> None:
        """SIGKILL."""
        if self.daemon is not None:
            self._told_to_end = trio.current_time()
            self._life.cancel()

    def read_anew(self) -> None:
        """Let the reader make a dump."""
        if self.daemon is not None:
            self.daemon.services.reader.request_resync("simulation")

    # ---- from start to end

    async def run(self) -> None:
        """Raises ``ViolationError``."""
        self.trace.say(str(self.setting))
        self.book.names.update(self.setting.names)
        self.load_config()
        if self.setting.linked:
            for name in self.setting.names:
                self.churn.make(name)
        self.redis.save()
        tasks = trio.lowlevel.current_statistics().tasks_living
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_running)
            nursery.start_soon(self._orchagent)
            nursery.start_soon(self._watch)
            if self.chance.random() < _LATE_REDIS_SHARE:
                server, seconds = self.any_server(), self.chance.uniform(*_LATE_REDIS_SECONDS)
                self.trace.say(f"redis: comes after {seconds:.0f} s")
                server.stop()
                self.disturbed_at = trio.current_time() + seconds
                nursery.start_soon(self._start_late, server, seconds)
            nursery.start_soon(self.endpoint.run)
            await self._settle("the first start")
            for seconds in self.setting.rounds:
                await self._disturb(seconds)
                await self._settle("the faults")
                self.outcome.sizes.append(sizes(self))
                await self._rest()
            await self._get_well()
            await self._end()
            nursery.cancel_scope.cancel()
        left = trio.lowlevel.current_statistics().tasks_living
        self._require(left <= tasks, f"{left - tasks} tasks are left after the last life")

    async def _start_late(self, server: Redis, seconds: float) -> None:
        """Redis comes so much later than the daemon, which its service manager does not give up meanwhile."""
        await trio.sleep(seconds)
        server.start()

    async def _disturb(self, seconds: float) -> None:
        """A round of faults and link changes."""
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                if self.setting.faults:
                    nursery.start_soon(self._make_faults, nursery)
                while True:
                    await trio.sleep(self.chance.expovariate(self.setting.changes / 60))
                    for _ in range(self.chance.choice((1, 1, 1, 5))):
                        self.churn.step()
                    if self.chance.random() < 0.02 and rules.has_marker(self, schema.PORT_CONFIG_DONE):
                        self.redis.save()
        if self.crasher is not None:
            self.crasher.disarm()
        self.redis.lose_nothing()
        self.redis.deliver()
        self.world.troubles.clear()
        self.kernel.during_dump = self._calm
        for link in self.kernel.links.values():
            link.hidden = False
        self._heal_machine()
        self.endpoint.mend()
        self.load_config()
        self.disturbed_at = trio.current_time()
        self.trace.say("the faults are over")

    def _heal_machine(self) -> None:
        """Memory and disk."""
        self.world.resident, self.world.releasable = PROCESS_BYTES, 0
        self.world.free = FREE_BYTES

    async def _make_faults(self, nursery: trio.Nursery) -> None:
        kinds = (*FAULTS, *(ENDPOINT_FAULTS if self.endpoint.enabled else ()))
        possible = [each for each in kinds if self.setting.mortal or each[0] not in DEADLY]
        functions, weights = zip(*possible, strict=True)
        while True:
            await trio.sleep(self.chance.expovariate(self.setting.faults / 60))
            fault = self.chance.choices(functions, weights)[0]
            name = fault.__name__
            self.outcome.faults[name] = self.outcome.faults.get(name, 0) + 1
            self.trace.say(f"fault: {name.replace('_', ' ')}")
            nursery.start_soon(fault, self)

    async def _settle(self, what: str) -> None:
        """Until everything is right again; then it must stay so, without a write."""
        began = max(trio.current_time(), self.disturbed_at)
        if self.churn is not None:
            self.churn.mend()
        while problems := rules.unsettled(self):
            self._check()
            await trio.sleep(_LOOK_SECONDS if trio.current_time() < began + 2 else _LATER_LOOK_SECONDS)
            bound = self._bound()
            if trio.current_time() - began > bound:
                raise ViolationError(f"{bound:.1f} s after {what}: {'; '.join(problems[:4])}")
        took = trio.current_time() - began
        self.outcome.settle.append(took)
        self.trace.say(f"settled after {took:.1f} s")
        # A confirmation may be under way.
        await trio.sleep(1.5)
        writes = len(self.redis.writes)
        await trio.sleep(QUIET_SECONDS if self.chance.random() < 0.85 else 70.0)
        late = [f"{write.db} {write.kind} {write.key}" for write in self.redis.writes[writes:]]
        self._require(not late, f"written although nothing happened: {', '.join(late[:5])}")
        await self.endpoint.check_at_rest()
        self._check()
        self._compare_with_before()
        problems = [*rules.unsettled(self), *rules.miscounted(self)]
        self._require(not problems, f"at rest: {'; '.join(problems[:4])}")
        self.book.forget_reasons()
        self.damaged = False
        self.ask_for_warm_starts(True)

    def _compare_with_before(self) -> None:
        """What must be so if nothing went unseen since all was well last."""
        assert self.daemon is not None
        found = sum(self.daemon.services.writer.reconciliation.counts.values())
        now = (self.lives, self.book.blind_spots, self.book.foreign)
        if now[0] == self._before[0][0]:
            unnoticed = rules.unnoticed(self)
            self._require(not unnoticed, "; ".join(unnoticed[:4]))
        if now[:2] == self._before[0][:2]:
            unremoved = rules.unremoved(self)
            self._require(not unremoved, "; ".join(unremoved[:4]))
        if now == self._before[0]:
            new = found - self._before[1]
            self._require(not new, f"{new} differences were found although nobody else wrote")
        self._before = (now, found)

    def _bound(self) -> float:
        """How long it may take now."""
        bound = SETTLE_SECONDS + self.setting.detection_seconds
        if self.daemon is not None:
            # After many interrupted dumps the next one may be a minute off.
            retry = self.daemon.services.reader._retry_at
            if retry < math.inf:
                bound += max(0.0, retry - self.disturbed_at)
        if self.damaged:
            bound += self.setting.config.self_healing.reconcile_interval_secs
        if not self.heals(Kind.REDIS):
            # A notification that does not come is made up for so often.
            bound += 30.0
        return bound

    async def _rest(self) -> None:
        """Changes of links alone, which must be counted exactly."""
        before = rules.seen(self)
        self.book.moved.clear()
        daemon = self.daemon
        alone = [self._lose_at_rest]
        # Else one of the connections may be dead that only a comparison needs.
        alone += [self._contest_at_rest] if self.heals(Kind.REDIS) else []
        alone += [self._damage_at_rest] if self.heals(Kind.RECONCILE) else []
        alone += [partial(self._deafen_at_rest, kind) for kind in (Kind.REDIS, Kind.NETLINK) if self.heals(kind)]
        alone += [partial(each, self) for each in rare.possible(self)]
        if self.chance.random() < 0.6:
            await self.chance.choice(alone)()
            self.book.moved.clear()
            before = rules.seen(self)
        for _ in range(self.chance.randint(0, 12)):
            self.churn.step()
            await trio.sleep(self.chance.choice((0.0, 0.01, 0.3)))
        self.disturbed_at = trio.current_time()
        await self._settle("link changes")
        if daemon is self.daemon:
            problems = rules.uncounted(self, before)
            self._require(not problems, "; ".join(problems[:3]))

    async def _damage_at_rest(self) -> None:
        """Foreign damage alone: each entry is found once, and put right."""
        assert self.daemon is not None
        writer = self.daemon.services.writer
        found, sessions = sum(writer.reconciliation.counts.values()), writer.statistics().sessions
        names = [name for name in self.setting.names if name not in self._damaged_once][:3]
        for name in names:
            self.damage(name)
        self.disturbed_at = trio.current_time()
        await self._settle("damage by others")
        found = sum(writer.reconciliation.counts.values()) - found
        # A session that begins meanwhile, since the one before was dead without a word, compares everything itself.
        least = len(names) if writer.statistics().sessions == sessions else 0
        self._require(least <= found <= len(names), f"{len(names)} entries were damaged, {found} differences found")

    async def _contest_at_rest(self) -> None:
        """Somebody writes the same entry again and again: the third time it is left to him, until the kernel has news of the
        port; a minute later it is contested no longer."""
        assert self.daemon is not None
        names = [name for name in rules.expected_states(self) if name not in self._damaged_once]
        if not names:
            return
        name = self.chance.choice(names)
        self.trace.say(f"alone: somebody contests {name}")
        self._damaged_once.add(name)
        writer = self.daemon.services.writer
        sessions = writer.statistics().sessions
        for _ in range(3):
            self.redis.hset(STATE, f"{schema.STATE_PORT_TABLE}|{name}", {"mtu": "68"})
            self.book.foreign += 1
            self.book.excuse([name])
            await self._reconcile()
        # A new session compares everything, whoever contests it.
        whole = writer.statistics().sessions == sessions
        contested = [each.port for each in writer.reconciliation.contested]
        left = self.world.fields_of(name).get("mtu") == "68"
        self._require(
            not whole or (left and contested == [name]), f"{name} is contested, and so are called: {contested}"
        )
        self.kernel.set(name, mtu=self.kernel.link(name).mtu + 1)
        self.disturbed_at = trio.current_time()
        await trio.sleep(60.0)
        await self._reconcile()
        self.disturbed_at = trio.current_time()
        await self._settle("a contested entry")

    async def _reconcile(self) -> None:
        self.signal(signal.SIGUSR2)
        # With a second for a writer that looks first, and as long for what is answered in pieces.
        await trio.sleep(2.0)

    async def _deafen_at_rest(self, kind: Kind) -> None:
        """A dead connection alone: it is found, and a new one has answered."""
        assert self.daemon is not None
        guardian = self.daemon.services.guardian
        before = guardian.statistics().healings.by_kind[kind].count
        fault = a_connection_is_half_open if kind is Kind.REDIS else the_socket_is_deaf
        self.trace.say(f"alone: {fault.__name__.replace('_', ' ')}")
        await fault(self)
        if kind is Kind.NETLINK:
            for name in self.setting.names[:3]:
                self.churn.dip(name)
        # Then the next check asks the new connection, and one more sees its answer.
        patience = self.setting.detection_seconds + 2 * self.setting.config.self_healing.check_interval_secs
        await trio.sleep(patience)
        healed = guardian.statistics().healings.by_kind[kind].count - before
        self._require(healed >= 1, f"nothing of kind {kind.value} was healed within {patience:g} s")
        self.disturbed_at = trio.current_time()
        await self._settle("a dead connection")

    @property
    def _is_exhausted(self) -> bool:
        return self.world.resident > self.setting.config.self_healing.memory_limit_mb << 20

    async def _lose_at_rest(self) -> None:
        """A reply, a request, or a late write alone, while a link goes and comes back."""
        self.trace.say("alone: a write or its reply is lost")
        name = self.chance.choice(self.setting.names)
        how = self.chance.choice(("late", "reply", "request"))
        if how == "late":
            self.redis.of(STATE).delays = 1
        else:
            self.redis.of(STATE).lose_reply(carried_out=how == "reply")
        self.churn.pull(name)
        await trio.sleep(self.chance.choice((0.001, 0.02, 0.05)))
        self.churn.pull(name)
        await trio.sleep(3.0)
        # A port without a link has caused no write; another one, later, is none of this.
        self.redis.lose_nothing()
        self.disturbed_at = trio.current_time()
        await self._settle("a lost write")

    async def _get_well(self) -> None:
        """At last /health says that all is."""
        problems = rules.ill(self)
        for _ in range(_WELL_LOOKS if problems else 0):
            await trio.sleep(_WELL_SECONDS / _WELL_LOOKS)
            problems = rules.ill(self)
            if not problems:
                break
        self._require(not problems, f"not well {_WELL_SECONDS:.0f} s after all is quiet: {'; '.join(problems[:4])}")

    async def _end(self) -> None:
        """An orderly stop just after a change: Redis and what is kept know of it."""
        daemon = self.daemon
        assert daemon is not None
        self.churn.pull(self.chance.choice(self.setting.names))
        await trio.sleep(_PROMPT_SECONDS)
        self._over = True
        self.signal(signal.SIGTERM)
        with trio.move_on_after(_STOP_SECONDS + 1):
            await self._gone.wait()
        self._require(self._gone.is_set(), "the daemon does not end although it was told to")
        problems = [*rules.wrong_states(self), *rules.unsaved(self, daemon)]
        self._require(not problems, f"after an orderly stop: {'; '.join(problems[:4])}")
        self._require(self.redis.connections == 0, "a connection to Redis is left after the end")
        kept = 0 if self.world.kept_descriptors is None else len(self.world.kept_descriptors.kept)
        self._require(not self.endpoint.left(), "; ".join(self.endpoint.left()))
        self._require(
            len(self.kernel.sockets) <= kept, f"{len(self.kernel.sockets)} netlink sockets are left after the end"
        )

    # ---- those around the daemon

    async def _keep_running(self) -> None:
        """As the service manager does."""
        while not self._over:
            await self._live()
            if not self._over:
                await trio.sleep(self.chance.uniform(0.05, 1.5))
        self._gone.set()

    async def _live(self) -> None:
        """One process."""
        self.lives += 1
        self.trace.say(f"daemon: life {self.lives} begins")
        if self.world.kept_descriptors is not None:
            self.world.kept_descriptors.restart()
        self.world.manager.restart()
        self.book.begin_process()
        if rules.has_marker(self, schema.PORT_INIT_DONE):
            # A start in the middle of a generation that is complete takes the entries for what was written in it.
            self.book.announced.written.update(rules.states(self))
        self._told_to_end = None
        self.reloaded = self.setting.config
        self.crasher = Crasher(lambda what: self.trace.say(f"daemon: {what}"))
        self.world.source_errors = self.world.set_down_errors = self.broken_off = 0
        self.begun_anew.clear()
        self._heal_machine()
        self.endpoint.begin_process()
        send, receive = trio.open_memory_channel[int](math.inf)
        self._send, self._life = send, trio.CancelScope()
        daemon = self.daemon = Daemon(self.setting.config, self.world)
        rules.watch(self, daemon)
        self.endpoint.watch(daemon)
        ended: BaseException | None = None
        try:
            with self._life:
                await daemon.serve(receive, self._reload)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is judged
            ended = error
        self.crasher.disarm()
        # Redis reads what a process has left in a socket before it takes the next one's connection.
        self.redis.deliver()
        self.daemon = self._send = None
        now = trio.current_time()
        self.trace.say(f"daemon: life {self.lives} ends{'' if ended is None else f': {_leaf(ended)}'}")
        for problem in self.endpoint.left():
            self.book.violate(problem)
        if ended is not None:
            self.ended = _leaf(ended)
            self._judge_end(self.ended, daemon)
        else:
            self._judge_stop(now)

    def _judge_stop(self, now: float) -> None:
        if self._told_to_end is None:
            self.book.violate("the daemon ended although nobody told it to")
        elif now - self._told_to_end > _STOP_SECONDS:
            self.book.violate(f"the daemon took {now - self._told_to_end:.1f} s to end")

    def _judge_end(self, error: BaseException, daemon: Daemon) -> None:
        if not isinstance(error, _EXPECTED_ENDS) or error.exit_code != EXIT_UNAVAILABLE:
            self.book.violate(f"the daemon ended with {type(error).__name__}: {error}")
        elif not self.setting.config.daemon.exit_to_restart:
            self.book.violate(f"the daemon ended although it may not: {error}")
        elif isinstance(error, BudgetExhaustedError) and not rules.budget_is_spent(self, daemon):
            self.book.violate(f"the daemon gave up without a reason: {error}")
        elif isinstance(error, MemoryLimitError) and not self._is_exhausted:
            self.book.violate(f"the daemon left without a reason: {error}")
        elif isinstance(error, MemoryLimitError) and (unsaved := rules.unsaved(self, daemon)):
            self.book.violate(f"after an end for memory: {'; '.join(unsaved[:4])}")

    def _reload(self) -> Config:
        if isinstance(self.reloaded, ConfigError):
            raise self.reloaded
        return self.reloaded

    async def _orchagent(self) -> None:
        """Takes what is staged, and makes the links of ports; those from before a start it makes anew."""
        appl = self.redis.of(APPL)
        while True:
            with trio.move_on_after(_ORCHAGENT_SECONDS * self.setting.watch_seconds):
                await appl.staged.wait()
            await trio.sleep(self.chance.uniform(0.01, self.setting.pop_seconds))
            if not appl.serves:
                continue
            popped = [key for key, fields in appl.pop(APPL) if fields and key in self.setting.names]
            for name in popped:
                if name not in self.churn.absent and self.kernel.find(name) is None:
                    self.trace.say(f"orchagent: makes {name}")
                    self.churn.make(name)
            self._replace_old()

    def _replace_old(self) -> None:
        """A cold start of orchagent makes every link anew."""
        if self.daemon is None or f"{schema.PORT_TABLE}:{schema.PORT_CONFIG_DONE}" not in self.redis.database(APPL):
            return
        generation = self.daemon.services.writer.sync.generation
        if generation.announced and not generation._down_due:
            for ifindex in sorted(generation.old):
                link = self.kernel.links.get(ifindex)
                if link is not None:
                    self.trace.say(f"orchagent: makes {link.name} anew")
                    name = link.name
                    self.kernel.delete(name)
                    self.churn.make(name)

    # ---- rules that hold all along

    async def _watch(self) -> None:
        looks = 0
        while True:
            await trio.sleep(self.setting.watch_seconds)
            self._check()
            looks += 1
            if self.daemon is not None:
                problems = [
                    *rules.unbounded(self, self.daemon),
                    *rules.untold(self, self.daemon),
                    *self.endpoint.unbounded(self.daemon),
                ]
                self._require(not problems, "; ".join(problems))
                if looks % _SCRAPE_LOOKS == 0 and not self.endpoint.enabled:
                    for _ in Metrics(self.daemon.services.observer.facts, version="simulated").render(
                        openmetrics=False
                    ):
                        pass

    def _check(self) -> None:
        if self.book.violations:
            raise ViolationError("; ".join(self.book.violations[:3]))

    def _require(self, holds: bool, rule: str) -> None:
        self._check()
        if not holds:
            raise ViolationError(rule)


def _leaf(error: BaseException) -> BaseException:
    group = error.subgroup(PortsyncdError) if isinstance(error, BaseExceptionGroup) else None
    error = group or error
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
