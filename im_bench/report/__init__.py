"""From the ledger to what people read: tables, what is tested, figures, the page."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from im_bench import config
from im_bench.analysis.measures import ANALYSIS
from im_bench.report import measures
from im_bench.report.cells import cells_of
from im_bench.report.collect import FILE, Row, read_ledger
from im_bench.report.comparisons import Tests, by_cell, compared
from im_bench.report.formats import write_comparisons, write_table
from im_bench.report.forms import FORMS, TABLE_5, available, datasets_of
from im_bench.report.pivot import Form, pivot
from im_bench.report.published import lengths_printed, printed, printed_alone
from im_bench.report.tables import (
    Printed,
    Table,
    benchmark_table,
    category_table,
    cell_table,
    check_comparable,
)

STORE = "store"

log = logging.getLogger(__name__)


class Reported(NamedTuple):
    """What was written of a sweep, besides its tables."""

    table: Table
    """The one that answers its question, or the one that was asked."""
    pictures: list[Path]
    page: Path | None
    """None of the paper's numbers alone."""


def report(
    results: Path,
    sweep: str,
    wanted: config.Report,
    *,
    form: Form | None = None,
    published: bool = False,
) -> Reported:
    """Write the tables, tests, figures and page of one sweep below `results`.

    Args:
        form: of a table that is made besides, and is the one returned.
        published: whether the paper's own numbers stand beside ours, or alone where there are none of ours.

    Raises:
        UserError: when the ledger has no row of the sweep, cannot be read, or mixes judges or versions in a column;
            when a field or a column is asked that there is not.
    """
    rows = of_judges(rows_of(results, sweep, published=published), wanted.judge)
    if not wanted.mixed:
        check_comparable(rows)
    found = compared(rows, results / STORE, wanted)
    beside = printed(rows) if published else []
    if rows and published and not beside:
        log.warning("%s: the paper has no numbers of its models, datasets and losses", sweep)
    tables = dict(_tables(rows, sweep, wanted, by_cell(found), beside, form))
    for name, table in tables.items():
        write_table(results / "tables", name, table)
    write_comparisons(results / "tables", f"{sweep}_comparisons", found)
    table = next(reversed(tables.values())) if form else next(iter(tables.values()))
    return (
        Reported(table, *_drawn(results, sweep, rows, tables, wanted)) if rows else Reported(table, [], None)
    )


def rows_of(results: Path, sweep: str, *, published: bool = False) -> list[Row]:
    """A sweep's rows of the ledger.

    Raises:
        UserError: when there are none, and the paper's are not asked either.
    """
    ledger = results / FILE
    rows = [row for row in read_ledger(ledger) if row.sweep == sweep]
    if not rows and not published:
        raise config.UserError(
            f"{sweep}: {ledger} has no score of this sweep; im-bench sweep, with the same words, makes them"
        )
    return rows


def of_judges(rows: Sequence[Row], judges: Sequence[str]) -> list[Row]:
    """The rows without those of other judges than these; a benchmark that none of these judged keeps its own.

    Raises:
        UserError: a judge of whom there is nothing, with those that there are.
    """
    there = sorted({row.judge for row in rows if row.judge})
    for judge in judges:
        if judge not in there:
            raise config.UserError(
                f"report.judge={judge}: nothing is judged by it; there are {', '.join(there) or 'none'}"
            )
    theirs = {row.benchmark for row in rows if row.judge in judges}
    return [row for row in rows if row.judge in (None, *judges) or row.benchmark not in theirs]


def check_baseline(rows: Sequence[Row], baseline: str) -> None:
    """Refuse a baseline that was asked and is not there.

    Raises:
        UserError: naming the losses that are.
    """
    losses = list(dict.fromkeys(cell.loss for cell, _ in cells_of(rows)))
    if baseline not in losses:
        raise config.UserError(
            f"report.baseline={baseline}: no cell of the sweep has this loss; there are {', '.join(losses)}"
        )


def _tables(
    rows: Sequence[Row],
    sweep: str,
    wanted: config.Report,
    known: Tests,
    beside: Sequence[Printed],
    form: Form | None,
) -> Iterator[tuple[str, Table]]:
    """Every table by its name; the main one goes by the sweep's."""
    if not rows:
        yield from _of_the_paper(sweep, wanted, form)
        return
    scored = any(row.category != ANALYSIS for row in rows)
    analyses = measures.of_analyses(rows)
    if scored or not analyses:
        yield sweep, category_table(rows, name=sweep, wanted=wanted, tests=known, printed=beside)
        yield f"{sweep}_benchmarks", benchmark_table(rows, name=sweep, wanted=wanted, tests=known)
    if analyses:
        name = f"{sweep}_analyses" if scored else sweep
        yield name, cell_table(rows, analyses, name=sweep, wanted=wanted, tests=known, printed=beside)
    for number in wanted.tables:
        table = _paper_table(number, rows, sweep, wanted, known, beside)
        if table is None:
            log.warning("%s: there is nothing of Table %d of the paper in it", sweep, number)
        else:
            yield f"{sweep}_table{number}", table
    if form:
        yield _name(sweep, form), pivot(rows, form, name=sweep, wanted=wanted, tests=known, printed=beside)


def _of_the_paper(sweep: str, wanted: config.Report, form: Form | None) -> Iterator[tuple[str, Table]]:
    """The paper's tables that the sweep asks for, else Table 1, without a score of ours."""
    for number in wanted.tables or (1,):
        name = f"{sweep}_table{number}" if wanted.tables else sweep
        yield name, _alone(number, sweep, wanted)
    if form:
        yield _name(sweep, form), pivot([], form, name=sweep, wanted=wanted, printed=printed_alone(1))


def _alone(number: int, sweep: str, wanted: config.Report) -> Table:
    """One of the paper's tables."""
    theirs = printed_alone(number)
    columns = measures.TABLE_1 if number == 1 else {column for each in theirs for column in each.entries}
    form = available(FORMS[number], columns) if number in FORMS else None
    if form:
        return pivot([], form, name=sweep, wanted=wanted, printed=theirs)
    found = [each for each in measures.unasked() if each.column.id in columns]
    said = (TABLE_5,) if number == 5 else ()
    return cell_table([], found, name=sweep, wanted=wanted, printed=theirs, said=said)


def _name(sweep: str, form: Form) -> str:
    return f"{sweep}_{'_'.join(form.rows)}_by_{'_'.join(form.columns)}"


def _paper_table(
    number: int,
    rows: Sequence[Row],
    sweep: str,
    wanted: config.Report,
    known: Tests,
    beside: Sequence[Printed],
) -> Table | None:
    """The paper's table of this number, of ours; None where the rows have nothing of it."""
    if number == 5:
        each = wanted.model_copy(update={"seeds": "each"})
        theirs = lengths_printed(rows) if beside else []
        lengths, columns = datasets_of(rows), measures.of_lengths(rows)
        table = cell_table(lengths, columns, name=sweep, wanted=each, printed=theirs, said=(TABLE_5,))
        return table if columns else None
    every = [*measures.by_category(rows, wanted.reading), *measures.of_analyses(rows)]
    form = available(FORMS[number], (each.column.id for each in every))
    return form and pivot(rows, form, name=sweep, wanted=wanted, tests=known, printed=beside)


def _drawn(
    results: Path, sweep: str, rows: Sequence[Row], tables: dict[str, Table], wanted: config.Report
) -> tuple[list[Path], Path]:
    """The figures, and the page with them."""
    # matplotlib takes a second to load, and who reads a table need not wait for it.
    from im_bench.report.figures import svg, write_figure
    from im_bench.report.figures.differences import difference_figure
    from im_bench.report.figures.which import figures_of
    from im_bench.report.page import write_page
    from im_bench.report.page.grid import grid_of

    figures = figures_of(
        rows, sweep=sweep, baseline=wanted.baseline, reading=wanted.reading, store=results / STORE
    )
    if f"{sweep}_benchmarks" in tables and _differs(tables[sweep]):
        figures = {sweep: partial(difference_figure, tables[sweep])} | figures
    for name, draw in figures.items():
        write_figure(results / "figures", name, draw)
    page = write_page(
        results,
        sweep,
        rows,
        tables={
            name: grid_of(table)
            for name, table in _for_the_page(rows, sweep, tables, results, wanted).items()
        },
        figures={name: svg(name, draw) for name, draw in figures.items()},
        baseline=wanted.baseline,
    )
    return [results / "figures" / f"{name}.png" for name in figures], page


def _differs(table: Table) -> bool:
    return any(each and each.value is not None for line in table.scored for each in line.differences or ())


def _for_the_page(
    rows: Sequence[Row], sweep: str, tables: dict[str, Table], results: Path, wanted: config.Report
) -> dict[str, Table]:
    """By what their columns are, the tables whose lines are cells of the ledger."""
    if wanted.seeds == "pooled":
        each = wanted.model_copy(update={"seeds": "each"})
        found = by_cell(compared(rows, results / STORE, each))
        tables = dict(_tables(rows, sweep, each, found, (), None))
    names = {"categories": sweep, "benchmarks": f"{sweep}_benchmarks", "analyses": f"{sweep}_analyses"}
    if names["benchmarks"] not in tables:
        names = {"analyses": sweep}
    return {columns: tables[name] for columns, name in names.items() if name in tables}
