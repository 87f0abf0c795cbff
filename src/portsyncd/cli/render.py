"""What the commands print: values in, text or JSON out."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from types import MappingProxyType
from typing import Any, Final

from portsyncd import errors, toml
from portsyncd.config import Config, sections
from portsyncd.text import escape
from portsyncd.wire.database_config import Database

_NO_FILES: Final[Mapping[str, Sequence[str]]] = MappingProxyType({})


def config_text(
    config: Config, databases: Mapping[str, Database], *, source: str, files: Mapping[str, Sequence[str]] = _NO_FILES
) -> str:
    """The effective configuration as a TOML file whose comments say where each value comes from.

    Defaults are comments as a whole: a key that stands in the file may mean more than its value (``redis_host`` that
    is set wins over SONiC's own files). files: why those that it names (certificates, password_file) would be refused here.
    """
    lines = [
        f"# {source}",
        "# The configuration is correct. `portsyncd run` uses this; what is commented out is default.",
    ]
    for section in sections():
        values = getattr(config, section)
        lines += ["", f"[{section}]"]
        for key in fields(values):
            origin = config.given.get(f"{section}.{key.name}")
            line = f"{key.name} = {toml.show(getattr(values, key.name))}"
            lines.append(f"{line}  # {origin}" if origin else f"# {line}")
    lines += ["", "# Where the databases are, by this and by SONiC's own files:"]
    for name, each in databases.items():
        lines.append(f'#   {name:<9}  number {each.number}, separator "{each.separator}", at {each.endpoint}')
    refused = [problem for problems in files.values() for problem in problems]
    if refused:
        lines += ["", "# With the files as they are on this machine, it would not start:"]
        lines += [f"#   {problem}" for problem in refused]
    return "\n".join(map(escape, lines))


def config_json(
    config: Config, databases: Mapping[str, Database], *, source: str, files: Mapping[str, Sequence[str]] = _NO_FILES
) -> str:
    """The same for programs: ``config.<section>.<key>`` holds ``value`` and ``from``."""
    document = {
        "ok": True,
        "source": source,
        "config": {
            section: {
                key.name: {
                    "value": getattr(getattr(config, section), key.name),
                    "from": config.given.get(f"{section}.{key.name}", "default"),
                }
                for key in fields(kind)
            }
            for section, kind in sections().items()
        },
        "databases": {
            name: {"endpoint": str(each.endpoint), "number": each.number, "separator": each.separator}
            for name, each in databases.items()
        },
        **{name: {"ok": not problems, "problems": problems} for name, problems in files.items()},
    }
    return json_text(document)


def problems_json(error: errors.ConfigError) -> str:
    """The answer to a wrong configuration, for programs."""
    return json_text({"ok": False, "problems": error.problems})


def failure(error: errors.PortsyncdError) -> str:
    """An error for the operator: what happened, what it means, what to do."""
    if not isinstance(error, errors.ConfigError):
        return f"portsyncd: {escape(str(error))}"
    count = "a problem" if len(error.problems) == 1 else f"{len(error.problems)} problems"
    return "\n".join(
        [
            f"portsyncd: the configuration has {count}, so nothing was started.",
            *(f"  {escape(problem)}" for problem in error.problems),
            "Correct this, then try it with: portsyncd check-config",
        ]
    )


def json_text(document: Any) -> str:
    """JSON for people and programs alike; what JSON does not know (an endpoint) is written as its text."""
    return json.dumps(document, indent=2, default=str)


def columns(rows: Mapping[Any, str], width: int) -> str:
    """A line each for a help text, which holds 80 columns: what, then its meaning from column ``width`` + 3 on."""
    return "\n".join(f"  {what:<{width}} {meaning}" for what, meaning in rows.items())
