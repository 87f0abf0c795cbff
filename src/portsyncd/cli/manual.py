"""The manual page: ``python -m portsyncd.cli.manual`` prints portsyncd(8), in the macros of man(7).

It is made from the command tree, the keys, and ``facts.py``. Its date is that of SOURCE_DATE_EPOCH, where a packager
sets that, so that the same source gives the same page.
"""

import inspect
import os
import sys
import textwrap
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Final

import click

from portsyncd import __version__, rules, toml
from portsyncd.cli import facts
from portsyncd.cli.main import cli
from portsyncd.config import DEFAULT_FILE, ENVIRONMENT_PREFIX, keys, sections

# What roff takes for its own, or sets as a sign that a shell would not understand.
_ESCAPES: Final = str.maketrans(
    {"\\": r"\(rs", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti", '"': r"\(dq"}
)
# Of the page's source: mandoc -Tlint wants no text line beyond 80 bytes.
_COLUMNS: Final = 76

_DESCRIPTION: Final = """\
portsyncd announces the ports of CONFIG_DB to orchagent by way of APPL_DB, listens to the link events of the kernel,
and keeps PORT_TABLE of STATE_DB true to the links. Where events were lost, or Redis was away, it reads all links anew
and puts right what differs. Metrics and health are served over mutual TLS 1.3.

Without a command `run` is meant, and its options may be given.
"""
_CONFIGURATION: Final = f"""\
Flags win over the environment, the environment over the file, the file over the defaults. The file is TOML; the
default one, `{DEFAULT_FILE}`, need not exist. Every key is also the variable
`{ENVIRONMENT_PREFIX}<SECTION>_<KEY>`, in which a list is written with commas. In paths `~` and `$VAR` are expanded.

An unknown key, a wrong type and a value out of range are errors. All of them are reported at once, with file and
line, and nothing starts. `portsyncd check-config` shows what would be used. `portsyncd config-example` prints a
file with every key, and with why one would change it.
"""
_SYSTEMD: Final = """\
The service is one of Type=notify: `systemctl start` returns once the first sync is over. Until then the daemon
asks for more time, so that a start does not fail because Redis is late. `systemctl status` shows in one line how
many ports are in sync and which ones are awaited.

The watchdog (WatchdogSec) is fed only while link events move or there are none: a daemon that hangs is killed, and
started anew. A Redis that is away is no reason for that. See `health.enable_watchdog` and
`health.watchdog_interval_secs`.

`systemctl reload` sends SIGHUP, and returns when the log level and the certificates are in force, or were refused;
the log says which.

Where FileDescriptorStoreMax is 1 or more, the socket for link events outlives the process, and no event is lost over
a restart.

Exit codes 64, 77 and 78 mean that another start would end in the same way: they belong into
RestartPreventExitStatus.
"""
_SEE_ALSO: Final = {"journalctl": 1, "systemctl": 1, "systemd.service": 5, "rtnetlink": 7, "ip-link": 8}


def page(today: date) -> str:
    """The whole page. today: the date that it bears."""
    lines = [
        f'.TH PORTSYNCD 8 {today.isoformat()} "portsyncd {__version__}" "System administration"',
        # No hyphens in paths and names, no wide gaps.
        ".nh",
        ".ad l",
        ".SH NAME",
        rf"portsyncd \- {_escape('keeps Redis of a SONiC switch true to the links of its kernel')}",
        ".SH SYNOPSIS",
    ]
    usages = [_line(_usage(each)) for each in _contexts(cli) if not isinstance(each.command, click.Group)]
    lines += ["\n.br\n".join(usages), ".SH DESCRIPTION", *_paragraphs(_DESCRIPTION), ".SH COMMANDS"]
    for context in _contexts(cli):
        lines += _command(context)
    lines += [".SH CONFIGURATION", *_paragraphs(_CONFIGURATION), *_keys()]
    lines += [".SH ENVIRONMENT", *_table(facts.ENVIRONMENT)]
    lines += [".SH SIGNALS", *_table(facts.SIGNALS)]
    lines += [".SH FILES", *_table(_files())]
    lines += [".SH EXIT STATUS", *_table({str(code): meaning for code, meaning in facts.EXIT_CODES.items()})]
    lines += [".SH SYSTEMD", *_paragraphs(_SYSTEMD)]
    lines += [".SH EXAMPLES", *_table(facts.EXAMPLES)]
    lines += [".SH SEE ALSO", *_text(", ".join(f"`{name}`({number})" for name, number in _SEE_ALSO.items()))]
    return "\n".join(lines) + "\n"


def _contexts(group: click.Group, parent: click.Context | None = None) -> Iterator[click.Context]:
    """A context of each command below this group, in the order of their names."""
    # With its settings: a command keeps the help option of the first context that asks for it.
    here = click.Context(group, parent, group.name if parent else "portsyncd", **group.context_settings)
    for name, command in sorted(group.commands.items()):
        yield click.Context(command, here, name)
        if isinstance(command, click.Group):
            yield from _contexts(command, here)


def _usage(context: click.Context) -> str:
    return " ".join((f"`{context.command_path}`", *context.command.collect_usage_pieces(context)))


def _command(context: click.Context) -> Iterator[str]:
    command = context.command
    yield f".SS {_inline(_usage(context))}"
    yield from _paragraphs(command.help or "")
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if record is not None and isinstance(parameter, click.Option):
            yield from _table(dict([record]))
    if command.epilog:
        # All of it keeps its lines; click's mark for that stands before each block.
        yield from (".PP", ".nf", *map(_line, command.epilog.replace("\b\n", "\n").strip().split("\n")), ".fi")


def _keys() -> Iterator[str]:
    for name, section in sections().items():
        yield f".SS {_escape(f'[{name}]')}"
        yield from _paragraphs(section.__doc__ or "")
        for key in keys(section):
            meaning = f"{key.meaning}. Allowed: {key.rule.allowed}."
            yield from _table({f"{key.name} = {toml.show(key.default)}": meaning})


def _files() -> Mapping[str, str]:
    """The files and folders that are used by default."""
    found = {DEFAULT_FILE: "the configuration"}
    for name, section in sections().items():
        for key in keys(section):
            if isinstance(key.rule, rules.Path) and key.default:
                found[key.default] = f"`{name}.{key.name}`: {key.meaning}"
    return found


def _paragraphs(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(inspect.cleandoc(text).split("\n\n")):
        if number:
            yield ".PP"
        yield from _text(paragraph)


def _table(rows: Mapping[str, str]) -> Iterator[str]:
    for tag, meaning in rows.items():
        yield from (".TP", _line(f"`{tag}`"), *_text(meaning))


def _text(text: str) -> Iterator[str]:
    """Lines to be filled; what stands in `backquotes` becomes bold."""
    filled = textwrap.wrap(_inline(text), _COLUMNS, break_long_words=False, break_on_hyphens=False)
    return map(_guard, filled)


def _line(text: str) -> str:
    """One line, as it is."""
    return _guard(_inline(text))


def _guard(line: str) -> str:
    """What begins with a dot would be a request to roff."""
    return rf"\&{line}" if line.startswith(".") else line


def _inline(text: str) -> str:
    parts = text.split("`")
    return "".join(rf"\fB{_escape(part)}\fR" if number % 2 else _escape(part) for number, part in enumerate(parts))


def _escape(text: str) -> str:
    return text.translate(_ESCAPES)


def _today(environ: Mapping[str, str]) -> date:
    seconds = environ.get("SOURCE_DATE_EPOCH")
    return datetime.fromtimestamp(int(seconds), UTC).date() if seconds else datetime.now(UTC).date()


if __name__ == "__main__":
    sys.stdout.write(page(_today(os.environ)))
