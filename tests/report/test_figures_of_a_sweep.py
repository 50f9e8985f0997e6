"""Which figures the rows of a sweep can make, by their names."""

import pandas
import pytest
from by_hand import base, row

from im_bench.report.figures import svg
from im_bench.report.figures.which import figures_of


def cell(**place):
    return [
        row("mmlu", 0.5, **place),
        row("alpaca_eval_1", 20.0, **place),
        row("alpaca_eval_1", 100.0, task="alpaca_eval_1_length", metric="avg_length", **place),
    ]


def names(rows, store):
    return set(figures_of(rows, sweep="small", baseline="it", reading="corrected", store=store))


def both(**place):
    return [*cell(**place), *cell(loss="im", **place)]


def analysed(**place):
    loss = row("losses", 1.0, task="train", metric="output_loss_per_token", **place)
    return [loss, row("memorisation", 50.0, task="train", metric="bleu_corpus", **place)]


def test_one_dataset_under_two_losses_has_none_but_the_differences(tmp_path):
    assert names(both(), tmp_path) == set()


def test_several_epochs_have_the_figures_over_epochs(tmp_path):
    rows = [each for epoch in (1, 2) for each in both(epoch=epoch)]
    assert names(rows, tmp_path) == {"small_epochs", "small_epochs_win_rate", "small_epochs_length"}


def test_analyses_over_epochs_are_overfitting(tmp_path):
    rows = [each for epoch in (1, 2) for each in analysed(epoch=epoch)]
    assert names(rows, tmp_path) == {"small_overfitting", "small_analyses"}
    assert names(analysed(), tmp_path) == {"small_analyses"}


def test_several_models_have_figure_5(tmp_path):
    assert names([*both(), *both(model="other")], tmp_path) == {"small_models"}
    assert names([*both(), base("mmlu", 0.2, model="other")], tmp_path) == set()


def test_several_subsets_of_a_dataset_have_figure_6(tmp_path):
    rows = [*both(subset="random_50", examples=50), *both(subset="full", examples=100)]
    assert names(rows, tmp_path) == {"small_subsets", "small_trend"}


def test_scores_by_category_have_a_radar(tmp_path):
    rows = [
        row("mt_bench", 4.0, task=f"mt_bench_{each}", metric="score") for each in ("math", "coding", "stem")
    ]
    assert names(rows, tmp_path) == {"small_radar"}


def test_losses_of_single_examples_are_drawn_where_their_files_are(tmp_path):
    rows = analysed(step="aaaa0000")
    folder = tmp_path / "analysis" / "lima-aaaa0000"
    folder.mkdir(parents=True)
    (folder / "step.json").write_text("{}")
    examples = {"set": ["train", "train"], "output_nll": [2.0, 9.0], "output_tokens": [1, 9]}
    pandas.DataFrame(examples).to_parquet(folder / "losses.parquet")
    found = figures_of(rows, sweep="small", baseline="it", reading="corrected", store=tmp_path)
    assert set(found) == {"small_analyses", "small_losses"}
    assert "it: 1.500 per example, 1.100 per token" in svg("small_losses", found["small_losses"])


@pytest.mark.parametrize("value", [20.0, None])
def test_every_figure_can_be_drawn_of_whatever_is_there(tmp_path, value):
    rows = [
        each
        for model in ("toy", "other")
        for epoch in (1, 2)
        for subset in ("random_50", "full")
        for loss in ("it", "im")
        for each in [
            row("alpaca_eval_1", value, model=model, epoch=epoch, subset=subset, loss=loss),
            row(
                "mt_bench",
                value and 4.0,
                task="mt_bench_math",
                metric="score",
                model=model,
                epoch=epoch,
                subset=subset,
                loss=loss,
            ),
            *analysed(model=model, epoch=epoch, subset=subset, loss=loss),
        ]
    ]
    found = figures_of(rows, sweep="small", baseline="it", reading="corrected", store=tmp_path)
    assert len(found) >= 5
    for name, draw in found.items():
        assert svg(name, draw).startswith("<svg ")
