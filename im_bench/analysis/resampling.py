"""Paired draws with replacement, and swaps of sides; fast where few values are distinct, as of right and wrong.

Shapes: u units, v distinct values, d draws, h strata.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from im_bench.analysis.pairs import Floats, Paired, Read, Units

CELLS = 1_000_000
"""Units times draws that are held at once: about 40 MB."""
MULTINOMIAL_COST = 4
"""To count how often a value is drawn takes as long as to draw so many units one by one."""
BINOMIAL_COST = 16
"""To count the swaps of a value takes as long as to toss so many coins."""


class Draws(NamedTuple):
    """Headlines of both sides, of the same units in each draw."""

    first_d: Floats
    second_d: Floats


def bootstrap(units: Units, *, seed: int, read: Read, scale: float, draws: int) -> Draws:
    """Headlines of `draws` resamples of the units, drawn within each stratum."""
    rng = np.random.default_rng([seed, 0])
    strata = int(units.stratum_u.max()) + 1
    total_d2 = np.zeros((draws, 2))
    for stratum in range(strata):
        mine = units.stratum_u == stratum
        values_u3 = np.stack([units.first_u[mine], units.second_u[mine], units.size_u[mine]], axis=1)
        sums_d3 = _sums(values_u3, rng, draws)
        total_d2 += sums_d3[:, :2] / sums_d3[:, 2:]
    return Draws(*(read(scale * side_d / strata) for side_d in total_d2.T))


def _sums(values_u3: Floats, rng: Generator, draws: int) -> Floats:
    """Sums over as many rows as there are, drawn with replacement."""
    number = len(values_u3)
    distinct_v3, counts_v = np.unique(values_u3, axis=0, return_counts=True)
    if MULTINOMIAL_COST * len(distinct_v3) <= number:
        return rng.multinomial(number, counts_v / number, size=draws) @ distinct_v3
    sums = [_counts(number, each, rng) @ values_u3 for each in _chunks(draws, number)]
    return np.concatenate(sums)


def _counts(number: int, draws: int, rng: Generator) -> Floats:
    """How often each unit is drawn, a row for each draw."""
    drawn = rng.integers(number, size=(draws, number)) + number * np.arange(draws)[:, None]
    return np.bincount(drawn.ravel(), minlength=draws * number).reshape(draws, number).astype(np.float64)


def swapped(paired: Paired, *, seed: int, read: Read, scale: float, draws: int) -> Floats:
    """Differences of headlines where the sides of each item are swapped with probability 1/2."""
    rng = np.random.default_rng([seed, 1])
    strata = np.unique(paired.stratum_i)
    total_d2 = np.zeros((draws, 2))
    for stratum in strata:
        mine = paired.stratum_i == stratum
        first_i, second_i = paired.first_i[mine], paired.second_i[mine]
        moved_d = _moved(second_i - first_i, rng, draws)
        sides_d2 = np.stack([first_i.sum() + moved_d, second_i.sum() - moved_d], axis=1)
        total_d2 += sides_d2 / paired.size_i[mine].sum()
    first_d, second_d = (read(scale * side_d / len(strata)) for side_d in total_d2.T)
    return first_d - second_d


def _moved(change_i: Floats, rng: Generator, draws: int) -> Floats:
    """The sum of the changes that a fair coin chose; items that do not change need no coin."""
    change_i = change_i[change_i != 0]
    distinct_v, counts_v = np.unique(change_i, return_counts=True)
    if BINOMIAL_COST * len(distinct_v) <= len(change_i):
        return rng.binomial(counts_v, 0.5, size=(draws, len(counts_v))) @ distinct_v
    sums = [_coins(len(change_i), each, rng) @ change_i for each in _chunks(draws, len(change_i))]
    return np.concatenate(sums)


def _coins(number: int, draws: int, rng: Generator) -> Floats:
    """Zeros and ones, a row for each draw."""
    bytes_needed = -(-number // 8)
    bits = np.unpackbits(np.frombuffer(rng.bytes(draws * bytes_needed), np.uint8).reshape(draws, -1), axis=1)
    return bits[:, :number].astype(np.float64)


def _chunks(draws: int, number: int) -> Iterator[int]:
    """Parts of the draws that are made at once."""
    most = max(1, CELLS // max(number, 1))
    for start in range(0, draws, most):
        yield min(most, draws - start)
