"""Who acts in the demo: orchagent's links, cables and operators, and accidents."""

import random
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import trio

from portsyncd.daemon import Daemon
from portsyncd.testing import burst
from portsyncd.testing.switch import Switch

T = TypeVar("T")

_NOTES_KEPT = 6
_BURST_EVENTS = 20_000
_MTUS = (1500, 4096, 9000, 9100)


class Actors:
    """They work in one worker thread, since what they use blocks; the daemon has the event loop to itself."""

    def __init__(self, switch: Switch, daemon: Daemon, names: Sequence[str]) -> None:
        self._switch = switch
        self._daemon = daemon
        self._names = names
        self._one_at_a_time = trio.CapacityLimiter(1)
        self._redis_is_down = False
        self._started = trio.current_time()
        # What was done last, and at which second, for the audience.
        self.notes: deque[str] = deque(maxlen=_NOTES_KEPT)

    async def _do(self, action: Callable[..., T], *arguments: object) -> T:
        return await trio.to_thread.run_sync(partial(action, *arguments), limiter=self._one_at_a_time)

    def _note(self, text: str) -> None:
        self.notes.append(f"{trio.current_time() - self._started:.0f} s: {text}")

    async def make_links(self) -> None:
        """As orchagent and syncd once they know the ports: links, up, with their cables in."""
        await self._do(
            self._switch.wait, lambda: self._switch.orchagent.configured, "orchagent knows every port from its pops"
        )
        for name in self._names:
            await self._do(partial(self._switch.add_ports, [name], up=True))
        await self._do(self._switch.wait_settled)

    async def flap_ports(self) -> None:
        """Cables come and go, operators change what they change, some ten times a second."""
        links = self._switch.links
        plugged = dict.fromkeys(self._names, True)
        while True:
            name = random.choice(self._names)
            match random.choices(("carrier", "mtu", "admin"), weights=(6, 2, 1))[0]:
                case "carrier":
                    plugged[name] = not plugged[name]
                    await self._do(links.carrier, name, plugged[name])
                case "mtu":
                    await self._do(partial(links.set, name, mtu=random.choice(_MTUS)))
                case _:
                    await self._do(partial(links.set, name, up=False))
                    await self._do(partial(links.set, name, up=True))
            await trio.sleep(random.uniform(0.02, 0.18))

    async def cause_accidents(self) -> None:
        """Redis dies and comes back empty, the socket overruns, services are killed; one after the other."""
        while True:
            for accident in (self._overrun, self._kill_service, self._kill_redis):
                await trio.sleep(2.5)
                await accident()

    async def _overrun(self) -> None:
        self._note(f"accident: {_BURST_EVENTS:,} link events at once, more than the socket holds")
        indexes = await self._do(lambda: [self._switch.links.index(name) for name in self._names])
        before = self._daemon.services.reader.statistics().overruns
        await self._do(lambda: self._switch.kernel.send(burst.mtu_flips(indexes, _BURST_EVENTS)))
        lost = self._daemon.services.reader.statistics().overruns - before
        self._note(f"the kernel reported {lost} overruns; the daemon reads all links anew")

    async def _kill_service(self) -> None:
        name = random.choice(("reader", "writer"))
        self._note(f"accident: the {name} is killed; the supervisor rebuilds it")
        self._daemon.services.supervisor.cancel_child(name, "killed by the demo")

    async def _kill_redis(self) -> None:
        self._note("accident: Redis is killed (SIGKILL)")
        self._redis_is_down = True
        await self._do(self._switch.redis.kill)
        await trio.sleep(1.5)
        await self._revive_redis()

    async def _revive_redis(self) -> None:
        await self._do(self._switch.redis.start)
        await self._do(self._switch.load_config, self._names)
        self._redis_is_down = False
        self._note("Redis is back, empty; CONFIG_DB is loaded again, the daemon writes everything anew")

    async def clean_up(self) -> None:
        """After the performance nothing stays broken."""
        if self._redis_is_down:
            await self._revive_redis()
