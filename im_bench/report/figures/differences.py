"""The figure of a sweep: what each loss changes against the baseline, per category and judged benchmark.

One panel per dataset. Losses differ in shape and filling besides colour, so that the figure can be read in
grey and by the colour-blind.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from math import ceil
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from im_bench.report.figures import GREY, STRIPE, look
from im_bench.report.tables import Difference, Line, Table
from im_bench.report.words import CATEGORIES, Column

MOST_PANELS_ACROSS = 4
# One point of MT-Bench, whose scale is 1 to 10, is drawn as ten, to share the axis of the percentages.
MT_BENCH_SCALE = 10.0
NINETY_FIVE_PERCENT = 1.96


def difference_figure(table: Table) -> Figure:
    """Dots with 95% intervals that take the two scores as independent; a missing difference says n/a."""
    compared = [line for line in table.lines if line.differences is not None]
    panels = [list(lines) for _, lines in groupby(compared, key=lambda line: line.cell.group)]
    across = max(1, min(len(panels), MOST_PANELS_ACROSS))
    down = max(1, ceil(len(panels) / across))
    size = (1.9 + max(2.3 * across, 3.4), down * (0.30 * len(table.columns) + 0.75) + 0.7)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    if not panels:
        figure.text(0.5, 0.5, f'no loss to compare with "{table.baseline}"', ha="center", color=GREY)
        return figure
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    losses = list(dict.fromkeys(line.cell.loss for line in compared))
    for axes, lines in zip(grid.flat, panels, strict=False):
        _panel(axes, lines, table, losses)
    for axes in grid[:, 0]:
        _name_rows(axes, table.columns)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes in grid.flat[max(0, len(panels) - across) : len(panels)]:
        axes.tick_params(labelbottom=True)
    _legend(figure, grid.flat[0], losses)
    _label_below(figure, grid[0], f'difference to loss "{table.baseline}", percentage points (bars: 95%)')
    return figure


def _panel(axes: Axes, lines: Sequence[Line], table: Table, losses: Sequence[str]) -> None:
    rows = _heights(table.columns)
    for row in rows[::2]:
        axes.axhspan(row - 0.5, row + 0.5, color=STRIPE, zorder=0, linewidth=0)
    axes.axvline(0, color=GREY, linewidth=0.8, zorder=1)
    for line in lines:
        assert line.differences is not None
        rank = losses.index(line.cell.loss)
        shift = 0.0 if len(losses) == 1 else 0.5 * (rank / (len(losses) - 1) - 0.5)
        for column, row, difference in zip(table.columns, rows, line.differences, strict=True):
            scale = MT_BENCH_SCALE if column.id == "mt_bench" else 1.0
            _dot(axes, row + shift, difference, scale, rank)
    axes.set_ylim(max(rows) + 0.6, -0.6)
    axes.set_title(_title(lines[0], table), loc="left")


def _dot(axes: Axes, row: float, difference: Difference, scale: float, rank: int) -> None:
    style = look(rank)
    if difference.value is None:
        beside: dict[str, Any] = {
            "xytext": (3, 0),
            "textcoords": "offset points",
            "va": "center",
            "fontsize": 6.5,
        }
        axes.annotate("n/a", (0, row), color=style["color"], zorder=3, **beside)
        return
    bar = None if difference.stderr is None else NINETY_FIVE_PERCENT * difference.stderr * scale
    axes.errorbar(difference.value * scale, row, xerr=bar, elinewidth=1, zorder=4, **style)


def _name_rows(axes: Axes, columns: Sequence[Column]) -> None:
    times_ten = " \u00d7 10"
    headings = [column.heading + (times_ten if column.id == "mt_bench" else "") for column in columns]
    axes.set_yticks(_heights(columns), headings)
    for label, column in zip(axes.get_yticklabels(), columns, strict=True):
        label.set_fontweight("bold" if column.id == "mean" else "normal")


def _legend(figure: Figure, axes: Axes, losses: Sequence[str]) -> None:
    for rank, loss in enumerate(losses):
        axes.plot([], [], label=loss, **look(rank))
    figure.legend(loc="outside upper right", ncols=min(len(losses), 6), frameon=False, handletextpad=0.1)


def _label_below(figure: Figure, panels: Sequence[Axes], text: str) -> None:
    """One axis label for all, under the middle of the panels rather than of the page."""
    label = figure.supxlabel(text, fontsize=8)
    figure.draw_without_rendering()
    label.set_x((panels[0].get_position().x0 + panels[-1].get_position().x1) / 2)


def _heights(columns: Sequence[Column]) -> list[float]:
    """Rows from the top; the judged benchmarks stand a little apart."""
    together = {column.id for column in CATEGORIES} | {"mean"}
    return [rank + (0.0 if column.id in together else 0.4) for rank, column in enumerate(columns)]


def _title(line: Line, table: Table) -> str:
    """The dataset, with model, subset, seed and epoch where the sweep has several."""
    cells = [other.cell for other in table.lines if other.differences is not None]
    parts = [line.cell.dataset or ""]
    parts += [line.cell.model] if len({cell.model for cell in cells}) > 1 else []
    parts += [line.cell.subset or ""] if len({cell.subset for cell in cells}) > 1 else []
    parts += [f"seed {line.cell.seed}"] if len({cell.seed for cell in cells}) > 1 else []
    parts += [f"epoch {line.cell.epoch}"] if len({cell.epoch for cell in cells}) > 1 else []
    return ", ".join(parts)
