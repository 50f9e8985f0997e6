"""Paired differences: by hand, by linear algebra, and against SciPy."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from im_bench.analysis.pairs import Paired, pair, score, units_of
from im_bench.analysis.significance import (
    CLUSTERED,
    COMBINED,
    MCNEMAR,
    PERMUTATION,
    combined,
    compare,
    holm,
)
from im_bench.config import UserError
from im_bench.items import Outcomes


def outcomes(values, *, items=None, tasks=None, strata=None, clusters=None, sizes=None) -> Outcomes:
    number = len(values)
    return Outcomes(
        task=tasks or ["task"] * number,
        item=items or [str(place) for place in range(number)],
        stratum=strata or [""] * number,
        cluster=clusters or [None] * number,
        outcome=np.array(values, np.float64),
        size=np.ones(number) if sizes is None else np.array(sizes, np.float64),
    )


def paired(first, second, **more) -> Paired:
    return pair(outcomes(first, **more), outcomes(second, **more))


def found(first, second, seed=0, read=None, scale=1.0, **more):
    given = {} if read is None else {"read": read}
    return compare(paired(first, second, **more), seed=seed, scale=scale, **given)


def gain_of_ter(score):
    return np.maximum(0.0, 100.0 - score)


def some(seed: int, number: int, kind: str = "fractions") -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    if kind == "binary":
        return (rng.random(number) < 0.7).astype(float), (rng.random(number) < 0.5).astype(float)
    first = rng.random(number)
    return first, np.clip(first + rng.normal(-0.05, 0.2, number), 0, 1)


# --- pairing ---


def test_items_are_paired_whatever_their_order():
    first = outcomes([1, 2, 3], items=["a", "b", "c"])
    second = outcomes([30, 10, 20], items=["c", "a", "b"])
    both = pair(first, second)
    assert both.first_i.tolist() == [1, 2, 3] and both.second_i.tolist() == [10, 20, 30]


def test_equal_rows_are_paired_by_their_place_which_a_missing_outcome_does_not_shift():
    first = outcomes([0.1, np.nan, 0.3], items=["same"] * 3)
    second = outcomes([1, 2, 3], items=["same"] * 3)
    both = pair(first, second)
    assert both.names == (("task", "same", 0), ("task", "same", 2))
    assert both.second_i.tolist() == [1, 3]


def test_items_of_one_name_in_two_tasks_are_two():
    both = paired([1, 0], [0, 0], items=["a", "a"], tasks=["t", "u"])
    assert both.names == (("t", "a", 0), ("u", "a", 0))


def test_no_common_items_is_said():
    with pytest.raises(UserError, match=r"no common items: of 2 and 1 that have an outcome"):
        pair(outcomes([1, 0]), outcomes([np.nan, 1], items=["0", "other"]))


def test_items_of_two_sizes_are_not_the_same():
    with pytest.raises(UserError, match="item 1 of task has size 7 on one side and 8 on the other"):
        pair(outcomes([1, 2], sizes=[5, 7]), outcomes([1, 2], sizes=[5, 8]))


def test_an_item_without_a_cluster_is_its_own():
    both = paired([1, 0, 1, 0], [0] * 4, clusters=["a", None, "a", None])
    assert units_of(both).size_u.tolist() == [2, 1, 1]


# --- the score ---


def test_strata_weigh_the_same_and_items_by_size():
    assert score(np.array([1, 3, 5.0]), np.array([1, 4, 10.0]), np.array([0, 0, 7])) == (4 / 5 + 5 / 10) / 2


def test_a_difference_is_that_of_what_the_table_shows():
    edits, words = [30, 90], [100, 100]
    both = found(edits, [10, 10], sizes=words, read=gain_of_ter, scale=100)
    assert both.difference == pytest.approx((100 - 60) - (100 - 10))


def test_beyond_a_clip_nothing_moves():
    edits = some(3, 40)[0] * 100 + 120
    both = found(edits, edits[::-1] + 3, sizes=[100] * 40, read=gain_of_ter, scale=100)
    assert (both.difference, both.p, both.low, both.detectable) == (0, 1, None, None)


def test_a_side_beyond_a_clip_adds_no_error():
    edits, beyond = some(4, 50)[0] * 50 + 20, some(5, 50)[0] * 100 + 200
    sizes = [100] * 50
    both = found(edits, beyond, sizes=sizes, read=gain_of_ter, scale=100)
    assert both.stderr == pytest.approx(stats.sem(edits))


# --- standard errors ---


def test_the_error_of_single_items_is_that_of_the_paired_t_test():
    first, second = some(0, 80)
    assert found(first, second).stderr == pytest.approx(stats.sem(first - second))


def test_variances_of_strata_add_up():
    first, second = some(1, 90)
    strata = ["a"] * 60 + ["b"] * 30
    apart = first - second
    expected = np.hypot(stats.sem(apart[:60]), stats.sem(apart[60:])) / 2
    assert found(first, second, strata=strata).stderr == pytest.approx(expected)


def test_the_error_of_a_ratio_is_near_the_jackknifes():
    rng = np.random.default_rng(2)
    words = rng.integers(5, 60, 300).astype(float)
    first, second = rng.poisson(words * 0.6), rng.poisson(words * 0.7)
    left_out = [
        np.delete(first - second, place).sum() / np.delete(words, place).sum() for place in range(300)
    ]
    jackknife = np.sqrt(299 / 300 * np.sum((left_out - np.mean(left_out)) ** 2))
    assert found(first, second, sizes=words).stderr == pytest.approx(jackknife, rel=0.01)


def test_three_equal_clusters_by_hand():
    """Cluster differences of 1, 1/2 and 0: residuals 1/6, 0, -1/6, CR1 3/2 * 2/36 = 1/12, t = sqrt(3), 2 degrees."""
    both = found([1, 1, 1, 0, 0, 0], [0] * 6, clusters=["a", "a", "b", "b", "c", "c"])
    assert (both.test, both.units, both.items, both.clustered) == (CLUSTERED, 3, 6, True)
    assert both.stderr == pytest.approx(np.sqrt(1 / 12))
    assert both.p == pytest.approx(2 * stats.t.sf(np.sqrt(3), 2))
    assert both.p == pytest.approx(stats.ttest_1samp([1, 0.5, 0], 0).pvalue)


def test_unequal_clusters_have_the_error_of_cr2():
    """Bell and McCaffrey's estimator of a regression on a constant alone, by its matrices."""
    clusters = [*"aaaaaaaabbbccdddd"]
    first, second = some(6, len(clusters))
    apart = first - second
    hat = np.full((len(apart), len(apart)), 1 / len(apart))
    total = 0.0
    for name in "abcd":
        mine = np.array(clusters) == name
        values, vectors = np.linalg.eigh(np.eye(mine.sum()) - hat[np.ix_(mine, mine)])
        adjusted = vectors @ np.diag(values**-0.5) @ vectors.T @ (apart - apart.mean())[mine]
        total += adjusted.sum() ** 2
    both = found(first, second, clusters=clusters)
    assert both.stderr == pytest.approx(np.sqrt(total) / len(apart))
    effective = 17**2 / (64 + 9 + 4 + 16)
    assert both.p == pytest.approx(2 * stats.t.sf(abs(both.difference) / both.stderr, effective - 1))


def test_strata_that_are_clusters_are_a_t_test_of_their_ratios():
    names = ["a"] * 5 + ["b"] * 9 + ["c"] * 3
    first, second = some(7, 17, "binary")
    both = found(first, second, strata=names, clusters=names)
    ratios = [[side[np.array(names) == name].mean() for name in "abc"] for side in (first, second)]
    expected = stats.ttest_rel(*ratios)
    assert (both.test, both.units) == (CLUSTERED, 3)
    assert both.difference == pytest.approx(np.mean(ratios[0]) - np.mean(ratios[1]))
    assert both.p == pytest.approx(expected.pvalue)


# --- intervals ---


@pytest.mark.parametrize("kind", ["binary", "fractions"])
def test_the_interval_is_scipys_at_hesterbergs_level(kind):
    first, second = some(8, 30, kind)
    level = 1 - 2 * stats.norm.cdf(-np.sqrt(30 / 29) * stats.t.ppf(0.975, 29))
    theirs = stats.bootstrap(
        (first, second),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        paired=True,
        method="percentile",
        confidence_level=level,
        n_resamples=20_000,
        rng=np.random.default_rng(0),
    ).confidence_interval
    both = found(first, second)
    assert [both.low, both.high] == pytest.approx([*theirs], abs=0.05 * (theirs.high - theirs.low))


def test_few_units_have_levels_far_from_the_middle():
    """Of five units, 0.001 where 0.025 would be for many."""
    both = found(*some(20, 5))
    level = stats.norm.cdf(-np.sqrt(5 / 4) * stats.t.ppf(0.975, 4))
    assert level == pytest.approx(0.001, abs=0.0001)
    assert [both.low, both.high] == np.quantile(both.draws_d, [level, 1 - level]).tolist()


@pytest.mark.parametrize("kind", ["binary", "fractions"])
def test_draws_have_the_variance_that_units_in_strata_give_them(kind):
    """Whether they are counts of distinct values, or every unit is drawn."""
    first, second = some(9, 900, kind)
    both = found(first, second, strata=["a"] * 600 + ["b"] * 300)
    assert both.draws_d.std() == pytest.approx(np.sqrt(both.spread.drawn), rel=0.03)
    assert both.draws_d.mean() == pytest.approx(both.difference, abs=both.stderr / 30)


def test_equal_seeds_give_equal_draws_and_others_do_not():
    first, second = some(10, 50)
    one, again, other = (found(first, second, seed=seed) for seed in (4, 4, 5))
    assert one.draws_d.tobytes() == again.draws_d.tobytes() != other.draws_d.tobytes()
    assert (one.low, one.p) == (again.low, again.p)


def test_swapping_the_sides_mirrors_the_difference():
    first, second = some(11, 200)
    one, other = found(first, second), found(second, first)
    assert one.difference == -other.difference and one.stderr == pytest.approx(other.stderr)
    assert [one.low, one.high] == pytest.approx([-other.high, -other.low], abs=one.stderr / 10)


# --- tests ---


def test_mcnemar_by_hand():
    """Ten items right on the first side alone, three on the second: 2 * (1 + 13 + 78 + 286) / 2**13."""
    both = found([1] * 10 + [0] * 3 + [1] * 20, [0] * 10 + [1] * 3 + [1] * 20)
    assert both.test == MCNEMAR
    assert both.p == pytest.approx(756 / 8192)
    assert both.p == pytest.approx(stats.binomtest(3, 13).pvalue)


def test_swapped_sides_are_scipys_permutation_test():
    first, second = some(12, 12)
    theirs = stats.permutation_test(
        (first, second), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=np.inf
    ).pvalue
    both = found(first, second)
    assert both.test == PERMUTATION
    assert both.p == pytest.approx(theirs, abs=0.015)


def test_swaps_of_right_and_wrong_in_strata_weigh_as_the_score_does():
    first = np.array([1] * 8 + [0] * 2 + [1] * 30 + [0] * 10, float)
    second = np.array([0] * 6 + [1] * 2 + [0] * 2 + [1] * 25 + [0] * 15, float)
    strata = ["a"] * 10 + ["b"] * 40
    weight = np.array([1 / 20] * 10 + [1 / 80] * 40)
    theirs = stats.permutation_test(
        (first, second),
        lambda a, b, axis: np.sum((a - b) * weight, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=20_000,
        rng=np.random.default_rng(1),
    ).pvalue
    both = found(first, second, strata=strata)
    assert both.test == PERMUTATION
    assert both.p == pytest.approx(theirs, abs=0.02)


def test_what_is_equal_differs_by_nothing_and_says_nothing_of_chance():
    both = found([1, 0, 1], [1, 0, 1])
    assert (both.difference, both.p) == (0, 1)
    assert both.stderr is both.low is both.high is both.detectable is None


def test_one_unit_says_nothing_of_chance():
    both = found([1, 1, 0], [0, 0, 0], clusters=["a"] * 3)
    assert both.difference == pytest.approx(2 / 3)
    assert both.p is both.stderr is both.low is both.detectable is None


def test_tasks_of_one_item_are_the_units():
    both = found([1, 0], [0, 0], strata=["a", "b"])
    assert (both.units, both.clustered, both.test, both.p) == (2, False, PERMUTATION, 1)
    assert both.stderr == pytest.approx(stats.sem([1, 0]))


def test_clusters_that_differ_alike_say_nothing_of_chance():
    both = found([1] * 4, [0.9] * 4, clusters=["a", "a", "b", "b"])
    assert both.p is both.stderr is None


def test_the_detectable_difference_is_found_four_times_of_five():
    both = found(*some(13, 60))
    noncentral = stats.nct(59, both.detectable / both.stderr)
    limit = stats.t.ppf(0.975, 59)
    assert noncentral.sf(limit) + noncentral.cdf(-limit) == pytest.approx(0.8, abs=0.005)


# --- several benchmarks ---


def test_holm_by_hand():
    """In order 0.005 * 4, 0.01 * 3, 0.03 * 2 and 0.04, which may not be below the one before."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_does_not_count_what_is_no_test():
    assert holm([None, 0.02, None, 0.6]) == [None, 0.04, None, 0.6]
    assert holm([0.7, 0.8]) == [1, 1]
    assert holm([]) == []


def test_errors_of_benchmarks_add_up_whatever_their_seeds():
    """One seed for all must not make their draws go together."""
    each = [found(*some(14, 200), seed=0) for _ in range(4)]
    mean = combined(each)
    assert (mean.test, mean.items, mean.units) == (COMBINED, 800, 800)
    assert mean.difference == pytest.approx(each[0].difference)
    assert mean.stderr == pytest.approx(each[0].stderr / 2)
    assert mean.draws_d.std() == pytest.approx(mean.stderr, rel=0.03)
    assert mean.high - mean.low == pytest.approx((each[0].high - each[0].low) / 2, rel=0.05)


def test_a_mean_of_few_and_many_units_has_satterthwaites_degrees_of_freedom():
    few, many = found(*some(15, 4)), found(*some(16, 300))
    mean = combined([few, many])
    variances = np.array([few.stderr, many.stderr]) ** 2 / 4
    freedom = variances.sum() ** 2 / np.sum(variances**2 / [3, 299])
    assert mean.p == pytest.approx(2 * stats.t.sf(abs(mean.difference) / np.sqrt(variances.sum()), freedom))


def test_a_mean_with_a_benchmark_missing_is_missing():
    one = found(*some(17, 20))
    assert combined([one, None]) is None and combined([]) is None
    alone = combined([one])
    assert (alone.difference, alone.stderr) == (one.difference, pytest.approx(one.stderr))


def test_a_mean_with_a_benchmark_of_one_unit_says_nothing_of_chance():
    mean = combined([found(*some(18, 20)), found([1], [0])])
    assert mean.p is mean.low is mean.stderr is None


def test_the_items_of_a_comparison_are_not_in_its_words():
    one = found(*some(19, 20))
    assert "draws_d" not in repr(one) and repr(replace(one, p=None)).count("p=None") == 1


# --- clusters that reach over strata ---


def test_a_passage_in_several_tasks_is_one_unit_with_the_mean_of_its_items():
    """Three passages in two tasks; the error is that of the three means of differences."""
    more = {
        "items": list("abcabc"),
        "tasks": list("xxxyyy"),
        "strata": list("xxxyyy"),
        "clusters": list("123123"),
    }
    first, second = [1, 1, 0, 1, 0, 0], [0, 1, 0, 0, 0, 1]
    each = found(first, second, **more)
    means = [(1 + 1) / 2, (0 + 0) / 2, (0 - 1) / 2]
    assert each.difference == pytest.approx(np.mean(means)) and each.units == 3
    assert each.stderr == pytest.approx(np.std(means, ddof=1) / 3**0.5)
    assert each.p == pytest.approx(stats.ttest_1samp(means, 0).pvalue)


def test_words_of_both_directions_of_one_sentence_go_together():
    """TER: each direction is a ratio of its own; the score stays the mean of the two."""
    more = {"strata": list("xxxyyy"), "clusters": list("123123"), "sizes": [10, 20, 30, 11, 19, 33]}
    first, second = [3, 4, 9, 2, 5, 12], [2, 6, 6, 3, 5, 6]
    each = found(first, second, **more)
    assert each.difference == pytest.approx((16 / 60 + 19 / 63 - 14 / 60 - 14 / 63) / 2)
    assert each.units == 3
