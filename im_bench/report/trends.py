"""What a loss gains over the baseline as ratio and size change: Figure 2 of the paper, from the ledger."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from im_bench.analysis.pairs import Paired
from im_bench.analysis.significance import gain_stderr
from im_bench.analysis.trends import LEVEL, Fit
from im_bench.report.collect import Row
from im_bench.report.comparisons import Kept
from im_bench.report.points import WIN_RATES, interval, last_epoch

LOWEST = -100.0
"""The gain of a loss that never wins."""


class TrendPoint(NamedTuple):
    """One model, dataset and subset under one loss; its seeds are averaged, being no points of their own."""

    model: str
    dataset: str
    subset: str
    loss: str
    examples: int
    ratio: float
    """Instruction over output length of what was chosen, in words; a random choice differs a little between seeds."""
    gain: float | None
    """100 * (win rate / win rate of the baseline - 1), as the paper; None without scores, or where it never wins."""
    low: float | None
    """Of the 95 % interval: over seeds, or of one seed over the same items under both losses; None if unknown."""
    high: float | None
    seeds: int
    """That have a gain."""


class _Gain(NamedTuple):
    row: Row
    value: float | None
    stderr: float | None


def trend_points(rows: Sequence[Row], baseline: str, store: Path) -> list[TrendPoint]:
    """Of every trained cell that has one baseline like it but for the loss; none where no win rate was asked.

    Args:
        store: that keeps the items; a gain without them has no interval of its own.
    """
    kept = Kept(store)
    benchmark = next((name for name in WIN_RATES if any(row.benchmark == name for row in rows)), None)
    headlines = [
        row
        for row in last_epoch(rows)
        if row.benchmark == row.task == benchmark and row.examples and row.ratio
    ]
    base: dict[tuple[object, ...], list[Row]] = defaultdict(list)
    for row in headlines:
        if row.loss == baseline:
            base[_group(row)].append(row)
    seeds: dict[tuple[object, ...], list[_Gain]] = defaultdict(list)
    for row in headlines:
        if row.loss != baseline and len(base[_group(row)]) == 1:
            seeds[row.model, row.dataset, row.subset, row.loss].append(_gain(row, base[_group(row)][0], kept))
    return [_point(own) for own in seeds.values()]


def axes(points: Sequence[TrendPoint]) -> list[str]:
    """What changes among the points: `ratio`, `examples`, or neither.

    Subsets of one size are compared by ratio, several sizes of one dataset by size, datasets by both.
    """
    sizes, datasets = {point.examples for point in points}, {point.dataset for point in points}
    ratios = {point.ratio for point in points}
    by_ratio = len(ratios) > 1 and (len(sizes) == 1 or len(datasets) > 1)
    return ["ratio"] * by_ratio + ["examples"] * (len(sizes) > 1)


def line_interval(law: Fit, x: float) -> tuple[float, float]:
    """Where the line itself lies at x, at the level of 95 %, by Student's t with points - 2 degrees of freedom.

    The confidence interval of the expected gain; a single new point scatters more widely (analysis.trends.predict).
    """
    distance = float(np.log(x)) - law.mean
    expected = law.slope * float(np.log(x)) + law.intercept
    error = law.deviation * sqrt(1 / law.points + distance**2 / law.spread)
    reach = float(stdtrit(law.points - 2, 0.5 + LEVEL / 2)) * error
    return expected - reach, expected + reach


def _group(row: Row) -> tuple[str, str | None, str | None, int, int | None]:
    return row.model, row.dataset, row.subset, row.seed, row.epoch


def _gain(row: Row, base: Row, kept: Kept) -> _Gain:
    if row.value is None or not base.value:
        return _Gain(row, None, None)
    paired = kept.paired(row, base)
    stderr = gain_stderr(paired) if isinstance(paired, Paired) else None
    return _Gain(row, 100 * (row.value / base.value - 1), None if stderr is None else 100 * stderr)


def _point(seeds: Sequence[_Gain]) -> TrendPoint:
    first = seeds[0].row
    assert first.dataset and first.subset and first.examples
    ratio = fmean(each.row.ratio for each in seeds if each.row.ratio)
    place = first.model, first.dataset, first.subset, first.loss, first.examples, ratio
    if len({each.row.seed for each in seeds}) < len(seeds):  # cells that differ in more than the seed
        return TrendPoint(*place, None, None, None, 0)
    known = [each for each in seeds if each.value is not None]
    values = [each.value for each in known if each.value is not None]
    if not values:
        return TrendPoint(*place, None, None, None, 0)
    gain, reach = fmean(values), interval(values, known[0].stderr)
    if reach is None:
        return TrendPoint(*place, gain, None, None, len(values))
    return TrendPoint(*place, gain, max(LOWEST, gain - reach), gain + reach, len(values))
