"""Each port's flap penalty, and who flapped since somebody asked."""

from collections.abc import Callable, Mapping

from portsyncd.analytics.flaps import LEAST, PENALTY, decayed
from portsyncd.model.port import Flapped


class FlapBook:
    """Follows the carrier losses of ports. All moments are monotonic seconds, and never go back.

    take: who lost its carrier since the last call, see ``PortSync.take_flaps``. revision: moves on when somebody has.
    """

    def __init__(self, take: Callable[[], Mapping[str, Flapped]]) -> None:
        self._take = take
        self.revision = 0
        self._flapped: dict[str, Flapped] = {}
        # As they were at the moment; those of at least LEAST. One moment for all, so that one factor makes them older.
        self._penalties: dict[str, float] = {}
        self._at = 0.0

    def restore(self, penalties: Mapping[str, float], age: float, now: float) -> None:
        """Go on with the penalties that ports had ``age`` seconds ago."""
        self._follow(now)
        self._penalties |= {name: decayed(penalty, age) for name, penalty in penalties.items()}

    def take(self, now: float) -> dict[str, Flapped]:
        """Who lost its carrier since the last call."""
        self._follow(now)
        flapped, self._flapped = self._flapped, {}
        return flapped

    def penalties(self, now: float) -> dict[str, float]:
        """By port, as they are now; those of at least 1."""
        self._follow(now)
        return dict(self._penalties)

    def _follow(self, now: float) -> None:
        left = decayed(1.0, now - self._at)
        self._penalties = {name: penalty * left for name, penalty in self._penalties.items() if penalty * left >= LEAST}
        self._at = now
        for name, (new, total) in self._take().items():
            earlier = self._flapped.get(name)
            self._flapped[name] = Flapped(new + (0 if earlier is None else earlier.new), total)
            self._penalties[name] = self._penalties.get(name, 0.0) + new * PENALTY
            self.revision += 1
