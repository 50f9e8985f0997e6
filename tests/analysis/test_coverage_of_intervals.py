"""Intervals hold the truth as often as they say, and tests find nothing where there is nothing: by simulation.

The worlds are those of benchmarks/coverage.py, which draws more samples of each.
"""

import runpy
from math import sqrt

import pytest

from im_bench.composing import ROOT

COVERAGE = runpy.run_path(str(ROOT / "benchmarks" / "coverage.py"))
CASES, rates, family_error = (COVERAGE[name] for name in ("CASES", "rates", "family_error"))
SAMPLES = 250
ERROR = 2.6 * sqrt(0.05 * 0.95 / SAMPLES)
"""Of a rate of 5 % or 95 % among so many samples: 99 of 100 are within it."""

FEW = {"5 subtasks that weigh the same", "2 seeds, large seed variance"}
"""Too few units for their interval to be quite wide enough."""
IGNORING = {
    "57 subtasks, clusters ignored",
    "200 passages in 5 languages, clusters ignored",
    "1 seed of many, large seed variance",
}


SLOW = {"mean of five benchmarks"}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name
        for name in sorted(CASES.keys() - FEW - IGNORING)
    ],
)
def test_intervals_cover_between_93_and_97_of_100_and_tests_find_nothing_but_5(name):
    found = rates(name, SAMPLES)
    assert 0.93 - ERROR <= found.covered <= 0.97 + ERROR
    assert 0.93 - ERROR <= found.covered_zero <= 0.97 + ERROR
    assert found.found_zero <= 0.05 + ERROR


def test_the_interval_of_five_subtasks_covers_nine_times_of_ten_and_their_test_is_at_its_level():
    found = rates("5 subtasks that weigh the same", SAMPLES)
    assert min(found.covered, found.covered_zero) >= 0.87
    assert found.found_zero <= 0.05 + ERROR


def test_two_seeds_that_differ_much_cover_nine_times_of_ten():
    found = rates("2 seeds, large seed variance", SAMPLES)
    assert min(found.covered, found.covered_zero) >= 0.87 and found.found_zero <= 0.13


@pytest.mark.parametrize("name", sorted(IGNORING))
def test_without_clusters_or_seeds_a_fifth_of_findings_is_chance(name):
    """The reason for both: items are not independent, and another training is another model."""
    found = rates(name, SAMPLES)
    assert max(found.covered, found.covered_zero) < 0.87 and found.found_zero > 0.13


@pytest.mark.slow
def test_holm_finds_something_among_21_nothings_five_times_in_a_hundred_at_most():
    by_holm, raw = family_error(200)
    assert by_holm <= 0.05 + ERROR
    assert raw > 0.3
