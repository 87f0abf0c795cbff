"""What a round of faults is too short for, each alone on a daemon that is well: a service that hangs, memory that nothing
gives back, a service that fails again and again."""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

import trio

from portsyncd.errors import BudgetExhaustedError, MemoryLimitError, PortsyncdError
from portsyncd.model.healing import Kind
from portsyncd.model.health import Status
from portsyncd.model.memory import GRACE_SECONDS, LEAVE_SECONDS
from portsyncd.model.restart import RestartPolicy
from portsyncd.services.supervisor import ChildState
from tests.chaos.simulation import rules
from tests.chaos.simulation.faults import PROCESS_BYTES

if TYPE_CHECKING:
    from tests.chaos.simulation.simulation import Simulation

Rare = Callable[["Simulation"], Coroutine[Any, Any, None]]

# Until what happened has come to the service that hangs.
_HANGS_SECONDS: Final = 1.0
_MUCH_MORE: Final = 900 << 20
# They take minutes, virtual ones.
_LONG_SHARE: Final = 0.6


def possible(sim: "Simulation") -> list[Rare]:
    """What may happen to this one now."""
    if not sim.setting.mortal:
        return []
    alone: list[Rare] = [a_service_hangs] if sim.heals(Kind.STALL) else []
    if sim.chance.random() < _LONG_SHARE:
        alone += [memory_stays_too_much] if sim.heals(Kind.MEMORY) else []
        alone += [a_service_fails_again_and_again]
    return alone


async def a_service_hangs(sim: "Simulation") -> None:
    """It waits for nothing that a probe would find. Once it was begun anew and moves, that is a healing."""
    assert sim.daemon is not None
    guardian, health = sim.daemon.services.guardian, sim.setting.config.health
    name, port = sim.chance.choice(("writer", "reader")), next(iter(rules.expected_states(sim)), None)
    if port is None:
        # Nobody has anything to do.
        return
    sim.trace.say(f"alone: the {name} hangs")
    before = guardian.statistics().healings.by_kind[Kind.STALL].count
    sim.redis.hangs, sim.world.deaf = name == "writer", name == "reader"
    sim.begun_anew[name] += 1
    sim.read_anew()
    await trio.sleep(_HANGS_SECONDS)
    sim.kernel.set(port, mtu=sim.kernel.link(port).mtu + 1)
    await trio.sleep(_HANGS_SECONDS)
    sim.redis.hangs = sim.world.deaf = False
    # The sockets are given up for it.
    sim.world.kernel_trouble_at = trio.current_time() + health.max_stall_seconds
    # The check that finds it, and the one that sees it move; between them it may have to wait, if it has failed often.
    patience = health.max_stall_seconds + 3 * sim.setting.config.self_healing.check_interval_secs
    patience += RestartPolicy().delay_cap
    await trio.sleep(patience)
    healed = guardian.statistics().healings.by_kind[Kind.STALL].count - before
    sim._require(healed == 1, f"the {name} hung, and {healed} standstills were healed within {patience:g} s")
    sim.disturbed_at = trio.current_time()
    await sim._settle("a service that hung")


async def memory_stays_too_much(sim: "Simulation") -> None:
    """The process ends for it where it may; else it is degraded until there is less again."""
    daemon = sim.daemon
    assert daemon is not None
    sim.trace.say("alone: memory is too much, and nothing helps")
    released, sim.ended, sim.world.resident = sim.world.released, None, PROCESS_BYTES + _MUCH_MORE
    check = sim.setting.config.self_healing.check_interval_secs
    await trio.sleep(GRACE_SECONDS + 2 * check)
    status = daemon.services.observer.health().checks["memory"].status
    sim._require(status is Status.DEGRADED, f"memory is beyond its limit for a minute, and health says {status}")
    port = next(iter(rules.expected_states(sim)), None)
    with trio.move_on_after(LEAVE_SECONDS + 2 * check):
        while sim.ended is None:
            if port is not None:
                # So that there is something to be saved.
                sim.kernel.set(port, mtu=sim.kernel.link(port).mtu ^ 1)
            await trio.sleep(1)
    _require_end(sim, MemoryLimitError)
    # Not at once where that was tried just before.
    sim._require(sim.world.released > released, "memory was too much, and none was given back")
    sim.world.resident = PROCESS_BYTES
    await trio.sleep(2 * check)
    sim.disturbed_at = trio.current_time()
    await sim._settle("too much memory")


async def a_service_fails_again_and_again(sim: "Simulation") -> None:
    """Beyond the budget of an essential one the process ends where it may; else it is tried again and again."""
    assert sim.daemon is not None
    assert sim.crasher is not None
    name, life, policy = sim.chance.choice(("writer", "reader")), sim.lives, RestartPolicy()
    supervisor, thrown = sim.daemon.services.supervisor, sim.crasher.thrown
    sim.trace.say(f"alone: the {name} fails again and again")
    sim.ended = None
    for number in range(thrown.get(name, 0), thrown.get(name, 0) + policy.budget + 2):
        with trio.move_on_after(2 * policy.delay_cap):
            while sim.lives == life and thrown.get(name, 0) == number:
                running = {each.name for each in supervisor.statistics().children if each.state is ChildState.RUNNING}
                if name in running:
                    sim.crash(name, 1)
                    # A reader that hears nothing awaits nothing else.
                    sim.read_anew()
                await trio.sleep(0.1)
        if sim.lives != life:
            break
    sim.crasher.disarm()
    await trio.sleep(policy.delay_cap)
    _require_end(sim, BudgetExhaustedError)
    sim.disturbed_at = trio.current_time()
    await sim._settle("failures without end")


def _require_end(sim: "Simulation", error: type[PortsyncdError]) -> None:
    """The process has ended with this, if it is one that may end; else it goes on."""
    may, ended = sim.setting.config.daemon.exit_to_restart, isinstance(sim.ended, error)
    sim._require(ended == may, f"exit_to_restart is {may}, and the process {'ended' if ended else 'goes on'}")
