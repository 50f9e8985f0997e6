"""MT-Bench by category: one spoke for each, one outline for each loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import pi, sin

from matplotlib.figure import Figure
from matplotlib.projections.polar import PolarAxes

from im_bench.report.figures import GREY, stroke
from im_bench.report.figures.panels import (
    BASE,
    BASE_STROKE,
    bars,
    by_panel,
    dot,
    legend,
    mark_base,
    name,
    nothing,
    ranked,
    said,
    sheet,
    shifts,
    tiles,
    wrapped,
)
from im_bench.report.points import Point

SIZE = 2.5
LEAST, MOST = 1, 10
"""Points of MT-Bench."""
DODGE = 0.14
"""Radians between the first and the last loss, lest their bars hide each other."""
NOWHERE = float("nan")


def radar_figure(series: Mapping[str, Sequence[Point]]) -> Figure:
    """A panel for each dataset. Where a category has no score the outline is open, and the panel says n/a.

    Args:
        series: the points of each category, 1 to 10.
    """
    panels: dict[str, dict[str, list[Point]]] = {}
    for category, points in series.items():
        for title, own in by_panel(points).items():
            panels.setdefault(title, {})[category] = own
    if not panels:
        return nothing(sheet((3.2, 1.0)), "no score of MT-Bench by category")
    across, down = tiles(len(panels))
    figure = sheet((max(3.2, (SIZE + 0.3) * across), SIZE * down + 0.5))
    grid = figure.subplots(down, across, squeeze=False, subplot_kw={"projection": "polar"})
    rank = ranked(point for points in series.values() for point in points)
    for axes, (title, spokes) in zip(grid.flat, panels.items(), strict=False):
        _panel(axes, {category: spokes.get(category, []) for category in series}, rank, title)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    legend(figure, rank, series.values(), lines=True)
    return figure


def _panel(
    axes: PolarAxes, spokes: Mapping[str, Sequence[Point]], rank: Mapping[str, int], title: str
) -> None:
    angles = [2 * pi * number / len(spokes) for number in range(len(spokes))]
    shift = shifts(list(rank), DODGE)
    missing: dict[str, list[str]] = {}
    for loss in (*rank, BASE):
        own = [next((point for point in points if name(point) == loss), None) for points in spokes.values()]
        if not any(own):
            continue
        values = [NOWHERE if point is None or point.value is None else point.value for point in own]
        style = BASE_STROKE if loss == BASE else {"linewidth": 1.1} | stroke(rank[loss])
        turned = [angle + shift.get(loss, 0.0) for angle in angles]
        axes.plot([*turned, turned[0]], [*values, values[0]], zorder=3, **style)
        for angle, category, point in zip(turned, spokes, own, strict=True):
            if point is None or point.value is None:
                missing.setdefault(loss, []).append(category)
            elif loss == BASE:
                mark_base(axes, angle, point.value, said(point, place=category))
            else:
                text = said(point, place=f"{title}, {category}")
                dot(axes, angle, point.value, rank[loss], text, yerr=bars(point), markersize=4)
    _spokes(axes, angles, list(spokes))
    axes.set_title(wrapped(title, SIZE, 9), loc="left")
    if missing:
        told = [
            loss if len(own) == len(spokes) else f"{loss} {', '.join(own)}" for loss, own in missing.items()
        ]
        axes.set_xlabel(wrapped(f"n/a: {'; '.join(told)}", SIZE, 7), fontsize=7, color=GREY)


def _spokes(axes: PolarAxes, angles: Sequence[float], categories: Sequence[str]) -> None:
    """From the top, clockwise."""
    axes.set_theta_zero_location("N")
    axes.set_theta_direction(-1)
    axes.set_xticks(angles, categories)
    axes.tick_params(axis="x", pad=0)
    for label, angle in zip(axes.get_xticklabels(), angles, strict=True):
        right = sin(angle)
        label.set_horizontalalignment("center" if abs(right) < 0.1 else "left" if right > 0 else "right")
    axes.set_ylim(LEAST - 1, MOST)
    axes.set_yticks([2, 4, 6, 8, 10])
    axes.tick_params(axis="y", labelsize=6, labelcolor=GREY)
    axes.set_rlabel_position(180 / len(angles))
    axes.grid(linewidth=0.5, color="#DDDDDD")
    axes.spines["polar"].set_color("#BBBBBB")
