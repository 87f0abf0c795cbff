"""``portsyncd analytics``: what the history says, whether or not the daemon runs."""

import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from portsyncd.cli import render
from portsyncd.config import DEFAULT_FILE, load
from portsyncd.errors import EXIT_OK, EXIT_UNEXPECTED, FileError

_UNITS: Final[Mapping[str, float]] = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
# A number of more digits is none of years that anybody means.
_SPAN: Final = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)([smhdw])")

_EPILOG: Final = """\b
Examples:
  portsyncd analytics                    the last 24 hours, as in /health
  portsyncd analytics --since 7d         the last week
  portsyncd analytics --json | jq .analysis.flapping
  portsyncd analytics --storage copied/  the history of another switch
\b
Without a history nothing can be said: exit code 1. The daemon keeps one
in metrics.storage_path, unless that is empty.
"""


def _span(ctx: click.Context, param: click.Parameter, value: str) -> float:
    """A number and a unit, as seconds."""
    match = _SPAN.fullmatch(value)
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if seconds <= 0:
        raise click.BadParameter(
            f"{value!r} is no span of time: a number above 0 and one of s, m, h, d, w (seconds, minutes, hours, days, "
            "weeks), as in 90s, 30m, 24h, 7d or 2w.",
            ctx,
            param,
        )
    return seconds


@click.command(epilog=_EPILOG)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with all flapping ports.")
@click.option(
    "--since",
    "span",
    metavar="SPAN",
    callback=_span,
    default="24h",
    show_default=True,
    help="How far back: 90s, 30m, 7d, 2w.",
)
@click.option("--config", metavar="FILE", help=f"Configuration that names the folder, instead of {DEFAULT_FILE}.")
@click.option(
    "--storage", metavar="DIR", type=click.Path(path_type=Path), help="Folder of the history; no configuration is read."
)
def analytics(*, as_json: bool, span: float, config: str | None, storage: Path | None) -> int:
    """Say what the history of this switch tells.

    Starts and how they ended, rates and their limits, trends, anomalies, flapping ports. The daemon need not run; while
    it does, it is not disturbed. What each figure means is in docs/analytics.md.
    """
    if storage is not None and config is not None:
        raise click.UsageError("--storage and --config exclude each other: both say where the history is.")
    named = load(config, os.environ, {}).metrics.storage_path if storage is None else str(storage)
    if not named:
        return _nothing("metrics.storage_path is empty: the daemon keeps no history.")
    from portsyncd.analytics.analysis import analyze, document
    from portsyncd.cli import analytics_report
    from portsyncd.daemon import read_history

    folder, now = Path(named), datetime.now(UTC).timestamp()
    try:
        history = read_history(folder, max(0.0, now - span), now)
    except FileError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        return _nothing(
            f"there is no history in {folder}. `portsyncd run` makes one in metrics.storage_path (portsyncd check-config "
            "shows which folder that is); --storage names another."
        )
    analysis = analyze(history, now)
    if as_json:
        click.echo(render.json_text({"storage": str(folder), "window_seconds": span, "analysis": document(analysis)}))
    else:
        click.echo(analytics_report.text(analysis, str(folder)))
    return EXIT_OK


def _nothing(why: str) -> int:
    click.echo(f"portsyncd: {why}", err=True)
    return EXIT_UNEXPECTED
