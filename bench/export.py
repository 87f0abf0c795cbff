"""A scenario about the exported files: how long it takes to write both, and how long that holds the loop."""

import statistics
import tempfile
from pathlib import Path

import trio

from bench import render
from bench.saving import DISK, TIMES, measure
from bench.stand import Setup
from portsyncd.analytics.analysis import Analysis, document
from portsyncd.backends.export import Exporter


def export(_setup: Setup) -> dict[str, float]:
    """Medians of several exports."""
    figures = {}
    for ports in (512, 10_000):
        with tempfile.TemporaryDirectory(dir=DISK) as folder:
            times, waits = trio.run(_export, Path(folder), ports)
        figures[f"export.{ports}"] = 1000 * statistics.median(times)
        figures[f"export.{ports}_held"] = 1000 * statistics.median(waits)
    return figures


async def _export(folder: Path, ports: int) -> tuple[list[float], list[float]]:
    analysis = document(Analysis(1.8e9, 1.8e9 - 86400))
    exporter = Exporter(
        folder, "both", render.filled(ports, process=False), lambda: {"health": {}, "analysis": analysis}, lambda: 1.8e9
    )
    measured = [await measure(exporter.export) for _ in range(TIMES)]
    return [seconds for seconds, _ in measured], [held for _, held in measured]
