"""The figure of a sweep: what each loss changes against the baseline, per category and judged benchmark.

One panel per dataset. Losses differ in shape and filling besides colour, so that the figure can be read in
grey and by the colour-blind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from im_bench.report.cells import PAPER, Cell
from im_bench.report.figures import GREY, STRIPE, look
from im_bench.report.figures.panels import (
    dot,
    label_below,
    losses_ranked,
    nothing,
    numbers,
    place_legend,
    sheet,
    shifts,
    tiles,
    wrapped,
)
from im_bench.report.points import NINETY_FIVE_PERCENT
from im_bench.report.tables import Difference, Table
from im_bench.report.words import CATEGORIES, Column

WIDTH = 2.3
# One point of MT-Bench, whose scale is 1 to 10, is drawn as ten, to share the axis of the percentages.
MT_BENCH_SCALE = 10.0
Compared = tuple[Cell, Sequence[Difference | None]]


def difference_figure(table: Table) -> Figure:
    """Dots with 95% intervals; a missing difference says n/a.

    An interval is that of the items in pairs where they were compared; else it takes the two scores as independent.
    """
    compared = [
        (each.cell, each.differences)
        for each in table.scored
        if each.cell.source != PAPER and each.differences is not None
    ]
    panels: dict[object, list[Compared]] = {}
    for cell, differences in compared:
        panels.setdefault(cell.group, []).append((cell, differences))
    across, down = tiles(len(panels))
    figure = sheet((1.9 + max(WIDTH * across, 3.4), down * (0.30 * len(table.columns) + 0.75) + 0.7))
    if not panels:
        return nothing(figure, f'no loss to compare with "{table.baseline}"')
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    rank = losses_ranked(cell.loss for cell, _ in compared)
    for axes, own in zip(grid.flat, panels.values(), strict=False):
        _panel(axes, own, table.columns, rank, _title(own[0][0], [cell for cell, _ in compared]))
    for axes in grid[:, 0]:
        _name_rows(axes, table.columns)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes in grid.flat[max(0, len(panels) - across) : len(panels)]:
        axes.tick_params(labelbottom=True)
    place_legend(figure, [Line2D([], [], label=loss, **look(number)) for loss, number in rank.items()])
    label_below(figure, grid[0], f'difference to loss "{table.baseline}", percentage points (bars: 95%)')
    return figure


def _panel(
    axes: Axes, compared: Sequence[Compared], columns: Sequence[Column], rank: dict[str, int], title: str
) -> None:
    rows = _heights(columns)
    for row in rows[::2]:
        axes.axhspan(row - 0.5, row + 0.5, color=STRIPE, zorder=0, linewidth=0)
    axes.axvline(0, color=GREY, linewidth=0.8, zorder=1)
    shift = shifts(list(rank), 0.5)
    for cell, differences in compared:
        for column, row, difference in zip(columns, rows, differences, strict=True):
            if difference is not None:
                text = f"{title}, {cell.loss}: {column.heading}"
                _dot(axes, row + shift[cell.loss], difference, column, rank[cell.loss], text)
    axes.set_ylim(max(rows) + 0.6, -0.6)
    axes.set_title(wrapped(title, WIDTH, 9), loc="left")


def _dot(axes: Axes, row: float, difference: Difference, column: Column, rank: int, text: str) -> None:
    if difference.value is None:
        beside: dict[str, Any] = {
            "xytext": (3, 0),
            "textcoords": "offset points",
            "va": "center",
            "fontsize": 6.5,
        }
        axes.annotate("n/a", (0, row), color=look(rank)["color"], zorder=3, **beside)
        return
    low, high = difference.low, difference.high
    if (low is None or high is None) and difference.stderr is not None:
        reach = NINETY_FIVE_PERCENT * difference.stderr
        low, high = difference.value - reach, difference.value + reach
    told = f"{text} {numbers(difference.value, low, high, sign='+')}"
    scale = MT_BENCH_SCALE if column.id == "mt_bench" else 1.0
    bars = None
    if low is not None and high is not None:
        bars = [[scale * (difference.value - low)], [scale * (high - difference.value)]]
    dot(axes, difference.value * scale, row, rank, told, xerr=bars, elinewidth=1)


def _name_rows(axes: Axes, columns: Sequence[Column]) -> None:
    times_ten = " \u00d7 10"
    headings = [column.heading + (times_ten if column.id == "mt_bench" else "") for column in columns]
    axes.set_yticks(_heights(columns), headings)
    for label, column in zip(axes.get_yticklabels(), columns, strict=True):
        label.set_fontweight("bold" if column.id == "mean" else "normal")


def _heights(columns: Sequence[Column]) -> list[float]:
    """Rows from the top; the judged benchmarks stand a little apart."""
    together = {column.id for column in CATEGORIES} | {"mean"}
    return [rank + (0.0 if column.id in together else 0.4) for rank, column in enumerate(columns)]


def _title(cell: Cell, among: Sequence[Cell]) -> str:
    """The dataset, with model, subset, seed and epoch where the sweep has several."""
    parts = [cell.dataset or ""]
    parts += [cell.model] if len({each.model for each in among}) > 1 else []
    parts += [cell.subset or ""] if len({each.subset for each in among}) > 1 else []
    parts += [f"seed {cell.seed}"] if len({each.seed for each in among}) > 1 else []
    parts += [f"epoch {cell.epoch}"] if len({each.epoch for each in among}) > 1 else []
    return ", ".join(parts)
