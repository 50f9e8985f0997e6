"""Whether a difference between two losses is more than chance, from the items that both were scored on.

The chance is that of items: other questions of the same kind, asked of the same two models. That of training again
is in `seeds.py`, and needs several seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import sqrt

import numpy as np
from scipy.special import bdtr, ndtr, stdtr, stdtrit

from im_bench.analysis.pairs import (
    Floats,
    Paired,
    Read,
    Spread,
    contributions,
    headlines,
    identity,
    spread,
    units_of,
    welch,
)
from im_bench.analysis.resampling import bootstrap, swapped

LEVEL = 0.95
"""Of intervals; tests are at 1 - LEVEL."""
POWER = 0.8
"""Of the smallest detectable difference."""
DRAWS, FEWEST_DRAWS = 10_000, 1_000
WORK = 5_000_000
"""Units times draws, beyond which there are fewer draws: many units need them less, and take longer."""

MCNEMAR = "exact McNemar test"
PERMUTATION = "paired permutation test"
CLUSTERED = "cluster-robust t-test"
COMBINED = "t-test of a mean of benchmarks"


@dataclass(frozen=True, eq=False)
class Comparison:
    """A difference of two headlines, first minus second, in the headlines' unit.

    What chance may have done is None where the items do not tell: there is one unit, or none differs from another.
    """

    difference: float
    low: float | None
    high: float | None
    """Of the 95 % interval: percentiles of the bootstrap at expanded levels."""
    stderr: float | None
    """Paired, over units within strata."""
    p: float | None
    """Two-sided, of the test; 1 where there is no difference."""
    test: str
    items: int
    """With an outcome on both sides."""
    units: int
    """What chance draws: the items, or clusters of them."""
    clustered: bool
    detectable: float | None
    """The smallest true difference that a t-test at 5 % finds in 80 of 100 such samples."""
    draws_d: Floats = field(repr=False)
    """Differences of the bootstrap."""
    spread: Spread = field(repr=False)


def compare(
    paired: Paired, *, seed: int, read: Read = identity, scale: float = 1.0, draws: int | None = None
) -> Comparison:
    """The difference of the headlines, with its interval and test.

    The test is McNemar's on single items that are right or wrong, a t-test of clusters where there are clusters, and
    else of swapped sides.

    Args:
        paired: of `pairs.pair`.
        seed: of the draws; equal seeds give equal numbers.
        read: what the table shows of a score times `scale`.
        scale: 100 for percent.
        draws: of the bootstrap, and of swaps; None is as many as the units need.
    """
    units = units_of(paired)
    draws = draws or max(FEWEST_DRAWS, min(DRAWS, WORK // len(units.size_u)))
    first, second = headlines(units, read, scale)
    found = spread(contributions(units, read, scale) ** 2, units.size_u, units.stratum_u)
    drawn = bootstrap(units, seed=seed, read=read, scale=scale, draws=draws)
    if paired.cluster_i is not None:
        test, p = CLUSTERED, student(first - second, found)
    elif _is_right_or_wrong(paired):
        test, p = MCNEMAR, mcnemar(paired)
    else:
        swaps_d = swapped(paired, seed=seed, read=read, scale=scale, draws=draws)
        test, p = PERMUTATION, permutation(first - second, swaps_d)
    return _comparison(
        first - second,
        found,
        drawn.first_d - drawn.second_d,
        p=p,
        test=test,
        items=len(paired.names),
        units=len(units.size_u),
        clustered=paired.cluster_i is not None,
    )


def combined(comparisons: Sequence[Comparison | None]) -> Comparison | None:
    """Of the unweighted mean of several benchmarks, whose items are independent; None of none, or where one is missing.

    Variances add up, and so do degrees of freedom by Satterthwaite (1946); the test is Student's. Draws are drawn
    again before they are averaged, so that benchmarks that were drawn with one seed do not go together.
    """
    known = [each for each in comparisons if each is not None]
    if not known or len(known) < len(comparisons):
        return None
    draws_d = np.mean(
        [np.random.default_rng(place).choice(each.draws_d, DRAWS) for place, each in enumerate(known)], axis=0
    )
    difference = sum(each.difference for each in known) / len(known)
    found = _summed([each.spread for each in known], len(known))
    return _comparison(
        difference,
        found,
        draws_d,
        p=student(difference, found),
        test=COMBINED,
        items=sum(each.items for each in known),
        units=sum(each.units for each in known),
        clustered=any(each.clustered for each in known),
    )


def gain_stderr(paired: Paired) -> float | None:
    """Of first / second - 1, linearised: with r = first / second that of first - r * second, over second.

    None where the second is 0, there is one unit, or none differs from another.
    """
    units = units_of(paired)
    first, second = headlines(units, identity, 1.0)
    if not second:
        return None
    added_u = contributions(units, identity, 1.0, times=first / second)
    return sqrt(spread(added_u**2, units.size_u, units.stratum_u).variance) / abs(second) or None


def _summed(spreads: Sequence[Spread], over: int) -> Spread:
    variances, drawn, freedoms = np.array(spreads).T
    if not freedoms.all():
        return Spread(0.0, 0.0, 0.0)
    return Spread(variances.sum() / over**2, drawn.sum() / over**2, welch(variances, freedoms))


def _comparison(
    difference: float,
    found: Spread,
    draws_d: Floats,
    *,
    p: float | None,
    test: str,
    items: int,
    units: int,
    clustered: bool,
) -> Comparison:
    low, high = interval(draws_d, found)
    stderr = sqrt(found.variance) or None
    return Comparison(
        difference=difference,
        low=low,
        high=high,
        stderr=stderr,
        p=p,
        test=test,
        items=items,
        units=units,
        clustered=clustered,
        detectable=detectable(stderr, found.freedom) if stderr else None,
        draws_d=draws_d,
        spread=found,
    )


def interval(draws_d: Floats, found: Spread) -> tuple[float, float] | tuple[None, None]:
    """Percentiles of the bootstrap at levels expanded for few units; none where nothing varies.

    T. Hesterberg 2015, "What Teachers Should Know About the Bootstrap", The American Statistician 69(4): draws from n
    units are narrower than chance by sqrt((n - 1) / n), and normal where Student's t is due; so alpha / 2 becomes
    Phi(-sqrt(n / (n - 1)) t). With strata, or units of unequal size, the root is that of the two variances.
    With five units an interval still holds the truth 91 times of 100 only, and never more than the draws reach.
    """
    if found.variance == 0:
        return None, None
    reach = sqrt(found.variance / found.drawn) * stdtrit(found.freedom, 0.5 + LEVEL / 2)
    low, high = np.quantile(draws_d, [ndtr(-reach), ndtr(reach)])
    return float(low), float(high)


def _is_right_or_wrong(paired: Paired) -> bool:
    single = paired.cluster_i is None and len(np.unique(paired.stratum_i)) == 1 and np.all(paired.size_i == 1)
    return bool(single and np.isin([paired.first_i, paired.second_i], [0, 1]).all())


def mcnemar(paired: Paired) -> float:
    """Two-sided and exact: of the items that one side alone has right, each is a fair coin (McNemar 1947)."""
    first_only = int(np.sum(paired.first_i > paired.second_i))
    second_only = int(np.sum(paired.first_i < paired.second_i))
    rarer = bdtr(min(first_only, second_only), first_only + second_only, 0.5)
    return min(1.0, 2 * float(rarer))


def permutation(difference: float, swaps_d: Floats) -> float:
    """The share of swaps that differ as much, the one that happened among them (Phipson and Smyth 2010)."""
    as_much = np.abs(swaps_d) >= abs(difference) * (1 - 1e-9)  # equal but for rounding
    return (1 + int(as_much.sum())) / (1 + len(swaps_d))


def student(difference: float, found: Spread) -> float | None:
    """Two-sided, by Student's t; None where nothing varies and yet there is a difference."""
    if found.variance == 0:
        return None if difference else 1.0
    return float(2 * stdtr(found.freedom, -abs(difference) / sqrt(found.variance)))


def detectable(stderr: float, freedom: float) -> float:
    """The true difference that a two-sided test at 5 % finds with probability 0.8, with this standard error."""
    return float(stdtrit(freedom, 0.5 + LEVEL / 2) + stdtrit(freedom, POWER)) * stderr


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Adjusted for so many tests, in their order (Holm 1979): all below 0.05 are true but for 5 % of such families.

    None is no test, is not counted and stays None.
    """
    adjusted: list[float | None] = [None] * len(p)
    tests = sorted((value, place) for place, value in enumerate(p) if value is not None)
    highest = 0.0
    for rank, (value, place) in enumerate(tests):
        highest = max(highest, min(1.0, value * (len(tests) - rank)))
        adjusted[place] = highest
    return adjusted
