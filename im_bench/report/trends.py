"""What a loss gains over the baseline as ratio and size change: Figure 2 of the paper, from the ledger."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

from im_bench.report.collect import Row

BENCHMARKS = ("alpaca_eval_1", "alpaca_eval_2")
"""Whose win rate is compared; the paper's figure is of the first."""


class TrendPoint(NamedTuple):
    """One dataset and subset under one loss."""

    dataset: str
    subset: str
    loss: str
    examples: int
    ratio: float
    """Instruction over output length of what was chosen, in words."""
    gain: float | None
    """100 * (win rate / win rate of the baseline - 1), as the paper; None without scores, or where it never wins."""
    stderr: float | None
    """Of the gain, the two rates taken as independent."""


def trend_points(rows: Sequence[Row], baseline: str) -> list[TrendPoint]:
    """Of every trained cell that has one baseline like it but for the loss; none where no win rate was asked."""
    benchmark = next((name for name in BENCHMARKS if any(row.benchmark == name for row in rows)), None)
    headlines = [row for row in rows if row.benchmark == row.task == benchmark and row.examples and row.ratio]
    # The epochs of one training are no points of their own.
    last = max((row.epoch or 0 for row in headlines), default=0)
    headlines = [row for row in headlines if (row.epoch or last) == last]
    base: dict[tuple[object, ...], list[Row]] = defaultdict(list)
    for row in headlines:
        if row.loss == baseline:
            base[_group(row)].append(row)
    others = [row for row in headlines if row.loss != baseline and len(base[_group(row)]) == 1]
    return [_point(row, *base[_group(row)]) for row in others]


def axes(points: Sequence[TrendPoint]) -> list[str]:
    """What changes among the points: `ratio`, `examples`, or neither.

    Subsets of one size are compared by ratio, several sizes of one dataset by size, datasets by both.
    """
    sizes, datasets = {point.examples for point in points}, {point.dataset for point in points}
    ratios = {point.ratio for point in points}
    by_ratio = len(ratios) > 1 and (len(sizes) == 1 or len(datasets) > 1)
    return ["ratio"] * by_ratio + ["examples"] * (len(sizes) > 1)


def _group(row: Row) -> tuple[str, str | None, str | None, int, int | None]:
    return row.model, row.dataset, row.subset, row.seed, row.epoch


def _point(row: Row, base: Row) -> TrendPoint:
    assert row.dataset and row.subset and row.examples and row.ratio
    gain = stderr = None
    if row.value is not None and base.value:
        gain = 100 * (row.value / base.value - 1)
        if row.stderr is not None and base.stderr is not None:
            stderr = 100 * sqrt(row.stderr**2 + (row.value / base.value * base.stderr) ** 2) / base.value
    return TrendPoint(row.dataset, row.subset, row.loss, row.examples, row.ratio, gain, stderr)
