"""The page: one HTML file to look at a sweep, with the texts of its items in files beside it.

It needs no network and allows none: its policy forbids everything but its own script and the files of its folder.
Texts that models wrote travel as JSON and are shown as text, never as HTML.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from html import escape
from importlib.resources import files
from pathlib import Path

from im_bench.analysis.measures import ANALYSIS
from im_bench.drafts import drafted
from im_bench.report.collect import UNKNOWN, Row
from im_bench.report.page.details import cell_details
from im_bench.report.page.grid import FIELDS, Grid, Line, Number, plain
from im_bench.report.page.texts import script_json, write_texts
from im_bench.report.words import benchmark_column, in_order
from im_bench.store import finished

__all__ = ["Grid", "Line", "Number", "write_page"]

SCRIPTS = ("base", "overview", "figures", "curve", "cells", "items", "paging", "start")


def write_page(
    results: Path,
    sweep: str,
    rows: Sequence[Row],
    *,
    tables: Mapping[str, Grid],
    figures: Mapping[str, str],
    baseline: str,
) -> Path:
    """Write `pages/<sweep>/index.html` below `results`, and the items of its cells into `data/` beside it.

    Equal inputs give equal bytes.

    Args:
        rows: the ledger's rows of the sweep; what else is shown comes from the steps that they name.
        tables: by what their columns are; their lines are cells of `rows`. The first is shown first, and `benchmarks`
            where one cell is.
        figures: what `figures.svg` makes, by the names of their files in `figures/`.
        baseline: the loss that others are compared with.
    """
    folder = results / "pages" / sweep
    folders = finished(results / "store")
    scored = {row.step: folders[row.step] for row in rows if row.step in folders and row.category != ANALYSIS}
    with_items = write_texts(folder / "data", scored)
    by_cell = _by_cell(rows, next(iter(tables.values())))
    overview = {
        "sweep": sweep,
        "baseline": baseline,
        "fields": FIELDS,
        "cells": [_cell(own, with_items) for own in by_cell.values()],
        "benchmarks": _benchmarks(rows),
        "scores": len(rows),
        "tables": {name: plain(grid, list(by_cell)) for name, grid in tables.items()},
    }
    details = [cell_details(own, folders) for own in by_cell.values()]
    script = _script()
    parts = {
        "title": escape(sweep),
        "policy": _policy(script),
        "style": _text("page.css"),
        "figures": "\n".join(_figure(name, svg) for name, svg in figures.items()),
        "overview": script_json(overview),
        "details": script_json(details),
        "script": script,
    }
    # In one pass, so that nothing inserted is read as a place to insert into.
    whole = re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], _text("page.html"))
    with drafted(folder / "index.html") as draft:
        draft.write_text(whole)
    return folder / "index.html"


def _by_cell(rows: Sequence[Row], grid: Grid) -> dict[str, list[Row]]:
    """The rows of each cell, in the order of the table; cells that it has not stand last."""
    cells: dict[str, list[Row]] = {line.cell: [] for line in grid.lines}
    for row in rows:
        cells.setdefault(row.cell, []).append(row)
    return {cell: own for cell, own in cells.items() if own}


def _cell(rows: Sequence[Row], with_items: frozenset[str]) -> dict[str, object]:
    """What tells a cell from others, and the steps that have its items, by benchmark.

    An ingested one has the files that its scores are from, and neither dataset, loss nor seed.
    """
    names = ("cell", "model", "dataset", "subset", "loss", "seed", "epoch", "examples", "ratio")
    nothing = dict.fromkeys(("dataset", "loss", "seed")) if rows[0].loss == UNKNOWN else {}
    return {
        **{name: getattr(rows[0], name) for name in names},
        **nothing,
        "sources": sorted({row.source for row in rows if row.source}),
        "items": {row.benchmark: row.step for row in rows if row.step in with_items},
    }


def _benchmarks(rows: Sequence[Row]) -> list[dict[str, object]]:
    headlines = {row.benchmark: row for row in rows if row.task == row.benchmark}
    return [
        benchmark_column(name)._asdict()
        | {"metric": headlines[name].metric, "direction": headlines[name].direction}
        for name in in_order(headlines)
    ]


def _script() -> str:
    """The page's script, one function around its parts."""
    body = "\n".join(_text(f"script/{name}.js") for name in SCRIPTS)
    return f"'use strict';\n(() => {{\n{body}}})();\n"


def _policy(script: str) -> str:
    """What the page may do: its own script, the scripts of its folder, styles, and nothing else."""
    own = b64encode(sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{own}' 'self'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _figure(name: str, svg: str) -> str:
    """A figure with its name and its files."""
    drawn = svg[svg.index("<svg") :].replace("<svg", f'<svg role="img" aria-label="{escape(name)}"', 1)
    links = " ".join(
        f'<a href="../../figures/{escape(name)}.{suffix}">{suffix}</a>' for suffix in ("pdf", "png")
    )
    return f'<figure><div class="paper">{drawn}</div><figcaption>{escape(name)} {links}</figcaption></figure>'


def _text(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
