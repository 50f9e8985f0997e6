"""Lines over epochs: a panel for each dataset, or a row of them for several measures."""

import numpy as np
import pytest
from by_hand import base, row

from im_bench.report.figures import look, stroke, svg
from im_bench.report.figures.epochs import epochs_figure
from im_bench.report.points import points, quantities


def scored(values, loss="it", dataset="lima", **other):
    """A win rate for each epoch."""
    return [
        row("alpaca_eval_1", value, loss=loss, dataset=dataset, epoch=epoch, **other)
        for epoch, value in values.items()
    ]


def figure_of(rows, *names):
    known = quantities(rows, "corrected")
    chosen = [known[name] for name in names or ("win_rate",)]
    return epochs_figure({each.label: points(rows, each) for each in chosen})


def line(axes, rank):
    """The line of a loss, without its dots."""
    (found,) = [
        each
        for each in axes.lines
        if each.get_color() == stroke(rank)["color"] and each.get_marker() == "None"
    ]
    return found.get_xydata()


def dots(axes, rank):
    return [each.get_ydata()[0] for each in axes.lines if each.get_marker() == look(rank)["marker"]]


BOTH = [*scored({1: 20.0, 2: 30.0, 5: 25.0}), *scored({1: 22.0, 2: 33.0, 5: 44.0}, "im")]


def test_a_line_goes_through_the_scores_of_its_loss():
    (axes,) = figure_of(BOTH).axes
    assert line(axes, 0)[:, 1].tolist() == [20, 30, 25] and line(axes, 1)[:, 1].tolist() == [22, 33, 44]
    assert np.abs(line(axes, 0)[:, 0] - [1, 2, 5]).max() < 0.1
    assert axes.get_xticks().tolist() == [1, 2, 5]


def test_one_loss_stands_at_the_very_epochs():
    (axes,) = figure_of(scored({1: 20.0, 2: 30.0})).axes
    assert line(axes, 0).tolist() == [[1, 20], [2, 30]]


def test_an_epoch_without_a_score_is_a_gap_and_is_named():
    (axes,) = figure_of([*scored({1: 20.0, 2: None, 3: 25.0}), *scored({1: 1.0, 2: 2.0, 3: 3.0}, "im")]).axes
    assert np.isnan(line(axes, 0)[1, 1])
    assert dots(axes, 0) == [20, 25]
    assert axes.get_xlabel() == "n/a: it after 2"


def test_bars_are_the_interval_over_seeds():
    rows = [each for seed in range(3) for each in scored({1: 20.0 + 4 * seed, 2: 30.0}, seed=seed)]
    (axes,) = figure_of(rows).axes
    (bar,) = axes.containers[0].lines[2]
    low, high = bar.get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((24 - 4.30265 * 4 / 3**0.5, 24 + 4.30265 * 4 / 3**0.5), rel=1e-5)


def test_each_dataset_has_its_panel_and_four_stand_in_a_row():
    rows = [each for number in range(5) for each in scored({1: 1.0, 2: 2.0}, dataset=f"set_{number}")]
    figure = figure_of(rows)
    assert [axes.get_title(loc="left") for axes in figure.axes[:5]] == [
        f"set_{number}" for number in range(5)
    ]
    assert [axes.axison for axes in figure.axes] == [True] * 5 + [False] * 3


def test_several_measures_have_a_column_each_and_datasets_a_row():
    rows = [
        row("losses", 1.0 / epoch, task=task, metric="output_loss_per_example", dataset=dataset, epoch=epoch)
        for dataset in ("lima", "tydiqa")
        for task in ("train", "heldout")
        for epoch in (1, 2)
    ]
    figure = figure_of(rows, "train_loss", "heldout_loss")
    assert [axes.get_title(loc="left").split(",")[0] for axes in figure.axes] == [
        "training loss on outputs",
        "held-out loss on outputs",
        "",
        "",
    ]
    assert [axes.get_ylabel() for axes in figure.axes] == ["lima", "", "tydiqa", ""]


def test_the_base_model_is_a_level_line_in_every_panel():
    rows = [*BOTH, *scored({1: 1.0, 2: 2.0}, dataset="tydiqa"), base("alpaca_eval_1", 7.0)]
    figure = figure_of(rows)
    assert all([7.0, 7.0] in [list(each.get_ydata()) for each in axes.lines] for axes in figure.axes)
    assert "base model" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_what_is_said_over_a_point_names_its_place_and_its_interval():
    image = svg(
        "small",
        lambda: figure_of([*scored({1: 20.0, 2: 30.0}, stderr=2.0), *scored({1: None, 2: 9.0}, "im")]),
    )
    assert "<title>lima, epoch 1, it: 20.00 (95% 16.08 to 23.92)</title>" in image
    assert "<title>lima, epoch 2, im: 9.00</title>" in image


def test_nothing_after_an_epoch_is_said():
    (text,) = figure_of([row("alpaca_eval_1", 20.0)]).texts
    assert text.get_text() == "no score after an epoch"
