"""Two losses on the same items: how items are paired, and what chance has drawn together.

Shapes: i items, u units, h strata. A score is the unweighted mean over strata of sum(outcome) / sum(size).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from im_bench.config import UserError

if TYPE_CHECKING:
    from im_bench.items import Outcomes

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Name: TypeAlias = tuple[str, str, int]
Read: TypeAlias = Callable[[Floats], Floats]
"""What a table shows of a scaled score, elementwise; e.g. max(0, 100 - TER)."""


@dataclass(frozen=True, eq=False)
class Paired:
    """Outcomes of two sides on their common items, sorted by name; a difference is that of first minus second."""

    names: tuple[Name, ...]
    """Task, item, and which of the equal ones of its task it is, from 0."""
    first_i: Floats
    second_i: Floats
    size_i: Floats
    stratum_i: Ints
    cluster_i: Ints | None
    """None where every item is its own."""


class Units(NamedTuple):
    """What chance draws together: an item, or a cluster of dependent items with its sums."""

    first_u: Floats
    second_u: Floats
    size_u: Floats
    stratum_u: Ints
    """From 0, none left out; of every stratum there are two units and more, or there is one unit in all."""


class Spread(NamedTuple):
    """How far chance reaches: what of a difference the drawing of units made."""

    variance: float
    drawn: float
    """The variance that draws with replacement from the units at hand have, which is smaller."""
    freedom: float
    """Degrees of freedom; 0 where there is one unit, and nothing can be said."""


def identity(score: Floats) -> Floats:
    """A score as it is."""
    return score


def pair(first: Outcomes, second: Outcomes) -> Paired:
    """Pair items by task, identity, and their place among equal ones; an item without an outcome on a side is left out.

    Raises:
        UserError: when there are no common items, or one has two sizes, so that it is not the same item.
    """
    ours, theirs = _rows(first), _rows(second)
    names = sorted(ours.keys() & theirs.keys())
    if not names:
        raise UserError(
            f"no common items: of {len(ours)} and {len(theirs)} that have an outcome none is in both, "
            "so there is no paired difference; score both on the same items (same benchmark, same limit)"
        )
    first_row, second_row = [ours[name] for name in names], [theirs[name] for name in names]
    size_i = first.size[first_row]
    _check_sizes(names, size_i, second.size[second_row])
    clusters = [first.cluster[row] for row in first_row]
    return Paired(
        names=tuple(names),
        first_i=first.outcome[first_row],
        second_i=second.outcome[second_row],
        size_i=size_i,
        stratum_i=_numbered([(first.stratum[row],) for row in first_row]),
        cluster_i=None if set(clusters) == {None} else _numbered(_own_where_none(clusters)),
    )


def _rows(outcomes: Outcomes) -> dict[Name, int]:
    """Where each item with an outcome stands."""
    seen: Counter[tuple[str, str]] = Counter()
    rows = {}
    for row, (key, outcome) in enumerate(
        zip(zip(outcomes.task, outcomes.item, strict=True), outcomes.outcome.tolist(), strict=True)
    ):
        if outcome == outcome:  # not NaN
            rows[*key, seen[key]] = row
        seen[key] += 1
    return rows


def _check_sizes(names: list[Name], first_i: Floats, second_i: Floats) -> None:
    for row in np.flatnonzero(first_i != second_i):
        task, item, _ = names[row]
        raise UserError(
            f"item {item} of {task} has size {first_i[row]:g} on one side and {second_i[row]:g} on the other: "
            "these are not the same items; score both by one version of the benchmark"
        )


def _own_where_none(clusters: list[str | None]) -> list[tuple[int, str]]:
    return [(row, "") if name is None else (-1, name) for row, name in enumerate(clusters)]


def _numbered(values: list[tuple[str]] | list[tuple[int, str]]) -> Ints:
    numbers: dict[tuple, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], np.int64)


def score(outcome_i: Floats, size_i: Floats, stratum_i: Ints) -> float:
    """The unweighted mean over strata of sum(outcome) / sum(size)."""
    _, stratum_i = np.unique(stratum_i, return_inverse=True)
    return float(_ratios(outcome_i, size_i, stratum_i).mean())


def _ratios(outcome_i: Floats, size_i: Floats, stratum_i: Ints) -> Floats:
    return _sums(stratum_i, outcome_i) / _sums(stratum_i, size_i)


def _sums(group_i: Ints, value_i: Floats) -> Floats:
    return np.bincount(group_i, value_i).astype(np.float64, copy=False)


def units_of(paired: Paired) -> Units:
    """Items, or clusters; where a stratum is a single unit, the strata themselves.

    ETHICS is of the last kind: its five subtasks weigh the same and each is a cluster, so they are five units
    with a ratio and size 1 each, and the score stays what it is.
    """
    _, stratum_i = np.unique(paired.stratum_i, return_inverse=True)
    units = Units(paired.first_i, paired.second_i, paired.size_i, stratum_i)
    if paired.cluster_i is not None:
        units = _summed(units, paired.cluster_i)
    counts_h = np.bincount(units.stratum_u)
    if len(counts_h) > 1 and counts_h.min() == 1:
        first_h = _ratios(units.first_u, units.size_u, units.stratum_u)
        second_h = _ratios(units.second_u, units.size_u, units.stratum_u)
        units = Units(first_h, second_h, np.ones(len(counts_h)), np.zeros(len(counts_h), np.int64))
    return units


def _summed(items: Units, cluster_i: Ints) -> Units:
    """The sums of each cluster within its stratum; clusters that reach over strata are units of their own."""
    codes = items.stratum_u * (cluster_i.max() + 1) + cluster_i
    _, firsts, unit_i = np.unique(codes, return_index=True, return_inverse=True)
    if len(firsts) > len(np.unique(cluster_i)):
        return _across(items, cluster_i)
    return Units(
        first_u=_sums(unit_i, items.first_u),
        second_u=_sums(unit_i, items.second_u),
        size_u=_sums(unit_i, items.size_u),
        stratum_u=items.stratum_u[firsts],
    )


def _across(items: Units, cluster_i: Ints) -> Units:
    """Clusters with items of several strata, such as a passage that is asked in five languages, in one stratum.

    A unit of C has the score plus C times what its items add to it, linearised as by `contributions`; so the mean of
    units is the score, and where every cluster has one item of size 1 in each stratum, a unit is the mean of its items.
    """
    _, unit_i = np.unique(cluster_i, return_inverse=True)
    count = int(unit_i.max()) + 1
    size_h = _sums(items.stratum_u, items.size_u)
    sides = []
    for outcome_i in (items.first_u, items.second_u):
        ratio_h = _sums(items.stratum_u, outcome_i) / size_h
        added_i = (outcome_i - ratio_h[items.stratum_u] * items.size_u) / size_h[items.stratum_u]
        sides.append(ratio_h.mean() + count / len(size_h) * _sums(unit_i, added_i))
    first_u, second_u = sides
    return Units(first_u, second_u, np.ones(count), np.zeros(count, np.int64))


def headlines(units: Units, read: Read, scale: float) -> tuple[float, float]:
    """What the table shows of either side: `read` of the score times `scale`."""
    first, second = (
        _ratios(side_u, units.size_u, units.stratum_u).mean() for side_u in (units.first_u, units.second_u)
    )
    return float(read(np.array(scale * first))), float(read(np.array(scale * second)))


def contributions(units: Units, read: Read, scale: float, times: float = 1.0) -> Floats:
    """What each unit adds to the first headline less `times` the second, linearised; they sum to zero in every stratum.

    A ratio r = sum(y) / sum(s) moves by (y - r s) / sum(s) with a unit (Cochran, Sampling Techniques, 1977, section
    2.11), and a headline by that times the slope of `read` where the score stands.
    """
    size_h = _sums(units.stratum_u, units.size_u)
    total_u = np.zeros(len(units.size_u))
    for sign, outcome_u in ((1.0, units.first_u), (-times, units.second_u)):
        ratio_h = _sums(units.stratum_u, outcome_u) / size_h
        slope = sign * scale * _slope(read, scale * float(ratio_h.mean())) / len(size_h)
        total_u += slope * (outcome_u - ratio_h[units.stratum_u] * units.size_u) / size_h[units.stratum_u]
    # What is left of equal units is rounding, and no variance.
    total_u[np.abs(total_u) <= 1e-13 * abs(scale)] = 0.0
    return total_u


def _slope(read: Read, at: float) -> float:
    step = 1e-6 * max(1.0, abs(at))
    low, high = read(np.array([at - step, at + step]))
    return float(high - low) / (2 * step)


def spread(square_u: Floats, size_u: Floats, stratum_u: Ints) -> Spread:
    """Of the squared contributions of units, drawn independently within strata.

    Of a unit that has the share q of its stratum's size, a square counts 1 / (1 - q): CR2 (Bell and McCaffrey 2002) of
    a mean. The degrees of freedom of a stratum are one less than its effective number of units, the inverse of the sum
    of q squared (Carter, Schnepel and Steigerwald 2017), and those of several strata are Welch's (1947). Where n units
    are of one size, this is n / (n - 1), which is CR1, and n - 1.
    """
    if np.bincount(stratum_u).min() < 2:
        return Spread(0.0, 0.0, 0.0)
    share_u = size_u / _sums(stratum_u, size_u)[stratum_u]
    variance_h = _sums(stratum_u, square_u / (1 - share_u))
    freedom_h = 1 / _sums(stratum_u, share_u**2) - 1
    return Spread(float(variance_h.sum()), float(square_u.sum()), welch(variance_h, freedom_h))


def welch(variances: Floats, freedoms: Floats) -> float:
    """Satterthwaite's (1946) degrees of freedom of a sum of independent variances; the sum of theirs if all are 0."""
    if not np.any(variances):
        return float(np.sum(freedoms))
    return float(np.sum(variances) ** 2 / np.sum(variances**2 / freedoms))
