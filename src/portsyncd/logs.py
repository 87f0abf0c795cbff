"""The log: structlog, set up once for the process, with a level that can change at any time.

A line goes out at once, to the stream's file descriptor. Logging never raises, and waits for nobody: a log that cannot
be written, or whose reader does not keep up, must not hold up the port sync. Lines that were lost are counted and reported
when writing works again.

``get_logger`` may be called before ``configure``; every logger follows the latest ``configure`` and ``set_level``.
"""

import errno
import json
import os
import re
import select
import sys
import traceback
from collections.abc import Iterator, Mapping
from types import MappingProxyType, ModuleType
from typing import Any, Final, TextIO, cast

from portsyncd.text import escape

# structlog imports rich where it finds it, for tracebacks in colour: 4 MB and 45 ms for what a daemon never shows.
_modules = cast("dict[str, ModuleType | None]", sys.modules)
_hide_rich = "rich" not in _modules
if _hide_rich:
    _modules["rich"] = None
try:
    import structlog
finally:
    if _hide_rich:
        del _modules["rich"]

# The name of each level, its rank, and its syslog priority (sd-daemon(3)).
LEVELS: Final = MappingProxyType({"debug": 10, "info": 20, "notice": 25, "warning": 30, "error": 40})
_PRIORITIES: Final = MappingProxyType({"debug": 7, "info": 6, "notice": 5, "warning": 4, "error": 3})
_COLOURS: Final = MappingProxyType({"debug": "2", "info": "32", "notice": "36", "warning": "33", "error": "31;1"})
_DEBUG, _INFO, _NOTICE, _WARNING, _ = LEVELS.values()

# LOGLEVEL in CONFIG_DB's LOGGER table, as swss-common's logger names them.
_SONIC_LEVELS: Final = MappingProxyType(
    {
        "EMERG": "error",
        "ALERT": "error",
        "CRIT": "error",
        "ERROR": "error",
        "WARN": "warning",
        "NOTICE": "notice",
        "INFO": "info",
        "DEBUG": "debug",
    }
)

_Fields = structlog.typing.EventDict
# Who reads the log is given so long to make room, once: in a burst of lines it may need it.
_PATIENCE_MS = 20
# Where poll(2) says that a pipe or a stream socket can be written, so many bytes do not block (pipe(7), PIPE_BUF).
_BYTES_AT_ONCE = 4096

# What can stand in a line without quotes.
_PLAIN = re.compile(r"[\w./:@+,%()\[\]-]+", re.ASCII)


class _Output:
    """Where lines go, and from which level on. One for the process, as there is one log."""

    def __init__(self) -> None:
        self.threshold = _INFO
        self.stream: TextIO | None = None
        self.lost = 0
        # The last line went out in part.
        self.torn = False

    def write(self, line: str) -> None:
        # Looked up per line: None means standard error, which tests and shells exchange under our feet.
        stream = self.stream or sys.stderr
        try:
            self._write(stream, line + "\n")
        except (OSError, ValueError):
            # Closed (ValueError), broken pipe, full disk, a reader that does not keep up: nothing that we could say
            # to anybody, and no reason to stop.
            self.lost += 1
        else:
            self.lost = 0

    def _write(self, stream: TextIO | None, text: str) -> None:
        """Write past the stream's buffer where it has a file: a buffer keeps what failed, and fails again at exit."""
        if stream is None:
            return
        try:
            descriptor = stream.fileno()
        except (OSError, AttributeError):
            stream.write(text)
            stream.flush()
            return
        data = text.encode("utf-8", "backslashreplace")
        if self.torn:
            data = b"\n" + data
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        while data:
            if not poll.poll(0 if self.lost else _PATIENCE_MS):
                raise BlockingIOError(errno.EAGAIN, "nobody reads the log")
            data = data[os.write(descriptor, data[:_BYTES_AT_ONCE]) :]
            self.torn = bool(data)


_output = _Output()


class Logger(structlog.BoundLoggerBase):
    """What the rest of the house logs with: an event in plain words, and its facts as keywords.

    A call below the level costs one comparison. ``exc_info=error`` adds what went wrong: one line, or the whole
    traceback when the level is debug.
    """

    def debug(self, event: str, /, **fields: object) -> None:
        if _output.threshold <= _DEBUG:
            self._emit("debug", event, fields)

    def info(self, event: str, /, **fields: object) -> None:
        if _output.threshold <= _INFO:
            self._emit("info", event, fields)

    def notice(self, event: str, /, **fields: object) -> None:
        if _output.threshold <= _NOTICE:
            self._emit("notice", event, fields)

    def warning(self, event: str, /, **fields: object) -> None:
        if _output.threshold <= _WARNING:
            self._emit("warning", event, fields)

    def error(self, event: str, /, **fields: object) -> None:
        # No level lies above: errors are always written.
        self._emit("error", event, fields)

    def _emit(self, level: str, event: str, fields: dict[str, object]) -> None:
        # Asked for anew, so that loggers made before `configure` and tests that capture logs are served too.
        self._processors = structlog.get_config()["processors"]
        try:
            (line,), _ = self._process_event(level, event, fields)
        except structlog.DropEvent:
            return
        lost = _output.lost
        _output.write(line)
        if lost and not _output.lost:
            get_logger().warning("log lines before this one were lost", lines=lost)


def get_logger(**fields: object) -> Logger:
    """A logger whose lines all carry ``fields``."""
    return Logger(None, (), dict(fields))


def configure(level: str, form: str, stream: TextIO | None, environ: Mapping[str, str]) -> None:
    """Set level, form of the lines and stream (None: standard error, whatever that is at the time).

    form ``auto``: under systemd (JOURNAL_STREAM) priority prefixes and no time, since the journal has its own; on a
    terminal colours; else plain text. ``text`` is plain text always, ``json`` one object a line.
    """
    set_level(level)
    _output.stream, _output.lost = stream, 0
    terminal = _is_terminal(stream or sys.stderr)
    renderers: list[structlog.typing.Processor]
    if form == "json":
        renderers = [structlog.processors.TimeStamper(fmt="iso"), _render_json]
    elif form == "auto" and "JOURNAL_STREAM" in environ and not terminal:
        renderers = [_render_journal]
    elif form == "auto" and terminal and not environ.get("NO_COLOR") and environ.get("TERM", "dumb") != "dumb":
        renderers = [structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False), _render_colours]
    else:
        renderers = [structlog.processors.TimeStamper(fmt="iso"), _render_text]
    processors = [_mask_secrets, structlog.processors.add_log_level, _explain_exception, *renderers]
    structlog.configure(processors=processors, wrapper_class=Logger)


def set_level(name: str) -> None:
    """Change the level of all loggers at once. Raises ``KeyError`` for a name that is not in ``LEVELS``."""
    _output.threshold = LEVELS[name]


def is_enabled(name: str) -> bool:
    """Whether lines of this level are written: for what is costly to put together."""
    return _output.threshold <= LEVELS[name]


def level_of_sonic(text: str) -> str | None:
    """The level that stands for a LOGLEVEL of SONiC's LOGGER table; None if it is none of swss-common's."""
    return _SONIC_LEVELS.get(text.strip().upper())


class Announcer:
    """Remembers what was said last about each topic, so that a lasting trouble is told once and not per event."""

    def __init__(self) -> None:
        self._states: dict[str, object] = {}

    def changed(self, topic: str, state: object) -> bool:
        """Whether ``state`` differs from the last one of this topic. None: nothing to report, as at first."""
        if self._states.get(topic) == state:
            return False
        if state is None:
            del self._states[topic]
        else:
            self._states[topic] = state
        return True


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False  # closed


def _mask_secrets(_logger: object, _name: str, fields: _Fields) -> _Fields:
    for key in fields:
        if key.lower().startswith("password"):
            fields[key] = "***"
    return fields


def _explain_exception(_logger: object, _name: str, fields: _Fields) -> _Fields:
    given = fields.pop("exc_info", None)
    error = given if isinstance(given, BaseException) else sys.exc_info()[1] if given else None
    if error is None:
        return fields
    if _output.threshold <= _DEBUG:
        fields["traceback"] = "".join(traceback.format_exception(error)).rstrip()
    else:
        fields.setdefault("error", "; ".join(_leaves(error)))
    return fields


def _leaves(error: BaseException) -> Iterator[str]:
    """One phrase per exception, those within groups each for itself."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _render_json(_logger: object, _name: str, fields: _Fields) -> str:
    ordered = {key: fields.pop(key) for key in ("timestamp", "level", "event")}
    ordered.update(fields)
    try:
        return json.dumps(ordered, default=repr, allow_nan=False)
    except (ValueError, TypeError):
        # NaN, a circle, or keys that JSON does not know: one line of JSON all the same.
        return json.dumps({key: repr(value) for key, value in ordered.items()})


def _render_journal(_logger: object, _name: str, fields: _Fields) -> str:
    priority = f"<{_PRIORITIES[fields.pop('level')]}>"
    # The journal takes each line for a message of its own.
    return "\n".join(priority + line for line in _lines(fields))


def _render_text(_logger: object, _name: str, fields: _Fields) -> str:
    head = f"{fields.pop('timestamp')} {fields.pop('level')} "
    return head + "\n".join(_lines(fields))


def _render_colours(_logger: object, _name: str, fields: _Fields) -> str:
    level = fields.pop("level")
    head = f"\x1b[2m{fields.pop('timestamp')}\x1b[0m \x1b[{_COLOURS[level]}m{level:<7}\x1b[0m "
    return head + "\n".join(_lines(fields, key="\x1b[2m{}=\x1b[0m"))


def _lines(fields: Mapping[str, Any], *, key: str = "{}=") -> Iterator[str]:
    """The event with its facts as key=value, then the lines of a traceback."""
    facts = [key.format(name) + _quote(value) for name, value in fields.items() if name not in ("event", "traceback")]
    yield " ".join([escape(str(fields["event"])), *facts])
    for line in str(fields.get("traceback", "")).splitlines():
        yield f"  {escape(line)}"


def _quote(value: object) -> str:
    text = str(round(value, 6) if isinstance(value, float) else value)
    return text if _PLAIN.fullmatch(text) else f'"{escape(text, quote=True)}"'
