"""What goes wrong. Each fault is a function that damages, waits, and mends what it damaged, also when it is cancelled, unless
the simulation does so when the faults are over."""

import signal
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import trio

from portsyncd.errors import ConfigError
from portsyncd.model.healing import Kind
from portsyncd.testing.fake_files import FakeKept
from portsyncd.testing.fake_history import FakeHistory
from portsyncd.testing.fake_redis import NOAUTH, NOTIFICATIONS, OOM, READONLY
from portsyncd.wire.schema import DEFAULT_NUMBERS
from tests.chaos.simulation.machine import APPL, CONFIG, STATE

if TYPE_CHECKING:
    from tests.chaos.simulation.simulation import Simulation

_MEGABYTE = 1 << 20
PROCESS_BYTES = 64 * _MEGABYTE
FREE_BYTES = 1 << 34

Fault = Callable[["Simulation"], Awaitable[None]]


async def for_a_while(sim: "Simulation", shortest: float = 0.05, longest: float = 8.0) -> None:
    """Most often a short one."""
    await trio.sleep(sim.chance.uniform(shortest, longest) ** sim.chance.choice((0.5, 1.0)))


async def _dip_slowly(sim: "Simulation") -> None:
    """A port is set down, and up so much later that these are two events of two reads."""
    name = sim.chance.choice(sim.setting.names)
    link = sim.kernel.find(name)
    if link is not None and link.up:
        sim.kernel.set(name, up=False)
        await trio.sleep(0.05)
        if sim.kernel.find(name) is not None:
            sim.kernel.set(name, up=True)


# ---- Redis


async def redis_is_down(sim: "Simulation") -> None:
    server = sim.any_server()
    server.stop()
    try:
        await _dip_slowly(sim)
        await for_a_while(sim)
    finally:
        server.start()


async def redis_is_paused(sim: "Simulation") -> None:
    server = sim.any_server()
    server.pause()
    try:
        await _dip_slowly(sim)
        await for_a_while(sim)
    finally:
        server.resume()


async def redis_is_slow(sim: "Simulation") -> None:
    server = sim.any_server()
    server.latency = sim.chance.choice((0.001, 0.05, 0.3, 0.9))
    try:
        await for_a_while(sim, 1.0)
    finally:
        server.latency = 0.0


async def a_reply_is_lost(sim: "Simulation") -> None:
    server = sim.redis.of(sim.chance.choice((APPL, STATE)))
    server.lose_reply(carried_out=sim.chance.random() < 0.5, after=sim.chance.randint(0, 4))


async def a_pipeline_is_interrupted(sim: "Simulation") -> None:
    """Some of its requests are carried out; of the replies none comes, and whoever waits for them is told, or is not."""
    sim.any_server().interrupt(
        requests=sim.chance.randint(0, 8), silent=sim.chance.random() < 0.3, after=sim.chance.randint(0, 10)
    )
    await _dip_slowly(sim)


async def a_write_comes_late(sim: "Simulation") -> None:
    """It arrives when the next session has already looked; meanwhile the link is again as it was before."""
    sim.redis.of(STATE).delays = 1
    name = sim.chance.choice(sim.setting.names)
    sim.churn.pull(name)
    await trio.sleep(sim.chance.choice((0.0, 0.02, 0.05)))
    sim.churn.pull(name)


async def scripts_are_flushed(sim: "Simulation") -> None:
    """SCRIPT FLUSH."""
    sim.any_server().flush_scripts()


async def redis_comes_back_empty(sim: "Simulation") -> None:
    """CONFIG_DB is loaded again after a while, as config-setup does; swss begins anew."""
    sim.any_server().restart(empty=True)
    try:
        await for_a_while(sim, 0.1, 3.0)
    finally:
        sim.load_config()


async def redis_comes_back_with_old_data(sim: "Simulation") -> None:
    sim.any_server().restart(empty=False)


async def appl_db_is_flushed(sim: "Simulation") -> None:
    """A cold start of swss under a running daemon: swss.sh flushes STATE_DB's port table as well."""
    sim.redis.flush(APPL)
    sim.ask_for_warm_starts(False)
    if sim.chance.random() < 0.7:
        await trio.sleep(sim.chance.uniform(0, 0.5))
        sim.redis.flush(STATE)


async def state_db_is_flushed(sim: "Simulation") -> None:
    sim.redis.flush(STATE)


async def a_connection_is_half_open(sim: "Simulation") -> None:
    """The peer has gone without a word: nothing comes through any more, and nobody is told."""
    server = sim.any_server()
    names = [name for name, number in DEFAULT_NUMBERS.items() if number in server.numbers]
    if {APPL, CONFIG} & server.numbers:
        names.append(NOTIFICATIONS)
    server.cut(*sim.chance.sample(names, sim.chance.randint(1, len(names))))


async def packets_are_dropped(sim: "Simulation") -> None:
    """A firewall between: who connects waits, and the sessions of before stay as dead as they are."""
    server = sim.any_server()
    server.unplug()
    try:
        await for_a_while(sim)
    finally:
        server.plug()


async def others_write_to_state_db(sim: "Simulation") -> None:
    """Foreign damage; only a comparison finds it."""
    if not sim.heals(Kind.RECONCILE):
        return
    for name in sim.chance.sample(sim.setting.names, min(len(sim.setting.names), sim.chance.randint(1, 4))):
        sim.damage(name)


async def redis_is_loading(sim: "Simulation") -> None:
    server = sim.any_server()
    server.loading = True
    try:
        await for_a_while(sim)
    finally:
        server.loading = False


async def redis_refuses_writes(sim: "Simulation") -> None:
    server = sim.any_server()
    server.refuses_writes = sim.chance.choice((READONLY, OOM))
    try:
        await for_a_while(sim)
    finally:
        server.refuses_writes = ""


async def redis_refuses_all(sim: "Simulation") -> None:
    server = sim.any_server()
    server.refuses_all = NOAUTH
    try:
        await for_a_while(sim)
    finally:
        server.refuses_all = ""


async def a_config_port_goes(sim: "Simulation") -> None:
    """An operator removes a port, and perhaps takes it back."""
    name = sim.chance.choice(sim.setting.names)
    key, row = f"PORT|{name}", sim.redis.hash(CONFIG, f"PORT|{name}")
    if not row or not sim.config_is_loaded:
        return
    sim.redis.delete(CONFIG, key)
    sim.book.expected.discard(name)
    try:
        await for_a_while(sim)
    finally:
        sim.redis.hset(CONFIG, key, row)


# ---- the kernel


async def dumps_are_interrupted(sim: "Simulation") -> None:
    """A link comes or goes while each dump is made, which may therefore pass over another one."""
    left = sim.chance.randint(1, 6)
    passed_over = sim.kernel.find(sim.chance.choice(sim.setting.names))

    def come_and_go(_dump: int, chunk: int) -> None:
        nonlocal left
        if passed_over is not None:
            passed_over.hidden = left > 0
        if chunk == 0 and left:
            left -= 1
            if sim.kernel.find("interrupter") is None:
                sim.kernel.add("interrupter", "dummy")
            else:
                sim.kernel.delete("interrupter")
            sim.churn.step()

    sim.kernel.during_dump = come_and_go
    sim.read_anew()
    await for_a_while(sim, 1.0)


async def events_are_lost(sim: "Simulation") -> None:
    """More than the socket's buffer holds, at once."""
    _lose_events(sim)


def _lose_events(sim: "Simulation") -> None:
    name = next((name for name in sim.setting.names if sim.kernel.find(name) is not None), None)
    if name is not None:
        number = 0
        while not any(socket._congested for socket in sim.kernel.sockets) and number < 200:
            number += 1
            sim.kernel.set(name, mtu=1300 + number)
        sim.churn.dip(sim.chance.choice(sim.setting.names))
    for _ in range(sim.chance.randint(0, 5)):
        sim.churn.step()


async def events_are_lost_during_a_dump(sim: "Simulation") -> None:
    """Of links that the dump has shown as they were."""
    left = sim.chance.randint(1, 3)

    def lose(_dump: int, chunk: int) -> None:
        nonlocal left
        if chunk == 1 and left:
            left -= 1
            _lose_events(sim)

    sim.kernel.during_dump = lose
    sim.read_anew()
    await for_a_while(sim, 1.0)


async def the_socket_is_closed(sim: "Simulation") -> None:
    sim.world.kernel_trouble_at = trio.current_time()
    for source in list(sim.world.sources):
        source.close()


async def the_kernel_refuses(sim: "Simulation") -> None:
    what = sim.chance.choice(("open", "dump", "ask", "read"))
    sim.world.troubles[what] = sim.chance.randint(1, 2)
    sim.read_anew()
    try:
        await for_a_while(sim)
    finally:
        sim.world.troubles.pop(what, None)


async def the_socket_is_deaf(sim: "Simulation") -> None:
    """It is open, and no member of the group any more; or it is no socket any more. Only a probe finds that."""
    if sim.heals(Kind.NETLINK):
        sim.world.kernel_trouble_at = trio.current_time()
        # Those that somebody else keeps are not the daemon's to lose.
        mine = sim.world.kept_descriptors is None
        (sim.kernel.close_descriptors if mine and sim.chance.random() < 0.5 else sim.kernel.drop_memberships)()


async def the_kernel_is_silent(sim: "Simulation") -> None:
    sim.kernel.answers = False
    try:
        await for_a_while(sim)
    finally:
        sim.kernel.answers = True
        sim.world.kernel_trouble_at = trio.current_time()


async def an_event_is_garbled(sim: "Simulation") -> None:
    sim.kernel.inject(bytes(sim.chance.randrange(256) for _ in range(sim.chance.randint(1, 60))))
    sim.book.blinded()


# ---- the daemon itself


async def a_subtask_raises(sim: "Simulation") -> None:
    sim.crash(sim.chance.choice(sim.children() or ["writer"]), sim.chance.randint(1, 30))


async def it_is_told_to_reload(sim: "Simulation") -> None:
    sim.reloaded = sim.chance.choice((sim.setting.config, ConfigError(["wrong"])))
    sim.signal(signal.SIGHUP)


async def it_is_told_to_reconcile(sim: "Simulation") -> None:
    sim.signal(signal.SIGUSR2)


async def it_is_told_to_release(sim: "Simulation") -> None:
    if sim.chance.random() < 0.3:
        sim.book.released = True
        sim.signal(signal.SIGUSR1)


async def it_is_restarted(sim: "Simulation") -> None:
    sim.signal(signal.SIGTERM)


async def it_is_killed(sim: "Simulation") -> None:
    sim.kill()


# ---- disk, memory, clock


async def the_disk_fails(sim: "Simulation") -> None:
    kept: list[FakeKept | FakeHistory] = [sim.world.kept_state, sim.world.kept_counters, sim.world.kept_history]
    which = sim.chance.sample(kept, sim.chance.randint(1, len(kept)))
    for each in which:
        each.broken = True
    try:
        await for_a_while(sim)
    finally:
        for each in which:
            each.broken = False


async def a_file_is_damaged(sim: "Simulation") -> None:
    kept = sim.chance.choice((sim.world.kept_state, sim.world.kept_counters))
    if kept.current is not None:
        at = sim.chance.randrange(len(kept.current))
        kept.current = kept.current[:at] + sim.chance.choice((b"", b"\0", b"{"))


async def the_disk_is_nearly_full(sim: "Simulation") -> None:
    sim.world.free = sim.chance.choice((None, 0, 1 << 20, 1 << 26))
    await for_a_while(sim, 5.0, 30.0)
    sim.world.free = FREE_BYTES


async def memory_is_short(sim: "Simulation") -> None:
    """More than the limit, some of which can be given back."""
    more = sim.chance.choice((300, 600, 900)) * _MEGABYTE
    sim.world.resident = PROCESS_BYTES + more
    sim.world.releasable = sim.chance.choice((0, more))
    await for_a_while(sim, 5.0, 30.0)
    sim.world.resident, sim.world.releasable = PROCESS_BYTES, 0


async def the_wall_clock_steps(sim: "Simulation") -> None:
    sim.world.stepped += sim.chance.choice((-86400.0, -3600.0, -2.0, 2.0, 3600.0, 1e6))
    sim.book.clock_steps += 1


FAULTS: tuple[tuple[Fault, int], ...] = (
    (redis_is_down, 4),
    (redis_is_paused, 4),
    (redis_is_slow, 3),
    (a_reply_is_lost, 6),
    (a_pipeline_is_interrupted, 4),
    (a_write_comes_late, 4),
    (scripts_are_flushed, 2),
    (redis_comes_back_empty, 1),
    (redis_comes_back_with_old_data, 1),
    (appl_db_is_flushed, 2),
    (state_db_is_flushed, 1),
    (a_connection_is_half_open, 4),
    (packets_are_dropped, 3),
    (others_write_to_state_db, 2),
    (redis_is_loading, 1),
    (redis_refuses_writes, 2),
    (redis_refuses_all, 1),
    (a_config_port_goes, 1),
    (dumps_are_interrupted, 3),
    (events_are_lost, 4),
    (events_are_lost_during_a_dump, 2),
    (the_socket_is_closed, 2),
    (the_kernel_refuses, 3),
    (the_socket_is_deaf, 2),
    (the_kernel_is_silent, 1),
    (an_event_is_garbled, 1),
    (a_subtask_raises, 8),
    (it_is_told_to_reload, 1),
    (it_is_told_to_reconcile, 1),
    (it_is_told_to_release, 1),
    (it_is_restarted, 2),
    (it_is_killed, 3),
    (the_disk_fails, 2),
    (a_file_is_damaged, 1),
    (the_disk_is_nearly_full, 1),
    (memory_is_short, 1),
    (the_wall_clock_steps, 1),
)
# Those that end the process, or may.
DEADLY = frozenset({it_is_restarted, it_is_killed, memory_is_short})
