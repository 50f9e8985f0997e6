"""Distributions of the losses of single examples, from the files of the steps to the panels."""

import numpy as np
import pandas
import pytest
from by_hand import base, row

from im_bench.report.distributions import ExampleLosses, example_losses
from im_bench.report.figures import stroke, svg
from im_bench.report.figures.losses import loss_figure


def losses(nll, tokens, known=False):
    return ExampleLosses(np.array(nll, float), np.array(tokens), np.broadcast_to(known, len(nll)))


SHORT_AND_LONG = losses([2.0, 9.0], [1, 9])


def step(store, key, sets):
    folder = store / "analysis" / f"lima-{key}"
    folder.mkdir(parents=True)
    (folder / "step.json").write_text("{}")
    rows = [
        {
            "set": name,
            "example": f"{number}",
            "output_nll": nll,
            "output_tokens": tokens,
            "in_training": name == "train",
        }
        for name, examples in sets.items()
        for number, (nll, tokens) in enumerate(examples)
    ]
    pandas.DataFrame(rows).to_parquet(folder / "losses.parquet")


def analysed(key, **other):
    return row("losses", 1.0, task="train", metric="output_loss_per_token", step=key, **other)


def test_the_two_means_differ_where_lengths_do():
    # Examples of 2 and 1 nat per token: 1.5 over examples, 11 nats over 10 tokens.
    assert SHORT_AND_LONG.loss_e.tolist() == [2.0, 1.0]
    assert SHORT_AND_LONG.per_token == pytest.approx(1.1)


def test_an_example_without_output_tokens_has_no_loss():
    assert losses([2.0, 0.0], [1, 0]).loss_e.tolist() == [2.0]


def test_training_is_left_and_held_out_right_and_the_legend_has_both_means():
    other = losses([1.0, 1.0], [2, 1])
    figure = loss_figure({"lima": {"train": {"it": SHORT_AND_LONG, "im": other}, "heldout": {"it": other}}})
    left, right = (axes.get_legend() for axes in figure.axes)
    assert [each.get_title().get_text() for each in (left, right)] == [
        "lima, training set",
        "lima, held-out set",
    ]
    assert [text.get_text() for text in left.get_texts()] == [
        "it: 1.500 per example, 1.100 per token",
        "im: 0.750 per example, 0.667 per token",
    ]


def test_a_held_out_set_says_how_much_of_it_is_in_training():
    """The base model, which was trained on nothing, says nothing of that."""
    trained, untrained = losses([1.0] * 40, [1] * 40, [True] * 12 + [False] * 28), losses([1.0], [1])
    sets = {"train": {"it": SHORT_AND_LONG}, "heldout": {"it": trained, "im": trained, "none": untrained}}
    left, right = (axes.get_legend().get_title().get_text() for axes in loss_figure({"lima": sets}).axes)
    assert left == "lima, training set"
    assert " ".join(right.split()) == "lima, held-out set (30% of it also in training)"


def test_both_means_stand_where_they_are():
    axes = loss_figure({"lima": {"train": {"it": SHORT_AND_LONG}}}).axes[0]
    line, marker = axes.lines
    assert list(line.get_xdata()) == [1.5, 1.5]
    assert marker.get_xydata().tolist() == [[pytest.approx(1.1), 0]]


def test_every_example_is_counted_in_the_outline():
    rng = np.random.default_rng(0)
    many = losses(rng.gamma(2, 1, 500), rng.integers(1, 3, 500))
    axes = loss_figure({"lima": {"train": {"it": many}}}).axes[0]
    outline = next(each for each in axes.patches if not each.get_fill())
    assert outline.get_data().values.sum() == 500
    assert outline.get_linestyle() == stroke(0)["linestyle"]


def test_losses_are_told_apart_by_their_lines():
    axes = loss_figure({"lima": {"train": {each: SHORT_AND_LONG for each in ("it", "im", "neftune")}}}).axes[
        0
    ]
    assert len({str(each.get_linestyle()) for each in axes.patches if not each.get_fill()}) == 3


def test_a_set_that_nobody_looked_at_says_so_and_has_no_axis():
    right = loss_figure({"lima": {"train": {"it": SHORT_AND_LONG}}}).axes[1]
    assert right.get_legend().get_title().get_text() == "lima, held-out set: n/a"
    assert not right.axison


def test_no_example_is_said():
    (text,) = loss_figure({"lima": {"train": {"it": losses([], [])}}}).texts
    assert text.get_text() == "no example has a loss"


def test_what_is_said_over_an_outline_has_means_and_count():
    image = svg("small", lambda: loss_figure({"lima": {"train": {"it": SHORT_AND_LONG}}}))
    assert "<title>lima, training set, it: 1.500 per example, 1.100 per token, 2 examples</title>" in image


def test_a_step_s_file_is_found_by_its_key_and_seeds_are_together(tmp_path):
    step(tmp_path, "aaaa0000", {"train": [(2.0, 1)], "heldout": [(3.0, 1)]})
    step(tmp_path, "bbbb0000", {"train": [(4.0, 2)], "heldout": [(3.0, 2)]})
    found = example_losses([analysed("aaaa0000", seed=0), analysed("bbbb0000", seed=1)], tmp_path)
    (sets,) = found.values()
    assert sets["train"]["it"].nll_e.tolist() == [2.0, 4.0]
    assert sets["heldout"]["it"].tokens_e.tolist() == [1, 2]


def test_the_base_model_s_held_out_losses_are_with_every_dataset(tmp_path):
    step(tmp_path, "aaaa0000", {"train": [(2.0, 1)]})
    step(tmp_path, "bbbb0000", {"train": [(2.0, 1)]})
    step(tmp_path, "cccc0000", {"heldout": [(5.0, 1)]})
    untrained = base("losses", 5.0, task="heldout", metric="output_loss_per_token", step="cccc0000")
    found = example_losses(
        [analysed("aaaa0000"), analysed("bbbb0000", dataset="tydiqa"), untrained], tmp_path
    )
    assert [sets["heldout"]["none"].nll_e.tolist() for sets in found.values()] == [[5.0], [5.0]]


def test_what_stands_in_training_is_read(tmp_path):
    step(tmp_path, "aaaa0000", {"train": [(2.0, 1)], "heldout": [(3.0, 1)]})
    (sets,) = example_losses([analysed("aaaa0000")], tmp_path).values()
    assert (sets["train"]["it"].in_training_e.tolist(), sets["heldout"]["it"].in_training_e.tolist()) == (
        [True],
        [False],
    )


def test_cells_that_differ_in_more_than_the_seed_are_not_joined(tmp_path):
    """As of two learning rates; the other loss stays."""
    keys = ("aaaa0000", "bbbb0000", "cccc0000")
    for key in keys:
        step(tmp_path, key, {"train": [(2.0, 1)]})
    rows = [analysed(keys[0], cell="slow"), analysed(keys[1], cell="fast"), analysed(keys[2], loss="im")]
    (sets,) = example_losses(rows, tmp_path).values()
    assert set(sets["train"]) == {"im"}


def test_of_two_base_models_of_one_name_neither_is_shown(tmp_path):
    step(tmp_path, "aaaa0000", {"train": [(2.0, 1)], "heldout": [(2.0, 1)]})
    rows = [analysed("aaaa0000")]
    for key in ("bbbb0000", "cccc0000"):
        step(tmp_path, key, {"heldout": [(5.0, 1)]})
        rows.append(
            base("losses", 5.0, task="heldout", metric="output_loss_per_token", step=key, cell=f"none-{key}")
        )
    (sets,) = example_losses(rows, tmp_path).values()
    assert set(sets["heldout"]) == {"it"}


def test_a_step_whose_file_is_gone_is_left_out(tmp_path):
    assert example_losses([analysed("aaaa0000")], tmp_path) == {}
