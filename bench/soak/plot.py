"""A soak as a picture: one panel above the other, over one axis of time."""

import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from bench.soak.run import Outcome
from bench.soak.samples import MB, RECOVERY_SECONDS, Row

_BLUE, _ORANGE, _GREEN, _RED, _GREY = "#1f5a96", "#d9730d", "#2e7d4f", "#c0272d", "#9a9a9a"


def draw(path: Path, outcome: Outcome) -> None:
    """Write the PNG, and make its folder where that is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(10, 11), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    panels: list[Axes] = list(figure.subplots(6, 1, sharex=True, height_ratios=(3, 1.6, 2, 2, 1.6, 1.6)))
    for draw_panel, axes in zip((_memory, _descriptors, _latency, _rates, _cpu, _correctness), panels, strict=True):
        draw_panel(axes, outcome)
        _plain(axes)
    for check in outcome.checks:
        for axes in panels:
            axes.axvline(check.at / 60, color=_GREY, linewidth=0.3, alpha=0.4, zorder=0)
    panels[-1].set_xlabel("minutes of load; a thin line marks each fault and its check")
    figure.align_ylabels(panels)
    panels[-1].set_xlim(0, max(outcome.ended / 60, 0.01))
    plan = outcome.plan
    figure.suptitle(
        f"portsyncd soak: {plan.ports} ports, {plan.rate:,.0f} link changes per second and bursts, "
        f"{len(outcome.checks)} checks",
        fontsize=11,
    )
    figure.savefig(path)


def _memory(axes: Axes, outcome: Outcome) -> None:
    plan, samples = outcome.plan, outcome.samples
    axes.plot(
        [sample.at / 60 for sample in samples], [sample.resident / MB for sample in samples], color=_BLUE, linewidth=1
    )
    axes.axvspan(0, plan.warm_up / 60, color=_GREY, alpha=0.15, linewidth=0, label="warm-up")
    warm = [sample.resident for sample in samples if sample.at >= plan.warm_up]
    if warm:
        limit = (statistics.median(warm[: max(1, len(warm) // 10)]) + plan.max_growth) / MB
        axes.axhline(limit, color=_RED, linewidth=0.8, linestyle="--", label="goal: below")
    axes.set_ylabel("resident, MB")
    _legend(axes)


def _descriptors(axes: Axes, outcome: Outcome) -> None:
    times = [sample.at / 60 for sample in outcome.samples]
    axes.plot(times, [sample.descriptors for sample in outcome.samples], color=_BLUE, linewidth=1, label="descriptors")
    axes.plot(times, [sample.threads for sample in outcome.samples], color=_ORANGE, linewidth=1, label="threads")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("count")
    _legend(axes)


def _latency(axes: Axes, outcome: Outcome) -> None:
    for share, values, colour in (
        ("p50", [row.p50 for row in outcome.rows], _BLUE),
        ("p99", [row.p99 for row in outcome.rows], _ORANGE),
    ):
        # Of a row in which nothing was written there is no latency.
        shown = [math.nan if value is None else value * 1000 for value in values]
        _steps(axes, outcome.rows, shown, colour, share)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set_ylabel("event latency, ms")
    _legend(axes)


def _rates(axes: Axes, outcome: Outcome) -> None:
    _steps(axes, outcome.rows, [row.made for row in outcome.rows], _BLUE, "changes made")
    _steps(axes, outcome.rows, [row.handled for row in outcome.rows], _ORANGE, "events handled")
    axes.axhline(outcome.plan.rate, color=_GREY, linewidth=0.8, linestyle="--", label="steady rate asked for")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("per second")
    _legend(axes)


def _cpu(axes: Axes, outcome: Outcome) -> None:
    _steps(axes, outcome.rows, [row.cpu for row in outcome.rows], _BLUE, "")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("CPU, % of a core")


def _correctness(axes: Axes, outcome: Outcome) -> None:
    good = [check for check in outcome.checks if not check.wrong]
    bad = [check for check in outcome.checks if check.wrong]
    for checks, colour, label in ((good, _GREEN, "no port wrong"), (bad, _RED, "ports wrong")):
        if not checks:
            continue
        recoveries = [check.recovery if math.isfinite(check.recovery) else RECOVERY_SECONDS for check in checks]
        axes.scatter([check.at / 60 for check in checks], recoveries, s=12, color=colour, label=label)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("recovery, s")
    _legend(axes)


def _steps(axes: Axes, rows: Sequence[Row], values: Sequence[float], colour: str, label: str) -> None:
    if rows:
        edges = [rows[0].start / 60, *(row.end / 60 for row in rows)]
        axes.stairs(values, edges, baseline=None, color=colour, linewidth=1.2, label=label)


def _legend(axes: Axes) -> None:
    """Beside the panel: inside it hides what is drawn there."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8, frameon=False)


def _plain(axes: Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="y", linewidth=0.4, alpha=0.6)
    axes.tick_params(labelsize=8)
