"""One number for each place: seeds averaged, intervals by hand, and what is not known is None."""

import pytest
from by_hand import base, row

from im_bench.report.points import interval, last_epoch, points, quantities, radar_quantities

WIN = {"metric": "win_rate"}


def of(rows, name="win_rate"):
    return points(rows, quantities(rows, "corrected")[name])


def test_one_seed_has_the_interval_of_its_own_row():
    (point,) = of([row("alpaca_eval_1", 30.0, stderr=2.0)])
    assert (point.value, point.low, point.high, point.seeds) == (
        30.0,
        pytest.approx(26.08),
        pytest.approx(33.92),
        1,
    )


def test_several_seeds_have_student_s_interval_of_their_mean():
    (point,) = of(
        [row("alpaca_eval_1", value, seed=seed, stderr=9.0) for seed, value in enumerate((20.0, 24.0, 28.0))]
    )
    # Standard deviation 4, over sqrt(3), t of two degrees of freedom 4.30265.
    assert (point.value, point.seeds) == (24.0, 3)
    assert (point.high - 24, 24 - point.low) == pytest.approx((4.30265 * 4 / 3**0.5,) * 2, rel=1e-5)


def test_no_interval_goes_beyond_what_can_be():
    (point,) = of([row("alpaca_eval_1", value, seed=seed) for seed, value in enumerate((1.0, 99.0))])
    assert (point.low, point.high) == (0.0, 100.0)


def test_a_value_that_is_missing_is_no_zero():
    (alone,) = of([row("alpaca_eval_1", None)])
    assert (alone.value, alone.low, alone.high, alone.seeds) == (None, None, None, 0)
    (of_two,) = of([row("alpaca_eval_1", 30.0, seed=0), row("alpaca_eval_1", None, seed=1)])
    assert (of_two.value, of_two.low, of_two.seeds) == (30.0, None, 1)


def test_a_cell_that_has_no_row_of_it_has_no_value():
    found = of([row("alpaca_eval_1", 30.0), row("mmlu", 0.5, loss="im")])
    assert [(point.loss, point.value) for point in found] == [("it", 30.0), ("im", None)]


def test_cells_that_nothing_tells_apart_have_no_value_together():
    twice = [row("alpaca_eval_1", value, cell=cell) for cell, value in (("a", 30.0), ("b", 50.0))]
    (point,) = of(twice)
    assert point.value is None


def test_places_come_in_the_order_of_the_tables():
    rows = [
        row("alpaca_eval_1", 1.0, loss=loss, epoch=epoch)
        for loss in ("im", "neftune", "it")
        for epoch in (2, 1)
    ]
    found = of([*rows, base("alpaca_eval_1", 0.0)])
    assert [(point.loss, point.epoch) for point in found] == [
        ("none", None),
        *((loss, epoch) for epoch in (1, 2) for loss in ("it", "neftune", "im")),
    ]


def test_the_mean_is_that_of_the_categories_in_percent():
    rows = [row("mmlu", 0.5, stderr=0.03), row("piqa", 0.7, stderr=0.04), row("bbh", 0.3, stderr=0.05)]
    (point,) = of(rows, "mean")
    # Knowledge (50 + 70) / 2 = 60 with error 2.5, BBH 30 with 5: their mean 45 with sqrt(2.5^2 + 5^2) / 2.
    assert point.value == pytest.approx(45)
    assert point.high - point.value == pytest.approx(1.96 * (2.5**2 + 5**2) ** 0.5 / 2)


def test_answers_are_measured_in_characters():
    rows = [
        row("alpaca_eval_2", 3.0),
        row("alpaca_eval_2", 151.5, task="alpaca_eval_2_length", metric="avg_length"),
    ]
    assert quantities(rows, "corrected")["win_rate"].label == "AlpacaEval 2.0 win rate, %"
    (point,) = of(rows, "length")
    assert point.value == 151.5


def test_what_training_does_not_hold_is_preferred_among_the_held_out():
    """Where it holds some; else the two are the same."""

    def loss(task, value, metric="output_loss_per_example"):
        return row("losses", value, task=task, metric=metric)

    assert of([loss("train", 0.5), loss("heldout", 1.0)], "train_loss")[0].value == 0.5
    assert of([loss("train", 0.5), loss("heldout", 1.0)], "heldout_loss")[0].value == 1.0
    some, none = (loss("heldout", share, "overlap") for share in (0.1, 0.0))
    assert of([loss("heldout", 1.0), loss("heldout_new", 1.5), some], "heldout_loss")[0].value == 1.5
    assert of([loss("heldout", 1.0), loss("heldout_new", 5.0), none], "heldout_loss")[0].value == 1.0


def test_a_label_says_which_conversations_a_finding_is_of():
    def label(name, *tasks, metric, overlap=0.1):
        rows = [row("losses", 1.0, task=task, metric=metric) for task in tasks]
        rows.append(row("losses", overlap, task="heldout", metric="overlap"))
        return quantities(rows, "corrected")[name].label

    loss, kl = "output_loss_per_example", "output_kl_per_token"
    both = ("heldout", "heldout_new")
    new = "held-out loss on outputs, conversations not in training, mean over examples"
    assert label("heldout_loss", *both, metric=loss) == new
    assert (
        label("heldout_loss", *both, metric=loss, overlap=0.0)
        == "held-out loss on outputs, mean over examples"
    )
    assert "on held-out conversations not in training" in label("kl", *both, metric=kl)
    assert "on the held-out set" in label("kl", *both, "train", metric=kl, overlap=0.0)
    assert "on the training set" in label("kl", "train", metric=kl)


def test_the_base_model_has_no_loss_on_what_is_not_in_a_training_set():
    loss = "output_loss_per_example"
    rows = [
        row("losses", 1.5, task="heldout_new", metric=loss),
        row("losses", 1.0, task="heldout", metric=loss),
        row("losses", 0.1, task="heldout", metric="overlap"),
        base("losses", 3.0, task="heldout", metric=loss),
    ]
    assert [(point.loss, point.value) for point in of(rows, "heldout_loss")] == [("none", None), ("it", 1.5)]


def test_only_what_was_asked_can_be_drawn():
    assert list(quantities([row("mmlu", 0.5)], "corrected")) == ["mean"]
    assert list(quantities([row("memorisation", 50.0, task="train", metric="bleu_corpus")], "corrected")) == [
        "bleu"
    ]


def test_a_radar_has_the_categories_in_order_and_neither_turns_nor_the_whole():
    tasks = ("mt_bench", "mt_bench_turn_1", "mt_bench_coding", "mt_bench_writing", "mt_bench_poetry")
    rows = [row("mt_bench", 4.0, task=task, metric="score") for task in tasks]
    assert list(radar_quantities(rows)) == ["writing", "coding", "poetry"]


def test_earlier_epochs_are_left_out_where_the_last_is_meant():
    rows = [base("mmlu", 0.1), *(row("mmlu", 0.5, epoch=epoch) for epoch in (1, 2, 3))]
    assert [each.epoch for each in last_epoch(rows)] == [None, 3]


def test_a_dataset_of_fewer_epochs_keeps_its_last():
    rows = [row("mmlu", 0.5, epoch=epoch, dataset="lima") for epoch in (1, 2)]
    rows += [row("mmlu", 0.5, epoch=epoch, dataset="tydiqa") for epoch in (1, 2, 3)]
    rows += [row("mmlu", 0.5, epoch=1, dataset="tydiqa", subset="random_50")]
    assert [(each.dataset, each.subset, each.epoch) for each in last_epoch(rows)] == [
        ("lima", "full", 2),
        ("tydiqa", "full", 3),
        ("tydiqa", "random_50", 1),
    ]


def test_a_loss_or_a_seed_that_is_not_there_at_the_last_epoch_is_not_shown_at_an_earlier():
    rows = [
        *(row("mmlu", 0.5, epoch=epoch) for epoch in (1, 2)),
        row("mmlu", 0.5, loss="im", epoch=1),
        row("mmlu", 0.5, seed=1, epoch=1),
    ]
    assert [(each.loss, each.seed, each.epoch) for each in last_epoch(rows)] == [("it", 0, 2)]


def test_one_value_without_an_error_has_no_interval():
    assert interval([3.0], None) is None
