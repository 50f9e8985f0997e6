"""The paper's own numbers as cells of a table, what is known to be wrong in them marked (im_bench/paper/)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from im_bench import paper
from im_bench.analysis.measures import HELDOUT, WORDS, heldout_note
from im_bench.report.cells import ANY, PAPER, Cell, cells_of
from im_bench.report.collect import Row
from im_bench.report.forms import FORMS, datasets_of
from im_bench.report.readings import Entry, mean
from im_bench.report.tables import Printed
from im_bench.report.words import CATEGORIES, MEAN

MODEL = "llama2_7b"
"""Of all its tables; Figure 5 has two others, without numbers."""
HELDOUT_NOTE = heldout_note("tulu_v2_10")


def printed(rows: Sequence[Row]) -> list[Printed]:
    """What the paper prints of the model, whole datasets and losses of these rows' cells.

    Means over categories are our own, of the numbers printed beside them. Losses on what it held out are left out
    where ours are on something else.
    """
    numbers = _numbers(paper.scores(), heldout=any(row.reading_note == HELDOUT_NOTE for row in rows))
    cells = [cell for cell, _ in cells_of(rows)]
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


def printed_alone(table: int) -> list[Printed]:
    """What the paper prints, whatever there is of ours: Table 1, Table 5, or what another is about.

    Such a one is about some datasets and losses; beside these stand the losses of Table 1, from there.
    """
    if table == 5:
        return _lengths([row["dataset"] for row in paper.lengths()])
    own = [row for row in paper.scores() if row.table == {7: 3}.get(table, table)]
    datasets = {row.dataset for row in own}
    losses = {row.loss for row in paper.scores() if row in own or row.table == 1}
    columns = {CATEGORIES[0].id} if table == 1 else {*FORMS[table].of}
    return [
        Printed(Cell(MODEL, dataset, "full" if dataset else None, 0, None, loss, PAPER), entries)
        for (dataset, loss), entries in _numbers(paper.scores(), heldout=True).items()
        if dataset in datasets and loss in losses and not columns.isdisjoint(entries)
    ]


def lengths_printed(rows: Sequence[Row]) -> list[Printed]:
    """Table 5's rows of the datasets that these rows are of, whole."""
    return _lengths([row.dataset for row in datasets_of(rows) if row.subset == "full"])


def _lengths(datasets: Iterable[str | None]) -> list[Printed]:
    known = {row["dataset"]: row for row in paper.lengths()}
    return [
        Printed(
            Cell("", name, "full", 0, None, ANY, PAPER),
            {
                f"{WORDS}_{column.replace('_words', '')}": Entry(float(value), None, ())
                for column, value in known[name].items()
                if column != "dataset"
            },
        )
        for name in dict.fromkeys(datasets)
        if name in known
    ]


def _only(values: set[int | None]) -> int | None:
    return next(iter(values)) if len(values) == 1 else None


def _numbers(
    scores: Iterable[paper.Number], *, heldout: bool
) -> dict[tuple[str | None, str], dict[str, Entry]]:
    """The numbers by dataset and loss and by column."""
    found: dict[tuple[str | None, str], dict[str, Entry]] = {}
    for row in scores:
        if row.column.startswith(f"{HELDOUT}_") and not heldout:
            continue
        entries = found.setdefault((row.dataset, row.loss), {})
        entries[row.column] = Entry(row.value, None, (), row.suspect)
    for entries in found.values():
        if all(category.id in entries for category in CATEGORIES):
            parts = [entries[category.id] for category in CATEGORIES]
            entries[MEAN.id] = replace(mean(parts), suspect=parts[0].suspect)
    return found
