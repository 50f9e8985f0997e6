"""Items: what a benchmark asked of a model, and how each came out; for paired tests, and for looking.

A scoring step keeps them in `items.parquet`. Its score is the unweighted mean over strata of sum(outcome) / sum(size).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray

from im_bench.config import UserError
from im_bench.drafts import drafted

FILE = "items.parquet"
METRIC = "metric"
"""The column that tells HumanEval's temperatures apart."""


class Item(NamedTuple):
    """One item. Files may have more columns; these every one has."""

    task: str
    item: str
    """Its identity within the task, in which equal rows of a dataset may stand twice."""
    stratum: str
    """Strata weigh the same in the score, and items within one by their size."""
    cluster: str | None
    """Items of one cluster are dependent: a subtask of MMLU, a question of MT-Bench; None where each is its own."""
    outcome: float | None
    """A fraction, edits for TER, or points for MT-Bench; None where a verdict could not be had."""
    size: float
    """1, or for TER the words of the reference."""
    question: str
    answer: str
    target: str | None
    """The right answer, or the one that a judge compares with; None where there is none."""
    verdict: str | None
    """What the judge said, in its words."""


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What of items statistics need; all of one length, a row each."""

    task: list[str]
    item: list[str]
    stratum: list[str]
    cluster: list[str | None]
    outcome: NDArray[np.float64]
    """NaN where there is none."""
    size: NDArray[np.float64]


def write_items(out: Path, items: Iterable[Mapping[str, Any]]) -> None:
    """Write the items of a step into its folder; each has the fields of `Item`, and may have others."""
    table = pyarrow.Table.from_pylist(list(items))
    assert set(Item._fields) <= set(table.column_names), "an item lacks a field"
    with drafted(out / FILE) as draft:
        pyarrow.parquet.write_table(table, draft, compression="zstd")


def read_items(folder: Path) -> list[dict[str, Any]]:
    """The items of a step, with what `Item` has and the metric where a task has several; none of an older form.

    Raises:
        UserError: a file that is damaged.
    """
    with _readable(folder / FILE):
        names = set(pyarrow.parquet.read_schema(folder / FILE).names)
        if not set(Item._fields) <= names:
            return []
        columns = [*Item._fields, *({METRIC} & names)]
        return pyarrow.parquet.read_table(folder / FILE, columns=columns).to_pylist()


def read_outcomes(folder: Path, metric: str | None = None) -> Outcomes:
    """The outcomes of a step; texts are not read.

    Args:
        metric: of the items of this metric alone, where a task has several.

    Raises:
        UserError: a file that is damaged, or of an older form.
    """
    columns = ["task", "item", "stratum", "cluster", "outcome", "size"]
    filters = [(METRIC, "=", metric)] if metric else None
    with _readable(folder / FILE):
        table = pyarrow.parquet.read_table(folder / FILE, columns=columns, filters=filters)
        texts = {name: table.column(name).to_pylist() for name in columns[:4]}
        numbers = {name: table.column(name).cast("float64").to_numpy() for name in columns[4:]}
    return Outcomes(**texts, **numbers)


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    try:
        yield
    except (pyarrow.ArrowException, KeyError, OSError) as error:
        said = str(error).splitlines()[0]
        raise UserError(
            f"{file}: cannot be read ({said}); delete its folder and run the sweep again"
        ) from None
