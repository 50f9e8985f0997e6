"""Differences between two losses over several seeds, with the chance of items and that of training apart.

Shapes: s seeds, u units, the same in every seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import sqrt
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from im_bench.analysis.pairs import (
    Floats,
    Ints,
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
from im_bench.analysis.significance import LEVEL, detectable, student
from im_bench.config import UserError

POOLED = "t-test of items and seeds"


class Crossed(NamedTuple):
    """Every seed's difference, and what each unit adds to it."""

    difference_s: Floats
    contribution_su: Floats
    size_u: Floats
    stratum_u: Ints


@dataclass(frozen=True, eq=False)
class Pooled:
    """The mean over seeds of a difference; another sample of items and other seeds would give another.

    What chance may have done is None where the items do not tell: there is one unit, or nothing varies.
    """

    difference: float
    low: float | None
    high: float | None
    """Of the 95 % interval."""
    stderr: float | None
    """Of items, seeds, and their interaction, together."""
    item_stderr: float | None
    """The part of drawing items: more seeds do not make it smaller."""
    seed_stderr: float | None
    """The part of training with other seeds: more items do not make it smaller."""
    p: float | None
    """Two-sided, of the test; 1 where there is no difference."""
    test: str
    detectable: float | None
    """The smallest true difference that this test at 5 % finds in 80 of 100 such samples of items and seeds."""
    seeds: int
    items: int
    """That every seed has an outcome of, on both sides."""
    units: int
    clustered: bool
    crossed: Crossed = field(repr=False)


def pool(differences: Sequence[Paired], *, read: Read = identity, scale: float = 1.0) -> Pooled:
    """The mean difference over seeds, of the items common to all.

    Items (or clusters) and seeds are crossed random effects. With the linearised contributions e of unit u and seed s,
    three mean squares, each as a variance of the difference: of the units' means over seeds, V_u; of the differences
    of seeds, V_s; of what is left of e, V_us. Then, with S seeds, the part of items is V_u - V_us / S, that of
    seeds (V_s - V_us) / S, and that of their interaction V_us / S; a negative one is 0. This is the analysis of
    variance of a two-way layout (Searle, Casella and McCulloch 1992, chapter 4). The sum is a combination of
    independent mean squares, whose degrees of freedom are Satterthwaite's (1946, "An approximate distribution of
    estimates of variance components"). Where few seeds differ much this is somewhat too sure: its interval holds the
    truth 93 times of 100 with three seeds, and 90 with two.

    Args:
        differences: of each seed, first minus second.
        read: what the table shows of a score times `scale`.
        scale: 100 for percent.

    Raises:
        UserError: when there are fewer than two seeds, or no items common to all.
    """
    if len(differences) < 2:
        raise UserError(
            f"a seed variance needs two seeds and more, and here is {len(differences)}: "
            "run the sweep with seed=0,1,2, or compare one seed's items without it"
        )
    common = _common(differences)
    units = [units_of(each) for each in common]
    headline_s2 = np.array([headlines(each, read, scale) for each in units])
    crossed = Crossed(
        difference_s=headline_s2[:, 0] - headline_s2[:, 1],
        contribution_su=np.array([contributions(each, read, scale) for each in units]),
        size_u=units[0].size_u,
        stratum_u=units[0].stratum_u,
    )
    return _pooled(crossed, items=len(common[0].names), clustered=common[0].cluster_i is not None)


def pooled_mean(benchmarks: Sequence[Pooled | None]) -> Pooled | None:
    """Of the unweighted mean of several benchmarks of the same seeds; None of none, or where one is missing.

    Items of benchmarks are independent. Seeds are not: a seed that trained a better model is better at all, so
    means are taken seed by seed.
    """
    known = [each for each in benchmarks if each is not None]
    if not known or len(known) < len(benchmarks):
        return None
    all_crossed = [each.crossed for each in known]
    strata = np.cumsum([0, *(each.stratum_u.max() + 1 for each in all_crossed)])
    crossed = Crossed(
        difference_s=np.mean([each.difference_s for each in all_crossed], axis=0),
        contribution_su=np.concatenate([each.contribution_su for each in all_crossed], axis=1) / len(known),
        size_u=np.concatenate([each.size_u for each in all_crossed]),
        stratum_u=np.concatenate(
            [each.stratum_u + before for each, before in zip(all_crossed, strata, strict=False)]
        ),
    )
    items = sum(each.items for each in known)
    return _pooled(crossed, items=items, clustered=any(each.clustered for each in known))


def _common(differences: Sequence[Paired]) -> list[Paired]:
    """The items of all seeds, in one order, with strata and clusters as the first seed has them."""
    names = sorted(set(differences[0].names).intersection(*(each.names for each in differences[1:])))
    if not names:
        raise UserError(
            f"no common items of all {len(differences)} seeds: "
            "score every seed on the same items (same benchmark, same limit)"
        )
    kept = [_kept(each, names) for each in differences]
    return [replace(each, stratum_i=kept[0].stratum_i, cluster_i=kept[0].cluster_i) for each in kept]


def _kept(paired: Paired, names: Sequence[tuple[str, str, int]]) -> Paired:
    places = {name: place for place, name in enumerate(paired.names)}
    rows = [places[name] for name in names]
    return Paired(
        names=tuple(names),
        first_i=paired.first_i[rows],
        second_i=paired.second_i[rows],
        size_i=paired.size_i[rows],
        stratum_i=paired.stratum_i[rows],
        cluster_i=None if paired.cluster_i is None else paired.cluster_i[rows],
    )


def _pooled(crossed: Crossed, *, items: int, clustered: bool) -> Pooled:
    seeds = len(crossed.difference_s)
    difference = float(crossed.difference_s.mean())
    of_items, of_seeds, found = _parts(crossed)
    reach = float(stdtrit(found.freedom, 0.5 + LEVEL / 2)) * sqrt(found.variance) if found.variance else None
    return Pooled(
        difference=difference,
        low=None if reach is None else difference - reach,
        high=None if reach is None else difference + reach,
        stderr=sqrt(found.variance) or None,
        item_stderr=None if reach is None else sqrt(of_items),
        seed_stderr=None if reach is None else sqrt(of_seeds),
        p=student(difference, found),
        test=POOLED,
        detectable=detectable(sqrt(found.variance), found.freedom) if found.variance else None,
        seeds=seeds,
        items=items,
        units=len(crossed.stratum_u),
        clustered=clustered,
        crossed=crossed,
    )


def _parts(crossed: Crossed) -> tuple[float, float, Spread]:
    """Variances of the mean difference that are of items, of seeds, and of all."""
    seeds = len(crossed.difference_s)
    mean_u = crossed.contribution_su.mean(axis=0)
    square_u = np.sum((crossed.contribution_su - mean_u) ** 2, axis=0) / (seeds - 1)
    units, both = (spread(each_u, crossed.size_u, crossed.stratum_u) for each_u in (mean_u**2, square_u))
    if not units.freedom:
        return 0.0, 0.0, units
    of_both = both.variance / seeds
    of_items = max(0.0, units.variance - of_both)
    of_seeds = max(0.0, float(crossed.difference_s.var(ddof=1)) / seeds - of_both)
    # What the sum is made of: each mean square that counts, and the interaction's as often as is left.
    squares = np.array([of_items and units.variance, of_seeds and of_seeds + of_both, of_both])
    squares[2] *= 1 - (of_items > 0) - (of_seeds > 0)
    freedoms = np.array([units.freedom, seeds - 1, both.freedom * (seeds - 1)])
    whole = of_items + of_seeds + of_both
    return of_items, of_seeds, Spread(whole, whole, welch(squares, freedoms))
