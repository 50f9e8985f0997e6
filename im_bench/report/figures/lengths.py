"""How long the instructions and outputs of a dataset are: two histograms over one logarithmic axis."""

from __future__ import annotations

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from im_bench.data.lengths import Lengths
from im_bench.report.figures import COLOURS, GREY

BINS = 40


def lengths_figure(instruction_n: Lengths, output_n: Lengths, *, title: str, unit: str) -> Figure:
    """Outputs above, instructions below; a line at each mean."""
    figure = Figure(figsize=(4.6, 3.0), layout="constrained")
    FigureCanvasAgg(figure)
    longest = max(2, int(instruction_n.max()), int(output_n.max()))
    edges = np.geomspace(1, longest + 1, BINS + 1)
    panels = figure.subplots(2, 1, sharex=True)
    for axes, lengths_n, name, colour in zip(
        panels, (output_n, instruction_n), ("output", "instruction"), COLOURS, strict=False
    ):
        axes.hist(lengths_n.clip(min=1), bins=edges.tolist(), color=colour, linewidth=0)
        axes.axvline(max(1.0, float(lengths_n.mean())), color=GREY, linewidth=0.9, linestyle="--")
        axes.set_title(f"{name}, mean {lengths_n.mean():.2f}", loc="left")
        axes.set_ylabel("conversations")
    panels[-1].set_xscale("log")
    panels[-1].set_xlabel(f"{unit} (dashed: mean)")
    figure.suptitle(title, fontsize=9, x=0.01, ha="left")
    return figure
