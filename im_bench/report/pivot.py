"""Any table: the sweep's scores by what tells cells apart, in rows and columns of one's choice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from im_bench.config import Report, UserError
from im_bench.report import measures
from im_bench.report.cells import Cell
from im_bench.report.collect import Row
from im_bench.report.comparisons import Tests
from im_bench.report.labels import Labels
from im_bench.report.measures import Measure
from im_bench.report.readings import Entry
from im_bench.report.tables import Difference, Line, Printed, Scored, Table, said_of, scores
from im_bench.report.words import Column

OF_CELLS: dict[str, Callable[[Cell], str]] = {
    "model": lambda cell: cell.model,
    "dataset": lambda cell: cell.dataset or "(base model)",
    "subset": lambda cell: cell.subset or "",
    "seed": lambda cell: "" if cell.seed is None or cell.dataset is None else str(cell.seed),
    "epoch": lambda cell: str(cell.epoch or ""),
    "loss": lambda cell: cell.loss,
    "of": lambda cell: cell.source,
    "cell": lambda cell: cell.name,
}
"""What tells cells apart, as a table says it, in the order in which what nobody named stands before the rows."""
OF_SCORES = ("benchmark", "category")
FIELDS = (*OF_CELLS, *OF_SCORES)


class Form(NamedTuple):
    """How a table is laid out."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    of: tuple[str, ...] = ()
    """Columns of benchmarks, categories or analyses; none are all benchmarks, or all categories."""
    note: str = ""
    """What the form is."""


class _Place(NamedTuple):
    """One number of the table, by what it is called in rows and columns."""

    row: tuple[str, ...]
    column: tuple[str, ...]
    measure: Column
    entry: Entry
    difference: Difference | None


def pivot(
    rows: Sequence[Row],
    form: Form,
    *,
    name: str,
    wanted: Report,
    tests: Tests | None = None,
    printed: Sequence[Printed] = (),
) -> Table:
    """The scores in the rows and columns of a form; what differs and is in neither stands before the rows.

    Raises:
        UserError: a field or a column that there is not.
    """
    _check(form)
    found = _measures(rows, form, wanted)
    scored = scores(rows, found, wanted=wanted, tests=tests, printed=printed)
    form = _completed(form, [each.cell for each in scored], found)
    places = list(_places(scored, found, form))
    at = {(each.row, each.column): each for each in places}
    lines, columns = (
        list(dict.fromkeys(each.row for each in places)),
        list(dict.fromkeys(each.column for each in places)),
    )
    columns = _ordered(columns, form.columns, scored, found)
    lines = _ordered(lines, form.rows, scored, found)
    return Table(
        name=name,
        baseline=wanted.baseline,
        columns=tuple(_column(each, form, at, lines) for each in columns),
        lines=tuple(_line([at.get((line, column)) for column in columns]) for line in lines),
        labels=_labels(form.rows, lines),
        caption=(*([form.note] if form.note else []), *said_of(rows, scored, found, wanted)),
    )


def _check(form: Form) -> None:
    for option, fields in (("--rows", form.rows), ("--columns", form.columns)):
        for field in fields:
            if field not in FIELDS:
                raise UserError(f"{option} {field}: there is no such field; there are {', '.join(FIELDS)}")
    for field in form.rows:
        if field in form.columns:
            raise UserError(f"--rows {field} --columns {field}: it can stand in one of the two")
    if {*OF_SCORES} <= {*form.rows, *form.columns}:
        raise UserError(
            "--rows and --columns have benchmark and category; one of the two says which numbers there are"
        )


def _measures(rows: Sequence[Row], form: Form, wanted: Report) -> list[Measure]:
    if not rows:
        return measures.picked(measures.unasked(), form.of or measures.TABLE_1)
    categories, benchmarks = (
        measures.by_category(rows, wanted.reading),
        measures.by_benchmark(rows, wanted.reading),
    )
    if form.of:
        known = {each.column.id: each for each in (*categories, *measures.of_analyses(rows), *benchmarks)}
        return measures.picked(list(known.values()), form.of)
    return categories if "category" in (*form.rows, *form.columns) else benchmarks


def _completed(form: Form, cells: Sequence[Cell], found: Sequence[Measure]) -> Form:
    """With what differs, and is not named, before the rows; several scores beside the columns."""
    named = {*form.rows, *form.columns}
    trained = [cell for cell in cells if cell.dataset is not None] or list(cells)
    varying = [
        field
        for field, said in OF_CELLS.items()
        if field not in (*named, "cell") and len({said(cell) for cell in trained}) > 1
    ]
    said = {(*(OF_CELLS[field](cell) for field in OF_CELLS if field != "cell"),) for cell in cells}
    if len(said) < len(cells) and "cell" not in named:
        varying.append("cell")
    scores_named = named & set(OF_SCORES)
    more = () if scores_named or len(found) == 1 else ("benchmark",)
    return form._replace(rows=(*varying, *form.rows), columns=(*form.columns, *more))


def _places(scored: Iterable[Scored], found: Sequence[Measure], form: Form) -> Iterable[_Place]:
    for each in scored:
        differences = each.differences or (None,) * len(found)
        for measure, entry, difference in zip(found, each.entries, differences, strict=True):
            row, column = (
                tuple(_said(field, each.cell, measure) for field in fields)
                for fields in (form.rows, form.columns)
            )
            yield _Place(row, column, measure.column, entry, difference)


def _said(field: str, cell: Cell, measure: Measure) -> str:
    return measure.column.heading if field in OF_SCORES else OF_CELLS[field](cell)


def _ordered(
    keys: Sequence[tuple[str, ...]], fields: Sequence[str], scored: Sequence[Scored], found: Sequence[Measure]
) -> list[tuple[str, ...]]:
    """By the order that each field's values have among cells or measures."""
    ranks = []
    for field in fields:
        said = (
            [each.column.heading for each in found]
            if field in OF_SCORES
            else [
                OF_CELLS[field](each.cell) for each in sorted(scored, key=lambda one: _first(field, one.cell))
            ]
        )
        ranks.append({word: rank for rank, word in enumerate(dict.fromkeys(said))})
    return sorted(keys, key=lambda key: [rank[word] for rank, word in zip(ranks, key, strict=True)])


def _first(field: str, cell: Cell) -> tuple[Any, ...]:
    """Losses stand as they do within one dataset, whatever datasets there are."""
    return (
        cell._replace(model="", dataset="", subset="", seed=0, epoch=0, name="").order
        if field == "loss"
        else cell.order
    )


def _column(
    key: tuple[str, ...],
    form: Form,
    at: dict[tuple[tuple[str, ...], tuple[str, ...]], _Place],
    lines: Sequence[tuple[str, ...]],
) -> Column:
    of_column = {place.measure for line in lines if (place := at.get((line, key)))}
    first = next(iter(sorted(of_column)))
    shorts = [
        first.short if field in OF_SCORES else word
        for field, word in zip(form.columns, key, strict=True)
        if word
    ]
    return first._replace(
        id="/".join(key),
        heading=" ".join(filter(None, key)),
        short=" ".join(shorts),
        digits=max(each.digits for each in of_column),
        better=first.better if len({each.better for each in of_column}) == 1 else "neither",
    )


def _line(places: Sequence[_Place | None]) -> Line:
    differences = tuple(place.difference if place else None for place in places)
    entries = tuple(place.entry if place else None for place in places)
    return Line(entries, differences if any(differences) else None)


def _labels(fields: Sequence[str], lines: Sequence[tuple[str, ...]]) -> Labels:
    headings = tuple(field.capitalize() for field in fields)
    cut = max(0, len(fields) - 1)
    return Labels(
        headings[:cut],
        headings[cut:],
        tuple(line[:cut] for line in lines),
        tuple(line[cut:] for line in lines),
    )
