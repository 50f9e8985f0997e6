"""From the rows of one cell to one number per benchmark and category, in one of two readings.

`corrected`: higher is better everywhere, so an error rate enters as 100 minus itself, never below 0;
HumanEval is at one stated temperature; WMT14 and WMT16 are two benchmarks.

`published`, what the paper's code computes: TER is counted as a gain; HumanEval is the better of its
temperatures; WMT14 and WMT16 are one score, the mean TER of their leaf tasks.

In both a category is the unweighted mean of its benchmarks, and what is missing is None, never zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Literal

from im_bench.config import UserError
from im_bench.report.collect import Row

Reading = Literal["corrected", "published"]

JUDGED = "judged"
WMT = ("wmt14", "wmt16")
# lm-eval reports these in percent, and everything else that is not judged as a fraction.
IN_PERCENT = ("ter", "bleu", "chrf")


@dataclass(frozen=True)
class Entry:
    """One number of a table, in the table's unit, and the rows it was made from."""

    value: float | None
    stderr: float | None
    rows: tuple[Row, ...]
    suspect: str = ""
    """Why a number that the paper prints is not to be believed."""

    @property
    def count(self) -> int:
        return sum(row.count for row in self.rows)

    @property
    def total(self) -> int:
        return sum(row.total for row in self.rows)

    @property
    def partial(self) -> bool:
        """A number that some of its items have no part in."""
        return self.value is not None and self.count < self.total


MISSING = Entry(None, None, ())


def benchmark_entry(rows: Sequence[Row], benchmark: str, reading: Reading) -> Entry:
    """The score of one benchmark from the rows of one cell."""
    row = headline(rows, benchmark, reading)
    return MISSING if row is None else _entry(row, reading)


def task_entry(rows: Sequence[Row]) -> Entry:
    """The number of one task and metric of one cell, as it stands in the ledger."""
    row = next(iter(rows), None)
    return MISSING if row is None else Entry(row.value, row.stderr, (row,))


def category_entry(
    rows: Sequence[Row], benchmarks: Sequence[str], reading: Reading, leaves: frozenset[str]
) -> Entry:
    """The score of one category of one cell; `leaves` are the translation tasks that the sweep asks."""
    translated = [benchmark for benchmark in benchmarks if benchmark in WMT and reading == "published"]
    parts = [
        benchmark_entry(rows, benchmark, reading) for benchmark in benchmarks if benchmark not in translated
    ]
    if translated:
        parts.append(_translation(rows, leaves))
    return mean(parts)


def headline(rows: Iterable[Row], benchmark: str, reading: Reading) -> Row | None:
    """The row that is the benchmark's score in one cell: its task is the benchmark's own name.

    HumanEval has one for each temperature. `corrected` takes the one without a note, the coldest if several
    have none; `published` takes the best, which is unknown as long as one of them is.

    Raises:
        UserError: when the ledger does not say which of several rows it is.
    """
    found = [row for row in rows if row.benchmark == benchmark and row.task == benchmark]
    if len(found) <= 1:
        return next(iter(found), None)
    judges = sorted({row.judge for row in found if row.judge})
    if len(judges) > 1:
        raise UserError(
            f"cell {found[0].cell}: {benchmark} is judged by {' and '.join(judges)}; choose one, "
            f"report.judge={judges[0]}"
        )
    if any("temperature=" not in row.metric for row in found):
        metrics = ", ".join(row.metric for row in found)
        raise UserError(
            f"cell {found[0].cell}: {benchmark} has several scores ({metrics}); the ledger may hold one"
        )
    if reading == "published":
        return max(found, key=lambda row: (row.value is None, row.value or 0.0))
    return min(found, key=lambda row: (row.reading_note is not None, _temperature(row)))


def metric(row: Row) -> str:
    """Its name without its filter or temperature."""
    return row.metric.partition(",")[0]


def to_percent(row: Row) -> float:
    """By which a score is multiplied to be read: 100 for a fraction; 1 for what is in percent, or points."""
    return 1.0 if row.category == JUDGED or metric(row) in IN_PERCENT else 100.0


def translation_leaves(rows: Iterable[Row]) -> frozenset[str]:
    """The leaf tasks of WMT14 and WMT16 in any of `rows`; a benchmark of a single leaf goes by its own name."""
    tasks = {row.task for row in _translations(rows)}
    return frozenset(tasks - {name for name in WMT if any(task.startswith(f"{name}-") for task in tasks)})


def mean(parts: Sequence[Entry]) -> Entry:
    """Unweighted mean; its error takes the parts as independent. One unknown part makes it unknown."""
    used = tuple(row for part in parts for row in part.rows)
    values = [part.value for part in parts if part.value is not None]
    if not parts or len(values) < len(parts):
        return Entry(None, None, used)
    errors = [part.stderr for part in parts if part.stderr is not None]
    known = len(errors) == len(parts)
    return Entry(
        sum(values) / len(parts),
        sqrt(sum(error**2 for error in errors)) / len(parts) if known else None,
        used,
    )


def _translation(rows: Sequence[Row], leaves: frozenset[str]) -> Entry:
    """Mean TER of the translation leaves, the one row that the paper's code makes of WMT14 and WMT16."""
    by_task = {row.task: row for row in _translations(rows)}
    return mean(
        [_entry(by_task[leaf], "published") if leaf in by_task else MISSING for leaf in sorted(leaves)]
    )


def _entry(row: Row, reading: Reading) -> Entry:
    """A row in the table's unit: percent, or points from 1 to 10 for MT-Bench."""
    scale = to_percent(row)
    stderr = None if row.stderr is None else row.stderr * scale
    if row.value is None:
        return Entry(None, None, (row,))
    value = row.value * scale
    if reading == "corrected" and row.direction == "lower":
        value = max(0.0, 100.0 - value)
    return Entry(value, stderr, (row,))


def _translations(rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if row.benchmark in WMT and metric(row) == "ter"]


def _temperature(row: Row) -> float:
    return float(row.metric.partition("temperature=")[2])
