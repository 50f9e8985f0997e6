"""`im-bench report` as a person gives it, on a small ledger."""

import json

import pytest
from by_hand import base, row

from im_bench.cli import main
from im_bench.report.collect import write_ledger


@pytest.fixture
def say(tmp_path, capsys, monkeypatch):
    """Gives `im-bench report small` with these words; its exit code, output and error."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)
    rows = [
        base("piqa", 0.9),
        *(row("piqa", 0.5 + 0.1 * seed, seed=seed, version="1.0") for seed in (0, 1)),
        row("piqa", 0.7, loss="im", version="1.0"),
    ]
    write_ledger(tmp_path / "results" / "scores.jsonl", "small", rows)
    write_ledger(
        tmp_path / "results" / "scores.jsonl",
        "mixed",
        [
            row("piqa", 0.5, version="1.0", sweep="mixed"),
            row("piqa", 0.6, version="2.0", loss="im", sweep="mixed"),
        ],
    )
    judged = [row("mt_bench", 5.0, metric="score", judge=judge, sweep="judged") for judge in ("a", "b")]
    write_ledger(tmp_path / "results" / "scores.jsonl", "judged", judged)

    def said(*words):
        code = main(["report", *words])
        return code, *capsys.readouterr()

    return said


def test_the_report_ends_in_its_table_and_says_where_everything_is(say):
    code, output, error = say("small")
    assert (code, error) == (0, "")
    assert "\u219120.00" in output and "lima, seed 1" in output
    assert output.splitlines()[-2:] == [
        "results/tables/small*.{md,tex,csv}  results/figures/small*.{pdf,png}",
        "results/pages/small/index.html",
    ]


def test_a_table_is_laid_out_as_it_was_asked(say, tmp_path):
    code, output, _ = say("small", "--rows", "benchmark,loss", "--columns", "seed")
    assert code == 0 and output.splitlines()[0].split() == ["0", "1"]
    assert (tmp_path / "results/tables/small_benchmark_loss_by_seed.tex").exists()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (
            ["small", "--rows", "los"],
            "--rows los: there is no such field; there are model, dataset, subset, seed, ",
        ),
        (["small", "--of", "mmlu"], "--of mmlu: there is no such column; there are knowledge, mean, piqa"),
        (
            ["small", "report.baseline=imm"],
            "report.baseline=imm: no cell of the sweep has this loss; there are none, ",
        ),
        (
            ["small", "report.seeds=pooled"],
            "report.seeds=pooled: lima under im has seed 0 alone, and a variance over",
        ),
        (["small", "report.judge=gpt"], "report.judge=gpt: nothing is judged by it; there are none"),
        (["judged"], "mt_bench: scores by different judges do not share a column: a, b; "),
        (["judged", "report.mixed=true"], "cell toy-lima-it-0: mt_bench is judged by a and b; choose one, "),
        (
            ["mixed"],
            "piqa: scores of different versions of its task do not share a column: 1.0 of ",
        ),
        (["small", "report.tables=[6]"], "report.tables.0=6: input should be 2, 3, "),
    ],
)
def test_what_cannot_be_shown_is_told_with_what_can(say, words, reason):
    code, output, error = say(*words)
    assert (code, output) == (2, "") and error.startswith(f"im-bench: {reason}"), error


def test_judges_and_versions_are_mixed_where_that_is_asked(say):
    assert say("judged", "report.judge=a")[0] == 0
    code, output, _ = say("mixed", "report.mixed=true")
    assert code == 0 and "PIQA: versions 1.0 and 2.0 of its task are mixed." in output.replace("\n", " ")


def test_each_benchmark_keeps_its_judge_where_the_chosen_one_has_not_judged_it(say, tmp_path):
    judged = [
        row("mt_bench", 5.0, metric="score", judge="a", sweep="judged"),
        row("mt_bench", 6.0, metric="score", judge="b", sweep="judged"),
        row("alpaca_eval_1", 30.0, metric="win_rate", judge="c", sweep="judged"),
    ]
    write_ledger(tmp_path / "results" / "scores.jsonl", "judged", judged)
    _, output, _ = say("judged", "report.judge=b")
    assert "6.00" in output and "5.00" not in output and "30.00" in output
    assert say("judged", "report.judge=[b,c]")[0] == 0


def test_a_table_that_is_asked_is_printed_for_a_script(say):
    code, output, _ = say("small", "--rows", "loss", "--json")
    found = json.loads(output)
    im = next(each for each in found if each["loss"] == "im")
    assert (code, im["column"], im["value"], im["difference"]) == (0, "PIQA", 70.0, pytest.approx(20))


def test_an_option_without_a_word_is_refused(say, capsys):
    with pytest.raises(SystemExit):
        say("small", "--rows", "loss,")
    assert "give names with commas between them" in capsys.readouterr().err


def test_a_table_that_the_sweep_has_nothing_of_is_told(say, tmp_path, caplog):
    assert say("small", "report.tables=[2,5]")[0] == 0
    assert "there is nothing of Table 2" in caplog.text and "nothing of Table 5" in caplog.text
    assert not list((tmp_path / "results/tables").glob("*table*"))


def test_the_paper_s_numbers_can_be_looked_at_without_any_of_ours(say):
    code, output, _ = say("main_table", "--published")
    assert code == 0 and "63.83\u2021" in output and "pages" not in output
