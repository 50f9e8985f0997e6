"""Gain over the baseline against ratio or size, with the logarithmic fit that the paper draws."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, ScalarFormatter

from im_bench.analysis.trends import fit, predict
from im_bench.report.figures import GREY, look
from im_bench.report.trends import TrendPoint

LABELS = {"ratio": "instruction / output length (words)", "examples": "training examples"}
NINETY_FIVE_PERCENT = 1.96
LOWEST = -100.0
"""The gain of a loss that never wins."""
FEWEST = 4
"""Points that a fit is drawn through; of three the interval says nothing."""


def trend_figure(points: Sequence[TrendPoint], axes: Sequence[str], baseline: str) -> Figure:
    """One panel for each of `axes`; bars are 95 %, a band where a new point is expected. Missing gains are named."""
    figure = Figure(figsize=(3.6 * len(axes) + 0.4, 3.0), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(axes), squeeze=False, sharey=True)[0]
    for panel, axis in zip(panels, axes, strict=True):
        _panel(panel, points, axis)
    panels[0].set_ylabel(f'relative AlpacaEval gain over "{baseline}", %')
    if len({point.loss for point in points}) > 1:
        panels[0].legend(frameon=False, handletextpad=0.1)
    return figure


def _panel(axes: Axes, points: Sequence[TrendPoint], axis: str) -> None:
    axes.axhline(0, color=GREY, linewidth=0.8, zorder=1)
    missing = [point for point in points if point.gain is None]
    losses = list(dict.fromkeys(point.loss for point in points))
    for rank, loss in enumerate(losses):
        own = [point for point in points if point.loss == loss and point.gain is not None]
        x = [float(getattr(point, axis)) for point in own]
        y = [point.gain for point in own if point.gain is not None]
        above = [NINETY_FIVE_PERCENT * (point.stderr or 0.0) for point in own]
        below = [min(bar, each - LOWEST) for bar, each in zip(above, y, strict=True)]
        axes.errorbar(x, y, yerr=[below, above], elinewidth=0.7, zorder=3, label=loss, **look(rank))
        if len(x) >= FEWEST and len(set(x)) > 1:
            _trend(axes, x, y, look(rank)["color"])
    axes.set_xscale("log")
    axes.set_xlabel(LABELS[axis])
    ticks = sorted({round(float(getattr(point, axis)), 2) for point in points})
    axes.set_xticks(_apart(ticks))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    if missing:
        said = ", ".join(f"{getattr(point, axis):g}" for point in missing)
        axes.set_title(f"n/a: {said}", loc="left", fontsize=7, color=GREY)


def _trend(axes: Axes, x: list[float], y: list[float], colour: str) -> None:
    law = fit(x, y)
    along = np.geomspace(min(x), max(x), 60)
    told = [predict(law, float(each)) for each in along]
    axes.plot(along, [each.expected for each in told], color=colour, linewidth=1, zorder=2)
    low, high = [max(LOWEST, each.low) for each in told], [each.high for each in told]
    axes.fill_between(along, low, high, color=colour, alpha=0.12, linewidth=0)
    axes.annotate(
        f"{law.slope:.1f} ln x {law.intercept:+.1f}, r = {law.correlation:.2f}",
        (0.02, 0.98),
        xycoords="axes fraction",
        va="top",
        fontsize=7,
        color=colour,
        bbox={"facecolor": "white", "linewidth": 0, "alpha": 0.8, "pad": 1},
    )


def _apart(ticks: Sequence[float]) -> list[float]:
    """Those that have room for their number beside the one before."""
    shown: list[float] = []
    span = np.log(ticks[-1] / ticks[0]) if len(ticks) > 1 else 1.0
    for tick in ticks:
        if not shown or np.log(tick / shown[-1]) > span / 8:
            shown.append(tick)
    return shown
