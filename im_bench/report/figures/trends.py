"""Gain over the baseline against ratio or size, with the logarithmic fit that the paper draws."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import NullLocator, ScalarFormatter

from im_bench.analysis.trends import Fit, fit
from im_bench.report.figures import GREY, look, ranks, stroke
from im_bench.report.figures.panels import dot, numbers, sheet, shifts, wrapped
from im_bench.report.trends import LOWEST, TrendPoint, line_interval

LABELS = {"ratio": "instruction / output length (words)", "examples": "training examples"}
WIDTH, HEIGHT = 3.6, 2.9
BAND = 0.16
"""Opacity of what shows an interval."""
DODGE = 0.05
"""How far apart the losses stand, lest their bars hide each other; in ln x."""
FEWEST = 4
"""Points that a fit is drawn through; of three the interval says nothing."""


def trend_figure(points: Sequence[TrendPoint], axes: Sequence[str], baseline: str) -> Figure:
    """A row of panels for each model, one for each of `axes`; bars are 95 %, a band that of the fitted line.

    A fit is of one model and loss. Missing gains are named.
    """
    losses = list(dict.fromkeys(point.loss for point in points))
    models = list(dict.fromkeys(point.model for point in points))
    figure = sheet((WIDTH * len(axes) + 0.4, (HEIGHT + 0.17 * (len(losses) + 2)) * len(models)))
    grid = figure.subplots(len(models), len(axes), squeeze=False, sharex="col", sharey=True)
    for line, model in zip(grid, models, strict=True):
        own = [point for point in points if point.model == model]
        for panel, axis in zip(line, axes, strict=True):
            _panel(panel, own, axis, losses, model if len(models) > 1 else "")
        line[0].set_ylabel(wrapped(f'relative AlpacaEval gain over "{baseline}", %', HEIGHT))
    for panel, axis in zip(grid[-1], axes, strict=True):
        panel.set_xlabel(LABELS[axis])
        panel.set_xticks(_apart(sorted({round(_at(point, axis), 2) for point in points})))
    return figure


def _panel(axes: Axes, points: Sequence[TrendPoint], axis: str, losses: Sequence[str], model: str) -> None:
    """The points of one model, whose name is empty where it is the only one."""
    axes.axhline(0, color=GREY, linewidth=0.8, zorder=1)
    rank = ranks(losses)
    shift = shifts(losses, DODGE * (len(losses) > 1))
    known = {
        loss: [point for point in points if point.loss == loss and point.gain is not None] for loss in losses
    }
    laws = {loss: _law(own, axis) for loss, own in known.items()}
    handles: list[Artist] = []
    for loss, own in known.items():
        for point in own:
            _dot(axes, point, _at(point, axis) * exp(shift[loss]), rank[loss], model)
        handles.append(_trend(axes, laws[loss], loss, rank[loss]))
    if any(laws.values()):
        handles.append(Patch(color=GREY, alpha=BAND, linewidth=0, label="band: 95% interval of the line"))
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    missing = [f"{point.loss} at {_at(point, axis):g}" for point in points if point.gain is None]
    said = model, f"n/a: {', '.join(missing)}" if missing else ""
    axes.legend(
        handles=handles,
        title="\n".join(wrapped(each, WIDTH, 7) for each in said if each),
        title_fontsize=7,
        fontsize=7,
        alignment="left",
        loc="lower left",
        bbox_to_anchor=(0, 1),
        frameon=False,
        handlelength=2.4,
    )


def _dot(axes: Axes, point: TrendPoint, x: float, rank: int, model: str) -> None:
    assert point.gain is not None
    bars = None
    if point.low is not None and point.high is not None:
        bars = [[point.gain - point.low], [point.high - point.gain]]
    parts = model, point.dataset, point.subset if point.subset != "full" else ""
    place = ", ".join(part for part in parts if part)
    seeds = f", {point.seeds} seeds" if point.seeds > 1 else ""
    text = f"{place}, {point.loss}: {numbers(point.gain, point.low, point.high, seeds, sign='+')} %"
    dot(axes, x, point.gain, rank, text, yerr=bars, elinewidth=0.7)


def _law(points: Sequence[TrendPoint], axis: str) -> Fit | None:
    """The fit through the points of one model and loss; None of too few."""
    x = [_at(point, axis) for point in points]
    if len(x) < FEWEST or len(set(x)) == 1:
        return None
    return fit(x, [point.gain for point in points if point.gain is not None])


def _trend(axes: Axes, law: Fit | None, loss: str, rank: int) -> Artist:
    """Draw the fit of one loss; what the legend says of the loss and of its fit."""
    if law is None:
        return Line2D([], [], label=loss, **look(rank))
    along = np.geomspace(law.lowest, law.highest, 60)
    axes.plot(along, law.slope * np.log(along) + law.intercept, linewidth=1, zorder=2, **stroke(rank))
    band = np.array([line_interval(law, float(each)) for each in along]).clip(min=LOWEST)
    colour = stroke(rank)["color"]
    axes.fill_between(along, band[:, 0], band[:, 1], color=colour, alpha=BAND, linewidth=0, zorder=0)
    told = f"{law.slope:.1f} ln x {law.intercept:+.1f}, r = {law.correlation:.2f}, {law.points} points"
    return Line2D([], [], label=f"{loss}: {told}", **(look(rank) | stroke(rank)))


def _at(point: TrendPoint, axis: str) -> float:
    return float(getattr(point, axis))


def _apart(ticks: Sequence[float]) -> list[float]:
    """Those that have room for their number beside the one before."""
    shown: list[float] = []
    span = np.log(ticks[-1] / ticks[0]) if len(ticks) > 1 else 1.0
    for tick in ticks:
        if not shown or np.log(tick / shown[-1]) > span / 8:
            shown.append(tick)
    return shown
