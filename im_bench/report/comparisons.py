"""Every difference to the baseline, tested over the same items: what the store keeps of them, read once.

The ledger has a score's count and error; whether two losses differ is a question to their items, which lie in the
steps' folders. Where these are not at hand there is no test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from im_bench import items
from im_bench.analysis.measures import ANALYSIS, SENTENCE_BLEU
from im_bench.analysis.pairs import Floats, Paired, identity, pair
from im_bench.analysis.seeds import Pooled, pool, pooled_mean
from im_bench.analysis.significance import Comparison, combined, compare, holm
from im_bench.config import Report, UserError
from im_bench.items import Outcomes, read_outcomes
from im_bench.report import analysed
from im_bench.report.cells import Cell, cells_of
from im_bench.report.collect import UNKNOWN, Row
from im_bench.report.measures import Family, Measure, analysis_id, by_benchmark, by_category, of_analyses
from im_bench.report.readings import Reading, headline
from im_bench.report.seeds import together
from im_bench.report.words import LENGTH_CONTROLLED, Column
from im_bench.store import finished

SEED = 0
"""Of the draws of intervals and tests, so that equal scores give equal bytes."""
NOT_AT_HAND = "the items are not at hand"
Found = Comparison | Pooled


@dataclass(frozen=True)
class Compared:
    """One column of one cell beside its baseline."""

    cell: Cell
    baseline: str
    column: Column
    found: Found | None
    p: float | None
    """Adjusted by Holm over those of its family that are tested."""
    family: Family
    note: str
    """Why there is nothing."""


def compared(rows: Sequence[Row], store: Path, wanted: Report) -> list[Compared]:
    """Of every cell with one baseline like it but for the loss; none in the published reading.

    That reading takes the better of two temperatures and an error for a gain, so its differences are no question to
    items.
    """
    if wanted.reading == "published":
        return []
    kept = Kept(store)
    benchmarks, analyses = by_benchmark(rows, wanted.reading), of_analyses(rows)
    single = {
        cell: {
            each.column.id: _tried(each, own, base, wanted.reading, kept) for each in (*benchmarks, *analyses)
        }
        for cell, (own, base) in _pairs(cells_of(rows), wanted.baseline).items()
    }
    found = _over_seeds(single) if wanted.seeds == "pooled" else _each(single)
    categories = by_category(rows, wanted.reading)
    return [
        each
        for cell, known in found.items()
        for family in (benchmarks, categories, analyses)
        for each in _family(cell, wanted.baseline, family, _means(known, categories))
    ]


class Tested(NamedTuple):
    """A difference, and its p-value among those of its family."""

    found: Found
    p: float | None


Tests = Mapping[Cell, Mapping[tuple[Family, str], Tested]]
"""What is known of each cell's difference to its baseline, by family and column."""


def by_cell(found: Iterable[Compared]) -> Tests:
    """What is known, for a table."""
    known: dict[Cell, dict[tuple[Family, str], Tested]] = {}
    for each in found:
        if each.found is not None:
            known.setdefault(each.cell, {})[each.family, each.column.id] = Tested(each.found, each.p)
    return known


Tried = Paired | str
"""The items of two losses, or why there are none."""


class Kept:
    """The outcomes that a store keeps, each read once."""

    def __init__(self, store: Path) -> None:
        self._folders = finished(store)
        self._of = cache(self._read)

    def paired(self, row: Row | None, base: Row | None) -> Tried:
        """The items of two scores."""
        try:
            first, second = (
                self._of(each) if each and each.value is not None else None for each in (row, base)
            )
            return NOT_AT_HAND if first is None or second is None else pair(first, second)
        except UserError as error:
            return str(error)

    def _read(self, row: Row) -> Outcomes | None:
        folder = self._folders.get(row.step)
        if folder is not None and row.category == ANALYSIS:
            return analysed.outcomes(folder, row)
        if folder is None or not (folder / items.FILE).is_file():
            return None
        # HumanEval has a score for each temperature, and their items lie together.
        return read_outcomes(folder, row.metric if "temperature=" in row.metric else None)


@dataclass(frozen=True)
class _Try:
    """The items of one benchmark under two losses, and how its score is read."""

    paired: Tried
    read: Callable[[Floats], Floats]
    scale: float


def _pairs(
    cells: Sequence[tuple[Cell, Sequence[Row]]], baseline: str
) -> dict[Cell, tuple[Sequence[Row], Sequence[Row]]]:
    """The rows of each cell with those of its baseline."""
    bases: dict[object, list[Sequence[Row]]] = {}
    for cell, own in cells:
        if cell.loss == baseline:
            bases.setdefault(cell.group, []).append(own)
    return {
        cell: (own, bases[cell.group][0])
        for cell, own in cells
        if cell.loss != baseline
        and cell.dataset not in (None, UNKNOWN)
        and len(bases.get(cell.group, [])) == 1
    }


def _tried(measure: Measure, own: Sequence[Row], base: Sequence[Row], reading: Reading, kept: Kept) -> _Try:
    rows = [_row(measure.column, side, reading) for side in (own, base)]
    read, scale = _shown(next((row for row in rows if row), None))
    if any(row and not analysed.of_items(row) for row in rows):
        return _Try(analysed.OF_ALL, read, scale)
    return _Try(kept.paired(*rows), read, scale)


def _row(column: Column, rows: Sequence[Row], reading: Reading) -> Row | None:
    """The row of a cell that a column shows."""
    of_analysis = (row for row in rows if row.category == ANALYSIS and analysis_id(row) == column.id)
    controlled = (row for row in rows if row.task == column.id == LENGTH_CONTROLLED.id)
    return next(of_analysis, None) or next(controlled, None) or headline(rows, column.id, reading)


def _shown(row: Row | None) -> tuple[Callable[[Floats], Floats], float]:
    """How the table shows a score, and its unit."""
    if row is not None and row.category == ANALYSIS:
        return identity, 100.0 if row.metric == SENTENCE_BLEU else 1.0
    if row is not None and row.benchmark == "mt_bench":
        return identity, 1.0
    return _complement if row is not None and row.direction == "lower" else identity, 100.0


def _complement(score: Floats) -> Floats:
    """As the corrected reading shows an error rate in percent."""
    return np.maximum(0.0, 100.0 - score)


def _each(single: Mapping[Cell, Mapping[str, _Try]]) -> dict[Cell, dict[str, Found | str]]:
    return {cell: {name: _compare(tried) for name, tried in tries.items()} for cell, tries in single.items()}


def _compare(tried: _Try) -> Found | str:
    if isinstance(tried.paired, str):
        return tried.paired
    return compare(tried.paired, seed=SEED, read=tried.read, scale=tried.scale)


def _over_seeds(single: Mapping[Cell, Mapping[str, _Try]]) -> dict[Cell, dict[str, Found | str]]:
    groups: dict[Cell, list[Mapping[str, _Try]]] = {}
    for cell, tries in single.items():
        groups.setdefault(together(cell), []).append(tries)
    return {
        cell: {name: _pool([tries[name] for tries in members]) for name in members[0]}
        for cell, members in groups.items()
    }


def _pool(tried: Sequence[_Try]) -> Found | str:
    why = next((each.paired for each in tried if isinstance(each.paired, str)), None)
    if why is not None:
        return why
    paired = [each.paired for each in tried if isinstance(each.paired, Paired)]
    try:
        return pool(paired, read=tried[0].read, scale=tried[0].scale)
    except UserError as error:
        return str(error)


def _means(known: Mapping[str, Found | str], categories: Sequence[Measure]) -> dict[str, Found | str]:
    """Of categories and of all, from what they are means of; a benchmark is itself."""
    found = dict(known)
    for each in categories:
        if each.parts:
            found[each.column.id] = _mean([found.get(part, NOT_AT_HAND) for part in each.parts])
    return found


def _mean(parts: Sequence[Found | str]) -> Found | str:
    why = next((part for part in parts if isinstance(part, str)), None)
    if why is not None:
        return why
    if len(parts) == 1:
        return parts[0]
    pools = [part for part in parts if isinstance(part, Pooled)]
    singles = [part for part in parts if isinstance(part, Comparison)]
    return (pooled_mean(pools) if pools else combined(singles)) or NOT_AT_HAND


def _family(
    cell: Cell, baseline: str, measures: Sequence[Measure], known: Mapping[str, Found | str]
) -> list[Compared]:
    found = [known.get(each.column.id, NOT_AT_HAND) for each in measures]
    adjusted = holm([None if isinstance(each, str) else each.p for each in found])
    return [
        Compared(
            cell,
            baseline,
            measure.column,
            None if isinstance(each, str) else each,
            p,
            measure.family,
            each if isinstance(each, str) else "",
        )
        for measure, each, p in zip(measures, found, adjusted, strict=True)
    ]
