"""Scores, lengths, losses and memorisation over the epochs of training: Figures 4, 10 and 11 of the paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from im_bench.report.figures import GREY, hover, stroke
from im_bench.report.figures.panels import (
    BASE_STROKE,
    bars,
    by_panel,
    dot,
    label_below,
    legend,
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

WIDTH, HEIGHT = 2.3, 1.9
DODGE = 0.16
"""How far apart the losses stand, lest their bars hide each other; of the least distance between two epochs."""
MOST_TICKS = 8
RULE = "#E6E6E6"


class _Panel(NamedTuple):
    heading: str
    label: str
    place: str
    """Dataset, and what else tells the panel's cells from others."""
    points: list[Point]


def epochs_figure(series: Mapping[str, Sequence[Point]]) -> Figure:
    """One line for each loss; of one measure a panel for each dataset, of several a row of panels for each.

    Args:
        series: the points of each measure under what its axis says. Those without an epoch are left out, but for
            the base model, which is a level line.
    """
    drawn = [point for points in series.values() for point in points if point.epoch is not None]
    panels, across = _panels(series)
    down = -(-len(panels) // across)
    figure = sheet((max(3.2, WIDTH * across + 0.5), HEIGHT * max(1, down) + 0.6))
    if not panels:
        return nothing(figure, "no score after an epoch")
    rank = ranked(drawn)
    grid = figure.subplots(down, across, squeeze=False, sharex=True)
    for axes, panel in zip(grid.flat, panels, strict=False):
        _draw(axes, panel, rank)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes in grid.flat[max(0, len(panels) - across) : len(panels)]:
        axes.tick_params(labelbottom=True)
    _ticks(grid.flat[0], drawn)
    legend(figure, rank, series.values(), lines=True)
    label_below(figure, grid[0], "epoch")
    return figure


def _panels(series: Mapping[str, Sequence[Point]]) -> tuple[list[_Panel], int]:
    """Row by row, and how many stand in a row."""
    found = {
        label: by_panel([point for point in points if point.epoch is not None or point.dataset is None])
        for label, points in series.items()
    }
    places = list(dict.fromkeys(place for own in found.values() for place in own))
    if len(series) == 1:
        ((label, own),) = found.items()
        across, _ = tiles(len(places))
        named = [(place, label if number % across == 0 else "") for number, place in enumerate(places)]
        return [_Panel(place, label, place, own[place]) for place, label in named], across
    return [
        _Panel(
            label if place == places[0] else "",
            place if label == next(iter(found)) else "",
            place,
            own.get(place, []),
        )
        for place in places
        for label, own in found.items()
    ], len(series)


def _draw(axes: Axes, panel: _Panel, rank: Mapping[str, int]) -> None:
    shift = shifts(list(rank), DODGE * _least_distance(panel.points))
    for loss, number in rank.items():
        own = [point for point in panel.points if name(point) == loss and point.epoch is not None]
        own.sort(key=_epoch)
        x = [_epoch(point) + shift[loss] for point in own]
        y = [float("nan") if point.value is None else point.value for point in own]
        axes.plot(x, y, linewidth=1.1, zorder=3, **stroke(number))
        for at, point in zip(x, own, strict=True):
            if point.value is not None:
                text = said(point, place=f"{panel.place}, epoch {point.epoch}")
                dot(axes, at, point.value, number, text, yerr=bars(point))
    for point in panel.points:
        if point.dataset is None and point.value is not None:
            hover(axes.axhline(point.value, zorder=1, **BASE_STROKE), said(point, place=point.model))
    axes.set_title(wrapped(panel.heading, WIDTH, 9), loc="left")
    axes.set_ylabel(
        wrapped(panel.label, HEIGHT), fontweight="normal" if panel.heading == panel.place else "bold"
    )
    axes.set_xlabel(wrapped(_missing(panel.points, rank), WIDTH, 7), loc="left", fontsize=7, color=GREY)
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)


def _missing(points: Sequence[Point], rank: Mapping[str, int]) -> str:
    """Which losses have no number after which epochs."""
    without = {
        loss: [
            f"{point.epoch}"
            for point in sorted(points, key=_epoch)
            if name(point) == loss and point.value is None
        ]
        for loss in rank
    }
    said = [f"{loss} after {', '.join(epochs)}" for loss, epochs in without.items() if epochs]
    return f"n/a: {'; '.join(said)}" if said else ""


def _least_distance(points: Sequence[Point]) -> int:
    epochs = sorted({_epoch(point) for point in points if point.epoch is not None})
    return min((after - before for before, after in zip(epochs, epochs[1:], strict=False)), default=1)


def _ticks(axes: Axes, points: Sequence[Point]) -> None:
    """At epochs that there are; of many every second, third, ..."""
    epochs = sorted({_epoch(point) for point in points})
    axes.set_xticks(epochs[:: -(-len(epochs) // MOST_TICKS)])
    axes.set_xlim(epochs[0] - 0.4, epochs[-1] + 0.4)


def _epoch(point: Point) -> int:
    return point.epoch or 0
