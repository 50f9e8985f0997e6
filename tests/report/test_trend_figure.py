"""Figure 2 from a ledger: gains of a loss over the baseline against ratio and size."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from by_hand import row
from kept_items import keep
from scipy.stats import linregress, t

from im_bench.analysis.trends import fit
from im_bench.report import trends
from im_bench.report.figures import svg
from im_bench.report.figures.trends import trend_figure
from im_bench.report.trends import TrendPoint, axes, line_interval


def cell(subset, examples, ratio, it, im, dataset="tulu_v2", seed=0):
    place = {"subset": subset, "examples": examples, "ratio": ratio, "dataset": dataset, "seed": seed}
    return [
        row("alpaca_eval_1", value, loss=loss, step=loss, **place) for loss, value in (("it", it), ("im", im))
    ]


def trend_points(rows, baseline, store=Path("nowhere")) -> list[TrendPoint]:
    return trends.trend_points(rows, baseline, store)


RATIOS = [*cell("ratio_5", 100, 5.5, 10.0, 12.0), *cell("ratio_10", 100, 9.8, 10.0, 21.0)]
SIZES = [*cell("ratio_10_100", 100, 9.8, 10.0, 21.0), *cell("ratio_10_200", 200, 9.7, 20.0, 25.0)]


def test_a_gain_is_relative_to_the_baseline_in_percent():
    points = trend_points(RATIOS, "it")
    assert [point.ratio for point in points] == [5.5, 9.8]
    assert [point.gain for point in points] == pytest.approx([20, 110])


def test_its_error_is_that_of_the_same_items_under_both_losses(tmp_path):
    it, im = (
        np.array([0.0, 1, 0, 1, 0, 0, 1, 0, 0, 1] * 20),
        np.array([0.0, 1, 1, 1, 0, 0, 1, 0, 1, 1] * 20),
    )
    keep(tmp_path, "it", it, task="alpaca_eval_1")
    keep(tmp_path, "im", im, task="alpaca_eval_1")
    (point,) = trend_points(cell("full", 9, 1.0, 40.0, 60.0), "it", tmp_path / "store")
    # What the mean of im - 1.5 it can do by chance, over the mean of it.
    error = 100 * np.std(im - 1.5 * it, ddof=1) / 200**0.5 / 0.4
    assert (point.low, point.high) == pytest.approx((50 - 1.96 * error, 50 + 1.96 * error), rel=1e-4)
    items = np.random.default_rng(0).integers(200, size=(20_000, 200))
    drawn = 100 * (im[items].mean(axis=1) / it[items].mean(axis=1) - 1)
    assert error == pytest.approx(drawn.std(), rel=0.05)


def test_a_gain_without_its_items_has_no_interval():
    (point,) = trend_points(cell("full", 9, 1.0, 20.0, 30.0), "it")
    assert (point.gain, point.low, point.high) == (pytest.approx(50), None, None)


def test_seeds_are_one_point_with_their_own_spread():
    rows = [
        each
        for seed, im in enumerate((11.0, 12.0, 16.0))
        for each in cell("full", 9, 1.0, 10.0, im, seed=seed)
    ]
    (point,) = trend_points(rows, "it")
    # Gains 10, 20, 60: mean 30, standard deviation sqrt(700), t of two degrees of freedom 4.30265.
    reach = 4.30265 * (700 / 3) ** 0.5
    assert (point.gain, point.seeds) == (pytest.approx(30), 3)
    assert (point.low, point.high) == pytest.approx((30 - reach, 30 + reach), rel=1e-5)


def test_a_seed_that_is_not_known_is_not_a_zero():
    rows = [*cell("full", 9, 1.0, 10.0, 12.0, seed=0), *cell("full", 9, 1.0, 10.0, None, seed=1)]
    (point,) = trend_points(rows, "it")
    assert (point.gain, point.seeds, point.low) == (pytest.approx(20), 1, None)


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


def test_datasets_of_different_numbers_of_epochs_are_compared_at_their_last():
    def at(epoch, rows):
        return [replace(each, epoch=epoch) for each in rows]

    rows = [
        *at(1, cell("full", 9, 1.0, 10.0, 11.0, "lima")),
        *at(2, cell("full", 9, 1.0, 10.0, 12.0, "lima")),
        *at(1, cell("full", 9, 2.0, 10.0, 13.0, "dolly")),
    ]
    found = trend_points(rows, "it")
    assert [(point.dataset, point.gain) for point in found] == [
        ("lima", pytest.approx(20)),
        ("dolly", pytest.approx(30)),
    ]
    failed = [replace(each, value=None, examples=None, ratio=None) for each in rows[2:4] if each.loss == "im"]
    rows = [each for each in rows if (each.dataset, each.loss, each.epoch) != ("lima", "im", 2)]
    assert [point.dataset for point in trend_points([*rows, *failed], "it")] == ["dolly"]


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


def legend(panel):
    return [text.get_text() for text in panel.get_legend().get_texts()]


def test_two_points_have_no_trend_and_four_have_one_with_its_law():
    more = [*RATIOS, *cell("ratio_15", 100, 17.4, 10.0, 20.0), *cell("ratio_20", 100, 20.0, 10.0, 24.0)]
    assert legend(drawn(RATIOS, "ratio")) == ["im"]
    law, band = legend(drawn(more, "ratio"))
    assert "ln x" in law and "r = 0." in law and "4 points" in law
    assert band == "band: 95% interval of the line"


def test_the_band_is_the_textbook_s_interval_of_a_regression_line():
    x, y = [1.0, 2.0, 5.0, 9.0, 30.0], [3.0, 1.0, 6.0, 8.0, 7.0]
    low, high = line_interval(fit(x, y), 4.0)
    other = linregress(np.log(x), y)
    # The intercept of a regression on ln x - ln 4 is the line at 4, and scipy gives its standard error.
    there = linregress(np.log(x) - np.log(4.0), y)
    reach = t.ppf(0.975, 3) * there.intercept_stderr
    assert (low + high) / 2 == pytest.approx(other.slope * np.log(4.0) + other.intercept)
    assert (high - low) / 2 == pytest.approx(reach)


def test_the_line_lies_in_its_interval_as_often_as_it_says():
    rng = np.random.default_rng(0)
    x = np.geomspace(0.1, 30, 8)
    inside = 0
    for _ in range(2000):
        low, high = line_interval(fit(x, 10 * np.log(x) + rng.normal(0, 4, 8)), 12.0)
        inside += low <= 10 * np.log(12.0) <= high
    # 2000 draws of probability 0.95 have a standard deviation of 9.7.
    assert abs(inside - 1900) < 4 * 9.7


def test_two_losses_stand_side_by_side_with_a_law_each():
    rows = []
    for ratio, it, im, plw in ((1.0, 10, 11, 12), (2.0, 10, 12, 14), (4.0, 10, 14, 13), (8.0, 10, 15, 18)):
        place = {"subset": f"ratio_{ratio:g}", "examples": 9, "ratio": ratio, "dataset": "tulu_v2"}
        rows += [
            row("alpaca_eval_1", each, loss=loss, **place)
            for loss, each in zip(("it", "im", "plw"), (it, im, plw), strict=True)
        ]
    panel = drawn(rows, "ratio")
    assert [each.split(":")[0] for each in legend(panel)] == ["im", "plw", "band"]
    at = [container.lines[0].get_xdata()[0] for container in panel.containers]
    assert len(set(at)) == 8


FOUR = ((1.0, 11.0, 30.0), (2.0, 12.0, 20.0), (4.0, 14.0, 15.0), (8.0, 15.0, 11.0))
"""A ratio, and the win rates of im under two models."""
TWO_MODELS = [
    replace(each, model=model)
    for ratio, *ims in FOUR
    for model, im in zip(("llama", "opt"), ims, strict=True)
    for each in cell(f"ratio_{ratio:g}", 9, ratio, 10.0, im)
]


def test_each_model_has_panels_and_a_law_of_its_own():
    """One law through the points of both would be of neither."""
    llama, opt = trend_figure(trend_points(TWO_MODELS, "it"), ["ratio"], "it").axes
    assert [each.get_legend().get_title().get_text() for each in (llama, opt)] == ["llama", "opt"]
    for panel, rank in ((llama, 0), (opt, 1)):
        law = fit([ratio for ratio, *_ in FOUR], [100 * (ims[rank] / 10 - 1) for _, *ims in FOUR])
        assert f"{law.slope:.1f} ln x {law.intercept:+.1f}" in legend(panel)[0]
        assert "4 points" in legend(panel)[0]


def test_the_model_is_named_over_a_point_where_there_are_several():
    def image(rows):
        return svg("small", lambda: trend_figure(trend_points(rows, "it"), ["ratio"], "it"))

    assert "<title>llama, tulu_v2, ratio_1, im: +10.00 %</title>" in image(TWO_MODELS)
    assert "<title>tulu_v2, ratio_1, im: +10.00 %</title>" in image(TWO_MODELS[:2] + TWO_MODELS[4:6])


def test_points_stand_at_the_achieved_ratio_on_a_logarithmic_axis():
    panel = drawn(RATIOS, "ratio")
    assert panel.get_xscale() == "log"
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["5.5", "9.8"]


def test_no_bar_goes_below_a_loss_that_never_wins():
    seeds = [each for seed, im in enumerate((0.2, 1.8)) for each in cell("a", 1, 2.0, 2.0, im, seed=seed)]
    panel = drawn([*seeds, *cell("b", 1, 3.0, 2.0, 1.0)], "ratio")
    (bars,) = panel.containers[0].lines[2]
    assert min(point[1] for segment in bars.get_segments() for point in segment) == pytest.approx(-100)


def test_a_gain_that_is_not_known_is_named():
    panel = drawn([*RATIOS, *cell("ratio_15", 100, 17.4, 0.0, 20.0)], "ratio")
    assert panel.get_legend().get_title().get_text() == "n/a: im at 17.4"


def test_cells_that_differ_in_more_than_the_seed_are_no_point_of_several_seeds():
    rows = [*cell("ratio_5", 100, 5.5, 10.0, 12.0), *cell("ratio_5", 100, 5.5, 10.0, 20.0)[1:]]
    rows[-1] = replace(rows[-1], cell="another")
    assert trend_points(rows, "it")[0].gain is None
