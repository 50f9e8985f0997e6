"""Tables as values: pure functions of the ledger's rows, in the form of the paper's Table 1.

Rows are cells, the base model first and then each dataset under its losses; differences are to the baseline
loss on the same dataset. A benchmark counts as asked when any cell of the sweep has a row of it: then a cell
without it shows n/a. A benchmark that nobody was asked is left out for everybody, and the caption says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import NamedTuple

from im_bench.config import UserError
from im_bench.report.captions import caption, left_out
from im_bench.report.collect import UNKNOWN, Row
from im_bench.report.readings import (
    JUDGED,
    Entry,
    Reading,
    benchmark_entry,
    category_entry,
    mean,
    translation_leaves,
)
from im_bench.report.words import CATEGORIES, Column, benchmark_column, in_order


class Cell(NamedTuple):
    """What tells one row of a table from the others."""

    model: str
    dataset: str | None
    subset: str | None
    seed: int
    epoch: int | None
    loss: str
    name: str

    @property
    def group(self) -> tuple[str, str | None, str | None, int, int | None]:
        """Cells that differ in the loss alone share it, and are compared with each other."""
        return (self.model, self.dataset, self.subset, self.seed, self.epoch)

    @property
    def order(self) -> tuple[str, str, tuple[tuple[float, str], ...], int, int, int, str, str]:
        """Base model, then datasets by name; none, it, what lies between, im, what builds on im."""
        ends = {"none": 0, "it": 1, "im": 3}
        rank = ends.get(self.loss, 4 if self.loss.startswith("im_") else 2)
        return (
            self.model,
            self.dataset or "",
            _by_number(self.subset or ""),
            self.seed,
            self.epoch or 0,
            rank,
            self.loss,
            self.name,
        )


@dataclass(frozen=True)
class Difference:
    """To the baseline, in the unit of the column. `stderr` takes the two scores as independent."""

    value: float | None
    stderr: float | None


@dataclass(frozen=True)
class Line:
    """One cell's row. Without differences for the base model and for the baseline itself."""

    cell: Cell
    entries: tuple[Entry, ...]
    differences: tuple[Difference, ...] | None


@dataclass(frozen=True)
class Table:
    """Columns, lines and what is to be said under them; `name` is the sweep's."""

    name: str
    baseline: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    caption: tuple[str, ...]


def _by_number(label: str) -> tuple[tuple[float, str], ...]:
    """Sorts `random_200` before `random_1000`."""
    words = re.split(r"_", label)
    return tuple((float(word), "") if re.fullmatch(r"[\d.]+", word) else (0.0, word) for word in words)


def category_table(rows: Sequence[Row], *, name: str, baseline: str, reading: Reading) -> Table:
    """Table 1: categories, their mean, the judged benchmarks, each with its difference to the baseline.

    Raises:
        UserError: when two judges meet in one column.
    """
    asked = _asked(rows)
    one_judge_per_column(rows, asked.get(JUDGED, ()))
    leaves = translation_leaves(rows)
    categories = [column for column in CATEGORIES if column.id in asked]
    judged = [benchmark_column(benchmark) for benchmark in asked.get(JUDGED, ())]
    columns = (*categories, *([Column("mean", "Mean", "Mean")] if categories else ()), *judged)

    def entries(cell_rows: Sequence[Row]) -> tuple[Entry, ...]:
        scores = [category_entry(cell_rows, asked[column.id], reading, leaves) for column in categories]
        overall = [mean(scores)] if categories else []
        return (*scores, *overall, *(benchmark_entry(cell_rows, column.id, reading) for column in judged))

    lines = _with_differences([Line(cell, entries(own), None) for cell, own in _cells(rows)], baseline)
    means = (MEANS, *left_out(asked)) if categories else ()
    said = (*_models(lines), *means, *_comparison(lines, baseline))
    return Table(name, baseline, columns, lines, (*said, *caption(_entries(lines), asked, reading)))


def benchmark_table(rows: Sequence[Row], *, name: str, baseline: str, reading: Reading) -> Table:
    """Every benchmark's own score, one column each; no means, no differences."""
    asked = _asked(rows)
    one_judge_per_column(rows, asked.get(JUDGED, ()))
    order = [*(column.id for column in CATEGORIES), JUDGED]
    columns = tuple(
        benchmark_column(benchmark) for category in order for benchmark in asked.get(category, ())
    )
    lines = tuple(
        Line(cell, tuple(benchmark_entry(own, column.id, reading) for column in columns), None)
        for cell, own in _cells(rows)
    )
    return Table(name, baseline, columns, lines, (*_models(lines), *caption(_entries(lines), asked, reading)))


MEANS = "A category is the unweighted mean of its benchmarks, Mean that of the categories."
ONE_JUDGE = (
    "run the sweep again with one judge=NAME for all cells (answers are kept, only judging is repeated)"
)


def one_judge_per_column(rows: Sequence[Row], judged: Iterable[str]) -> None:
    """Refuse scores that cannot be compared.

    Raises:
        UserError: naming the benchmark and its judges.
    """
    for benchmark in judged:
        scores = [row for row in rows if row.benchmark == row.task == benchmark and row.value is not None]
        judges = sorted({row.judge or "no judge named" for row in scores})
        if len(judges) > 1:
            taken = any(row.source for row in scores)
            remedy = "judge or ingest each with a --sweep NAME of its own" if taken else ONE_JUDGE
            raise UserError(
                f"{benchmark}: scores by different judges do not share a column: {', '.join(judges)}; {remedy}"
            )


def _asked(rows: Iterable[Row]) -> Mapping[str, tuple[str, ...]]:
    """The benchmarks with a row, by category, in the order of the paper."""
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row.category, set()).add(row.benchmark)
    known = {column.id for column in CATEGORIES} | {JUDGED}
    assert found.keys() <= known, f"no such category: {', '.join(sorted(found.keys() - known))}"
    return {category: in_order(benchmarks) for category, benchmarks in found.items()}


def _cells(rows: Iterable[Row]) -> list[tuple[Cell, list[Row]]]:
    cells: dict[Cell, list[Row]] = {}
    for row in rows:
        cell = Cell(row.model, row.dataset, row.subset, row.seed, row.epoch, row.loss, row.cell)
        cells.setdefault(cell, []).append(row)
    return sorted(cells.items(), key=lambda item: item[0].order)


def _entries(lines: Iterable[Line]) -> list[Entry]:
    return [entry for line in lines for entry in line.entries]


def _models(lines: Iterable[Line]) -> list[str]:
    """The model; several have a column."""
    models = {line.cell.model for line in lines}
    return [f"Model: {model}." for model in models if len(models) == 1]


def _comparison(lines: Sequence[Line], baseline: str) -> Iterator[str]:
    """What the differences are to, and which datasets have nothing to compare with."""
    compared = [line for line in lines if line.differences is not None]
    bases = [line.cell.group for line in lines if line.cell.loss == baseline]
    without = sorted({line.cell.dataset or "" for line in compared if bases.count(line.cell.group) != 1})
    if any(each.value is not None for line in compared for each in line.differences or ()):
        yield f"Signed numbers are differences to loss {baseline} on the same dataset."
    if without:
        yield f"Not one {baseline} to compare with on: {', '.join(without)}."


def _with_differences(lines: Sequence[Line], baseline: str) -> tuple[Line, ...]:
    """Differences within each group; unknown where the group has not exactly one baseline."""
    baselines: dict[object, list[Line]] = {}
    for line in lines:
        if line.cell.loss == baseline:
            baselines.setdefault(line.cell.group, []).append(line)
    return tuple(
        line
        if line.cell.dataset in (None, UNKNOWN) or line.cell.loss == baseline
        else replace(line, differences=_differences(line, baselines.get(line.cell.group, [])))
        for line in lines
    )


def _differences(line: Line, baselines: Sequence[Line]) -> tuple[Difference, ...]:
    if len(baselines) != 1:
        return tuple(Difference(None, None) for _ in line.entries)
    return tuple(_difference(*pair) for pair in zip(line.entries, baselines[0].entries, strict=True))


def _difference(entry: Entry, base: Entry) -> Difference:
    if entry.value is None or base.value is None:
        return Difference(None, None)
    known = entry.stderr is not None and base.stderr is not None
    stderr = sqrt((entry.stderr or 0.0) ** 2 + (base.stderr or 0.0) ** 2) if known else None
    return Difference(entry.value - base.value, stderr)
