from dataclasses import replace

import pytest
from by_hand import base, difference, entry, row, table_of

from im_bench import paper
from im_bench.config import Report, UserError
from im_bench.evaluation import benchmarks as registry
from im_bench.report.measures import of_analyses
from im_bench.report.tables import benchmark_table, cell_table
from im_bench.report.words import BENCHMARKS, CATEGORIES

ONE_EACH = {
    "knowledge": "mmlu",
    "multilingual": "lambada_multilingual",
    "commonsense": "winogrande",
    "math_code": "gsm8k",
    "bbh": "bbh",
    "safety": "ethics",
}


def test_the_mean_of_the_categories_is_the_mean_that_the_paper_prints():
    for printed in paper.main_table():
        rows = [row(name, float(printed[category]) / 100) for category, name in ONE_EACH.items()]
        assert entry(table_of(rows), "mean").value == pytest.approx(float(printed["mean"]), abs=0.0101)


def test_differences_are_to_the_baseline_on_the_same_dataset():
    rows = [
        row("mmlu", 0.20),
        row("mmlu", 0.25, loss="im"),
        row("mmlu", 0.40, dataset="tydiqa"),
        row("mmlu", 0.37, dataset="tydiqa", loss="im"),
    ]
    found = [line.differences for line in table_of(rows).lines]
    assert found[0] is None and found[2] is None
    assert [each[0].value for each in (found[1], found[3])] == pytest.approx([5, -3])


def test_the_error_of_a_difference_takes_the_two_scores_as_independent():
    rows = [row("mmlu", 0.20, stderr=0.03), row("mmlu", 0.25, stderr=0.04, loss="im")]
    assert table_of(rows).lines[1].differences[0].stderr == pytest.approx(5)


def test_the_base_model_is_first_and_compared_with_nothing():
    lines = table_of([row("mmlu", 0.25, dataset="aya"), base("mmlu", 0.1)]).scored
    assert (lines[0].cell.loss, lines[0].differences) == ("none", None)


def test_losses_stand_from_it_to_im_with_neftune_between():
    losses = ["im_neftune", "im", "neftune", "it"]
    lines = table_of([row("mmlu", 0.1, loss=loss) for loss in losses]).scored
    assert [line.cell.loss for line in lines] == ["it", "neftune", "im", "im_neftune"]


def test_a_missing_benchmark_leaves_its_category_mean_and_differences_unknown():
    rows = [
        row("mmlu", 0.2),
        row("piqa", 0.4),
        row("bbh", 0.5),
        row("mmlu", 0.2, loss="im"),
        row("bbh", 0.5, loss="im"),
    ]
    table = table_of(rows)
    assert [entry(table, column, "im").value for column in ("knowledge", "mean", "bbh")] == [None, None, 50]
    assert [difference(table, column) for column in ("knowledge", "mean", "bbh")] == [None, None, 0]
    assert any(sentence.startswith("n/a:") for sentence in table.caption)


def test_a_missing_baseline_leaves_no_difference_and_is_named():
    table = table_of([row("mmlu", 0.2, loss="im")])
    assert [line.differences for line in table.scored] == [None]
    assert "No differences on lima: that takes exactly one cell of loss it." in table.caption


def test_subsets_and_losses_stand_by_their_numbers_whatever_they_are_called():
    sizes = table_of([row("mmlu", 0.2, subset=f"random_{size}") for size in (1000, 200)])
    assert [each.cell.subset for each in sizes.scored] == ["random_200", "random_1000"]
    versions = table_of([row("mmlu", 0.2, loss=f"plw_v_{version}") for version in ("1.0.2", "1.0.1")])
    assert [each.cell.loss for each in versions.scored] == ["plw_v_1.0.1", "plw_v_1.0.2"]


def test_cells_of_another_seed_are_no_baseline():
    table = table_of([row("mmlu", 0.2, seed=1), row("mmlu", 0.3, loss="im", seed=2)])
    assert difference(table, "mean") is None


def test_what_nobody_was_asked_is_left_out_for_everybody_and_said():
    table = table_of([row("mmlu", 0.2), row("bbh", 0.4)])
    assert [column.id for column in table.columns] == ["knowledge", "bbh", "mean"]
    assert entry(table, "mean").value == pytest.approx(30)
    assert "Asked of the 21 benchmarks: MMLU, BBH." in table.caption
    whole = [
        replace(row("mmlu", 0.2), benchmark=name, task=name, category=each.category)
        for name, each in registry.BENCHMARKS.items()
    ]
    but_bbh = [each for each in whole if each.benchmark != "bbh"]
    assert "Not asked, and in no mean: BBH." in table_of(but_bbh).caption
    assert not any("asked" in sentence.lower() for sentence in table_of(whole).caption)


def test_a_note_stands_only_under_a_table_that_it_is_about():
    """One model and one loss, of which nothing has two readings, is missing, or is compared."""
    means = "A category is the unweighted mean of its benchmarks, Mean that of the categories."
    assert table_of([row("mmlu", 0.2)]).caption == (
        *("Model: toy.", means, "Asked of the 21 benchmarks: MMLU."),
        *("Scores are in percent.", "Items per cell: 10."),
    )
    alone = [row("mt_bench", 4.0, metric="score"), row("mt_bench", 5.0, metric="score", model="opt")]
    assert table_of(alone).caption == (
        *("Scores are points from 1 to 10.", "Judged by overlap: MT-Bench.", "Items per cell: 10."),
    )
    published = Report(baseline="it", reading="published")
    each = benchmark_table([row("mmlu", 0.2), row("bbh", 0.2)], name="s", wanted=published)
    assert each.caption == ("Model: toy.", "Scores are in percent.", "Items per cell: 20; per benchmark 10.")


def test_differences_are_explained_where_there_is_one():
    sentence = "Differences are to loss it on the same dataset."
    alone = table_of([row("mmlu", 0.2, loss="im")])
    assert sentence not in alone.caption
    assert "No differences on lima: that takes exactly one cell of loss it." in alone.caption
    assert sentence in table_of([row("mmlu", 0.2), row("mmlu", 0.2, loss="im")]).caption


def test_the_mark_of_fewer_outcomes_is_explained_where_it_stands():
    """A mean that is missing has no mark, though it would have been of fewer."""
    rows = [row("mmlu", 0.2, count=9), row("piqa", None)]
    assert not any(sentence.startswith("\u2020") for sentence in table_of(rows).caption)


def test_the_judged_alone_make_a_table_without_a_mean():
    table = table_of([row("mt_bench", 4.0, metric="score")])
    assert [column.id for column in table.columns] == ["mt_bench"]


def test_a_benchmark_that_the_paper_has_not_joins_its_category():
    table = table_of([row("mmlu", 0.2), row("boolq", 0.4)])
    assert entry(table, "knowledge").value == pytest.approx(30)


def test_two_judges_in_one_column_are_refused_by_name():
    rows = [row("mt_bench", 4.0), row("mt_bench", 5.0, loss="im", judge="gpt4")]
    with pytest.raises(UserError, match="mt_bench: .*gpt4, overlap"):
        table_of(rows)


def test_two_judges_of_one_cell_are_refused_too():
    with pytest.raises(UserError, match="mt_bench: .*gpt4, overlap"):
        table_of([row("mt_bench", 4.0), row("mt_bench", 5.0, judge="gpt4")])


def test_each_judged_benchmark_may_have_its_own_judge():
    table = table_of([row("mt_bench", 4.0), row("alpaca_eval_1", 5.0, judge="gpt4")])
    assert {"Judged by overlap: MT-Bench.", "Judged by gpt4: AlpacaEval 1.0."} <= set(table.caption)


def test_a_note_that_names_the_judge_says_it_alone():
    table = table_of([row("mt_bench", 4.0, reading_note="judge: overlap (no LLM)")])
    assert [sentence for sentence in table.caption if "overlap" in sentence] == [
        "MT-Bench: judge: overlap (no LLM)."
    ]


def test_fewer_outcomes_than_items_are_marked_and_the_worst_is_told():
    rows = [row("mt_bench", 4.0, count=9), row("mt_bench", 5.0, loss="im", count=7)]
    table = table_of(rows)
    assert entry(table, "mt_bench").partial
    assert any(sentence.endswith("at the fewest MT-Bench 7 of 10.") for sentence in table.caption)


def test_the_caption_tells_where_prompts_were_cut():
    rows = [row("bbh", 0.1, truncated=3), row("bbh", 0.2, loss="im", truncated=4), row("mmlu", 0.2)]
    assert (
        "Prompts longer than the model's context lost their beginning; at the most in BBH 4 of 10."
        in table_of(rows).caption
    )
    assert not any("lost their beginning" in sentence for sentence in table_of(rows[2:]).caption)


def test_the_caption_tells_how_many_items_were_asked():
    table = table_of([row("mmlu", 0.2, count=50, total=50), row("bbh", 0.2)])
    assert "Items per cell: 60; per benchmark 10 (BBH) to 50 (MMLU)." in table.caption


def test_several_numbers_of_the_same_items_count_them_once():
    """Losses of training and held-out conversations, each over tokens and over examples; a length-controlled rate."""
    metrics = ("output_loss_per_token", "output_loss_per_example")
    rows = [
        row("losses", 1.0, task=task, metric=metric, count=300, total=300)
        for task in ("train", "heldout")
        for metric in metrics
    ]
    wanted = Report(baseline="it", reading="corrected")
    table = cell_table(rows, of_analyses(rows), name="small", wanted=wanted)
    assert "Items per cell: 600." in table.caption
    rate = {"metric": "win_rate", "count": 805, "total": 805}
    controlled = row("alpaca_eval_2", 20.0, task="alpaca_eval_2_length_controlled", **rate)
    table = benchmark_table([row("alpaca_eval_2", 10.0, **rate), controlled], name="small", wanted=wanted)
    assert "Items per cell: 805." in table.caption


def test_the_caption_states_the_reading():
    rows = [row("wmt14", 60.0), row("humaneval", 0.1, metric="pass@1,temperature=0.1")]
    corrected = "Reading: corrected; WMT14 as 100 - TER, at least 0; HumanEval as pass@1 at temperature 0.1."
    assert corrected in table_of(rows).caption
    assert any("counted as a gain" in sentence for sentence in table_of(rows, "published").caption)


def test_the_benchmark_table_has_a_column_for_each_benchmark_and_no_mean():
    table = benchmark_table(
        [row("bbh", 0.5), row("mmlu", 0.2), row("mt_bench", 4.0)],
        name="small",
        wanted=Report(baseline="it", reading="corrected"),
    )
    assert [column.id for column in table.columns] == ["mmlu", "bbh", "mt_bench"]
    assert [each.value for each in table.lines[0].entries] == [20, 50, 4]


def test_the_words_of_tables_are_those_of_the_registry():
    assert {column.id for column in BENCHMARKS} == set(registry.BENCHMARKS)
    assert [column.id for column in BENCHMARKS] == list(registry.BENCHMARKS)
    assert [column.id for column in CATEGORIES] == list(registry.CATEGORIES)
