"""What a cell is measured by: the columns that a table may have, and a cell's entries in them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from im_bench.analysis.measures import ANALYSIS, HELDOUT_NEW, LENGTHS, OVERLAP
from im_bench.config import UserError
from im_bench.report.collect import Row
from im_bench.report.readings import (
    JUDGED,
    MISSING,
    Entry,
    Reading,
    benchmark_entry,
    category_entry,
    mean,
    task_entry,
    translation_leaves,
)
from im_bench.report.words import (
    ANALYSES,
    CATEGORIES,
    LENGTH_CONTROLLED,
    MEAN,
    Column,
    benchmark_column,
    in_order,
)

TABLE_1 = (*(each.id for each in CATEGORIES), MEAN.id, "mt_bench", "alpaca_eval_1", "alpaca_eval_2")
Of = Callable[[Sequence[Row]], Entry]
Family = Literal["benchmarks", "categories", "analyses"]
"""The benchmarks, the columns of Table 1, or what analyses found."""


@dataclass(frozen=True)
class Measure:
    """A column, and how a cell's rows make its entry."""

    column: Column
    entry: Of
    family: Family
    """Over which Holm adjusts its tests."""
    parts: tuple[str, ...] = ()
    """The columns of which this one is the mean: of a category its benchmarks, of Mean the categories."""


def asked(rows: Iterable[Row]) -> Mapping[str, tuple[str, ...]]:
    """The benchmarks with a row, by category, in the order of the paper."""
    found: dict[str, set[str]] = {}
    for row in rows:
        if row.category != ANALYSIS:
            found.setdefault(row.category, set()).add(row.benchmark)
    known = {column.id for column in CATEGORIES} | {JUDGED}
    assert found.keys() <= known, f"no such category: {', '.join(sorted(found.keys() - known))}"
    return {category: in_order(benchmarks) for category, benchmarks in found.items()}


def by_category(rows: Sequence[Row], reading: Reading) -> list[Measure]:
    """The categories, their mean, the judged benchmarks: the columns of Table 1."""
    known, leaves = asked(rows), translation_leaves(rows)
    categories = [
        Measure(column, _category(known[column.id], reading, leaves), "categories", known[column.id])
        for column in CATEGORIES
        if column.id in known
    ]
    parts = tuple(each.column.id for each in categories)
    overall = [Measure(MEAN, lambda own: mean([each.entry(own) for each in categories]), "categories", parts)]
    judged = _each(known.get(JUDGED, ()), reading, "categories")
    return [*categories, *(overall if categories else []), *judged]


def unasked() -> list[Measure]:
    """The columns that the paper may have a number in, where none of our rows fill them."""
    known = {column.id: column for column in (*CATEGORIES, MEAN, *ANALYSES)}
    columns = (known.get(name) or benchmark_column(name) for name in dict.fromkeys((*TABLE_1, *known)))
    return [Measure(column, lambda own: MISSING, "categories") for column in columns]


def by_benchmark(rows: Sequence[Row], reading: Reading) -> list[Measure]:
    """Every benchmark's own score, and the length-controlled win rate where there is one."""
    known = asked(rows)
    names = [each for category in (*CATEGORIES, JUDGED_COLUMN) for each in known.get(category.id, ())]
    controlled = any(row.task == LENGTH_CONTROLLED.id and row.value is not None for row in rows)
    return [*_each(names, reading, "benchmarks"), *([_task(LENGTH_CONTROLLED)] if controlled else [])]


def of_analyses(rows: Iterable[Row]) -> list[Measure]:
    """What analyses have found: every task and metric with a row.

    Where no held-out conversation stands in a training set, there is nothing that the new ones alone would say.
    """
    own = [row for row in rows if row.category == ANALYSIS and row.benchmark != LENGTHS]
    overlaps = any(row.metric == OVERLAP and row.value for row in own)
    return _found(row for row in own if overlaps or row.task != HELDOUT_NEW)


def of_lengths(rows: Iterable[Row]) -> list[Measure]:
    """How long the conversations of the trainings are: the columns of Table 5."""
    return _found(row for row in rows if row.benchmark == LENGTHS)


def _found(rows: Iterable[Row]) -> list[Measure]:
    ids = {analysis_id(row) for row in rows}
    known = [column for column in ANALYSES if column.id in ids]
    others = sorted(ids - {column.id for column in known})
    return [_analysis(column) for column in (*known, *(Column(each, each, each) for each in others))]


def analysis_id(row: Row) -> str:
    """The column of a row of an analysis."""
    return f"{row.task}_{row.metric}"


def picked(measures: Sequence[Measure], wanted: Collection[str]) -> list[Measure]:
    """Those of `wanted`, in its order.

    Raises:
        UserError: one that there is not, with those that there are.
    """
    known = {each.column.id: each for each in measures}
    for name in wanted:
        if name not in known:
            raise UserError(f"--of {name}: there is no such column; there are {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(wanted)]


JUDGED_COLUMN = Column(JUDGED, "Judged", "Judged")


def _category(benchmarks: Sequence[str], reading: Reading, leaves: frozenset[str]) -> Of:
    return lambda own: category_entry(own, benchmarks, reading, leaves)


def _each(benchmarks: Iterable[str], reading: Reading, family: Family) -> list[Measure]:
    return [_benchmark(name, reading, family) for name in benchmarks]


def _benchmark(name: str, reading: Reading, family: Family) -> Measure:
    return Measure(benchmark_column(name), lambda own: benchmark_entry(own, name, reading), family)


def _task(column: Column) -> Measure:
    return Measure(
        column, lambda own: task_entry([row for row in own if row.task == column.id]), "benchmarks"
    )


def _analysis(column: Column) -> Measure:
    return Measure(
        column,
        lambda own: task_entry(
            [row for row in own if row.category == ANALYSIS and analysis_id(row) == column.id]
        ),
        "analyses",
    )
