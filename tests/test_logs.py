"""What log lines look like, who sees them, and that writing them never hurts."""

import io
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from portsyncd import logs

ENVIRON = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1] / "src")}
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"


@pytest.fixture(autouse=True)
def _fresh_log() -> Iterator[None]:
    yield
    logs.configure("info", "auto", None, {})
    structlog.reset_defaults()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def written(form: str, stream: io.StringIO, environ: Mapping[str, str] | None = None, level: str = "info") -> list[str]:
    """What a warning about Ethernet0 looks like."""
    logs.configure(level, form, stream, environ or {})
    logs.get_logger(port="Ethernet0").warning("it waits", seconds=0.1 + 0.2, why="no entry")
    return stream.getvalue().splitlines()


# -- the form of a line


def test_text() -> None:
    (line,) = written("auto", io.StringIO())
    assert re.fullmatch(TIME + r' warning it waits port=Ethernet0 seconds=0\.3 why="no entry"', line)


def test_under_systemd_a_line_has_a_priority_and_no_time() -> None:
    (line,) = written("auto", io.StringIO(), {"JOURNAL_STREAM": "8:1"})
    assert line == '<4>it waits port=Ethernet0 seconds=0.3 why="no entry"'


@pytest.mark.parametrize(
    ("level", "priority"), [("debug", 7), ("info", 6), ("notice", 5), ("warning", 4), ("error", 3)]
)
def test_priorities_are_those_of_syslog(level: str, priority: int) -> None:
    stream = io.StringIO()
    logs.configure("debug", "auto", stream, {"JOURNAL_STREAM": "8:1"})
    getattr(logs.get_logger(), level)("x")
    assert stream.getvalue() == f"<{priority}>x\n"


def test_a_terminal_has_colours() -> None:
    (line,) = written("auto", Terminal(), {"TERM": "xterm", "JOURNAL_STREAM": "8:1"})
    assert "\x1b[33mwarning" in line
    assert re.sub(r"\x1b\[[\d;]*m", "", line)[8:] == ' warning it waits port=Ethernet0 seconds=0.3 why="no entry"'


@pytest.mark.parametrize("environ", [{"TERM": "xterm", "NO_COLOR": "1"}, {"TERM": "dumb"}, {}])
def test_a_terminal_without_colours(environ: Mapping[str, str]) -> None:
    assert "\x1b" not in written("auto", Terminal(), environ)[0]


def test_text_is_text_wherever_it_goes() -> None:
    assert re.match(TIME, written("text", Terminal(), {"TERM": "xterm", "JOURNAL_STREAM": "8:1"})[0])


def test_json() -> None:
    (line,) = written("json", Terminal(), {"TERM": "xterm", "JOURNAL_STREAM": "8:1"})
    record = json.loads(line)
    assert list(record)[:3] == ["timestamp", "level", "event"]
    assert re.fullmatch(TIME, record.pop("timestamp"))
    assert record == {
        "level": "warning",
        "event": "it waits",
        "port": "Ethernet0",
        "seconds": 0.30000000000000004,
        "why": "no entry",
    }


CIRCLE: list[object] = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize("value", [float("nan"), CIRCLE, {(1, 2): 3}, {1, 2}, b"\xff", "\udcff", ValueError("x")])
def test_whatever_is_logged_as_json_is_json(value: object) -> None:
    stream = io.StringIO()
    logs.configure("info", "json", stream, {})
    logs.get_logger().info("x", value=value)
    assert "value" in json.loads(stream.getvalue(), parse_constant=pytest.fail)


@pytest.mark.parametrize("form", ["text", "json"])
@given(event=st.text(st.characters()), value=st.text(st.characters()))
def test_any_text_stays_within_its_line(form: str, event: str, value: str) -> None:
    stream = io.StringIO(newline="")
    logs.configure("info", form, stream, {})
    logs.get_logger().info(event, value=value)
    line = stream.getvalue()
    assert line.endswith("\n")
    assert line[:-1].isprintable()


def test_quotes_within_a_value_are_marked() -> None:
    stream = io.StringIO()
    logs.configure("info", "text", stream, {})
    logs.get_logger().info("x", a='b" c="\\', empty="")
    assert stream.getvalue().endswith(' x a="b\\" c=\\"\\\\" empty=""\n')


@pytest.mark.parametrize("form", ["text", "json"])
def test_passwords_are_masked(form: str) -> None:
    stream = io.StringIO()
    logs.configure("info", form, stream, {})
    logs.get_logger(password="hunter2").info("x", Password_new="hunter2")
    assert "hunter2" not in stream.getvalue()
    assert stream.getvalue().count("***") == 2


# -- errors


def fail(error: Exception) -> None:
    raise error


def raised(error: Exception) -> Exception:
    try:
        fail(error)
    except Exception as caught:  # noqa: BLE001 (whatever the test raises)
        return caught
    return error


GROUP = ExceptionGroup("several", [OSError("disk"), ExceptionGroup("inner", [KeyError("k"), ValueError()])])


@pytest.mark.parametrize(
    ("error", "told"), [(OSError("disk"), "OSError: disk"), (GROUP, "OSError: disk; KeyError: 'k'; ValueError")]
)
def test_an_error_is_one_line(error: Exception, told: str) -> None:
    stream = io.StringIO()
    logs.configure("info", "text", stream, {})
    logs.get_logger().error("it broke", exc_info=raised(error))
    assert stream.getvalue().endswith(f' error it broke error="{told}"\n')


@pytest.mark.parametrize(
    ("environ", "start"), [({}, "  "), ({"JOURNAL_STREAM": "8:1"}, "<3>  ")], ids=["text", "journal"]
)
def test_a_traceback_is_for_debugging(environ: Mapping[str, str], start: str) -> None:
    stream = io.StringIO()
    logs.configure("debug", "auto", stream, environ)
    logs.get_logger().error("it broke", exc_info=raised(OSError("disk")))
    _, *traceback = stream.getvalue().splitlines()
    assert traceback[0] == f"{start}Traceback (most recent call last):"
    assert traceback[-1] == f"{start}OSError: disk"


def test_the_error_that_is_being_handled() -> None:
    stream = io.StringIO()
    logs.configure("info", "text", stream, {})
    try:
        fail(OSError("disk"))
    except OSError:
        logs.get_logger().error("it broke", exc_info=True)
    logs.get_logger().error("it broke", exc_info=True)
    first, second = stream.getvalue().splitlines()
    assert first.endswith('error="OSError: disk"')
    assert second.endswith("it broke")


# -- levels


@pytest.mark.parametrize("level", logs.LEVELS)
def test_a_level_lets_through_itself_and_what_is_more_urgent(level: str) -> None:
    stream = io.StringIO()
    logs.configure(level, "auto", stream, {"JOURNAL_STREAM": "8:1"})
    for each in logs.LEVELS:
        getattr(logs.get_logger(), each)(each)
    names = list(logs.LEVELS)
    assert [line[3:] for line in stream.getvalue().splitlines()] == names[names.index(level) :]
    assert [name for name in names if logs.is_enabled(name)] == names[names.index(level) :]


def test_all_loggers_follow_a_change_of_the_level() -> None:
    old, stream = logs.get_logger(), io.StringIO()
    logs.configure("error", "auto", stream, {"JOURNAL_STREAM": "8:1"})
    bound = logs.get_logger().bind(port="Ethernet0")
    for level in ("error", "debug", "notice"):
        logs.set_level(level)
        for log in (old, bound):
            log.debug(level)
    assert stream.getvalue() == "<7>debug\n<7>debug port=Ethernet0\n"


def test_an_unknown_level_changes_nothing() -> None:
    logs.configure("error", "text", io.StringIO(), {})
    with pytest.raises(KeyError):
        logs.set_level("loud")
    assert not logs.is_enabled("warning")


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("EMERG", "error"),
        ("ALERT", "error"),
        ("CRIT", "error"),
        ("ERROR", "error"),
        ("WARN", "warning"),
        ("NOTICE", "notice"),
        ("INFO", "info"),
        ("DEBUG", "debug"),
        (" debug\n", "debug"),
        ("WARNING", None),
        ("", None),
    ],
)
def test_levels_of_sonic(text: str, level: str | None) -> None:
    assert logs.level_of_sonic(text) == level


# -- streams


def test_before_it_is_configured_the_log_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    logs.get_logger().warning("too early", port="Ethernet0")
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "too early" in err


def test_tests_can_capture_what_is_logged() -> None:
    with structlog.testing.capture_logs() as records:
        logs.get_logger(port="Ethernet0").warning("it waits")
    assert records == [{"port": "Ethernet0", "event": "it waits", "log_level": "warning"}]


class Full(io.StringIO):
    """A disk that is full until ``room`` is set."""

    room = False

    def write(self, text: str) -> int:
        if not self.room:
            raise OSError(28, "No space left on device")
        return super().write(text)


def test_lost_lines_are_counted_and_told_when_there_is_room_again() -> None:
    stream = Full()
    logs.configure("info", "auto", stream, {"JOURNAL_STREAM": "8:1"})
    for event in ("lost", "lost too"):
        logs.get_logger().info(event)
    stream.room = True
    for event in ("here", "there"):
        logs.get_logger().info(event)
    assert stream.getvalue() == "<6>here\n<4>log lines before this one were lost lines=2\n<6>there\n"


def test_a_closed_stream_is_survived() -> None:
    stream = io.StringIO()
    logs.configure("info", "auto", stream, {})
    stream.close()
    logs.get_logger().info("x")
    logs.configure("info", "auto", stream, {})
    logs.get_logger().info("x")


def test_no_standard_error_is_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    logs.configure("info", "auto", None, {})
    logs.get_logger().info("x")


def test_a_broken_pipe_is_survived() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as stream:  # noqa: PTH123 (a descriptor, not a path)
        logs.configure("info", "auto", stream, {})
        logs.get_logger().info("x")


def test_a_reader_that_does_not_keep_up_costs_lines_and_not_the_daemon() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with open(reader, "rb"), open(writer, "w") as stream:  # noqa: PTH123 (descriptors, not paths)
        logs.configure("info", "text", stream, {})
        for _ in range(2000):
            logs.get_logger().info("x" * 100)


def socket_pair() -> Iterator[int]:
    """As the journal's: a stream socket."""
    for end in socket.socketpair():
        yield end.detach()


def read_all(read: io.FileIO) -> bytes:
    found = b""
    while some := read.read(1 << 16):
        found += some
    return found


@pytest.mark.parametrize("connected", [lambda: reversed(os.pipe()), socket_pair])
def test_a_reader_that_does_not_read_holds_nobody_up(connected: Callable[[], Iterable[int]]) -> None:
    writer, reader = connected()
    with open(reader, "rb", buffering=0) as read, open(writer, "w") as stream:  # noqa: PTH123 (descriptors, not paths)
        logs.configure("info", "auto", stream, {"JOURNAL_STREAM": "8:1"})
        # Would wait for ever, somewhere in the midst of a line.
        for number in range(1000):
            logs.get_logger().info(f"{number} " + "x" * 5000)
        os.set_blocking(reader, False)
        before = read_all(read)
        logs.get_logger().info("there")
        lines = (before + read_all(read)).decode().splitlines()
    whole = [line for line in lines if line.endswith("x" * 5000)]
    assert [int(line[3:].split()[0]) for line in whole] == list(range(len(whole)))
    # One was torn, and ends where the next begins.
    assert lines[len(whole) :][-2:] == [
        "<6>there",
        f"<4>log lines before this one were lost lines={1000 - len(whole)}",
    ]
    assert len(lines) - len(whole) in (2, 3)


def test_a_file_gets_each_line_at_once_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("w") as stream:
        logs.configure("info", "auto", stream, {"JOURNAL_STREAM": "8:1"})
        for number in range(3):
            logs.get_logger().info(f"line {number} ä")
            assert path.read_text("utf-8").splitlines()[-1] == f"<6>line {number} ä"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_process_whose_log_is_full_ends_as_if_it_were_not() -> None:
    program = "from portsyncd import logs; logs.configure('info', 'auto', None, {}); logs.get_logger().info('x')"
    with Path("/dev/full").open("w") as full:
        assert subprocess.run([sys.executable, "-c", program], env=ENVIRON, stderr=full, check=False).returncode == 0


def test_the_log_does_without_rich() -> None:
    program = (
        "import sys, portsyncd.logs; print([name for name in sys.modules if name.partition('.')[0] == 'rich']); "
        "import rich"
    )
    ran = subprocess.run([sys.executable, "-c", program], env=ENVIRON, capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


# -- once per change


def test_a_state_is_told_when_it_changes() -> None:
    told = logs.Announcer()
    assert not told.changed("redis", None)
    assert told.changed("redis", "refused")
    assert not told.changed("redis", "refused")
    assert told.changed("redis", "loading")
    assert told.changed("kernel", "loading")
    assert told.changed("redis", None)
    assert not told.changed("redis", None)
    assert told.changed("redis", "loading")
