"""What several figures share: sheets of panels, their titles and legends, dots with their intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import ceil
from textwrap import fill
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from im_bench.report.collect import UNKNOWN
from im_bench.report.figures import GREY, hover, look, ranks, stroke
from im_bench.report.points import Point

MOST_ACROSS = 4
POINTS_PER_INCH = 72
WIDTH_OF_A_LETTER = 0.62
"""Of its height, in the fonts of the figures; a little more than their mean."""
ENTRY = 40
"""Points that an entry of a legend takes besides its letters."""
BASE = "base model"
BASE_STROKE: dict[str, Any] = {"color": GREY, "linestyle": (0, (1, 1.5))}
Panels = dict[str, list[Point]]


def sheet(size: tuple[float, float]) -> Figure:
    """An empty figure, in inches, whose parts keep clear of each other."""
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def tiles(count: int) -> tuple[int, int]:
    """How many panels stand across and down."""
    across = max(1, min(count, MOST_ACROSS))
    return across, max(1, ceil(count / across))


def by_panel(points: Sequence[Point]) -> Panels:
    """The points of each model, dataset and subset under a title that tells them apart; the base model's in all of it.

    Models that nobody here has trained share one.
    """
    trained = [point for point in points if point.dataset is not None]
    bases = [point for point in points if point.dataset is None]
    found: Panels = {}
    for point in trained:
        found.setdefault(title(point, trained), []).append(point)
    for own in found.values():
        own += [point for point in bases if point.model == own[0].model]
    return found


def title(point: Point, among: Sequence[Point]) -> str:
    """The dataset, with model and subset where there are several."""
    if point.dataset == UNKNOWN:
        return UNKNOWN
    models, subsets = {each.model for each in among}, {each.subset for each in among}
    parts = [point.dataset or BASE]
    parts += [point.model] if len(models) > 1 else []
    parts += [point.subset] if len(subsets) > 1 and point.subset else []
    return ", ".join(parts)


def name(point: Point) -> str:
    """What stands in a legend for the point: its loss, or the model where nobody knows the loss."""
    if point.dataset is None:
        return BASE
    return point.model if point.loss == UNKNOWN else point.loss


def ranked(points: Iterable[Point]) -> dict[str, int]:
    """The rank of every name but the base model's that is in `points`."""
    return losses_ranked(name(point) for point in points if point.dataset is not None)


def losses_ranked(losses: Iterable[str]) -> dict[str, int]:
    """The rank of each of `losses`, in its order."""
    named = list(dict.fromkeys(losses))
    rank = ranks(named)
    return {each: rank[each] for each in named}


def said(point: Point, *, place: str) -> str:
    """What is shown over a point: `lima, im: 24.00 (95% 10.20 to 37.80, 3 seeds)`."""
    seeds = f", {point.seeds} seeds" if point.seeds > 1 else ""
    return f"{place}, {name(point)}: {numbers(point.value, point.low, point.high, seeds)}"


def numbers(
    value: float | None, low: float | None, high: float | None, more: str = "", *, sign: str = "-"
) -> str:
    """A value with its interval; `sign` is that of Python's format: `+` shows that of a gain."""
    if value is None:
        return "n/a"
    decimals = 1 if abs(value) >= 100 else 2 if abs(value) >= 1 else 3
    shown = [f"{each:{sign}.{decimals}f}" for each in (value, low, high) if each is not None]
    return f"{shown[0]} (95% {shown[1]} to {shown[2]}{more})" if len(shown) == 3 else shown[0]


def bars(point: Point) -> list[list[float]] | None:
    """Lengths below and above, as matplotlib takes them."""
    if point.value is None or point.low is None or point.high is None:
        return None
    return [[point.value - point.low], [point.high - point.value]]


def dot(axes: Axes, x: float, y: float, rank: int, text: str, **other: Any) -> None:
    """One point with its interval, and what is said over it."""
    drawn = axes.errorbar(x, y, **{"elinewidth": 0.9, "zorder": 4, **look(rank), **other})
    hover(drawn.lines[0], text)


def mark_base(axes: Axes, x: float, y: float, text: str) -> None:
    """A point of the base model."""
    (drawn,) = axes.plot(x, y, marker=".", markersize=3, color=GREY, zorder=2)
    hover(drawn, text)


def shifts(names: Sequence[str], width: float) -> dict[str, float]:
    """Where each of `names` stands beside the others, within `width` about 0; one alone stands at 0."""
    step = width / max(1, len(names) - 1)
    first = -width / 2 if len(names) > 1 else 0.0
    return {each: first + number * step for number, each in enumerate(names)}


def legend(
    figure: Figure, rank: Mapping[str, int], series: Iterable[Iterable[Point]], *, lines: bool = False
) -> None:
    """The losses, the base model and what a bar is, above all panels, in as many columns as there is room for."""
    points = [point for own in series for point in own if point.value is not None]
    handles = [
        Line2D([], [], label=each, **(look(number) | (stroke(number) if lines else {})))
        for each, number in rank.items()
    ]
    if any(point.dataset is None for point in points):
        handles.append(Line2D([], [], label=BASE, **BASE_STROKE))
    if any(point.low is not None and point.dataset is not None for point in points):
        handles.append(Line2D([], [], label="95% interval", color=GREY, linewidth=0.9))
    place_legend(figure, handles)


def place_legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    """Above all panels."""
    widths = [ENTRY + len(str(handle.get_label())) * 8 * WIDTH_OF_A_LETTER for handle in handles]
    room = figure.get_figwidth() * POINTS_PER_INCH
    ncols = len(handles) if sum(widths) < room else max(1, int(room / max(widths)))
    figure.legend(handles=handles, loc="outside upper right", ncols=ncols, frameon=False, handlelength=2.2)


def wrapped(text: str, inches: float, size: float = 8) -> str:
    """On as many lines as it takes within a width."""
    letters = max(8, int(inches * POINTS_PER_INCH / (size * WIDTH_OF_A_LETTER)))
    return fill(text, letters, break_on_hyphens=False)


def label_below(figure: Figure, panels: Sequence[Axes], text: str) -> None:
    """One axis label for all, under the middle of the panels rather than of the page."""
    label = figure.supxlabel(wrapped(text, figure.get_figwidth()), fontsize=8)
    figure.draw_without_rendering()
    label.set_x((panels[0].get_position().x0 + panels[-1].get_position().x1) / 2)


def nothing(figure: Figure, text: str) -> Figure:
    """A figure that says why there is nothing in it."""
    figure.text(0.5, 0.5, text, ha="center", color=GREY)
    return figure
