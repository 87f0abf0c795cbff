"""How much a daemon keeps in memory, in elements of containers."""

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.chaos.simulation.simulation import Simulation

_SERVICES = ("reader", "writer", "inbox", "keeper", "recorder", "supervisor", "observer", "guardian", "book", "web")


def sizes(sim: "Simulation") -> dict[str, int]:
    """Elements of all containers that each service keeps, those apart that end by themselves (deques with a bound), and rows
    of the history."""
    daemon = sim.daemon
    if daemon is None:
        return {}
    seen: set[int] = {id(sim.world), id(daemon)}
    found = {name: _elements(getattr(daemon.services, name), seen) for name in _SERVICES}
    history = sim.world.kept_history
    return found | {"history": len(history.samples) + len(history.flaps) + len(history.starts)}


def _elements(start: object, seen: set[int]) -> int:
    total, waiting = 0, [start]
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, dict):
            total += len(each)
            waiting += [*each.keys(), *each.values()]
        elif isinstance(each, (list, tuple, set, frozenset)) or (isinstance(each, deque) and each.maxlen is None):
            total += len(each) if not isinstance(each, tuple) else 0
            waiting += each
        elif type(each).__module__.startswith("portsyncd.") and ".testing" not in type(each).__module__:
            waiting += _attributes(each)
    return total


def _attributes(each: object) -> Iterator[object]:
    yield from getattr(each, "__dict__", {}).values()
    for kind in type(each).__mro__:
        slots = getattr(kind, "__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(each, name):
                yield getattr(each, name)
