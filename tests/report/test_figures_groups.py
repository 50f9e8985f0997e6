"""Scores of several models and of several subsets."""

import pytest
from by_hand import base, row

from im_bench.report.figures import look, svg
from im_bench.report.figures.groups import models_figure, subsets_figure
from im_bench.report.points import points, quantities


def series(rows, *names):
    known = quantities(rows, "corrected")
    return {known[name].label: points(rows, known[name]) for name in names}


def judged(value, **place):
    return [
        row("alpaca_eval_1", value, **{"stderr": 2.0} | place),
        row(
            "alpaca_eval_1",
            10 * value if value else None,
            task="alpaca_eval_1_length",
            metric="avg_length",
            **place,
        ),
    ]


def dots(axes, rank):
    """Value and row of each dot of a loss."""
    return [each.get_xydata()[0].tolist() for each in axes.lines if each.get_marker() == look(rank)["marker"]]


MODELS = [
    each
    for model, lift in (("opt", 0.0), ("llama", 5.0))
    for dataset, more in (("lima", 0.0), ("tydiqa", 1.0))
    for loss, im in (("it", 0.0), ("im", 10.0))
    for each in judged(20.0 + lift + more + im, model=model, dataset=dataset, loss=loss)
]


def test_each_model_has_a_band_and_each_measure_a_panel():
    figure = models_figure(series(MODELS, "win_rate", "length"))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["llama", "", "opt", ""]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["lima", "tydiqa"]
    assert [x for x, _ in dots(figure.axes[0], 0)] == [25, 26] and [
        x for x, _ in dots(figure.axes[2], 1)
    ] == [30, 31]
    assert [x for x, _ in dots(figure.axes[1], 0)] == [250, 260]


def test_the_losses_of_a_row_stand_one_below_the_other():
    figure = models_figure(series(MODELS, "win_rate"))
    (first, second), (third, fourth) = ([y for _, y in dots(figure.axes[0], rank)] for rank in (0, 1))
    assert first < 0 < third < 0.5 < second < 1 < fourth


def test_a_bar_is_the_row_s_interval_and_without_an_error_there_is_none():
    figure = models_figure(series(MODELS, "win_rate", "length"))
    (bar,) = figure.axes[0].containers[0].lines[2]
    assert bar.get_segments()[0][:, 0].tolist() == pytest.approx([25 - 3.92, 25 + 3.92])
    assert figure.axes[1].containers[0].lines[2] == ()


def test_a_missing_score_says_so_in_its_row_and_is_no_dot():
    rows = [*judged(20.0), *judged(None, loss="im"), *judged(30.0, dataset="tydiqa")]
    (axes,) = models_figure(series(rows, "win_rate")).axes
    (text,) = axes.texts
    assert (text.get_text(), text.get_color()) == ("n/a", look(1)["color"])
    assert text.xyann[1] == pytest.approx(-dots(axes, 0)[0][1])
    assert dots(axes, 1) == []


def test_the_base_model_is_a_line_in_the_band_of_its_own():
    rows = [*MODELS, base("alpaca_eval_1", 3.0, model="opt")]
    llama, opt = models_figure(series(rows, "win_rate")).axes
    lines = [[list(each.get_xdata()) for each in axes.lines] for axes in (llama, opt)]
    assert [3.0, 3.0] not in lines[0] and [3.0, 3.0] in lines[1]


def test_subsets_stand_in_the_order_of_their_size():
    rows = [
        each
        for subset, size in (("full", 500), ("random_100", 100), ("random_50", 50))
        for each in judged(20.0, subset=subset, examples=size, dataset="tulu")
    ]
    figure = subsets_figure(series(rows, "length", "win_rate"))
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == [
        "random_50 (50)",
        "random_100 (100)",
        "full (500)",
    ]
    assert figure.axes[0].get_title(loc="left") == "tulu"


def test_datasets_of_one_subset_each_stand_in_one_band_by_size():
    rows = [
        each
        for dataset, size in (("tulu_v2", 500), ("tulu_v2_10", 50), ("tulu_v2_50", 250))
        for each in judged(20.0, dataset=dataset, examples=size)
    ]
    figure = subsets_figure(series(rows, "length", "win_rate"))
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == [
        "tulu_v2_10 (50)",
        "tulu_v2_50 (250)",
        "tulu_v2 (500)",
    ]
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["toy", ""]


def test_a_cell_that_failed_stands_in_the_row_of_its_set():
    """Though nobody knows how much it would have been trained on."""
    rows = [*judged(20.0, subset="random_50", examples=50), *judged(20.0, examples=90)]
    failed = judged(None, subset="random_50", examples=None, loss="im")
    figure = subsets_figure(series([*rows, *failed], "win_rate"))
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["random_50 (50)", "full (90)"]


def test_what_is_said_over_a_point_names_dataset_and_loss():
    image = svg("small", lambda: models_figure(series(judged(20.0), "win_rate")))
    assert "<title>lima, full, it: 20.00 (95% 16.08 to 23.92)</title>" in image


def test_nothing_trained_is_said():
    (text,) = models_figure(series([base("alpaca_eval_1", 3.0)], "win_rate")).texts
    assert text.get_text() == "no trained model has a score"
