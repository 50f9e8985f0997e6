"""What the rows of a table are called: only what tells this table's rows apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from im_bench.report.cells import PAPER, Cell
from im_bench.report.collect import UNKNOWN


class Labels(NamedTuple):
    """The leading columns. `groups` has what rows share, such as the dataset; `names` what tells them apart within."""

    group_headings: tuple[str, ...]
    name_headings: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    names: tuple[tuple[str, ...], ...]

    @property
    def headings(self) -> tuple[str, ...]:
        return self.group_headings + self.name_headings

    @property
    def starts(self) -> list[bool]:
        """Whether the line begins a new group."""
        return [number == 0 or self.groups[number - 1] != group for number, group in enumerate(self.groups)]

    @property
    def lines(self) -> list[tuple[str, ...]]:
        """Group and name of each line, without repeating the group."""
        blank = ("",) * len(self.group_headings)
        groups = [group if start else blank for group, start in zip(self.groups, self.starts, strict=True)]
        return [group + name for group, name in zip(groups, self.names, strict=True)]


def labels_of(cells: Sequence[Cell]) -> Labels:
    """Model, dataset, subset, seed and epoch where they differ; loss, and name and source where they do.

    Of scores that were ingested nothing but the model is known.
    """
    if {(cell.dataset, cell.loss) for cell in cells} == {(UNKNOWN, UNKNOWN)}:
        return Labels((), ("Model",), ((),) * len(cells), tuple((cell.model,) for cell in cells))
    trained = [cell for cell in cells if cell.dataset is not None]
    ours = [cell for cell in trained if cell.source != PAPER]
    group = {
        "Model": [cell.model for cell in cells] if len({cell.model for cell in cells}) > 1 else None,
        "Dataset": [cell.dataset or "(base model)" for cell in cells],
        "Subset": [cell.subset or "" for cell in cells] if _several(ours, "subset") else None,
        "Seed": [_seed(cell) for cell in cells] if _several(ours or cells, "seed") else None,
        "Epoch": [str(cell.epoch or "") for cell in cells] if _several(ours, "epoch") else None,
    }
    alike = len({(cell.group, cell.loss, cell.source) for cell in cells}) < len(cells)
    name = {
        "Loss": [cell.loss for cell in cells],
        "Cell": [cell.name for cell in cells] if alike else None,
        "Of": [cell.source for cell in cells] if len({cell.source for cell in cells}) > 1 else None,
    }
    group_words = {heading: words for heading, words in group.items() if words is not None}
    name_words = {heading: words for heading, words in name.items() if words is not None}
    groups, names = zip(*group_words.values(), strict=True), zip(*name_words.values(), strict=True)
    return Labels(tuple(group_words), tuple(name_words), tuple(groups), tuple(names))


def _several(cells: Sequence[Cell], field: str) -> bool:
    return len({getattr(cell, field) for cell in cells}) > 1


def _seed(cell: Cell) -> str:
    return "" if cell.seed is None else str(cell.seed)
