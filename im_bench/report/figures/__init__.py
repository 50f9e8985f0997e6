"""Figures: one style for all, and how they get to disk."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from im_bench.drafts import drafted

# Colours of Okabe and Ito.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY, STRIPE = "#666666", "#F4F4F4"
STYLE = {
    "backend": "agg",
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "ytick.left": False,
    "xtick.major.width": 0.6,
    "pdf.fonttype": 42,
}


def write_figure(
    folder: Path, name: str, draw: Callable[[], Figure], suffixes: tuple[str, ...] = ("pdf", "png")
) -> None:
    """Draw in the one style and write `<name>.pdf` and `<name>.png` by rename.

    They hold no dates, so equal values give equal bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **STYLE}):
        figure = draw()
        for suffix in suffixes:
            image = BytesIO()
            undated = {"CreationDate": None} if suffix == "pdf" else None
            figure.savefig(image, format=suffix, dpi=200, metadata=undated)
            with drafted(folder / f"{name}.{suffix}") as draft:
                draft.write_bytes(image.getvalue())


def look(rank: int) -> dict[str, Any]:
    """Colour, shape and filling of a loss; the numbers of each have no common factor, so few repeat."""
    colour = COLOURS[rank % len(COLOURS)]
    face = colour if rank % 2 == 0 else "white"
    marker = MARKERS[rank % len(MARKERS)]
    return {"color": colour, "marker": marker, "markerfacecolor": face, "markersize": 5, "linestyle": "none"}
