"""Verdicts of others, real files and small ones, as rows of the ledger."""

import re
from math import exp
from pathlib import Path

import pytest
from ingested import QUESTIONS, annotation, annotations, digest, in_ledger, judgments, ledger, refused

from im_bench.data.rows import write_rows
from im_bench.evaluation.alpaca_eval import NO_LENGTH_CONTROL
from im_bench.report.collect import Row, read_ledger, write_ledger
from im_bench.toy.judged import ALPACA_ROWS

GPT4 = "alpaca_eval_gpt4"
TURBO = "weighted_alpaca_eval_gpt4_turbo"
PUBLISHED = 5.831103184496894
"""The win rate of vicuna-13b on AlpacaEval 2.0's leaderboard."""


# --- the stored files of others, and what their makers published of them ---


def test_stored_judgments_give_the_published_scores_of_mt_bench(real):
    published = real.published("mt_bench/published_scores.csv", "model")
    assert len(published) == 3
    tasks = {"mt_bench": "average", "mt_bench_turn_1": "turn_1", "mt_bench_turn_2": "turn_2"}
    for model, numbers in published.items():
        for task, column in tasks.items():
            row = real.row(model, task)
            assert row["value"] == float(numbers[column]), (model, task)
            assert (row["judge"], row["count"]) == (numbers["judge"], 160 if task == "mt_bench" else 80)


@pytest.mark.parametrize(("version", "models"), [(1, 2), (2, 3)])
def test_stored_annotations_give_the_published_win_rates_and_their_errors(real, version, models):
    published = real.published(f"alpaca_eval/published_v{version}.csv", "")
    assert len(published) == models
    for model, numbers in published.items():
        row = real.row(model, f"alpaca_eval_{version}")
        assert row["value"] == pytest.approx(float(numbers["win_rate"]), abs=1e-6)
        assert row["stderr"] == pytest.approx(float(numbers["standard_error"]), abs=1e-6)
        assert row["count"] == int(numbers["n_total"])
        assert row["judge"] == (GPT4 if version == 1 else TURBO)


@pytest.mark.parametrize(
    ("model", "within"), [("vicuna-13b", 0.01), ("alpaca-7b", 0.01), ("text_davinci_001", 0.02)]
)
def test_published_weights_and_difficulties_give_the_length_controlled_win_rates(real, model, within):
    """Of one model two instructions lack their annotation here; the difficulties are recovered ones."""
    published = real.published("alpaca_eval/published_v2.csv", "")[model]
    row = real.row(model, "alpaca_eval_2_length_controlled")
    assert row["value"] == pytest.approx(float(published["length_controlled_winrate"]), abs=within)
    note = "the published fit of length control"
    assert (row["metric"], row["reading_note"]) == ("length_controlled_winrate", note)


def test_each_row_names_the_file_that_it_was_taken_from_with_its_sha256(real):
    stored = real.data / "mt_bench/model_judgment/gpt-4_single.jsonl"
    assert {row["source"] for row in real.rows if row["benchmark"] == "mt_bench"} == {
        f"gpt-4_single.jsonl (sha256 {digest(stored)})"
    }
    for version in (1, 2):
        for file in (real.data / f"alpaca_eval/annotations_v{version}").glob("*"):
            row = real.row(file.stem, f"alpaca_eval_{version}")
            assert row["source"] == f"{file.name} (sha256 {digest(file)})"


def test_without_the_published_fit_a_stored_file_has_no_length_controlled_win_rate(said, real, world):
    stored = real.data / "alpaca_eval/annotations_v2/alpaca-7b.jsonl"
    rows = said("ingest", stored, f"paths.assets={world}", "--json").rows
    row = rows["alpaca-7b", "alpaca_eval_2_length_controlled"]
    assert (row["value"], row["count"], row["reading_note"]) == (None, 0, NO_LENGTH_CONTROL)
    assert rows["alpaca-7b", "alpaca_eval_2"]["value"] == real.row("alpaca-7b", "alpaca_eval_2")["value"]


def test_the_table_for_a_person_has_turns_and_leaves_categories_to_the_ledger(said, real):
    stored = real.data / "mt_bench/model_judgment/gpt-4_single.jsonl"
    code, output, _ = said("ingest", stored, f"paths.assets={real.data}")
    assert code == 0
    for word in ("mamba_0_5_dpo_ep1", "mt_bench_turn_1", "7.59", "gpt-4", "gpt-4_single.jsonl"):
        assert word in output
    assert "mt_bench_writing" not in output
    tasks = {row.task for row in read_ledger(Path("results/scores.jsonl"))}
    assert "mt_bench_writing" in tasks and len(tasks) == 3 + 8


# --- small files ---


def test_judgments_become_the_mean_of_all_turns_of_each_turn_and_of_each_category(ingest, world, tmp_path):
    rows = ingest(judgments(tmp_path / "strict.jsonl", world), "--json").rows
    values = {task: row["value"] for (_, task), row in rows.items()}
    assert (values["mt_bench"], values["mt_bench_turn_1"], values["mt_bench_turn_2"]) == (6.5, 7.0, 6.0)
    assert len(values) == 3 + 8 and values["mt_bench_writing"] == 6.5
    headline = rows["ours", "mt_bench"]
    assert (headline["count"], headline["total"]) == (2 * QUESTIONS, 2 * QUESTIONS)


def test_unparsed_and_missing_verdicts_make_the_count_smaller_than_the_benchmark(ingest, world, tmp_path):
    rows = ingest(annotations(tmp_path / "a.json", world, [1.0, 2.0, None, 1.5]), "--json").rows
    row = rows["ours", "alpaca_eval_2"]
    assert (row["value"], row["count"], row["total"]) == (50.0, 3, ALPACA_ROWS)


def test_an_ingested_row_says_that_dataset_and_loss_are_unknown(ingest, world, tmp_path):
    ingest(judgments(tmp_path / "strict.jsonl", world))
    for row in in_ledger():
        assert (row.sweep, row.dataset, row.loss, row.examples) == ("ingested", "unknown", "unknown", None)
        assert row.source == f"strict.jsonl (sha256 {digest(tmp_path / 'strict.jsonl')})"


def test_the_same_file_twice_leaves_the_same_bytes(ingest, world, tmp_path):
    file = judgments(tmp_path / "strict.jsonl", world)
    first = ingest(file), ledger()
    assert (ingest(file), ledger()) == first


def test_rows_of_a_second_file_stand_beside_the_firsts(ingest, world, tmp_path):
    ingest(judgments(tmp_path / "a.jsonl", world))
    before = in_ledger()
    ingest(judgments(tmp_path / "b.jsonl", world, model="theirs"))
    assert set(before) < set(in_ledger())
    assert {row.model for row in in_ledger()} == {"ours", "theirs"}
    together = ledger()
    Path("results/scores.jsonl").unlink()
    ingest(tmp_path / "b.jsonl", tmp_path / "a.jsonl")
    assert ledger() == together


def test_rows_of_real_sweeps_are_untouched(ingest, world, tmp_path):
    trained = Row(
        sweep="main_table",
        cell="0123abcd",
        model="ours",
        dataset="lima",
        subset="full",
        loss="it",
        seed=0,
        benchmark="mt_bench",
        category="judged",
        task="mt_bench",
        metric="score",
        value=5.0,
        stderr=None,
        count=160,
        total=160,
        direction="higher",
        judge="strict",
        reading_note=None,
        step="89abcdef",
        examples=1030,
        ratio=0.1,
    )
    write_ledger(Path("results/scores.jsonl"), "main_table", [trained])
    line = ledger()
    ingest(judgments(tmp_path / "strict.jsonl", world))
    assert line in ledger() and ledger() != line


def test_the_sweep_of_the_rows_may_be_named(ingest, world, tmp_path):
    file = judgments(tmp_path / "strict.jsonl", world)
    output = ingest(file, "--sweep", "others").output
    assert "sweep others; im-bench report others makes its table" in output
    ingest("--sweep", "again", file)
    assert {row.sweep for row in in_ledger()} == {"others", "again"}


def test_a_steps_folder_is_a_file_of_verdicts_too(ingest, world, tmp_path):
    (tmp_path / "step").mkdir()
    judgments(tmp_path / "step/judgments.jsonl", world)
    assert ingest(tmp_path / "step", "--json").rows["ours", "mt_bench"]["source"].startswith("step (sha256 ")


def test_a_file_whose_name_has_an_equals_sign_is_a_file(ingest, world, tmp_path):
    assert ingest(judgments(tmp_path / "a=b.jsonl", world), "--json").rows["ours", "mt_bench"]["value"] == 6.5


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([{"question_id": 81, "turn": 1, "score": 3, "model": "ours"}], "is no verdict; FastChat's"),
        ([{"instruction": "a", "output": "b"}], "is no verdict; FastChat's"),
    ],
)
def test_a_file_of_no_verdicts_is_refused_and_nothing_is_written(ingest, world, tmp_path, rows, reason):
    write_rows(tmp_path / "bad.jsonl", rows)
    good = judgments(tmp_path / "good.jsonl", world)
    refused(ingest(good, tmp_path / "bad.jsonl"), f"{tmp_path}/bad.jsonl, row 0 (line 1): {reason}")


def test_a_file_that_is_not_there_is_refused(ingest):
    refused(ingest("none.jsonl"), "none.jsonl: there is no such file")


def test_a_judgment_of_a_question_that_is_none_of_mt_benchs_is_refused(ingest, tmp_path):
    row = {"question_id": 7, "turn": 1, "score": 3, "model": "ours", "judge": "strict"}
    write_rows(tmp_path / "a.jsonl", [row])
    refused(ingest(tmp_path / "a.jsonl"), f"{tmp_path}/a.jsonl")


def test_one_file_under_two_names_is_ingested_once_or_refused(ingest, world, tmp_path):
    file = judgments(tmp_path / "a.jsonl", world)
    (tmp_path / "b.jsonl").write_bytes(file.read_bytes())
    assert ingest(file, tmp_path / "b.jsonl").code in (0, 2)


# --- length control ---


def test_without_the_fit_the_length_controlled_win_rate_is_missing_and_says_why(ingest, world, tmp_path):
    rows = ingest(annotations(tmp_path / "a.jsonl", world, [1.0, 2.0, 1.25]), "--json").rows
    row = rows["ours", "alpaca_eval_2_length_controlled"]
    assert (row["value"], row["stderr"], row["count"], row["total"]) == (None, None, 0, ALPACA_ROWS)
    assert row["reading_note"] == NO_LENGTH_CONTROL
    assert rows["ours", "alpaca_eval_2"]["value"] == pytest.approx(100 * 1.25 / 3)


def test_alpaca_eval_1_has_no_length_controlled_win_rate(ingest, world, tmp_path):
    file = annotations(tmp_path / "a.jsonl", world, [1.0, 2.0], generator_1="text_davinci_003")
    assert set(ingest(file, "--json").rows) == {("ours", "alpaca_eval_1")}


@pytest.fixture
def fitted(tmp_path) -> str:
    """A folder with a published fit of one model, whose instructions are equally hard."""
    folder = tmp_path / "fitted/alpaca_eval"
    folder.mkdir(parents=True)
    columns = "np.tanh(std_delta_len),instruction_difficulty,not_gamed_baseline.astype(float)"
    fits = f",{columns}\nvicuna-13b,-0.5,0.5,-1.0\ngpt4_1106_preview,0,0,0\n"
    (folder / "glm_weights.csv").write_text(fits)
    difficulties = "".join(f"{n},1.0\n" for n in range(805))
    (folder / "instruction_difficulty.csv").write_text(f"index,instruction_difficulty\n{difficulties}")
    return f"paths.assets={folder.parent}"


@pytest.mark.parametrize(
    ("model", "annotator", "win_rate", "has_fit"),
    [
        ("vicuna-13b", TURBO, PUBLISHED, True),
        ("vicuna-13b", TURBO, PUBLISHED + 0.01, False),
        ("theirs", TURBO, PUBLISHED, False),
        ("vicuna-13b", "strict", PUBLISHED, False),
    ],
)
def test_a_published_fit_is_of_the_very_annotations_that_it_was_made_of(
    said, fitted, tmp_path, model, annotator, win_rate, has_fit
):
    """At equal lengths its win rate is the logistic function of -1 + 0.5."""
    whose = {"generator_2": model, "annotator": annotator}
    rows = [annotation(f"instruction {n}", 1 + win_rate / 100, **whose) for n in range(805)]
    write_rows(tmp_path / "a.jsonl", rows)
    rows = said("ingest", tmp_path / "a.jsonl", fitted, "--json").rows
    expected = pytest.approx(100 / (1 + exp(0.5))) if has_fit else None
    assert rows[model, "alpaca_eval_2_length_controlled"]["value"] == expected


def test_annotations_without_outputs_cannot_be_fitted_and_that_is_the_reason(said, world, tmp_path):
    folder = tmp_path / "gamed/alpaca_eval"
    folder.mkdir(parents=True)
    (folder / "df_gamed.csv").write_text("index\n")
    reference = "reference_outputs_v2.jsonl"
    (folder / reference).write_bytes((world / "alpaca_eval" / reference).read_bytes())
    file = annotations(tmp_path / "a.jsonl", world, [1.0, 2.0])
    rows = said("ingest", file, f"paths.assets={folder.parent}", "--json").rows
    assert "output" in rows["ours", "alpaca_eval_2_length_controlled"]["reading_note"]


# --- report ---


def test_the_report_of_ingested_rows_is_a_table_that_names_the_judge(ingest, said, world, tmp_path):
    ingest(judgments(tmp_path / "a.jsonl", world), annotations(tmp_path / "b.jsonl", world, [1.0, 2.0]))
    code, output, _ = said("report", "ingested")
    assert code == 0
    assert "6.50" in output and "50.00" in output
    table = Path("results/tables/ingested.md").read_text()
    assert "Judged by strict: MT-Bench, AlpacaEval 2.0." in table
    # A model is one line, whichever files it is from; two verdicts are not all.
    assert re.search(r"\| 6\.50 \| 50\.00\u2020 \|", table)
    assert "differences" not in table


def test_two_judges_of_one_model_do_not_share_a_column(ingest, said, world, tmp_path):
    ingest(judgments(tmp_path / "a.jsonl", world), judgments(tmp_path / "b.jsonl", world, 3, judge="mild"))
    code, _, error = said("report", "ingested")
    assert code == 2
    assert error.startswith(
        "im-bench: mt_bench: scores by different judges do not share a column: mild, strict"
    )


def test_two_judges_under_two_names_of_sweeps_have_a_table_each(ingest, said, world, tmp_path):
    ingest(judgments(tmp_path / "a.jsonl", world), "--sweep", "of_strict")
    ingest(judgments(tmp_path / "b.jsonl", world, 3, judge="mild"), "--sweep", "of_mild")
    assert "6.50" in said("report", "of_strict").output
    assert "2.50" in said("report", "of_mild").output
