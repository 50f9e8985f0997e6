"""Figures: one style for all, what is said over a point, and how they get to disk."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from im_bench.drafts import drafted

# Colours of Okabe and Ito.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
STROKES: tuple[Any, ...] = ("-", "--", (0, (5, 1.5, 1, 1.5)), ":", (0, (3, 1, 1, 1, 1, 1)))
GREY, STRIPE = "#666666", "#F4F4F4"
STYLE = {
    "backend": "agg",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "ytick.left": False,
    "xtick.major.width": 0.6,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "im-bench",
}
UNDATED: dict[str, dict[str, None]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
SAID = "said:"
"""What the id of an artist begins with that has something to say; the rest is the words."""
SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"


def write_figure(
    folder: Path, name: str, draw: Callable[[], Figure], suffixes: tuple[str, ...] = ("pdf", "png")
) -> None:
    """Draw in the one style and write `<name>.pdf` and `<name>.png`, or as `suffixes` say, by rename.

    They hold no dates, so equal values give equal bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for suffix, image in _images(name, draw, suffixes).items():
        with drafted(folder / f"{name}.{suffix}") as draft:
            draft.write_bytes(image)


def svg(name: str, draw: Callable[[], Figure]) -> str:
    """The figure as an element of an HTML page, of which several may stand on one page: ids begin with `name`.

    Text stays text, and each artist that `hover` has marked has its words as <title>.
    """
    return _images(name, draw, ("svg",))["svg"].decode()


def hover(artist: Artist, text: str) -> None:
    """What a browser shows over the artist, and a screen reader reads, in an SVG of the figure."""
    artist.set_gid(SAID + text)


def look(rank: int) -> dict[str, Any]:
    """Colour, shape and filling of a loss; the numbers of each have no common factor, so few repeat."""
    colour = COLOURS[rank % len(COLOURS)]
    face = colour if rank % 2 == 0 else "white"
    marker = MARKERS[rank % len(MARKERS)]
    return {"color": colour, "marker": marker, "markerfacecolor": face, "markersize": 5, "linestyle": "none"}


def stroke(rank: int) -> dict[str, Any]:
    """Colour and kind of line of a loss."""
    return {"color": COLOURS[rank % len(COLOURS)], "linestyle": STROKES[rank % len(STROKES)]}


def ranks(losses: Iterable[str]) -> dict[str, int]:
    """The rank of each loss in its order; it and im are the first two, so that they look alike in every figure."""
    fixed = {"it": 0, "im": 1}
    others = (loss for loss in dict.fromkeys(losses) if loss not in fixed)
    return fixed | {loss: rank for rank, loss in enumerate(others, start=len(fixed))}


def _images(name: str, draw: Callable[[], Figure], suffixes: Iterable[str]) -> dict[str, bytes]:
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **STYLE}):
        figure = draw()
        images = {}
        for suffix in suffixes:
            image = BytesIO()
            figure.savefig(image, format=suffix, dpi=200, metadata=UNDATED.get(suffix))
            images[suffix] = image.getvalue()
    if "svg" in images:
        images["svg"] = _for_a_page(images["svg"], name)
    return images


def _for_a_page(image: bytes, name: str) -> bytes:
    """Without what would act on the page around it, ids its own, and a <title> for what has something to say."""
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    root = ElementTree.fromstring(image)
    own = re.sub(r"[^\w-]+", "-", name)
    _without_metadata(root)
    numbers = count(1)
    for element in root.iter():
        words = element.get("id", "")
        if words.startswith(SAID):
            title = ElementTree.Element(f"{{{SVG}}}title")
            title.text = words.removeprefix(SAID)
            element.insert(0, title)
            element.set("id", f"point-{next(numbers)}")
        for key, value in element.attrib.items():
            element.set(key, _renamed(key, value, own))
    return ElementTree.tostring(root, encoding="utf-8")


def _without_metadata(root: ElementTree.Element) -> None:
    """No program's name; and line joins for this picture, not by a style sheet for the whole page."""
    for tag in ("metadata", "defs"):
        found = root.find(f"{{{SVG}}}{tag}")
        assert found is not None, f"matplotlib writes <{tag}> first"
        root.remove(found)
    root.set("style", "stroke-linejoin: round; stroke-linecap: butt")


def _renamed(key: str, value: str, own: str) -> str:
    if key == "id":
        return f"{own}-{value}"
    if key == f"{{{XLINK}}}href":
        return value.replace("#", f"#{own}-", 1)
    return value.replace("url(#", f"url(#{own}-")
