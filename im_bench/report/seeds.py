"""Cells that only their seed tells apart, taken together."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import fmean, variance

from im_bench.config import UserError
from im_bench.report.cells import Cell
from im_bench.report.collect import Row
from im_bench.report.measures import Measure
from im_bench.report.readings import Entry

SEVERAL = "several"
"""The name of cells that are taken together."""


def together(cell: Cell) -> Cell:
    """The cell that stands for all seeds of one."""
    return cell._replace(seed=None, name=SEVERAL) if cell.dataset is not None else cell


def pooled(
    cells: Sequence[tuple[Cell, Sequence[Row]]], found: Sequence[Measure]
) -> list[tuple[Cell, tuple[Entry, ...]]]:
    """The mean entries of all seeds of each cell; the base model has none.

    Raises:
        UserError: where there is one seed, of which no variance comes, or cells differ in more than that.
    """
    groups: dict[Cell, list[tuple[Cell, Sequence[Row]]]] = {}
    for cell, own in cells:
        groups.setdefault(together(cell), []).append((cell, own))
    for cell, members in groups.items():
        seeds = [member.seed for member, _ in members]
        if len(set(seeds)) < len(seeds):
            names = " and ".join(member.name for member, _ in members)
            raise UserError(f"report.seeds=pooled: cells {names} differ in more than their seed")
        if cell.dataset is not None and len(members) < 2:
            alone = members[0][0]
            raise UserError(
                f"report.seeds=pooled: {alone.dataset} under {alone.loss} has seed {alone.seed} alone, and a variance "
                "over seeds needs two and more; give the sweep others besides, seed=0,1,2"
            )
    return [
        (cell, tuple(_mean([each.entry(own) for _, own in members]) for each in found))
        for cell, members in groups.items()
    ]


def _mean(entries: Sequence[Entry]) -> Entry:
    """Of one measure over seeds; the same items were asked every time.

    Its error is sqrt(mean of the squared errors over items + variance over seeds / number of seeds); the second holds
    some of the first again, so that it is rather too large.
    """
    rows = tuple(row for entry in entries for row in entry.rows)
    values = [entry.value for entry in entries if entry.value is not None]
    if len(entries) == 1:
        return entries[0]
    if len(values) < len(entries):
        return Entry(None, None, rows)
    errors = [entry.stderr for entry in entries if entry.stderr is not None]
    over_seeds = variance(values) / len(values)
    known = len(errors) == len(entries)
    stderr = sqrt(fmean(error**2 for error in errors) + over_seeds) if known else None
    return Entry(fmean(values), stderr, rows)
