"""How the losses of single examples are distributed: Figures 3, 8 and 9 of the paper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from im_bench.analysis.measures import HELDOUT, TRAIN
from im_bench.report.distributions import UNTRAINED, ExampleLosses, Losses, in_training
from im_bench.report.figures import GREY, hover, look, ranks, stroke
from im_bench.report.figures.panels import BASE, BASE_STROKE, nothing, sheet, wrapped

BINS = 40
WIDTH, HEIGHT = 3.3, 2.0
SHOWN = 99.0
"""Percent of the examples that the axis reaches; the others are in its last bin."""
SETS = {TRAIN: "training set", HELDOUT: "held-out set"}


def loss_figure(datasets: Mapping[str, Losses]) -> Figure:
    """A row for each dataset, its training set left and the held-out set right; a step outline for each loss.

    A line is the mean over examples, a marker on the axis that over tokens.
    """
    rows = {title: _with_tokens(losses) for title, losses in datasets.items()}
    rows = {title: losses for title, losses in rows.items() if any(losses.values())}
    if not rows:
        return nothing(sheet((3.2, 1.0)), "no example has a loss")
    rank = ranks(
        loss for losses in rows.values() for own in losses.values() for loss in own if loss != UNTRAINED
    )
    most = max(len(own) for losses in rows.values() for own in losses.values())
    figure = sheet((2 * WIDTH, (HEIGHT + 0.15 * most) * len(rows) + 0.5))
    grid = figure.subplots(len(rows), len(SETS), squeeze=False)
    for line, (title, losses) in zip(grid, rows.items(), strict=True):
        for axes, name in zip(line, SETS, strict=True):
            own = losses.get(name, {})
            _panel(axes, own, rank, f"{title}, {_set(name, own)}")
        line[0].set_ylabel("examples")
    figure.supxlabel(
        "mean loss over the output tokens of an example, nats\n"
        "line: mean over examples; marker on the axis: mean over tokens; last bin: and above",
        fontsize=8,
    )
    return figure


def _panel(
    axes: Axes,
    losses: Mapping[str, ExampleLosses],
    rank: Mapping[str, int],
    title: str,
) -> None:
    handles = []
    edges = _edges(losses)
    for loss, own in losses.items():
        line, marker = _style(loss, rank)
        name = BASE if loss == UNTRAINED else loss
        counts, _ = np.histogram(own.loss_e.clip(max=edges[-1]), edges)
        mean, per_token = float(own.loss_e.mean()), own.per_token
        text = f"{name}: {mean:.3f} per example, {per_token:.3f} per token"
        outline = axes.stairs(counts, edges, linewidth=1.2, fill=False, zorder=3, **line)
        hover(outline, f"{title}, {text}, {len(own.loss_e):,} examples")
        axes.stairs(counts, edges, fill=True, color=line["color"], alpha=0.1, linewidth=0, zorder=1)
        hover(axes.axvline(mean, linewidth=0.9, zorder=2, **line), f"{title}, {name}: {mean:.3f} per example")
        (point,) = axes.plot(per_token, 0, clip_on=False, zorder=5, **marker)
        hover(point, f"{title}, {name}: {per_token:.3f} per token")
        handles.append(Line2D([], [], label=text, **(marker | line)))
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    if not handles:
        axes.set_axis_off()
    heading = wrapped(title if handles else f"{title}: n/a", WIDTH, 9)
    axes.legend(
        handles=handles,
        title=heading,
        title_fontsize=9,
        alignment="left",
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        frameon=False,
        fontsize=7,
        handlelength=2.4,
        borderpad=0.1,
    )


def _set(name: str, losses: Mapping[str, ExampleLosses]) -> str:
    """What a set is called, and how much of it is no test of what was learnt."""
    known = in_training(losses) if name == HELDOUT else 0.0
    return f"{SETS[name]} ({100 * known:.3g}% of it also in training)" if known else SETS[name]


def _style(loss: str, rank: Mapping[str, int]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of the outline and of the marker."""
    if loss == UNTRAINED:
        return BASE_STROKE, {"color": GREY, "marker": "*", "markersize": 6, "linestyle": "none"}
    return stroke(rank[loss]), look(rank[loss])


def _edges(losses: Mapping[str, ExampleLosses]) -> NDArray[np.float64]:
    """Bins from zero to where nearly all examples of every loss lie."""
    together = np.concatenate([np.zeros(1), *(own.loss_e for own in losses.values())])
    return np.linspace(0, max(float(np.percentile(together, SHOWN)), 0.01), BINS + 1)


def _with_tokens(losses: Losses) -> dict[str, dict[str, ExampleLosses]]:
    """Without the models that have no example with output tokens."""
    return {
        name: {loss: own for loss, own in each.items() if len(own.loss_e)} for name, each in losses.items()
    }
