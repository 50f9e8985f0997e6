"""How long the instructions and outputs of datasets are: histograms over a logarithmic axis."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from im_bench.data.lengths import Lengths, Unit, summary
from im_bench.report.figures import COLOURS, GREY, hover
from im_bench.report.figures.panels import label_below, sheet, tiles, wrapped

BINS = 40
WIDTH, HEIGHT = 2.3, 1.6


def lengths_figure(instruction_n: Lengths, output_n: Lengths, *, title: str, unit: str) -> Figure:
    """Of one dataset: outputs above, instructions below; a line at each mean."""
    figure = sheet((4.6, 3.0))
    edges = _edges(max(int(instruction_n.max()), int(output_n.max())))
    panels = figure.subplots(2, 1, sharex=True)
    for axes, lengths_n, name, colour in zip(
        panels, (output_n, instruction_n), ("output", "instruction"), COLOURS, strict=False
    ):
        axes.hist(lengths_n.clip(min=1), bins=edges, color=colour, linewidth=0)
        axes.axvline(max(1.0, float(lengths_n.mean())), color=GREY, linewidth=0.9, linestyle="--")
        axes.set_title(f"{name}, mean {lengths_n.mean():.2f}", loc="left")
        axes.set_ylabel("conversations")
    panels[-1].set_xscale("log")
    panels[-1].set_xlabel(f"{unit} (dashed: mean)")
    figure.suptitle(title, fontsize=9, x=0.01, ha="left")
    return figure


def outputs_figure(datasets: Mapping[str, tuple[Lengths, Lengths]], *, unit: Unit) -> Figure:
    """Figure 7 of the paper: the outputs of each dataset in a panel of its own, with their median and mode.

    Args:
        datasets: by name, the lengths of instructions and of outputs, at least one of each.
        unit: that they are counted in.
    """
    across, down = tiles(len(datasets))
    figure = sheet((max(3.2, WIDTH * across + 0.5), HEIGHT * down + 0.4))
    grid = figure.subplots(down, across, squeeze=False, sharex=True)
    edges = _edges(max(int(output_n.max()) for _, output_n in datasets.values()))
    for axes, (name, lengths) in zip(grid.flat, datasets.items(), strict=False):
        _outputs(axes, name, *lengths, unit=unit, edges=edges)
    for axes in grid[:, 0]:
        axes.set_ylabel("conversations")
    for axes in grid.flat[len(datasets) :]:
        axes.set_axis_off()
    for axes in grid.flat[max(0, len(datasets) - across) : len(datasets)]:
        axes.tick_params(labelbottom=True)
    grid.flat[0].set_xscale("log")
    label_below(figure, grid[0], f"{unit} of an output (dashed: median, dotted: mode)")
    return figure


def _outputs(
    axes: Axes, name: str, instruction_n: Lengths, output_n: Lengths, *, unit: Unit, edges: list[float]
) -> None:
    found = summary(instruction_n, output_n, unit)
    median, mode = found[f"output_{unit}_median"], found[f"output_{unit}_mode"]
    counts, _ = np.histogram(output_n.clip(min=1), edges)
    told = f"median {median:g}, mode {mode:g}"
    bars = axes.stairs(counts, edges, fill=True, color=COLOURS[0], linewidth=0)
    hover(bars, f"{name}: {len(output_n):,} conversations, {told} {unit}")
    for value, dashes in ((median, "--"), (mode, ":")):
        axes.axvline(max(1.0, value), color="black", linewidth=1.0, linestyle=dashes)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.set_title(f"{wrapped(name, WIDTH, 9)}\n{told}", loc="left")


def _edges(longest: int) -> list[float]:
    """Equal steps of the logarithm; a length of 0 is in the first, with 1."""
    return np.geomspace(1, max(2, longest) + 1, BINS + 1).tolist()
