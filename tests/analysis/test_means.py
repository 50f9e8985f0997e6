"""Means and ratios with their standard errors, by hand."""

import math

import numpy as np
import pytest

from im_bench.analysis.means import mean, ratio


def test_a_mean_has_the_standard_error_of_its_sample() -> None:
    assert mean([1.0, 2.0, 6.0]) == (3.0, pytest.approx(math.sqrt((4 + 1 + 9) / 2 / 3)), 3)


def test_a_ratio_weighs_each_example_by_its_size() -> None:
    # 6 / 4 = 1.5; residuals 2 - 1.5 and 4 - 4.5; sqrt(2 / 1 * (0.25 + 0.25)) / 4.
    assert ratio([2.0, 4.0], [1, 3]) == (1.5, pytest.approx(0.25), 2)


def test_a_ratio_of_equal_sizes_is_a_mean() -> None:
    values = [0.5, 2.0, 3.0, 7.0]
    assert ratio([3 * each for each in values], [3] * 4) == pytest.approx(mean(values))


def test_the_standard_error_of_a_ratio_is_its_spread_over_samples() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 40, size=(4000, 200))
    sums = sizes * (1 + rng.normal(size=sizes.shape) / np.sqrt(sizes))
    found = [ratio(sum.tolist(), size.tolist()) for sum, size in zip(sums, sizes, strict=True)]
    spread = np.std([each.value for each in found])
    assert np.mean([each.stderr for each in found]) == pytest.approx(spread, rel=0.05)


@pytest.mark.parametrize("found", [mean([]), ratio([], [])])
def test_of_nothing_nothing_is_said(found: tuple[object, ...]) -> None:
    assert found == (None, None, 0)


def test_one_example_has_a_mean_and_no_error() -> None:
    assert mean([2.0]) == (2.0, None, 1)
    assert ratio([6.0], [3]) == (2.0, None, 1)
