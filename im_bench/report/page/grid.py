"""A table as the page takes it: values, and what is known of their differences to the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from im_bench.report.cells import PAPER
from im_bench.report.readings import Entry
from im_bench.report.tables import STAR, Difference, Scored, Table
from im_bench.report.words import Column


@dataclass(frozen=True, kw_only=True)
class Number:
    """One number of a table, in the table's unit, and its difference to the baseline of the same group.

    `difference` is None where there is nothing to compare with, `low` to `p` where it was not tested.
    """

    value: float | None
    stderr: float | None = None
    count: int = 0
    total: int = 0
    difference: float | None = None
    low: float | None = None
    """Lower end of the interval of the difference."""
    high: float | None = None
    p: float | None = None
    """Adjusted for the number of comparisons, if the table's caption says so."""
    stars: str = ""
    """As the table's caption explains them."""


@dataclass(frozen=True)
class Line:
    """The numbers of one cell, one for each column."""

    cell: str
    numbers: tuple[Number, ...]


@dataclass(frozen=True)
class Grid:
    """Columns, lines in the order in which they stand, and what is said under them."""

    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    caption: tuple[str, ...]


def grid_of(table: Table) -> Grid:
    """A table with a line for each cell, as the page takes it: those of ours, which one can look into."""
    ours = [each for each in table.scored if each.cell.source != PAPER]
    lines = [Line(each.cell.name, tuple(map(_number, each.entries, _each(each)))) for each in ours]
    return Grid(table.columns, tuple(lines), table.caption)


def _each(scored: Scored) -> Sequence[Difference | None]:
    return scored.differences or (None,) * len(scored.entries)


def _number(entry: Entry, difference: Difference | None) -> Number:
    to = difference or Difference(None, None)
    return Number(
        value=entry.value,
        stderr=entry.stderr,
        count=entry.count,
        total=entry.total,
        difference=to.value,
        low=to.low,
        high=to.high,
        p=to.p,
        stars=STAR if to.significant else "",
    )


def plain(grid: Grid, cells: Sequence[str]) -> dict[str, Any]:
    """The grid for the script: cells by their number, numbers as lists in the order of `FIELDS`."""
    place = {cell: number for number, cell in enumerate(cells)}
    return {
        "columns": [column._asdict() for column in grid.columns],
        "lines": [
            {"cell": place[line.cell], "numbers": [_listed(number) for number in line.numbers]}
            for line in grid.lines
        ],
        "caption": list(grid.caption),
    }


FIELDS = ("value", "stderr", "count", "total", "difference", "low", "high", "p", "stars")


def _listed(number: Number) -> list[Any]:
    return [_short(getattr(number, field)) for field in FIELDS]


def _short(value: Any) -> Any:
    return round(value, 6) if isinstance(value, float) else value
