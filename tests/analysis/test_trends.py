"""Fits against ln(x): by hand, against scipy, and by the coverage of their intervals."""

import math

import numpy as np
import pytest
from scipy.stats import linregress, t

from im_bench import paper
from im_bench.analysis.trends import fit, predict


def fitted(points):
    return fit([point.x for point in points], [point.gain for point in points])


def test_a_law_without_noise_is_found_and_its_interval_is_a_point():
    x = [1.0, 2.0, 5.0, 9.0]
    law = fit(x, [3 * math.log(each) + 2 for each in x])
    assert (law.slope, law.intercept, law.correlation) == pytest.approx((3, 2, 1))
    told = predict(law, math.e)
    assert tuple(told[:3]) == pytest.approx((5, 5, 5))


def test_the_line_is_that_of_scipy_and_the_interval_the_textbook_s():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0.1, 30, 12), rng.normal(0, 5, 12)
    law, log_n = fit(x, y), np.log(x)
    other = linregress(log_n, y)
    assert (law.slope, law.intercept, law.correlation) == pytest.approx(
        (other.slope, other.intercept, other.rvalue)
    )
    residual = y - other.slope * log_n - other.intercept
    deviation = math.sqrt((residual**2).sum() / 10)
    away = (math.log(7) - log_n.mean()) ** 2 / ((log_n - log_n.mean()) ** 2).sum()
    reach = t.ppf(0.975, 10) * deviation * math.sqrt(1 + 1 / 12 + away)
    told = predict(law, 7.0)
    assert (told.high - told.expected, told.expected - told.low) == pytest.approx((reach, reach))


def test_new_points_fall_into_the_interval_as_often_as_it_says():
    rng = np.random.default_rng(0)
    x = np.geomspace(0.1, 30, 15)
    inside = 0
    for _ in range(2000):
        law = fit(x, 10 * np.log(x) + rng.normal(0, 4, 15))
        told = predict(law, 12.0)
        inside += told.low <= 10 * math.log(12) + rng.normal(0, 4) <= told.high
    # 2000 draws of probability 0.95 have a standard deviation of 9.7.
    assert abs(inside - 1900) < 4 * 9.7


def test_beyond_its_points_a_prediction_is_an_extrapolation():
    law = fit([1, 2, 4], [0, 1, 1])
    assert [predict(law, x).extrapolated for x in (0.9, 1, 4, 4.1)] == [True, False, False, True]


def test_the_points_of_figure_2_give_the_fits_that_it_prints():
    ratio, size = fitted(paper.ratio_points()), fitted(paper.size_points())
    assert (ratio.slope, ratio.intercept) == pytest.approx((18.85, 25.83), abs=0.03)
    assert (size.slope, size.intercept) == pytest.approx((-39.37, 431.74), abs=0.3)
    assert (ratio.correlation, size.correlation) == pytest.approx((0.825, -0.851), abs=1e-3)


def test_the_corrected_points_give_a_steeper_trend_and_the_same_sign():
    law = fitted(paper.corrected_ratio_points())
    assert (law.slope, law.intercept, law.correlation) == pytest.approx((19.50, 27.72, 0.866), abs=0.01)


def test_gains_of_table_1_are_those_of_figure_2_but_for_two():
    plotted = {point.name: point.gain for point in paper.ratio_points()}
    apart = {
        name
        for name in plotted
        if (gain := paper.gain(name)) is not None and abs(gain - plotted[name]) > 0.15
    }
    assert apart == {"alpagasus_dolly_9k", "less_tydiqa"}
    assert paper.gain("less_mmlu_chat") == pytest.approx(121.3, abs=0.05)
    assert paper.gain("tulu_v2") is None
