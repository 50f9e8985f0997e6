"""Agreement of two judges: by hand, and against scikit-learn and SciPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata, spearmanr
from sklearn.metrics import cohen_kappa_score

from im_bench.analysis.agreement import ALL, Agreement, agree, kappa, spearman

RATINGS = list(range(1, 11))
ratings = st.lists(st.tuples(st.integers(1, 10), st.integers(1, 10)), min_size=2, max_size=40)


def nominal(a: float, b: float) -> float:
    return float(a != b)


def squared(a: float, b: float) -> float:
    return (a - b) ** 2


def by_item(values: list[float]) -> dict[int, float]:
    return dict(enumerate(values))


def of_all(first: dict, second: dict, outcome=float) -> Agreement:
    """What `agree` says of all items, which are of one category."""
    return agree(first, second, dict.fromkeys([*first, *second], "any"), outcome)[0]


def drawn(seed: int, number: int = 60) -> tuple[list[int], list[int]]:
    """Ratings from 1 to 10, the second judge's near the first's."""
    rng = np.random.default_rng(seed)
    first = rng.integers(1, 11, number)
    second = np.clip(first + rng.integers(-3, 4, number), 1, 10)
    return first.tolist(), second.tolist()


# --- kappa ---


def test_kappa_is_the_share_of_the_agreement_beyond_chance():
    """Cohen's example of two clinicians: 35 of 50 agree, and chance alone would have 25 agree."""
    pairs = [(1, 1)] * 20 + [(1, 2)] * 5 + [(2, 1)] * 10 + [(2, 2)] * 15
    assert kappa(pairs, nominal) == pytest.approx((35 / 50 - 0.5) / (1 - 0.5))


def test_quadratic_kappa_counts_the_square_of_each_distance():
    """Observed 1 + 4 + 0 over 3; expected over all 9 pairs of 1, 2, 5 with 2, 4, 5."""
    pairs = [(1, 2), (2, 4), (5, 5)]
    expected = sum((a - b) ** 2 for a in (1, 2, 5) for b in (2, 4, 5)) / 9
    assert kappa(pairs, squared) == pytest.approx(1 - (5 / 3) / expected)


@pytest.mark.parametrize("seed", range(10))
def test_both_kappas_are_those_of_scikit_learn(seed):
    first, second = drawn(seed)
    pairs = list(zip(first, second, strict=True))
    # Its quadratic weights are of the labels' positions: with every rating given, these are the distances.
    assert kappa(pairs, nominal) == pytest.approx(cohen_kappa_score(first, second, labels=RATINGS))
    quadratic = cohen_kappa_score(first, second, labels=RATINGS, weights="quadratic")
    assert kappa(pairs, squared) == pytest.approx(quadratic)


@given(ratings)
@settings(max_examples=100, deadline=None)
def test_kappas_are_scikit_learns_wherever_chance_can_disagree(pairs):
    first, second = map(list, zip(*pairs, strict=True))
    if len({*first, *second}) == 1:
        assert kappa(pairs, nominal) is None and kappa(pairs, squared) is None
    else:
        quadratic = cohen_kappa_score(first, second, labels=RATINGS, weights="quadratic")
        assert kappa(pairs, nominal) == pytest.approx(
            cohen_kappa_score(first, second, labels=RATINGS), abs=1e-12
        )
        assert kappa(pairs, squared) == pytest.approx(quadratic, abs=1e-12)


@given(ratings)
@settings(max_examples=50, deadline=None)
def test_neither_judge_is_the_first(pairs):
    swapped = [(b, a) for a, b in pairs]
    for distance in (nominal, squared):
        there, back = kappa(pairs, distance), kappa(swapped, distance)
        assert there is back is None or there == pytest.approx(back, abs=1e-12)


def test_quadratic_distances_are_of_the_ratings_and_not_of_their_ranks():
    """Only 1, 2 and 10 occur: between 2 and 10 are eight points, and not one."""
    near, far = [(1, 1), (2, 1), (10, 10)], [(1, 1), (2, 10), (10, 10)]
    assert kappa(near, squared) > 0.9 > 0.5 > kappa(far, squared)


# --- Spearman ---


def test_spearman_is_the_correlation_of_ranks_with_ties_at_their_mean():
    """Ranks 1, 2.5, 2.5, 4 and 2, 1, 3, 4."""
    ours, theirs = np.array([1, 2.5, 2.5, 4]) - 2.5, np.array([2, 1, 3, 4]) - 2.5
    expected = (ours * theirs).sum() / np.sqrt((ours**2).sum() * (theirs**2).sum())
    assert spearman([(3, 5), (7, 2), (7, 8), (9, 10)]) == pytest.approx(expected)


@given(ratings)
@settings(max_examples=100, deadline=None)
def test_spearman_is_scipys_and_pearsons_of_the_ranks(pairs):
    first, second = map(list, zip(*pairs, strict=True))
    if min(len(set(first)), len(set(second))) < 2:
        assert spearman(pairs) is None
    else:
        assert spearman(pairs) == pytest.approx(float(spearmanr(first, second).statistic), abs=1e-12)
        ranks = np.corrcoef(rankdata(first), rankdata(second))[0, 1]
        assert spearman(pairs) == pytest.approx(ranks, abs=1e-12)


def test_spearman_is_of_the_values_and_kappa_of_their_outcomes():
    """The order within one outcome counts for the correlation alone."""
    first, second = by_item([1.1, 1.2, 1.8, 1.9]), by_item([1.2, 1.1, 1.9, 1.8])
    found = of_all(first, second, outcome=lambda value: 1.0 if value < 1.5 else 2.0)
    assert (found.same, found.kappa, found.kappa_quadratic) == (1.0, 1.0, 1.0)
    assert found.spearman == pytest.approx(0.6)


# --- the ends of the scale ---


@pytest.mark.parametrize("seed", range(3))
def test_full_agreement_is_one(seed):
    values = by_item(drawn(seed)[0])
    found = of_all(values, values)
    assert (found.same, found.kappa, found.kappa_quadratic) == (1.0, 1.0, 1.0)
    assert found.spearman == pytest.approx(1.0)
    assert found.mean_first == found.mean_second


def test_judges_who_do_not_know_of_each_other_agree_by_chance_alone():
    rng = np.random.default_rng(0)
    first, second = (by_item(rng.integers(1, 11, 20_000).tolist()) for _ in range(2))
    found = of_all(first, second)
    # Of 20,000 items the standard error is 0.0024 for kappa and 0.0071 for the other two.
    assert abs(found.kappa) < 0.01
    assert abs(found.kappa_quadratic) < 0.03 and abs(found.spearman) < 0.03
    assert found.same == pytest.approx(0.1, abs=0.01)


def test_judges_of_opposite_opinion_are_below_chance():
    first = by_item([1, 2, 3, 8, 9, 10])
    found = of_all(first, {item: 11 - value for item, value in first.items()})
    assert found.same == 0.0
    assert found.kappa < 0
    assert (found.kappa_quadratic, found.spearman) == (pytest.approx(-1.0), pytest.approx(-1.0))


def test_where_both_always_say_the_same_word_neither_kappa_nor_correlation_is_defined():
    found = of_all(by_item([8, 8, 8]), by_item([8, 8, 8]))
    assert (found.same, found.kappa, found.kappa_quadratic, found.spearman) == (1.0, None, None, None)


def test_one_judge_of_one_word_has_a_kappa_of_zero_and_no_correlation():
    found = of_all(by_item([8, 8, 8]), by_item([8, 7, 3]))
    assert (found.kappa, found.kappa_quadratic) == (pytest.approx(0.0), pytest.approx(0.0))
    assert found.spearman is None


def test_a_single_common_item_has_a_share_and_means_alone():
    found = of_all({1: 3.0}, {1: 3.0})
    assert found == Agreement(ALL, 1, 1.0, None, None, None, 3.0, 3.0)


# --- items and categories ---


def test_only_items_with_a_verdict_of_both_count():
    found = of_all({1: 5.0, 2: 7.0, 3: 9.0}, {2: 7.0, 3: 8.0, 4: 1.0})
    assert (found.items, found.same) == (2, 0.5)
    assert (found.mean_first, found.mean_second) == (8.0, 7.5)


def test_without_a_common_item_there_is_no_agreement_to_speak_of():
    assert agree({1: 5.0}, {2: 5.0}, {1: "a", 2: "a"}, float) == []
    assert agree({}, {}, {}, float) == []


def test_all_comes_first_and_then_the_categories_in_the_order_of_the_first_judges_items():
    first = {4: 1.0, 2: 2.0, 1: 3.0, 3: 4.0}
    second = {1: 1.0, 2: 1.0, 3: 1.0, 4: 1.0}
    found = agree(first, second, {1: "maths", 2: "prose", 3: "maths", 4: "prose"}, float)
    assert [(each.category, each.items) for each in found] == [("all", 4), ("prose", 2), ("maths", 2)]
    assert [each.mean_first for each in found] == [2.5, 1.5, 3.5]


def test_a_category_without_a_common_item_is_left_out():
    found = agree({1: 1.0, 2: 2.0}, {1: 1.0, 3: 2.0}, {1: "a", 2: "b", 3: "c"}, float)
    assert [each.category for each in found] == ["all", "a"]


def test_each_category_is_measured_by_its_own_items():
    first, second = drawn(0)
    names = {item: "even" if item % 2 == 0 else "odd" for item in range(len(first))}
    found = agree(by_item(first), by_item(second), names, float)
    assert [each.category for each in found] == ["all", "even", "odd"]
    for each, start in zip(found[1:], (0, 1), strict=True):
        expected = cohen_kappa_score(first[start::2], second[start::2], labels=RATINGS)
        assert each.kappa == pytest.approx(expected)
