"""What a service manager hears of us, and what is taken from it, with a socket in the manager's place."""

import array
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog.testing
from hypothesis import given
from hypothesis import strategies as st

from portsyncd.backends.systemd import Systemd, inherited

PID = 4711
ALL = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        yield manager


def test_the_clock_is_the_kernel_s_own() -> None:
    before = time.clock_gettime(time.CLOCK_MONOTONIC)
    assert before <= Systemd().monotonic_usec() / 1e6 + 1e-6 <= time.clock_gettime(time.CLOCK_MONOTONIC) + 2e-6


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(PID)}, 30.0),
        ({"WATCHDOG_USEC": "500000"}, 0.5),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "me"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "soon", "WATCHDOG_PID": str(PID)}, None),
        ({"WATCHDOG_PID": str(PID)}, None),
        ({}, None),
    ],
)
def test_a_watchdog_is_of_the_process_that_it_is_meant_for(variables: dict[str, str], seconds: float | None) -> None:
    environment = {"OTHER": "stays", **variables}
    assert Systemd.from_environment(environment, PID).watchdog == seconds
    assert environment == {"OTHER": "stays"}


@pytest.fixture
def systemd(manager: socket.socket) -> Systemd:
    return Systemd.from_environment({"NOTIFY_SOCKET": manager.getsockname()}, PID)


def received(manager: socket.socket) -> tuple[str, list[int]]:
    """One message, and the descriptors that came with it."""
    message, ancillary, _, _ = manager.recvmsg(1 << 16, socket.CMSG_SPACE(64))
    descriptors = array.array("i")
    for _, _, data in ancillary:
        descriptors.frombytes(data)
    return message.decode(), descriptors.tolist()


# ---- messages


def test_a_message_is_a_line_per_field(manager: socket.socket, systemd: Systemd) -> None:
    assert systemd.listens
    assert systemd.notify(READY=1, STATUS="two\nlines \udcff \x1b[2J Österreich")
    assert received(manager) == ("READY=1\nSTATUS=two lines ? ?[2J Österreich", [])


def test_an_abstract_address_is_understood() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("")
        address = "@" + os.fsdecode(manager.getsockname()[1:])
        assert Systemd(address).notify(READY=1)
        assert received(manager) == ("READY=1", [])


@pytest.mark.parametrize("address", ["", "@", "relative/path", "vsock:2:1234", "\0odd"])
def test_without_an_address_that_is_one_nothing_is_done(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "relative").mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, structlog.testing.capture_logs() as lines:
        manager.bind("relative/path")
        systemd = Systemd(address)
        assert not systemd.listens
        assert not systemd.notify(READY=1)
        assert not systemd.keep(0, "links")
        systemd.forget("links")
        assert list(systemd.take()) == []
        manager.setblocking(False)
        with pytest.raises(BlockingIOError):
            manager.recv(1)
    assert lines == []


def test_a_manager_that_is_gone_is_told_of_once(manager: socket.socket, systemd: Systemd) -> None:
    manager.close()
    with structlog.testing.capture_logs() as lines:
        assert not systemd.notify(READY=1)
        assert not systemd.keep(0, "links")
        systemd.forget("links")
    assert [(line["log_level"], line["event"]) for line in lines] == [
        ("warning", "the service manager could not be told")
    ]


def test_a_manager_that_does_not_read_is_not_waited_for(manager: socket.socket, systemd: Systemd) -> None:
    # The kernel bounds the queue (net.unix.max_dgram_qlen, and the bytes that wait).
    sent = 0
    while systemd.notify(STATUS="x" * 4000):
        sent += 1
        assert sent < 100_000
    assert sent
    received(manager)
    assert systemd.notify(STATUS="x")


def test_what_the_manager_would_pass_over_is_not_sent(manager: socket.socket, systemd: Systemd) -> None:
    assert systemd.notify(STATUS="x" * (4096 - len("STATUS=")))
    assert not systemd.notify(STATUS="x" * (4097 - len("STATUS=")))
    assert len(received(manager)[0]) == 4096
    with pytest.raises(BlockingIOError):
        received(manager)


# ---- the descriptor store


def test_a_descriptor_is_sent_to_be_kept_and_a_name_to_be_forgotten(manager: socket.socket, systemd: Systemd) -> None:
    mine, other = socket.socketpair()
    with mine, other:
        assert systemd.keep(mine.fileno(), "links-0b4a")
        message, (kept,) = received(manager)
        assert message == "FDSTORE=1\nFDNAME=links-0b4a\nFDPOLL=0"
        assert os.path.sameopenfile(kept, mine.fileno())
        os.close(kept)
    systemd.forget("links-0b4a")
    assert received(manager) == ("FDSTOREREMOVE=1\nFDNAME=links-0b4a", [])


def test_a_closed_descriptor_cannot_be_kept(systemd: Systemd) -> None:
    # A low number would be that of the socket that sends.
    assert not systemd.keep(1_000_000, "links")


@pytest.mark.parametrize("name", ["", "a:b", "a\nb", "ä", "\x7f", "x" * 256])
def test_what_can_be_no_name_is_refused(systemd: Systemd, name: str) -> None:
    with pytest.raises(ValueError, match="no name"):
        systemd.keep(0, name)
    with pytest.raises(ValueError, match="no name"):
        systemd.forget(name)


@pytest.mark.parametrize("name", [" ", "~", "x" * 255, "links-3f1c;/="])
def test_every_other_is_a_name(manager: socket.socket, systemd: Systemd, name: str) -> None:
    systemd.forget(name)
    assert received(manager)[0].endswith(f"\nFDNAME={name}")


# ---- descriptors that are passed

PASSED = """
import os, sys
from portsyncd import logs
from portsyncd.backends.systemd import Systemd
os.environ["LISTEN_PID"] = str(os.getpid())
systemd = Systemd.from_environment(os.environ, os.getpid())
print([(name, number, os.get_inheritable(number)) for name, number in systemd.take()])
print(list(systemd.take()), [name for name in os.environ if name.startswith("LISTEN")])
"""


def passed(open_ones: int, **environment: str) -> list[str]:
    """What a process says that gets so many open descriptors from 3 on."""
    devnull = ";".join(f"exec {3 + number}</dev/null" for number in range(open_ones)) or ":"
    command = ["bash", "-c", f'{devnull}; exec "$@"', "bash", sys.executable, "-c", PASSED]
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        command, env={**os.environ, **environment, "PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_passed_descriptors_are_given_once_and_not_to_children() -> None:
    assert passed(2, LISTEN_FDS="2", LISTEN_FDNAMES="links:other") == [
        "[('links', 3, False), ('other', 4, False)]",
        "[] []",
    ]


def test_without_names_all_are_unknown() -> None:
    assert passed(2, LISTEN_FDS="2")[0] == "[('unknown', 3, False), ('unknown', 4, False)]"


def test_one_that_is_not_there_is_passed_over() -> None:
    assert passed(1, LISTEN_FDS="2", LISTEN_FDNAMES="links:other")[0] == "[('links', 3, False)]"


@pytest.mark.parametrize(
    ("listen_pid", "listen_fds", "names"),
    [
        (str(PID + 1), "1", "links"),
        ("", "1", "links"),
        ("x", "1", "links"),
        (f" {PID}", "1", "links"),
        (str(PID), "", "links"),
        (str(PID), "0", ""),
        (str(PID), "-1", "links"),
        (str(PID), "1x", "links"),
        (str(PID), "1_0", "links"),
        (str(PID), "9" * 5000, "links"),
        (str(PID), "65", ""),
        (str(PID), "1", "links:other"),
        (str(PID), "2", "links"),
        (str(PID), "2", "links:"),
        (str(PID), "1", "li\nnks"),
    ],
)
def test_what_is_not_ours_or_malformed_gives_nothing(
    listen_pid: str, listen_fds: str, names: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.set_inheritable", lambda *_args: pytest.fail("a descriptor was touched"))
    environ = {"LISTEN_PID": listen_pid, "LISTEN_FDS": listen_fds, "LISTEN_FDNAMES": names, "HOME": "/"}
    assert inherited(environ, PID) == []
    assert environ == {"HOME": "/"}


@given(st.fixed_dictionaries({name: st.text(max_size=12) for name in ALL}))
def test_no_value_of_the_variables_does_harm(environ: dict[str, str]) -> None:
    # Nothing can be found that is not open and well named; the process that runs this was not passed any.
    assert inherited(environ, PID) == []
    assert environ == {}
