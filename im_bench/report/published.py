"""The paper's own numbers as cells of a table, what is known to be wrong in them marked (im_bench/paper/)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from im_bench import paper
from im_bench.analysis.measures import WORDS
from im_bench.report.cells import PAPER, Cell
from im_bench.report.collect import Row
from im_bench.report.forms import ANY, datasets_of
from im_bench.report.readings import Entry, mean
from im_bench.report.tables import Printed
from im_bench.report.words import CATEGORIES, MEAN

MODEL = "llama2_7b"
"""Of all its tables; Figure 5 has two others, without numbers."""


def printed(ours: Iterable[Cell]) -> list[Printed]:
    """What the paper prints of the model, whole datasets and losses of these cells; Table 1 where there are none.

    Means over categories are our own, of the numbers printed beside them.
    """
    numbers = _numbers()
    cells = [cell for cell in ours if cell.name != PAPER]
    if not cells:
        return [
            Printed(Cell(MODEL, dataset, "full" if dataset else None, 0, None, loss, PAPER), entries)
            for (dataset, loss), entries in numbers.items()
            if CATEGORIES[0].id in entries
        ]
    last = _only({cell.epoch for cell in cells if cell.dataset is not None})
    seed = _only({cell.seed for cell in cells if cell.dataset is not None})
    found = {}
    for cell in cells:
        if (cell.dataset, cell.loss) in numbers and cell.model == MODEL and cell.subset in (None, "full"):
            trained = cell.dataset is not None
            own = cell._replace(
                name=PAPER, seed=seed if trained else cell.seed, epoch=last if trained else None
            )
            found[own] = Printed(own, numbers[cell.dataset, cell.loss])
    return list(found.values())


def lengths_printed(rows: Sequence[Row]) -> list[Printed]:
    """Table 5's rows of the datasets that these rows are of, whole."""
    known = {row["dataset"]: row for row in paper.lengths()}
    names = dict.fromkeys(row.dataset for row in datasets_of(rows) if row.subset == "full")
    return [
        Printed(
            Cell("", name, "full", 0, None, ANY, PAPER),
            {
                f"{WORDS}_{column.replace('_words', '')}": Entry(float(value), None, ())
                for column, value in known[name].items()
                if column != "dataset"
            },
        )
        for name in names
        if name in known
    ]


def _only(values: set[int | None]) -> int | None:
    return next(iter(values)) if len(values) == 1 else None


def _numbers() -> dict[tuple[str | None, str], dict[str, Entry]]:
    """Every number, by dataset and loss and by column."""
    found: dict[tuple[str | None, str], dict[str, Entry]] = {}
    for row in paper.scores():
        entries = found.setdefault((row.dataset, row.loss), {})
        entries[row.column] = Entry(row.value, None, (), row.suspect)
    for entries in found.values():
        if all(category.id in entries for category in CATEGORIES):
            parts = [entries[category.id] for category in CATEGORIES]
            entries[MEAN.id] = replace(mean(parts), suspect=parts[0].suspect)
    return found
