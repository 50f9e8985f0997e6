"""MT-Bench by category on spokes."""

from math import pi

import numpy as np
import pytest
from by_hand import base, row

from im_bench.report.collect import UNKNOWN
from im_bench.report.figures import look, stroke, svg
from im_bench.report.figures.radar import radar_figure
from im_bench.report.points import points, radar_quantities

CATEGORIES = ("writing", "math", "coding", "humanities")


def rated(scores, **place):
    return [
        row("mt_bench", score, task=f"mt_bench_{category}", metric="score", **place)
        for category, score in zip(CATEGORIES, scores, strict=True)
    ]


def figure_of(rows):
    return radar_figure({name: points(rows, each) for name, each in radar_quantities(rows).items()})


def outline(axes, rank):
    (found,) = [
        each
        for each in axes.lines
        if each.get_color() == stroke(rank)["color"] and each.get_marker() == "None"
    ]
    return found.get_xydata()


def test_an_outline_goes_through_the_scores_clockwise_from_the_top_and_closes():
    (axes,) = figure_of(rated((6.0, 2.0, 3.0, 7.0))).axes
    assert outline(axes, 0)[:, 1].tolist() == [6, 2, 3, 7, 6]
    assert outline(axes, 0)[:, 0].tolist() == pytest.approx([0, pi / 2, pi, 3 * pi / 2, 0])
    assert [text.get_text() for text in axes.get_xticklabels()] == list(CATEGORIES)
    assert (axes.get_theta_direction(), axes.get_theta_offset()) == (-1, pi / 2)
    assert axes.get_ylim()[1] == 10


def test_a_category_without_a_score_is_open_and_named():
    (axes,) = figure_of([*rated((6.0, None, 3.0, 7.0)), *rated((None,) * 4, loss="im")]).axes
    assert np.isnan(outline(axes, 0)[1, 1])
    assert axes.get_xlabel() == "n/a: it math; im"
    assert len([each for each in axes.lines if each.get_marker() == look(0)["marker"]]) == 3


def test_each_dataset_has_its_panel_with_the_base_model_in_it():
    bases = [base("mt_bench", 2.0, task=f"mt_bench_{each}", metric="score") for each in CATEGORIES]
    figure = figure_of([*rated((6.0,) * 4), *rated((5.0,) * 4, dataset="tydiqa"), *bases])
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["lima", "tydiqa"]
    assert all([2.0] * 5 in [list(each.get_ydata()) for each in axes.lines] for axes in figure.axes)


def test_models_that_were_not_trained_here_share_a_panel_under_their_own_names():
    place = {"dataset": UNKNOWN, "subset": None, "examples": None, "ratio": None, "loss": UNKNOWN}
    figure = figure_of(
        [*rated((6.0,) * 4, model="vicuna", **place), *rated((5.0,) * 4, model="alpaca", **place)]
    )
    assert len(figure.axes) == 1
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["alpaca", "vicuna"]


def test_no_interval_leaves_the_scale_and_it_is_said_over_the_point():
    image = svg("small", lambda: figure_of(rated((9.0, 2.0, 3.0, 7.0), stderr=1.0)))
    assert "<title>lima, writing, it: 9.00 (95% 7.04 to 10.00)</title>" in image
    assert "<title>lima, math, it: 2.00 (95% 1.00 to 3.96)</title>" in image


def test_no_category_is_said():
    (text,) = figure_of([]).texts
    assert text.get_text() == "no score of MT-Bench by category"
