import csv
from io import StringIO

import pytest
from by_hand import base, row

from im_bench.config import Report, UserError
from im_bench.report import check_baseline
from im_bench.report.formats import to_csv, to_markdown
from im_bench.report.forms import FORMS, available, datasets_of
from im_bench.report.pivot import Form, pivot
from im_bench.report.tables import check_comparable

WANTED = Report(baseline="it", reading="corrected")


def grid():
    """Two datasets under two losses, two benchmarks; piqa is 0.1 better under im on lima and 0.1 worse on tydiqa."""
    return [
        row(name, value + (change if loss == "im" else 0.0), dataset=dataset, loss=loss)
        for dataset, change in (("lima", 0.1), ("tydiqa", -0.1))
        for loss in ("it", "im")
        for name, value in (("mmlu", 0.2), ("piqa", 0.5))
    ]


def bleu(dataset, loss, value):
    how = {"task": "train", "metric": "bleu_corpus", "direction": "lower"}
    return row("memorisation", value, dataset=dataset, loss=loss, **how)


def laid_out(rows, form, **how):
    return pivot(rows, form, name="small", wanted=Report(baseline="it", reading="corrected", **how))


def lines(table):
    return [line.split(" | ") for line in to_markdown(table).splitlines() if line.startswith("|")]


def test_what_differs_and_is_not_named_stands_before_the_rows():
    table = laid_out(grid(), Form(("loss",), ("benchmark",)))
    assert table.labels.headings == ("Dataset", "Loss")
    assert [column.heading for column in table.columns] == ["MMLU", "PIQA"]
    assert lines(table)[2:] == [
        ["| lima", "it", "20.00", "50.00 |"],
        ["| ", "im", "30.00 (\u219110.00)", "60.00 (\u219110.00) |"],
        ["| tydiqa", "it", "20.00", "50.00 |"],
        ["| ", "im", "10.00 (\u219310.00)", "40.00 (\u219310.00) |"],
    ]


def test_differences_are_to_the_baseline_wherever_the_loss_stands():
    table = laid_out(grid(), Form(("dataset",), ("benchmark", "loss"), ("piqa",)))
    assert [column.heading for column in table.columns] == ["PIQA it", "PIQA im"]
    assert lines(table)[2:] == [
        ["| lima", "50.00", "60.00 (\u219110.00) |"],
        ["| tydiqa", "50.00", "40.00 (\u219310.00) |"],
    ]


def test_categories_bring_their_mean():
    table = laid_out(grid(), Form(("loss",), ("category",)))
    assert [column.heading for column in table.columns] == ["Understanding & Knowledge", "Mean"]


def test_several_seeds_are_never_averaged_unasked():
    rows = [row("piqa", 0.5 + 0.1 * seed, seed=seed) for seed in (0, 1)]
    table = laid_out(rows, Form(("loss",), ("benchmark",)))
    assert table.labels.headings == ("Seed", "Loss") and len(table.lines) == 2
    table = laid_out(rows, Form(("loss",), ("benchmark",)), seeds="pooled")
    assert table.labels.headings == ("Loss",) and table.lines[0].entries[0].value == pytest.approx(55)


def test_where_nothing_can_be_is_empty_and_what_is_missing_says_so():
    rows = [base("piqa", 0.9), *grid(), row("mmlu", None, dataset="aya"), row("piqa", 0.1, dataset="aya")]
    table = laid_out(rows, Form(("benchmark", "loss"), ("dataset",)))
    body = {tuple(name for name in each[:2]): each[2:] for each in lines(table)[2:]}
    assert body["| ", "it"] == ["", "10.00", "50.00", "50.00 |"]
    assert ["| MMLU", "none", "n/a", "", "", " |"] in lines(table)
    assert "n/a" in to_markdown(table)


@pytest.mark.parametrize(
    ("form", "told"),
    [
        (
            Form(("losses",), ("benchmark",)),
            "--rows losses: there is no such field; there are model, dataset, ",
        ),
        (Form(("loss",), ("task",)), "--columns task: there is no such field"),
        (Form(("loss",), ("loss",)), "--rows loss --columns loss: it can stand in one of the two"),
        (Form(("category",), ("benchmark",)), "have benchmark and category; one of the two"),
        (
            Form(("loss",), ("benchmark",), ("glue",)),
            "--of glue: there is no such column; there are knowledge, mean, mmlu, piqa",
        ),
    ],
)
def test_a_field_or_column_that_there_is_not_is_told_with_those_that_there_are(form, told):
    with pytest.raises(UserError, match=told):
        laid_out(grid(), form)


def test_a_baseline_that_is_not_there_is_told_with_the_losses_that_are():
    check_baseline(grid(), "im")
    with pytest.raises(
        UserError, match=r"report.baseline=imm: no cell of the sweep has this loss; there are it, im"
    ):
        check_baseline(grid(), "imm")


def test_table_2_has_datasets_as_columns_and_losses_as_rows():
    rows = [bleu(*each) for each in (("lima", "it", 18.15), ("lima", "im", 17.30), ("tydiqa", "it", 69.21))]
    form = available(FORMS[2], ["train_bleu_corpus"])
    table = pivot(rows, form, name="small", wanted=WANTED)
    assert lines(table)[2:] == [
        ["| BLEU against training outputs, corpus", "it", "18.15", "69.21 |"],
        ["| ", "im", "17.30 (\u21930.85)", " |"],
    ]


def test_table_5_has_each_dataset_once_whatever_was_trained_on_it():
    rows = [
        row("lengths", value, loss=loss, task="words", metric=metric)
        for loss in ("it", "im")
        for metric, value in (("examples", 1030.0), ("instruction_over_output", 0.0942))
    ]
    found = datasets_of(rows)
    assert [(each.metric, each.value) for each in found] == [
        ("examples", 1030.0),
        ("instruction_over_output", 0.0942),
    ]


def test_the_csv_of_a_layout_says_what_its_rows_are_called():
    table = laid_out(grid(), Form(("loss",), ("benchmark",)))
    read = list(csv.DictReader(StringIO(to_csv(table))))
    assert list(read[0])[:4] == ["sweep", "dataset", "loss", "column"]
    (im,) = [
        each for each in read if (each["dataset"], each["loss"], each["column"]) == ("tydiqa", "im", "PIQA")
    ]
    assert (im["value"], im["difference"]) == ("40.000000", "-10.000000")


def test_versions_of_a_task_share_no_column_unless_asked():
    rows = [row("piqa", 0.5, version="1.0"), row("piqa", 0.6, loss="im", version="2.0")]
    with pytest.raises(
        UserError, match=r"piqa: scores of different versions .*1.0 of cell .*; 2.0 of cell .*mixed"
    ):
        laid_out(rows, Form(("loss",), ("benchmark",)))
    table = laid_out(rows, Form(("loss",), ("benchmark",)), mixed=True)
    assert "PIQA: versions 1.0 and 2.0 of its task are mixed." in table.caption


def test_a_column_of_several_kinds_has_the_digits_of_the_finest():
    loss = row("losses", 1.23456, task="train", metric="output_loss_per_token")
    table = laid_out(
        [loss, row("mmlu", 0.5)], Form(("benchmark",), ("loss",), ("mmlu", "train_output_loss_per_token"))
    )
    assert table.columns[0].digits == 3 and table.columns[0].better == "neither"


def test_a_number_asked_twice_is_one_column():
    assert len(laid_out(grid(), Form(("loss",), ("benchmark",), ("mmlu", "mmlu"))).columns) == 1


def test_losses_on_two_held_out_sets_share_no_column_unless_asked():
    how = {"task": "heldout", "metric": "output_loss_per_token"}
    rows = [
        row("losses", 1.0, loss=loss, reading_note=f"held out: {name}", **how)
        for loss, name in (("it", "a"), ("im", "b"))
    ]
    form = Form(("loss",), ("benchmark",), ("heldout_output_loss_per_token",))
    with pytest.raises(UserError, match="heldout_output_loss_per_token: .* held out: a; held out: b"):
        check_comparable(rows)
    assert len(laid_out(rows, form, mixed=True).lines) == 2
