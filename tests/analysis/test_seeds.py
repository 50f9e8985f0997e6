"""Differences over seeds: by the analysis of variance of a two-way layout, written out."""

import numpy as np
import pytest
from scipy import stats

from im_bench.analysis.pairs import Paired, pair
from im_bench.analysis.seeds import pool, pooled_mean
from im_bench.config import UserError
from im_bench.items import Outcomes


def sample(apart, *, names=None, clusters=None, sizes=None, strata=None) -> Paired:
    """Items on which the first side has so much more than the second."""
    number = len(apart)

    def side(values):
        return Outcomes(
            task=["task"] * number,
            item=names or [f"{place:03}" for place in range(number)],
            stratum=strata or [""] * number,
            cluster=clusters or [None] * number,
            outcome=np.array(values, np.float64),
            size=np.ones(number) if sizes is None else np.array(sizes, np.float64),
        )

    return pair(side(apart), side(np.zeros(number)))


def grid(seed: int, *, items=40, seeds=3, of_items=0.3, of_seeds=0.2, rest=0.1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (
        0.1
        + rng.normal(0, of_items, items)
        + rng.normal(0, of_seeds, seeds)[:, None]
        + rng.normal(0, rest, (seeds, items))
    )


def mean_squares(grid_su: np.ndarray) -> tuple[float, float, float]:
    seeds, items = grid_su.shape
    mean_u, mean_s = grid_su.mean(axis=0), grid_su.mean(axis=1)
    rest_su = grid_su - mean_u - mean_s[:, None] + grid_su.mean()
    return (
        seeds * np.sum((mean_u - grid_su.mean()) ** 2) / (items - 1),
        items * np.sum((mean_s - grid_su.mean()) ** 2) / (seeds - 1),
        np.sum(rest_su**2) / ((items - 1) * (seeds - 1)),
    )


def test_parts_are_those_of_the_analysis_of_variance():
    grid_su = grid(0)
    seeds, items = grid_su.shape
    of_items, of_seeds, rest = mean_squares(grid_su)
    found = pool([sample(row) for row in grid_su])
    assert found.difference == pytest.approx(grid_su.mean())
    assert found.item_stderr == pytest.approx(np.sqrt((of_items - rest) / seeds / items))
    assert found.seed_stderr == pytest.approx(np.sqrt((of_seeds - rest) / items / seeds))
    whole = (of_items + of_seeds - rest) / (items * seeds)
    assert found.stderr == pytest.approx(np.sqrt(whole))
    parts = np.array([of_items, of_seeds, -rest]) / (items * seeds)
    freedom = whole**2 / np.sum(parts**2 / [items - 1, seeds - 1, (items - 1) * (seeds - 1)])
    reach = stats.t.ppf(0.975, freedom) * np.sqrt(whole)
    assert [found.low, found.high] == pytest.approx([grid_su.mean() - reach, grid_su.mean() + reach])
    assert found.p == pytest.approx(2 * stats.t.sf(abs(grid_su.mean()) / np.sqrt(whole), freedom))
    quantiles = stats.t.ppf(0.975, freedom) + stats.t.ppf(0.8, freedom)
    assert found.detectable == pytest.approx(quantiles * np.sqrt(whole))


def test_seeds_that_differ_less_than_chance_have_no_variance():
    """Then the whole is the error of the items' means, with its degrees of freedom."""
    grid_su = grid(1, of_seeds=0.0)
    grid_su -= grid_su.mean(axis=1, keepdims=True) - 0.1
    found = pool([sample(row) for row in grid_su])
    assert found.seed_stderr == 0
    mean_u = grid_su.mean(axis=0)
    assert found.stderr == pytest.approx(stats.sem(mean_u))
    assert found.p == pytest.approx(stats.ttest_1samp(mean_u, 0).pvalue)


def test_items_that_are_all_alike_leave_a_t_test_of_seeds():
    found = pool([sample([value] * 10) for value in (0.1, 0.2, 0.4)])
    assert found.item_stderr == 0
    assert found.p == pytest.approx(stats.ttest_1samp([0.1, 0.2, 0.4], 0).pvalue)


def test_more_items_do_not_make_the_part_of_seeds_smaller():
    shifts = [-0.2, 0.1, 0.3]
    few, many = (
        pool([sample(np.tile([0.0, 0.1, 0.2, 0.3], times) + shift) for shift in shifts]) for times in (5, 50)
    )
    assert many.seed_stderr == pytest.approx(few.seed_stderr) == pytest.approx(stats.sem(shifts))
    assert many.item_stderr < few.item_stderr / 3


def test_clusters_are_units_of_seeds_too():
    """Clusters of one size are as good as their means."""
    grid_su = grid(2, items=12)
    clusters = [name for name in "abcdefghijkl" for _ in range(3)]
    found = pool([sample(np.repeat(row, 3), clusters=clusters) for row in grid_su])
    of_means = pool([sample(row) for row in grid_su])
    assert (found.items, found.units, found.clustered) == (36, 12, True)
    assert [found.difference, found.stderr, found.p] == pytest.approx(
        [of_means.difference, of_means.stderr, of_means.p]
    )


def test_items_that_a_seed_lacks_are_left_out_of_all():
    grid_su = grid(3, items=20)
    names = [f"{place:02}" for place in range(20)]
    whole = pool([sample(row[5:], names=names[5:]) for row in grid_su])
    with_more = pool(
        [sample(grid_su[0], names=names), *(sample(row[5:], names=names[5:]) for row in grid_su[1:])]
    )
    assert with_more.items == 15
    assert (with_more.difference, with_more.stderr) == (whole.difference, whole.stderr)


def test_a_scale_is_of_every_number_but_p():
    samples = [sample(row) for row in grid(4)]
    one, percent = pool(samples), pool(samples, scale=100)
    assert [percent.difference, percent.stderr, percent.low] == pytest.approx(
        [100 * one.difference, 100 * one.stderr, 100 * one.low]
    )
    assert percent.p == pytest.approx(one.p)


def test_one_seed_has_no_variance():
    with pytest.raises(UserError, match="a seed variance needs two seeds and more, and here is 1"):
        pool([sample([1, 0, 1])])


def test_seeds_without_common_items_are_said():
    with pytest.raises(UserError, match="no common items of all 2 seeds"):
        pool([sample([1, 0], names=["a", "b"]), sample([1, 0], names=["c", "d"])])


def test_one_unit_says_nothing_of_chance():
    found = pool([sample([0.5]), sample([0.7])])
    assert found.difference == pytest.approx(0.6)
    assert found.stderr is found.seed_stderr is found.low is found.p is None


# --- several benchmarks of the same seeds ---


def test_a_seed_is_the_same_in_all_benchmarks():
    """Where a seed is better by as much everywhere, its part of a mean is as large as of each benchmark."""
    shifts = [-0.2, 0.1, 0.3]
    each = [
        pool([sample(row + shift, strata=["a", "b"] * 20) for shift in shifts])
        for row in (grid(seed, seeds=1)[0] for seed in (5, 6, 7, 8))
    ]
    mean = pooled_mean(each)
    assert mean.difference == pytest.approx(np.mean([one.difference for one in each]))
    assert mean.seed_stderr == pytest.approx(stats.sem(shifts))
    assert mean.item_stderr == pytest.approx(np.sqrt(sum(one.item_stderr**2 for one in each)) / 4)
    assert (mean.items, mean.seeds) == (160, 3)


def test_a_mean_of_one_benchmark_is_that_benchmark():
    one = pool([sample(row) for row in grid(9)])
    assert pooled_mean([one]).stderr == pytest.approx(one.stderr)
    assert pooled_mean([one, None]) is None and pooled_mean([]) is None
