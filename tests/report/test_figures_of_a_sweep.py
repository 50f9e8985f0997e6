"""Which figures the rows of a sweep can make, by their names."""

import pandas
import pytest
from by_hand import base, row

from im_bench.composing import SWEEPS, sweep_runs
from im_bench.config import Run
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


def keep_losses(store, key):
    """What a step keeps of two conversations."""
    folder = store / "analysis" / f"lima-{key}"
    folder.mkdir(parents=True)
    (folder / "step.json").write_text("{}")
    examples = {"set": "train", "output_nll": [2.0, 9.0], "output_tokens": [1, 9], "in_training": True}
    pandas.DataFrame(examples).to_parquet(folder / "losses.parquet")


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
    keep_losses(tmp_path, "aaaa0000")
    found = figures_of(rows, sweep="small", baseline="it", reading="corrected", store=tmp_path)
    assert set(found) == {"small_analyses", "small_losses"}
    assert "it: 1.500 per example, 1.100 per token" in svg("small_losses", found["small_losses"])


def test_several_datasets_have_figure_6_too(tmp_path):
    """Where there are win rates; as the paper's, whose subsets of Tulu V2 are files of their own."""
    rows = [*both(dataset="tulu_v2_10", examples=50), *both(dataset="tulu_v2", examples=500)]
    assert "small_subsets" in names(rows, tmp_path)
    assert "small_subsets" not in names([each for each in rows if each.category != "judged"], tmp_path)


def scored(run: Run, number: int):
    """What a ledger has of a cell of a sweep file, of the benchmarks and analyses that the figures are of."""
    trains = run.loss.trains
    place = {
        "model": run.model.name,
        "dataset": run.dataset.name if trains else None,
        "subset": run.subset.label if trains else None,
        "loss": run.loss.name,
        "seed": run.seed,
        "epoch": run.epoch if trains else None,
        "examples": run.subset.size or 1000 + len(run.dataset.name) if trains else None,
        "ratio": run.subset.target or 1 / len(run.dataset.name) if trains else None,
        "step": f"{number:08x}" if trains else run.model.name,
    }
    found = [row("piqa", 0.5, **place)] if "piqa" in run.benchmark else []
    if "alpaca_eval_1" in run.benchmark:
        found.append(row("alpaca_eval_1", 20.0, **place))
        found.append(row("alpaca_eval_1", 90.0, task="alpaca_eval_1_length", metric="avg_length", **place))
    if "losses" in run.analyses:
        found.append(row("losses", 1.0, task="train", metric="output_loss_per_token", **place))
    if "memorisation" in run.analyses:
        found.append(row("memorisation", 50.0, task="train", metric="bleu_corpus", **place))
    return found


JUDGE = ["judge=openai", "judge.model=judge-1"]
CLAIMS = {
    "length_ratio": {"trend"},
    "data_size": {"trend"},
    "overfitting": {"losses", "analyses"},
    "epochs": {"epochs", "epochs_win_rate", "epochs_length"},
    "models": {"models"},
    "tulu": {"subsets"},
}
"""The figures that a sweep file, and docs/sweeps.md, say they are of: 2, 3 with 8 and 9, 4 with 10 and 11, 5, 6."""
ONE_DATASET = dict.fromkeys(("epochs", "models"), ["dataset=lima"])
"""Of the sweeps that have many cells, which take seconds to compose."""


@pytest.mark.parametrize("twin", ["", "toy_"])
@pytest.mark.parametrize("sweep", CLAIMS)
def test_a_sweep_file_makes_the_figures_that_it_says(sweep, twin, tmp_path):
    runs = sweep_runs(f"{twin}{sweep}", SWEEPS, [] if twin else [*JUDGE, *ONE_DATASET.get(sweep, [])])
    # The base model is one cell, whichever dataset asks for it.
    rows = list(dict.fromkeys(each for number, run in enumerate(runs) for each in scored(run, number)))
    for step in {each.step for each in rows if each.benchmark == "losses"}:
        keep_losses(tmp_path, step)
    assert {f"small_{figure}" for figure in CLAIMS[sweep]} <= names(rows, tmp_path)


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
