"""What operators, cables and orchagent do to the links of a switch."""

from collections.abc import Callable
from random import Random

from portsyncd.testing.fake_kernel import FakeKernel, FakeLink

Change = Callable[["Churn", str], None]


class Churn:
    """Changes links at random. names: the ports. told: is called with each change in words."""

    def __init__(self, kernel: FakeKernel, names: tuple[str, ...], chance: Random, told: Callable[[str], None]) -> None:
        self._kernel = kernel
        self._names = names
        self._chance = chance
        self._told = told
        # Ports that are to stay without a link.
        self.absent: set[str] = set()

    def step(self) -> None:
        """One change of one port."""
        change = self._chance.choices(_CHANGES, _WEIGHTS)[0]
        name = self._chance.choice(self._names)
        self._told(f"{change.__name__.strip('_').replace('_', ' ')} {name}")
        change(self, name)

    def make(self, name: str) -> None:
        """A port's link, most often up and with a cable in it."""
        if self._kernel.find(name) is not None or self._kernel.find(f"p{name}"[:15]) is not None:
            return
        self._kernel.add_port(name)
        link = self._kernel.link(name)
        if self._chance.random() < 0.9:
            self._kernel.set(name, up=True)
        if self._chance.random() < 0.8:
            self._plug(link, True)

    def _plug(self, link: FakeLink, up: bool) -> None:
        peer = self._kernel.links.get(link.peer)
        if peer is not None:
            self._kernel.set(peer.name, up=up)

    def _port(self, name: str) -> FakeLink | None:
        return self._kernel.find(name)

    def pull(self, name: str) -> None:
        """Take the cable out, or put it in."""
        link = self._port(name)
        if link is not None:
            self._plug(link, not link.carrier)

    def dip(self, name: str) -> None:
        """Set it down and up again, if it is up."""
        link = self._port(name)
        if link is not None and link.up:
            self._kernel.set(name, up=False)
            self._kernel.set(name, up=True)

    # ---- changes

    def _flap(self, name: str) -> None:
        self.pull(name)

    def _flap_fast(self, name: str) -> None:
        link = self._port(name)
        if link is not None:
            for _ in range(self._chance.randint(1, 20)):
                self._plug(link, False)
                self._plug(link, True)

    def _toggle_admin(self, name: str) -> None:
        link = self._port(name)
        if link is not None:
            self._kernel.set(name, up=not link.up)

    def _dip(self, name: str) -> None:
        self.dip(name)

    def _set_mtu(self, name: str) -> None:
        if self._port(name) is not None:
            self._kernel.set(name, mtu=self._chance.choice((1500, 9000, 9100)))

    def _burst(self, name: str) -> None:
        if self._port(name) is not None:
            for number in range(self._chance.randint(5, 120)):
                self._kernel.set(name, mtu=1400 + number)

    def _delete(self, name: str) -> None:
        if self._port(name) is not None:
            self._kernel.delete(name)
            if self._chance.random() < 0.05:
                self.absent.add(name)

    def _make(self, name: str) -> None:
        self.absent.discard(name)
        self.make(name)

    def _make_anew(self, name: str) -> None:
        if self._port(name) is not None:
            self._kernel.delete(name)
            self.make(name)

    def _rename(self, name: str) -> None:
        """Away and back, or from wherever it is."""
        aside = f"swp{name.removeprefix('Ethernet')}"
        if self._port(name) is not None and self._port(aside) is None:
            self._kernel.rename(name, aside)
            if self._chance.random() < 0.5:
                self._kernel.rename(aside, name)
        elif self._port(name) is None and self._port(aside) is not None:
            self._kernel.rename(aside, name)

    def _swap(self, name: str) -> None:
        other = self._chance.choice(self._names)
        if other != name and self._port(name) is not None and self._port(other) is not None:
            self._kernel.rename(name, "between")
            self._kernel.rename(other, name)
            self._kernel.rename("between", other)

    def _noise(self, _name: str) -> None:
        noise = f"veth{self._chance.randint(0, 3)}"
        if self._port(noise) is None:
            self._kernel.add(noise, "dummy")
        else:
            self._kernel.delete(noise)

    def _toggle_lag(self, _name: str) -> None:
        lag = f"PortChannel{self._chance.randint(1, 2)}"
        if self._port(lag) is None:
            self._kernel.add(lag, self._chance.choice(("team", "bond")))
        else:
            self._kernel.delete(lag)

    def _toggle_sub_interface(self, name: str) -> None:
        sub = f"{name}.10"
        if self._port(sub) is None:
            self._kernel.add(sub, "vlan")
            self._kernel.set(sub, up=True)
        else:
            self._kernel.delete(sub)

    def _all_at_once(self, _name: str) -> None:
        for name in self._names:
            link = self._port(name)
            if link is not None:
                self._plug(link, not link.carrier)

    def mend(self) -> None:
        """Every port that is not to stay away has its link again; a link that was renamed is given its name back."""
        for name in self._names:
            if name in self.absent:
                continue
            aside = f"swp{name.removeprefix('Ethernet')}"
            if self._port(name) is None and self._port(aside) is not None:
                self._kernel.rename(aside, name)
            self.make(name)


_WEIGHTED: tuple[tuple[Change, int], ...] = (
    (Churn._flap, 10),
    (Churn._flap_fast, 4),
    (Churn._toggle_admin, 6),
    (Churn._dip, 4),
    (Churn._set_mtu, 4),
    (Churn._burst, 1),
    (Churn._delete, 2),
    (Churn._make, 4),
    (Churn._make_anew, 3),
    (Churn._rename, 3),
    (Churn._swap, 2),
    (Churn._noise, 2),
    (Churn._toggle_lag, 1),
    (Churn._toggle_sub_interface, 1),
    (Churn._all_at_once, 1),
)
_CHANGES = [change for change, _ in _WEIGHTED]
_WEIGHTS = [weight for _, weight in _WEIGHTED]
