"""Namespaces: isolation, what is set inside, and the unprivileged way in."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from portsyncd.testing.links import Links
from portsyncd.testing.netns import NetworkNamespace

pytestmark = pytest.mark.root


def names() -> set[str]:
    # Not /sys/class/net: it shows the namespace of its mount.
    return {line.partition(":")[0].strip() for line in Path("/proc/thread-self/net/dev").read_text().splitlines()[2:]}


def test_a_thread_is_inside_until_the_block_ends() -> None:
    outside = os.readlink("/proc/thread-self/ns/net")
    with NetworkNamespace() as namespace:
        assert os.readlink("/proc/thread-self/ns/net") == outside
        with namespace.enter():
            assert os.readlink("/proc/thread-self/ns/net") != outside
            assert names() == {"lo"}
        assert os.readlink("/proc/thread-self/ns/net") == outside


def test_leaves_also_when_the_block_raises() -> None:
    outside = os.readlink("/proc/thread-self/ns/net")
    with NetworkNamespace() as namespace:
        with pytest.raises(ZeroDivisionError), namespace.enter():
            raise ZeroDivisionError
        assert os.readlink("/proc/thread-self/ns/net") == outside


def test_other_threads_stay_outside() -> None:
    outside = os.readlink("/proc/thread-self/ns/net")
    seen: list[str] = []
    with NetworkNamespace() as namespace, namespace.enter():
        thread = threading.Thread(target=lambda: seen.append(os.readlink("/proc/thread-self/ns/net")))
        thread.start()
        thread.join()
        inside = os.readlink("/proc/thread-self/ns/net")
    # A thread inherits its maker's namespace, which is how a child process gets there too.
    assert seen == [inside]
    assert os.readlink("/proc/thread-self/ns/net") == outside


def test_lo_is_up_and_new_links_have_no_ipv6() -> None:
    with NetworkNamespace() as namespace, Links(namespace) as links:
        links.add_port("d0")
        links.set("d0", up=True)
        links.carrier("d0", up=True)
        assert links.states(("lo",))["lo"].admin_up
        assert namespace.run(["cat", "/proc/net/if_inet6"], check=False).stdout.count("d0") == 0
        assert namespace.run(["cat", "/proc/sys/net/ipv6/conf/d0/disable_ipv6"], check=False).stdout in ("1\n", "")


def test_two_namespaces_do_not_see_each_other() -> None:
    with NetworkNamespace() as one, NetworkNamespace() as other, Links(one) as links:
        links.add_port("d0")
        with one.enter():
            assert names() == {"lo", "d0", "pd0"}
        with other.enter():
            assert names() == {"lo"}


def test_a_child_runs_inside() -> None:
    with NetworkNamespace() as namespace:
        with namespace.enter():
            inside = os.readlink("/proc/thread-self/ns/net")
        child = namespace.popen(["readlink", "/proc/self/ns/net"], stdout=subprocess.PIPE, text=True)
        assert child.communicate()[0].strip() == inside


def test_close_can_be_repeated() -> None:
    namespace = NetworkNamespace()
    namespace.close()
    namespace.close()
    assert namespace.fd == -1


USER_NAMESPACE = """
import os, threading
from portsyncd.errors import NoPermissionError
from portsyncd.testing.links import Links
from portsyncd.testing.netns import NetworkNamespace, enter_user_namespace
if {threaded}:
    threading.Thread(target=threading.Event().wait, daemon=True).start()
try:
    enter_user_namespace()
except NoPermissionError as error:
    print("refused:", error)
else:
    with NetworkNamespace() as namespace, Links(namespace) as links:
        links.add_port("d0")
    print("root inside:", os.geteuid())
"""


def in_user_namespace(*, threaded: bool) -> str:
    source = str(Path(__file__).parents[2] / "src")
    # Without the capabilities of root and as another user, as someone who runs the demo.
    stranger = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all")
    child = subprocess.run(
        [*stranger, sys.executable, "-c", USER_NAMESPACE.format(threaded=threaded)],
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=False,
    )
    return child.stdout + child.stderr


def test_without_root_a_user_namespace_serves_as_well() -> None:
    said = in_user_namespace(threaded=False)
    # A system may forbid it; then the message has to say so and what to do.
    assert said == "root inside: 0\n" or ("refused:" in said and "run as root" in said)


def test_a_user_namespace_needs_a_single_thread() -> None:
    assert "more than one thread" in in_user_namespace(threaded=True)
