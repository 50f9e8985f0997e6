"""How often 95 % intervals hold the true difference, and how often tests find one where there is none.

Samples are drawn from worlds whose truth is known, `--simulations` of each; 2,000 take about a minute and a half on two
cores.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from math import sqrt
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from im_bench.analysis.pairs import Paired
from im_bench.analysis.seeds import Pooled, pool, pooled_mean
from im_bench.analysis.significance import Comparison, combined, compare, holm

Floats = NDArray[np.float64]
World = Callable[[Generator, float], Comparison | Pooled]
"""Draws a sample in which the true difference is that, and says what of it is found."""
DRAWS = 1000
"""Of the bootstrap and of swaps, so that thousands of samples take minutes; tables have ten times as many."""


class Rates(NamedTuple):
    """Shares of simulations, 0 to 1."""

    covered: float
    """Of intervals that hold a true difference."""
    covered_zero: float
    """Of those that hold 0 where there is none."""
    found_zero: float
    """Of tests with p up to 0.05 where there is none."""


def paired(
    first_i: Floats,
    second_i: Floats,
    *,
    size_i: Floats | None = None,
    stratum_i: NDArray[np.int64] | None = None,
    cluster_i: NDArray[np.int64] | None = None,
) -> Paired:
    number = len(first_i)
    return Paired(
        names=tuple(("task", str(place), 0) for place in range(number)),
        first_i=np.asarray(first_i, np.float64),
        second_i=np.asarray(second_i, np.float64),
        size_i=np.ones(number) if size_i is None else size_i,
        stratum_i=np.zeros(number, np.int64) if stratum_i is None else stratum_i,
        cluster_i=cluster_i,
    )


def found(sample: Paired) -> Comparison:
    return compare(sample, seed=0, draws=DRAWS)


# --- worlds ---


def right_or_wrong(rng: Generator, difference: float, *, items: int, apart: float) -> Comparison:
    """One side alone is right on a share `apart` of items."""
    return found(paired(*_discordant(rng, np.full(items, difference), apart)))


def fractions_with_ties(rng: Generator, difference: float) -> Comparison:
    """F1-like: 85 of 100 answers are worth the same, and the rest differ by a quarter, a half or all."""
    items, moves = 200, np.array([-1, -0.5, -0.25, 0.25, 0.5, 1])
    chance = np.full(6, 0.15 / 6)
    chance[3:] += difference / 1.75 / 2
    chance[:3] -= difference / 1.75 / 2
    change_i = rng.choice([0, *moves], items, p=[0.85, *chance])
    second_i = rng.integers(0, 5, items) / 4
    return found(paired(second_i + change_i, second_i))


def edits_by_words(rng: Generator, difference: float) -> Comparison:
    """TER-like: edits over words; long references have more of both, and hard ones are hard for both sides."""
    words_i = np.ceil(rng.lognormal(2.8, 0.7, 200))
    hard_i = rng.gamma(4, 0.15, 200)
    first_i, second_i = (rng.poisson(words_i * (hard_i + more)) for more in (max(difference, 0), 0))
    return found(paired(first_i, second_i, size_i=words_i))


def two_tasks(rng: Generator, difference: float) -> Comparison:
    """ARC-like: two tasks of unequal number weigh the same, with differences of their own."""
    each_i = np.repeat([difference * 1.5, difference * 0.5], [240, 120])
    return found(paired(*_discordant(rng, each_i, 0.2), stratum_i=np.repeat([0, 1], [240, 120])))


def subtasks(
    rng: Generator, difference: float, *, clusters: int, items: float, clustered: bool = True
) -> Comparison:
    """MMLU-like: subtasks of unequal size, each with a difference of its own."""
    sizes = np.ceil(items * rng.lognormal(-0.3, 0.7, clusters)).astype(int)
    cluster_i = np.repeat(np.arange(clusters), sizes)
    first_i, second_i = _discordant(rng, difference + _of_clusters(rng, clusters)[cluster_i], 0.35)
    return found(paired(first_i, second_i, cluster_i=cluster_i if clustered else None))


def equal_subtasks(rng: Generator, difference: float) -> Comparison:
    """ETHICS-like: five subtasks that weigh the same."""
    cluster_i = np.repeat(np.arange(5), [300, 200, 200, 250, 150])
    first_i, second_i = _discordant(rng, difference + _of_clusters(rng, 5)[cluster_i], 0.35)
    return found(paired(first_i, second_i, stratum_i=cluster_i, cluster_i=cluster_i))


def turns(rng: Generator, difference: float) -> Comparison:
    """MT-Bench-like: 80 questions of two turns, points from 1 to 10."""
    question_i = np.repeat(np.arange(80), 2)
    middle_i = 5 + rng.normal(0, 1.5, 80)[question_i]
    apart_i = rng.normal(0, 1, 80)[question_i]
    sides = [middle_i + sign * (apart_i + difference) / 2 + rng.normal(0, 1, 160) for sign in (1, -1)]
    first_i, second_i = (np.floor(side + rng.random(160)) for side in sides)  # rounded without bias
    return found(paired(first_i, second_i, cluster_i=question_i))


def languages(rng: Generator, difference: float, *, clustered: bool = True) -> Comparison:
    """LAMBADA-like: 200 passages in five languages that weigh the same; a passage is hard, or not, in all of them."""
    passage_i, language_i = np.tile(np.arange(200), 5), np.repeat(np.arange(5), 200)
    own_i = rng.choice([-0.5, 0.5], 200)[passage_i]
    first_i, second_i = _discordant(rng, difference + own_i, 0.6)
    return found(paired(first_i, second_i, stratum_i=language_i, cluster_i=passage_i if clustered else None))


def five_benchmarks(rng: Generator, difference: float) -> Comparison:
    """A category's mean: McNemar, swapped sides and clusters in one."""
    parts = [
        right_or_wrong(rng, difference, items=60, apart=0.3),
        right_or_wrong(rng, difference, items=200, apart=0.2),
        fractions_with_ties(rng, difference / 2),
        two_tasks(rng, difference),
        subtasks(rng, difference * 1.5, clusters=27, items=20),
    ]
    mean = combined(parts)
    assert mean is not None
    return mean


def seeds(
    rng: Generator,
    difference: float,
    *,
    runs: int = 3,
    items: int = 100,
    of_seeds: float,
    pooled: bool = True,
) -> Comparison | Pooled:
    """Right or wrong over seeds: an item has a difference of its own, and a seed has one."""
    of_items = rng.uniform(-0.3, 0.3, items)
    samples = [
        paired(*_discordant(rng, np.clip(difference + of_items + shift, -0.6, 0.6), 0.6))
        for shift in rng.normal(0, of_seeds, runs)
    ]
    return pool(samples) if pooled else found(samples[0])


def seeds_of_benchmarks(rng: Generator, difference: float) -> Pooled:
    """A mean of three benchmarks over three seeds, each of which is better or worse on all three."""
    shifts = rng.normal(0, 0.04, 3)
    pools = [
        pool([paired(*_discordant(rng, np.full(items, difference + shift), 0.4)) for shift in shifts])
        for items in (60, 100, 400)
    ]
    mean = pooled_mean(pools)
    assert mean is not None
    return mean


def _discordant(rng: Generator, difference_i: Floats, apart: float) -> tuple[Floats, Floats]:
    """Right or wrong on both sides, which differ in a share `apart` of items."""
    luck_i, right_i = rng.random(len(difference_i)), rng.random(len(difference_i)) < 0.6
    first_only_i = luck_i < (apart + difference_i) / 2
    second_only_i = ~first_only_i & (luck_i < apart)
    both_i = ~first_only_i & ~second_only_i & right_i
    return (first_only_i | both_i).astype(float), (second_only_i | both_i).astype(float)


def _of_clusters(rng: Generator, clusters: int) -> Floats:
    return np.clip(rng.normal(0, 0.09, clusters), -0.3, 0.3)


class Case(NamedTuple):
    """A world and a true difference that it can have."""

    world: World
    difference: float


CASES = {
    "60 right or wrong": Case(partial(right_or_wrong, items=60, apart=0.3), 0.15),
    "60 right or wrong, 1 in 10 differs": Case(partial(right_or_wrong, items=60, apart=0.1), 0.04),
    "400 right or wrong": Case(partial(right_or_wrong, items=400, apart=0.2), 0.05),
    "200 fractions, 85 % ties": Case(fractions_with_ties, 0.03),
    "200 sentences, edits by words": Case(edits_by_words, 0.06),
    "two tasks of 240 and 120": Case(two_tasks, 0.05),
    "57 subtasks": Case(partial(subtasks, clusters=57, items=40), 0.05),
    "57 subtasks, clusters ignored": Case(partial(subtasks, clusters=57, items=40, clustered=False), 0.05),
    "27 subtasks": Case(partial(subtasks, clusters=27, items=40), 0.05),
    "5 subtasks that weigh the same": Case(equal_subtasks, 0.1),
    "80 questions of two turns": Case(turns, 0.4),
    "200 passages in 5 languages": Case(languages, 0.05),
    "200 passages in 5 languages, clusters ignored": Case(partial(languages, clustered=False), 0.05),
    "mean of five benchmarks": Case(five_benchmarks, 0.05),
    "2 seeds, large seed variance": Case(partial(seeds, of_seeds=0.1, runs=2), 0.1),
    "3 seeds, no seed variance": Case(partial(seeds, of_seeds=0.0), 0.1),
    "3 seeds, small seed variance": Case(partial(seeds, of_seeds=0.03), 0.1),
    "3 seeds, large seed variance": Case(partial(seeds, of_seeds=0.1), 0.1),
    "5 seeds, small seed variance": Case(partial(seeds, of_seeds=0.03, runs=5), 0.1),
    "4 seeds, large seed variance": Case(partial(seeds, of_seeds=0.1, runs=4), 0.1),
    "5 seeds, large seed variance": Case(partial(seeds, of_seeds=0.1, runs=5), 0.1),
    "3 seeds, mean of three benchmarks": Case(seeds_of_benchmarks, 0.05),
    "1 seed of many, large seed variance": Case(partial(seeds, of_seeds=0.1, pooled=False), 0.1),
}


# --- rates ---


def rates(name: str, simulations: int, seed: int = 0) -> Rates:
    """Of one of the cases."""
    case = CASES[name]
    rng = np.random.default_rng([seed, *name.encode()])
    true = [case.world(rng, case.difference) for _ in range(simulations)]
    null = [case.world(rng, 0.0) for _ in range(simulations)]
    return Rates(
        covered=_share(_holds(each, case.difference) for each in true),
        covered_zero=_share(_holds(each, 0.0) for each in null),
        found_zero=_share(each.p is not None and each.p <= 0.05 for each in null),
    )


def _share(facts: Iterable[bool]) -> float:
    return float(np.mean(list(facts)))


def _holds(what: Comparison | Pooled, difference: float) -> bool:
    if what.low is None or what.high is None:
        return what.difference == difference
    return what.low - 1e-9 <= difference <= what.high + 1e-9


def family_error(simulations: int, seed: int = 0, tests: int = 21) -> tuple[float, float]:
    """Shares of families of true nulls in which something is found: by Holm's p, and by p as they are."""
    rng = np.random.default_rng([seed, tests])
    found_by_holm, found_raw = 0, 0
    for _ in range(simulations):
        p = [found(paired(*_discordant(rng, np.zeros(200), 0.2))).p for _ in range(tests)]
        found_by_holm += any(value <= 0.05 for value in holm(p) if value is not None)
        found_raw += any(value <= 0.05 for value in p if value is not None)
    return found_by_holm / simulations, found_raw / simulations


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = parser.parse_args()
    simulations = options.simulations
    with ProcessPoolExecutor(options.processes) as processes:
        family = processes.submit(family_error, simulations)
        every = processes.map(partial(rates, simulations=simulations), CASES)
        print("| sample | covered, % | covered where 0 | found where 0 |\n|---|--:|--:|--:|")
        for name, found_rates in zip(CASES, every, strict=True):
            print(f"| {name} |", *(f"{100 * rate:.1f} |" for rate in found_rates), flush=True)
        print("\n21 tests of nothing: {:.1%} of families by Holm, {:.1%} without.".format(*family.result()))
    error = 196 * sqrt(0.05 * 0.95 / simulations)
    print(f"{simulations:,} samples each: rates of 95 % and 5 % come out within {error:.1f}.")


if __name__ == "__main__":
    main()
