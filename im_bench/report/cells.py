"""Cells as tables know them: what tells one from the others, and the order in which they stand."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from im_bench.report.collect import Row

PAPER = "the paper"
"""The name of a cell whose numbers the paper prints."""
ANY = "any"
"""In Table 5, the loss of a dataset that may have been trained on under several."""


class Cell(NamedTuple):
    """What tells one row of a table from the others."""

    model: str
    dataset: str | None
    subset: str | None
    seed: int | None
    """None for several that are taken together."""
    epoch: int | None
    loss: str
    name: str

    @property
    def group(self) -> tuple[str, str | None, str | None, int | None, int | None]:
        """Cells that differ in the loss alone share it, and are compared with each other."""
        return (self.model, self.dataset, self.subset, self.seed, self.epoch)

    @property
    def source(self) -> str:
        """Who has the numbers."""
        return PAPER if self.name == PAPER else "ours"

    @property
    def order(self) -> tuple[Any, ...]:
        """Base model, then datasets by name; none, it, what lies between, im, what builds on im; ours, the paper's."""
        ends = {"none": 0, "it": 1, "im": 3}
        rank = ends.get(self.loss, 4 if self.loss.startswith("im_") else 2)
        return (
            self.model,
            self.dataset or "",
            _by_number(self.subset or ""),
            -1 if self.seed is None else self.seed,
            self.epoch or 0,
            rank,
            _by_number(self.loss),
            self.source == PAPER,
            self.name,
        )


def _by_number(label: str) -> tuple[tuple[float, str], ...]:
    """Sorts `random_200` before `random_1000`."""
    words = re.split(r"_", label)
    return tuple((float(word), "") if re.fullmatch(r"\d+(\.\d+)?", word) else (0.0, word) for word in words)


def cells_of(rows: Iterable[Row]) -> list[tuple[Cell, list[Row]]]:
    """Each cell with its rows, in order."""
    cells: dict[Cell, list[Row]] = {}
    for row in rows:
        cell = Cell(row.model, row.dataset, row.subset, row.seed, row.epoch, row.loss, row.cell)
        cells.setdefault(cell, []).append(row)
    return sorted(cells.items(), key=lambda item: item[0].order)
