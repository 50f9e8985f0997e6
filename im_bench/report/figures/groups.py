"""Scores of each dataset under each model, or of each subset: Figures 5 and 6 of the paper."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from im_bench.report.figures import STRIPE, hover, look
from im_bench.report.figures.panels import (
    BASE_STROKE,
    bars,
    dot,
    legend,
    name,
    nothing,
    ranked,
    said,
    sheet,
    shifts,
    wrapped,
)
from im_bench.report.points import Point

WIDTH, WIDEST_NAME = 2.4, 2.6
LOSS, GAP = 0.13, 0.12
"""Inches that a loss has in a row, and between rows."""
Naming = Callable[[Point], str]


class _Band(NamedTuple):
    """Panels beside each other: for each measure the points of every row."""

    title: str
    rows: list[str]
    panels: list[list[tuple[int, Point]]]
    """Each point with the number of its row."""
    bases: list[list[Point]]


def models_figure(series: Mapping[str, Sequence[Point]]) -> Figure:
    """A band of panels for each model, a panel for each measure, in it a row for each dataset and subset.

    Args:
        series: the points of each measure under what its axis says; the base model's are lines.
    """
    sets = {(point.dataset, point.subset) for point in _trained(series)}
    several = len({dataset for dataset, _ in sets}) < len(sets)

    def row(point: Point) -> str:
        return f"{point.dataset}, {point.subset}" if several else f"{point.dataset}"

    return _figure(series, lambda point: point.model, row)


def subsets_figure(series: Mapping[str, Sequence[Point]]) -> Figure:
    """A band of panels for each dataset and model, a panel for each measure, in it a row for each subset, by size.

    Datasets of one subset each are the rows of one band, as those of the paper's Figure 6.
    """
    trained = _trained(series)
    several = len({point.model for point in trained}) > 1
    sets = {(point.dataset, point.subset) for point in trained}
    alone = len({dataset for dataset, _ in sets}) == len(sets)
    sizes = {(point.dataset, point.subset): point.examples for point in trained if point.examples}

    def band(point: Point) -> str:
        if alone:
            return point.model
        return f"{point.dataset}, {point.model}" if several else f"{point.dataset}"

    def row(point: Point) -> str:
        name, size = point.dataset if alone else point.subset, sizes.get((point.dataset, point.subset))
        return f"{name} ({size:,})" if size else f"{name}"

    by_size = {
        label: sorted(points, key=lambda point: sizes.get((point.dataset, point.subset), 0))
        for label, points in series.items()
    }
    return _figure(by_size, band, row)


def _figure(series: Mapping[str, Sequence[Point]], band: Naming, row: Naming) -> Figure:
    trained = _trained(series)
    if not trained:
        return nothing(sheet((3.2, 1.0)), "no trained model has a score")
    rank = ranked(trained)
    titles = dict.fromkeys(band(point) for point in trained)
    bands = [_band(title, series, band, row) for title in titles]
    heights = [len(each.rows) * (LOSS * len(rank) + GAP) + 0.1 for each in bands]
    longest = max(len(each) for own in bands for each in own.rows)
    width = min(WIDEST_NAME, 0.07 * longest) + WIDTH * len(series) + 0.3
    figure = sheet((max(3.4, width), sum(heights) + 0.3 * len(bands) + 0.75))
    grid = figure.subplots(len(bands), len(series), squeeze=False, sharex="col", height_ratios=heights)
    for line, own in zip(grid, bands, strict=True):
        for axes, points, bases in zip(line, own.panels, own.bases, strict=True):
            _panel(axes, len(own.rows), points, bases, rank)
            axes.set_yticks([])
        line[0].set_yticks(range(len(own.rows)), [wrapped(each, WIDEST_NAME) for each in own.rows])
        line[0].set_title(own.title, loc="left")
    for axes, label in zip(grid[-1], series, strict=True):
        axes.set_xlabel(wrapped(label, WIDTH))
    legend(figure, rank, series.values())
    return figure


def _band(title: str, series: Mapping[str, Sequence[Point]], band: Naming, row: Naming) -> _Band:
    own = [point for point in _trained(series) if band(point) == title]
    rows = list(dict.fromkeys(row(point) for point in own))
    models = {point.model for point in own}
    panels = [
        [(rows.index(row(point)), point) for point in _trained({"": points}) if band(point) == title]
        for points in series.values()
    ]
    bases = [
        [point for point in points if point.dataset is None and point.model in models]
        for points in series.values()
    ]
    return _Band(title, rows, panels, bases)


def _panel(
    axes: Axes,
    rows: int,
    points: Iterable[tuple[int, Point]],
    bases: Iterable[Point],
    rank: Mapping[str, int],
) -> None:
    for number in range(0, rows, 2):
        axes.axhspan(number - 0.5, number + 0.5, color=STRIPE, zorder=0, linewidth=0)
    for point in bases:
        if point.value is not None:
            hover(axes.axvline(point.value, zorder=1, **BASE_STROKE), said(point, place=point.model))
    shift = shifts(list(rank), LOSS * (len(rank) - 1) / (LOSS * len(rank) + GAP))
    for number, point in points:
        loss = name(point)
        if point.value is not None:
            text = said(point, place=f"{point.dataset}, {point.subset}")
            dot(axes, point.value, number + shift[loss], rank[loss], text, xerr=bars(point))
            continue
        # In the fraction of the panel's width that no value can be taken for.
        axes.annotate(
            "n/a",
            (0.01, number + shift[loss]),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=6.5,
            color=look(rank[loss])["color"],
        )
    axes.set_ylim(rows - 0.45, -0.55)
    axes.margins(x=0.08)
    axes.locator_params(axis="x", nbins=5)


def _trained(series: Mapping[str, Iterable[Point]]) -> list[Point]:
    return [point for points in series.values() for point in points if point.dataset is not None]
