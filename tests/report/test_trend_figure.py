"""Figure 2 from a ledger: gains of a loss over the baseline against ratio and size."""

import pytest
from by_hand import row

from im_bench.report.figures.trends import trend_figure
from im_bench.report.trends import axes, trend_points


def cell(subset, examples, ratio, it, im, dataset="tulu_v2", stderr=None):
    place = {"subset": subset, "examples": examples, "ratio": ratio, "dataset": dataset, "stderr": stderr}
    return [row("alpaca_eval_1", value, loss=loss, **place) for loss, value in (("it", it), ("im", im))]


RATIOS = [*cell("ratio_5", 100, 5.5, 10.0, 12.0), *cell("ratio_10", 100, 9.8, 10.0, 21.0)]
SIZES = [*cell("ratio_10_100", 100, 9.8, 10.0, 21.0), *cell("ratio_10_200", 200, 9.7, 20.0, 25.0)]


def test_a_gain_is_relative_to_the_baseline_in_percent():
    points = trend_points(RATIOS, "it")
    assert [point.ratio for point in points] == [5.5, 9.8]
    assert [point.gain for point in points] == pytest.approx([20, 110])


def test_its_error_takes_the_two_rates_as_independent():
    (point,) = trend_points(cell("full", 9, 1.0, 20.0, 30.0, stderr=2.0), "it")
    # d(b/a) = sqrt((s/a)^2 + (b s/a^2)^2)
    assert point.stderr == pytest.approx(100 * ((2 / 20) ** 2 + (30 * 2 / 20**2) ** 2) ** 0.5)


def test_a_baseline_that_never_wins_leaves_the_gain_unknown():
    (point,) = trend_points(cell("full", 9, 1.0, 0.0, 30.0), "it")
    assert point.gain is None


def test_two_baselines_of_one_name_are_none():
    """As of two files that are both called local."""
    twice = [*cell("full", 9, 1.0, 10.0, 12.0), *cell("full", 9, 2.0, 40.0, 41.0)]
    assert trend_points(twice, "it") == []


def test_a_cell_that_failed_is_left_out():
    failed = row(
        "alpaca_eval_1", None, loss="im", subset="ratio_15", examples=None, ratio=None, dataset="tulu_v2"
    )
    assert len(trend_points([*RATIOS, failed], "it")) == 2


def test_the_first_alpaca_eval_is_the_figure_s_and_the_second_stands_in():
    second = [row("alpaca_eval_2", value, loss=loss) for loss, value in (("it", 2.0), ("im", 3.0))]
    assert [point.gain for point in trend_points([*second, *cell("full", 1030, 0.1, 10.0, 11.0)], "it")] == [
        pytest.approx(10)
    ]
    assert [point.gain for point in trend_points(second, "it")] == [pytest.approx(50)]
    assert trend_points([row("mmlu", 0.5), row("mmlu", 0.6, loss="im")], "it") == []


def test_what_varies_is_the_axis():
    assert axes(trend_points(RATIOS, "it")) == ["ratio"]
    assert axes(trend_points(SIZES, "it")) == ["examples"]
    datasets = [*cell("full", 1030, 0.09, 1.0, 2.0, "lima"), *cell("full", 2996, 0.64, 1.0, 2.0, "dolly")]
    assert axes(trend_points(datasets, "it")) == ["ratio", "examples"]
    assert axes(trend_points(cell("full", 9, 1.0, 1.0, 2.0), "it")) == []


def drawn(rows, *which):
    return trend_figure(trend_points(rows, "it"), which, "it").axes[0]


def test_two_points_have_no_trend_and_four_have_one_with_its_law():
    more = [*RATIOS, *cell("ratio_15", 100, 17.4, 10.0, 20.0), *cell("ratio_20", 100, 20.0, 10.0, 24.0)]
    assert [text.get_text() for text in drawn(RATIOS, "ratio").texts] == []
    (law,) = [text.get_text() for text in drawn(more, "ratio").texts]
    assert "ln x" in law and "r = 0." in law


def test_points_stand_at_the_achieved_ratio_on_a_logarithmic_axis():
    panel = drawn(RATIOS, "ratio")
    assert panel.get_xscale() == "log"
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["5.5", "9.8"]


def test_no_bar_goes_below_a_loss_that_never_wins():
    panel = drawn(
        [*cell("a", 1, 2.0, 2.0, 1.0, stderr=5.0), *cell("b", 1, 3.0, 2.0, 1.0, stderr=5.0)], "ratio"
    )
    (bars,) = panel.containers[0].lines[2]
    assert min(point[1] for segment in bars.get_segments() for point in segment) == pytest.approx(-100)


def test_a_gain_that_is_not_known_is_named():
    panel = drawn([*RATIOS, *cell("ratio_15", 100, 17.4, 0.0, 20.0)], "ratio")
    assert "17.4" in panel.get_title(loc="left") and "n/a" in panel.get_title(loc="left")
