"""Raw requests in batches: the kernel must have done what they say, and say so when it refuses."""

import errno
from collections.abc import Iterator

import pytest

from portsyncd.testing import burst
from portsyncd.testing.burst import Burst
from portsyncd.testing.links import Links, LinkState
from portsyncd.testing.netns import NetworkNamespace

pytestmark = pytest.mark.root


@pytest.fixture
def namespace() -> Iterator[NetworkNamespace]:
    with NetworkNamespace() as namespace:
        yield namespace


def test_each_request_does_what_it_says(namespace: NetworkNamespace) -> None:
    with Links(namespace) as links, Burst(namespace) as kernel:
        kernel.send([burst.add_port("Ethernet0"), burst.add_port("Ethernet4"), burst.add_port("Ethernet8")])
        first, second, third = (links.index(name) for name in ("Ethernet0", "Ethernet4", "Ethernet8"))
        kernel.send([burst.set_admin(first, True), burst.set_mtu(first, 9000), burst.rename(second, "eth4")])
        kernel.send([burst.delete(third)])
        assert links.states(("Ethernet", "eth")) == {
            "Ethernet0": LinkState(oper_up=False, admin_up=True, mtu=9000),
            "eth4": LinkState(oper_up=False, admin_up=False, mtu=1500),
        }
        assert links.index("pEthernet0")


def test_flips_end_where_they_say(namespace: NetworkNamespace) -> None:
    with Links(namespace) as links, Burst(namespace) as kernel:
        ports = [links.add_port("Ethernet0"), links.add_port("Ethernet4")]
        assert kernel.send(burst.mtu_flips(ports, 1000)) == 1000
        assert [state.mtu for state in links.states().values()] == [1500, 1500]
        kernel.send(burst.mtu_flips(ports, 2))
        assert [state.mtu for state in links.states().values()] == [1400, 1400]


def test_a_group_goes_at_once(namespace: NetworkNamespace) -> None:
    with Links(namespace) as links, Burst(namespace) as kernel:
        kernel.send(
            [burst.add_port("Ethernet0", group=7), burst.add_port("Ethernet4"), burst.add_port("Ethernet8", group=7)]
        )
        kernel.send([burst.delete_group(7)])
        assert list(links.states()) == ["Ethernet4"]


def test_a_refusal_is_an_error(namespace: NetworkNamespace) -> None:
    with Burst(namespace) as kernel, pytest.raises(OSError, match="No such device") as refusal:
        kernel.send([burst.set_mtu(4711, 1500)] * 600)
    assert refusal.value.errno == errno.ENODEV
