"""Judged and answers of others: ingest, judge and agreement as commands, on real files and on small ones."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from hashlib import sha256
from math import exp
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from judge_server import Answer, JudgeServer, completion, usage

from im_bench.cli import main
from im_bench.data.rows import read_rows, write_rows
from im_bench.evaluation.alpaca_eval import NO_LENGTH_CONTROL
from im_bench.report.collect import Row, read_ledger, write_ledger
from im_bench.toy.judged import ALPACA_ROWS

QUESTIONS = 16
"""Of the toy world's MT-Bench; each has two turns."""
INSTRUCTIONS = 40
"""Of its AlpacaEval."""
GPT4 = "alpaca_eval_gpt4"
TURBO = "weighted_alpaca_eval_gpt4_turbo"
PUBLISHED = 5.831103184496894
"""The win rate of vicuna-13b on AlpacaEval 2.0's leaderboard."""


class Said(NamedTuple):
    code: int
    output: str
    error: str

    @property
    def rows(self) -> dict[tuple[str, str], dict[str, Any]]:
        """What `--json` prints, by model and task."""
        assert self.code == 0, self.error
        found = json.loads(self.output)
        rows = {(row["model"], row["task"]): row for row in found}
        assert len(rows) == len(found), "one model's task stands twice"
        return rows


Command = Callable[..., Said]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command in this process, in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> Said:
        try:
            code = main([str(word) for word in words])
        except SystemExit as leave:  # how argparse refuses
            code = int(leave.code or 0)
        return Said(code, *capsys.readouterr())

    return run


def refused(said: Said, reason: str) -> None:
    """One line on standard error, nothing on standard output, no row in a ledger."""
    assert (said.code, said.output) == (2, "")
    assert f"im-bench: {reason}" in said.error, said.error
    assert not Path("results/scores.jsonl").exists()


def digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()[:12]


# --- the stored files of others, and what their makers published of them ---


class Real(NamedTuple):
    """What ingesting every stored file of verdicts gives."""

    data: Path
    rows: list[dict[str, Any]]

    def row(self, model: str, task: str) -> dict[str, Any]:
        [row] = [each for each in self.rows if (each["model"], each["task"]) == (model, task)]
        return row

    def published(self, name: str, key: str) -> dict[str, dict[str, str]]:
        with (self.data / name).open() as file:
            return {row[key]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def real(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Real:
    data = shared / "data"
    stored = [data / "mt_bench/model_judgment/gpt-4_single.jsonl"]
    stored += [file for n in (1, 2) for file in sorted((data / f"alpaca_eval/annotations_v{n}").glob("*"))]
    own = [f"paths.assets={data}", f"paths.results={tmp_path_factory.mktemp('results')}"]
    with redirect_stdout(io.StringIO()) as printed:
        assert main(["ingest", *map(str, stored), *own, "--json"]) == 0
    return Real(data, json.loads(printed.getvalue()))


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


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the toy world's judged benchmarks, as a folder for paths.assets."""
    from im_bench.toy.judged import write_judged
    from im_bench.toy.world import make_world

    folder = tmp_path_factory.mktemp("assets")
    write_judged(folder, make_world(0))
    return folder


def questions(world: Path) -> list[int]:
    return [row["question_id"] for row in read_rows(world / "mt_bench/question.jsonl")]


def instructions(world: Path) -> list[str]:
    return [row["instruction"] for row in read_rows(world / "alpaca_eval/reference_outputs_v2.jsonl")]


def judgments(file: Path, world: Path, score: int = 7, model: str = "ours", judge: str = "strict") -> Path:
    """Turns of every question, the first turn a point better than the second."""
    rows = [
        {
            "question_id": number,
            "turn": turn,
            "score": score + 1 - turn,
            "model": model,
            "judge": [judge, "v1"],
        }
        for number in questions(world)
        for turn in (1, 2)
    ]
    write_rows(file, rows)
    return file


def annotations(file: Path, world: Path, preferences: list[float | None], **other: str) -> Path:
    """Preferences on the first instructions."""
    texts = instructions(world)[: len(preferences)]
    write_rows(file, [annotation(*each, **other) for each in zip(texts, preferences, strict=True)])
    return file


def annotation(instruction: str, preference: float | None, **other: str) -> dict[str, Any]:
    rest = {"generator_1": "gpt4_1106_preview", "generator_2": "ours", "annotator": "strict"} | other
    return rest | {"instruction": instruction, "preference": preference}


@pytest.fixture
def ingest(said: Command, world: Path) -> Command:
    return lambda *words: said("ingest", *words, f"paths.assets={world}")


def ledger() -> bytes:
    return Path("results/scores.jsonl").read_bytes()


def in_ledger() -> list[Row]:
    return read_ledger(Path("results/scores.jsonl"))


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


# --- judge: answers of others ---


def mt_answers(file: Path, world: Path, model: str = "ours", **changes: Any) -> Path:
    rows = [
        {"question_id": number, "model_id": model, "choices": [{"index": 0, "turns": ["Red.", "Green."]}]}
        for number in questions(world)
    ]
    write_rows(file, [row | changes for row in rows])
    return file


def alpaca_answers(file: Path, world: Path, model: str = "ours") -> Path:
    rows = [
        {"instruction": text, "output": f"An answer: {text[:20]}", "generator": model}
        for text in instructions(world)
    ]
    write_rows(file, rows)
    return file


@pytest.fixture
def judge(said: Command, world: Path) -> Command:
    """The judge that needs no server, unless another is named."""

    def run(*words: object) -> Said:
        named = any(str(word).startswith("judge=") for word in words)
        return said("judge", *words, *([] if named else ["judge=overlap"]), f"paths.assets={world}")

    return run


def verdict_files() -> list[str]:
    found = Path("results/store/verdicts").glob("*/*.json*")
    return sorted(path.name for path in found if path.name not in ("step.json", "scores.json"))


def test_answers_to_mt_bench_are_told_by_their_format_and_judged(judge, world, tmp_path):
    rows = judge(mt_answers(tmp_path / "answers.jsonl", world), "--json").rows
    headline = rows["ours", "mt_bench"]
    assert headline["count"] == headline["total"] == 2 * QUESTIONS and headline["judge"] == "overlap"
    assert 1 <= headline["value"] <= 10
    assert headline["source"] == f"answers.jsonl (sha256 {digest(tmp_path / 'answers.jsonl')})"
    assert {benchmark.partition("_turn")[0] for _, benchmark in rows} >= {"mt_bench"}
    assert verdict_files() == ["judgments.jsonl"]
    assert {row.model for row in in_ledger()} == {"ours"}


def test_answers_to_alpaca_eval_are_told_by_their_format_and_judged_by_both_versions(judge, world, tmp_path):
    rows = judge(alpaca_answers(tmp_path / "answers.json", world), "--json").rows
    for version in (1, 2):
        row = rows["ours", f"alpaca_eval_{version}"]
        assert (row["count"], row["judge"]) == (INSTRUCTIONS, "overlap") and 0 <= row["value"] <= 100
    assert rows["ours", "alpaca_eval_2_length_controlled"]["reading_note"] == NO_LENGTH_CONTROL
    assert verdict_files() == ["annotations.json", "annotations.json"]


def test_the_toy_worlds_own_references_have_the_best_score_there_is(judge, world, tmp_path):
    rows = judge(world / "mt_bench/reference_answer.jsonl", "--json").rows
    assert rows["toy", "mt_bench"]["value"] == 10.0


def test_judging_again_does_nothing_and_says_so(judge, world, tmp_path, caplog):
    file = mt_answers(tmp_path / "answers.jsonl", world)
    first, before = judge(file, "--json"), ledger()
    records = {path: path.stat().st_mtime_ns for path in Path("results/store").rglob("step.json")}
    caplog.clear()
    again = judge(file, "--json")
    assert "every step is done" in caplog.text
    assert (again.output, ledger()) == (first.output, before)
    assert records == {path: path.stat().st_mtime_ns for path in Path("results/store").rglob("step.json")}


def test_a_renamed_judge_is_called_by_its_new_name_and_asked_nothing(judge, world, tmp_path, caplog):
    file = mt_answers(tmp_path / "answers.jsonl", world)
    judge(file, "judge.name=before")
    rows = judge(file, "judge.name=after", "--json").rows
    assert "every step is done" in caplog.text
    assert rows["ours", "mt_bench"]["judge"] == "after"
    assert {row.judge for row in in_ledger()} == {"after"}


def test_a_limit_takes_the_first_and_judges_no_others(judge, world, tmp_path):
    rows = judge(alpaca_answers(tmp_path / "answers.json", world), "limit=3", "--json").rows
    assert {rows["ours", f"alpaca_eval_{version}"]["total"] for version in (1, 2)} == {3}


def test_half_a_character_in_an_answer_is_judged_as_a_question_mark(judge, world, tmp_path):
    file = alpaca_answers(tmp_path / "answers.json", world)
    rows = json.loads(file.read_text())
    rows[0]["output"] = "half \ud83d"
    file.write_text(json.dumps(rows))
    assert judge(file).code == 0
    [taken] = Path("results/store/given").glob("*/model_outputs.json")
    assert json.loads(taken.read_text())[0]["output"] == "half ?"


def test_the_toy_world_of_paths_assets_is_made_where_it_is_asked_for(said, world, tmp_path):
    file = mt_answers(tmp_path / "answers.jsonl", world)
    rows = said("judge", file, "judge=overlap", "paths.assets=toy", "--json").rows
    assert rows["ours", "mt_bench"]["count"] == 2 * QUESTIONS
    assert list(Path("results/toy").glob("seed0-*"))


def test_a_benchmark_may_be_chosen(judge, world, tmp_path):
    file = alpaca_answers(tmp_path / "answers.json", world)
    rows = judge(file, "benchmark=[alpaca_eval_1]", "--json").rows
    assert {row["benchmark"] for row in rows.values()} == {"alpaca_eval_1"}


def test_a_benchmark_may_be_left_out(judge, world, tmp_path):
    file = alpaca_answers(tmp_path / "answers.json", world)
    rows = judge(file, "~benchmark.alpaca_eval_2", "--json").rows
    assert {row["benchmark"] for row in rows.values()} == {"alpaca_eval_1"}


def test_a_benchmark_that_nobody_judges_is_refused(judge, world, tmp_path):
    file = mt_answers(tmp_path / "answers.jsonl", world)
    refused(judge(file, "benchmark=[piqa]"), "benchmark=piqa: is not judged; mt_bench, alpaca_eval_1 and ")


def test_files_of_several_models_are_judged_each_under_its_own_name(judge, said, world, tmp_path):
    files = [mt_answers(tmp_path / f"{model}.jsonl", world, model) for model in ("ours", "theirs")]
    rows = judge(*files, "--json", "--sweep", "others").rows
    assert {model for model, _ in rows} == {"ours", "theirs"}
    assert {row.sweep for row in in_ledger()} == {"others"}
    assert said("report", "others").code == 0


def test_what_the_judge_said_is_ingested_with_the_same_score(judge, ingest, world, tmp_path):
    judged = judge(mt_answers(tmp_path / "answers.jsonl", world), "--json").rows
    [step] = Path("results/store/verdicts").glob("ours-*")
    taken = ingest(step, "--json").rows
    for key in judged:
        assert taken[key]["value"] == judged[key]["value"] and taken[key]["judge"] == "overlap"


# --- files that are not judged ---


def test_a_file_of_several_models_is_refused_with_their_names(judge, world, tmp_path):
    rows = read_rows(mt_answers(tmp_path / "answers.jsonl", world))
    write_rows(tmp_path / "answers.jsonl", [rows[0] | {"model_id": "theirs"}, *rows[1:]])
    refused(
        judge(tmp_path / "answers.jsonl"),
        f"{tmp_path}/answers.jsonl: holds answers of several models: ours, theirs; give one file for each",
    )


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "a", "completion": "b"}, ": holds no answers; FastChat's have question_id and choices"),
        ({"question_id": 81, "turn": 1, "score": 3}, ": holds no answers"),
        (None, ": the file holds no rows"),
    ],
)
def test_a_file_of_no_answers_is_refused(judge, tmp_path, row, reason):
    write_rows(tmp_path / "rows.jsonl", [] if row is None else [row])
    refused(judge(tmp_path / "rows.jsonl"), f"{tmp_path}/rows.jsonl{reason}")


def test_a_file_of_answers_that_is_not_there_is_refused(judge):
    refused(judge("none.jsonl"), "none.jsonl: there is no such file")


def test_files_to_different_benchmarks_are_refused(judge, world, tmp_path):
    files = mt_answers(tmp_path / "a.jsonl", world), alpaca_answers(tmp_path / "b.json", world)
    refused(judge(*files), "these files are answers to different benchmarks; judge them one after the other")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda rows: rows[1:],
            "has no answer to question_id 81; every one needs one answer, if only an empty one",
        ),
        (lambda rows: [rows[0], *rows], "has several answers to question_id 81; "),
        (lambda rows: [*rows, rows[0] | {"question_id": 7}], "answers question_id 7, which was not asked; "),
    ],
)
def test_missing_doubled_and_unknown_questions_are_refused_by_number(judge, world, tmp_path, change, reason):
    rows = read_rows(mt_answers(tmp_path / "answers.jsonl", world))
    write_rows(tmp_path / "answers.jsonl", change(rows))
    said = judge(tmp_path / "answers.jsonl")
    assert said.code == 2 and reason in said.error
    assert not list(Path("results").rglob("judgments.jsonl"))
    assert not Path("results/scores.jsonl").exists() or in_ledger() == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda rows: rows[1:], "has no answer to instruction '{first}'"),
        (lambda rows: [rows[0], *rows], "has several answers to instruction '{first}'"),
        (
            lambda rows: [*rows, rows[0] | {"instruction": "Sing."}],
            "answers instruction 'Si",
        ),
    ],
)
def test_missing_doubled_and_unknown_instructions_are_refused_by_their_words(
    judge, world, tmp_path, change, reason
):
    rows = read_rows(alpaca_answers(tmp_path / "answers.json", world))
    write_rows(tmp_path / "answers.json", change(rows))
    said = judge(tmp_path / "answers.json", "benchmark=[alpaca_eval_1]")
    assert said.code == 2
    assert reason.format(first=rows[0]["instruction"][:80]) in said.error


def test_a_missing_question_is_told_of_the_users_own_file(judge, world, tmp_path):
    rows = read_rows(mt_answers(tmp_path / "answers.jsonl", world))
    write_rows(tmp_path / "answers.jsonl", rows[1:])
    assert f"{tmp_path}/answers.jsonl: has no answer" in judge(tmp_path / "answers.jsonl").error


def test_the_same_answers_under_two_names_are_judged_once_or_refused(judge, world, tmp_path):
    file = mt_answers(tmp_path / "a.jsonl", world)
    (tmp_path / "b.jsonl").write_bytes(file.read_bytes())
    assert judge(file, tmp_path / "b.jsonl").code in (0, 2)


# --- a served judge, with its bill ---


def seven(body: dict) -> Answer:
    """Rates everything alike, and says what it took."""
    text = "It is fine. Rating: [[7]]"
    return Answer(200, completion(text) | {"usage": usage(body, text)})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[JudgeServer]:
    # A proxy would be asked even for the loopback.
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with JudgeServer(seven) as server:
        yield server


def served_by(server: JudgeServer, *more: str) -> list[str]:
    return ["judge=local", "judge.model=judge-1", f"judge.base_url={server.url}", *more]


PRICE = "judge.price={prompt: 1000, answer: 2000, date: 2026-11-01}"


def taken(server: JudgeServer) -> tuple[int, int]:
    """Tokens by the server's own count."""
    bills = [seven(body).body["usage"] for body in server.bodies]
    return sum(bill["prompt_tokens"] for bill in bills), sum(bill["completion_tokens"] for bill in bills)


@pytest.mark.slow
def test_the_headline_has_the_tokens_and_the_dollars_that_its_verdicts_took(judge, world, tmp_path, server):
    file = mt_answers(tmp_path / "answers.jsonl", world)
    rows = judge(file, *served_by(server, PRICE), "--json").rows
    read, written = taken(server)
    headline = rows["ours", "mt_bench"]
    assert (headline["value"], headline["judge"], headline["count"]) == (7.0, "judge-1", 2 * QUESTIONS)
    assert (headline["judge_prompt_tokens"], headline["judge_answer_tokens"]) == (read, written)
    assert headline["judge_cost"] == pytest.approx((read * 1000 + written * 2000) / 1e6)
    assert {row["judge_cost"] for (_, task), row in rows.items() if task != "mt_bench"} == {None}
    [line] = [row for row in in_ledger() if row.task == "mt_bench"]
    assert (line.judge_prompt_tokens, line.judge_answer_tokens) == (read, written)


def test_without_a_price_tokens_are_counted_and_no_dollars(judge, world, tmp_path, server):
    file = mt_answers(tmp_path / "answers.jsonl", world)
    row = judge(file, *served_by(server), "--json").rows["ours", "mt_bench"]
    assert (row["judge_prompt_tokens"], row["judge_answer_tokens"]) == taken(server)
    assert row["judge_cost"] is None


@pytest.mark.slow
def test_no_verdict_is_asked_for_twice(judge, world, tmp_path, server):
    """Not even where the step is made again, with another file of the same answers."""
    file = mt_answers(tmp_path / "answers.jsonl", world)
    judge(file, *served_by(server))
    rows = read_rows(file)
    write_rows(tmp_path / "again.jsonl", [row | {"tstamp": 1.0} for row in rows])
    again = judge(tmp_path / "again.jsonl", *served_by(server), "--json").rows["ours", "mt_bench"]
    assert len(server.bodies) == 2 * QUESTIONS
    assert again["value"] == 7.0


@pytest.mark.slow
def test_the_estimate_of_a_pass_is_printed_on_standard_error_before_it(world, tmp_path, server, tokenizer):
    """With the tokens that the judge's tokenizer makes of its prompts, and what they cost."""
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    file = mt_answers(tmp_path / "answers.jsonl", world)
    words = [*served_by(server, PRICE, f"judge.tokenizer={tmp_path / 'tokenizer'}"), f"paths.assets={world}"]
    done = subprocess.run(
        [sys.executable, "-m", "im_bench", "judge", str(file), *words, "--json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)
    found = re.search(
        r"judge judge-1: 32 verdicts to ask, 0 kept; about ([\d,]+) tokens of prompts and ([\d,]+) of replies, "
        r"([\d.]+) USD at prices of 2026-11-01",
        done.stderr,
    )
    assert found, done.stderr
    read, written = (int(number.replace(",", "")) for number in found.groups()[:2])
    prompts = ["".join(message["content"] for message in body["messages"]) for body in server.bodies]
    assert read == pytest.approx(sum(len(tokenizer(prompt).input_ids) for prompt in prompts), rel=0.05)
    assert float(found[3]) == pytest.approx((read * 1000 + written * 2000) / 1e6, abs=0.01)


def test_a_judge_that_is_not_there_is_refused_in_its_words(judge, world, tmp_path, server):
    file = mt_answers(tmp_path / "answers.jsonl", world)
    server.says = lambda body: Answer(404, {"error": {"message": "no such model"}})
    said = judge(file, *served_by(server))
    assert said.code == 2 and "model judge-1" in said.error and "there is no such model" in said.error
    assert "Traceback" not in said.error


@pytest.mark.slow
def test_an_interruption_ends_soon_and_the_same_command_goes_on(judge, world, tmp_path, server):
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("only the main thread hears of signals, and the tests are in another")
    main_thread = threading.main_thread().ident

    def third(body: dict) -> Answer:
        if len(server.bodies) == 3:
            signal.pthread_kill(main_thread, signal.SIGINT)
        return seven(body)

    server.says, server.latency = third, 0.1
    words = [mt_answers(tmp_path / "answers.jsonl", world), *served_by(server, "judge.concurrency=1")]
    said = judge(*words)
    assert said.code == 130 and "interrupted" in said.error
    assert len(server.bodies) < QUESTIONS
    server.latency = 0.0
    assert judge(*words, "--json").rows["ours", "mt_bench"]["value"] == 7.0
    assert len(server.bodies) == 2 * QUESTIONS


# --- agreement ---


@pytest.fixture
def agreement(said: Command, world: Path) -> Command:
    return lambda *words: said("agreement", *words, f"paths.assets={world}")


def test_agreement_is_a_table_for_a_person(agreement, world, tmp_path):
    files = judgments(tmp_path / "a.jsonl", world, 7), judgments(tmp_path / "b.jsonl", world, 9, judge="mild")
    code, output, _ = agreement(*files)
    assert code == 0
    lines = output.splitlines()
    assert lines[0].strip() == "mt_bench, ours: strict and mild"
    assert (
        re.split(r"\s+", lines[2].strip())
        == "Category Items Same Kappa Quadratic Spearman Mean, strict Mean, mild".split()
    )
    [whole] = [line for line in lines if line.strip().startswith("all ")]
    assert re.split(r"\s+", whole.strip())[:3] == ["all", str(2 * QUESTIONS), "0.0%"]
    assert whole.split()[-2:] == ["6.500", "8.500"]
    assert sum(" writing " in line for line in lines) == 1


def test_agreement_as_json_has_categories_in_the_order_of_the_first_file(agreement, world, tmp_path):
    files = judgments(tmp_path / "a.jsonl", world), judgments(tmp_path / "b.jsonl", world, judge="mild")
    [found] = json.loads(agreement(*files, "--json").output)
    assert (found["benchmark"], found["model"], found["judges"]) == ("mt_bench", "ours", ["strict", "mild"])
    whole, *categories = found["agreement"]
    same = {key: whole[key] for key in ("category", "items", "same", "kappa", "kappa_quadratic", "spearman")}
    assert same == {
        "category": "all",
        "items": 2 * QUESTIONS,
        "same": 1.0,
        "kappa": 1.0,
        "kappa_quadratic": 1.0,
        "spearman": pytest.approx(1.0),
    }
    asked = [row["category"] for row in read_rows(world / "mt_bench/question.jsonl")]
    assert [each["category"] for each in categories] == list(dict.fromkeys(asked))


def test_the_first_file_is_the_first_judge(agreement, world, tmp_path):
    a, b = judgments(tmp_path / "a.jsonl", world, 7), judgments(tmp_path / "b.jsonl", world, 4, judge="mild")
    there, back = (json.loads(agreement(*files, "--json").output)[0] for files in ((a, b), (b, a)))
    assert there["judges"] == back["judges"][::-1] == ["strict", "mild"]
    ours, theirs = there["agreement"][0], back["agreement"][0]
    assert (
        (ours["mean_first"], ours["mean_second"])
        == (theirs["mean_second"], theirs["mean_first"])
        == (6.5, 3.5)
    )
    assert ours["kappa_quadratic"] == pytest.approx(theirs["kappa_quadratic"])


def test_agreement_on_alpaca_eval_is_of_which_answer_is_better(agreement, world, tmp_path):
    """Three of four have the same winner; one is not in the second file, and one has no verdict there."""
    first = annotations(tmp_path / "a.jsonl", world, [1.0, 1.4, 2.0, 1.9, 1.0, 2.0])
    second = annotations(tmp_path / "b.jsonl", world, [1.2, 1.0, 1.8, 1.1, None], annotator="mild")
    [found] = json.loads(agreement(first, second, "--json").output)
    whole = found["agreement"][0]
    assert (found["benchmark"], whole["items"], whole["same"]) == ("alpaca_eval_2", 4, 0.75)
    # By chance: (2 * 3 + 2 * 1) / 16 agree.
    assert whole["kappa"] == pytest.approx((0.75 - 0.5) / 0.5)


def test_each_model_and_benchmark_that_both_files_have_is_compared(agreement, world, tmp_path):
    for name, judge in (("a", "strict"), ("b", "mild")):
        rows = [
            *read_rows(judgments(tmp_path / "x.jsonl", world, judge=judge)),
            *read_rows(judgments(tmp_path / "x.jsonl", world, judge=judge, model="theirs")),
            *read_rows(judgments(tmp_path / "x.jsonl", world, judge=judge, model=f"only in {name}")),
        ]
        write_rows(tmp_path / f"{name}.jsonl", rows)
    found = json.loads(agreement(tmp_path / "a.jsonl", tmp_path / "b.jsonl", "--json").output)
    assert [each["model"] for each in found] == ["ours", "theirs"]


def test_files_without_a_common_answer_are_refused_with_both_names(agreement, world, tmp_path):
    files = judgments(tmp_path / "a.jsonl", world), judgments(tmp_path / "b.jsonl", world, model="theirs")
    expected = f"{files[0]} and {files[1]} have no verdict on the same answer of the same model"
    refused(agreement(*files), expected)
    first = annotations(tmp_path / "c.jsonl", world, [1.0, None])
    second = annotations(tmp_path / "d.jsonl", world, [None, 1.0])
    refused(agreement(first, second), f"{first} and {second} have no verdict on the same answer")


def test_agreement_needs_two_files(agreement, world, tmp_path):
    code, output, error = agreement(judgments(tmp_path / "a.jsonl", world))
    assert (code, output) == (2, "") and error.strip()


def test_agreement_compares_what_a_judge_said_here_with_a_file(agreement, judge, world, tmp_path):
    judge(mt_answers(tmp_path / "answers.jsonl", world))
    [step] = Path("results/store/verdicts").glob("ours-*")
    [found] = json.loads(agreement(step, judgments(tmp_path / "b.jsonl", world), "--json").output)
    assert found["judges"] == ["overlap", "strict"] and found["agreement"][0]["items"] == 2 * QUESTIONS


def test_agreement_writes_nothing(agreement, world, tmp_path):
    files = judgments(tmp_path / "a.jsonl", world), judgments(tmp_path / "b.jsonl", world, judge="mild")
    before = sorted(os.listdir())
    agreement(*files)
    assert sorted(os.listdir()) == before


def test_stored_verdicts_agree_with_themselves_in_full(said, real):
    stored = real.data / "mt_bench/model_judgment/gpt-4_single.jsonl"
    found = json.loads(said("agreement", stored, stored, f"paths.assets={real.data}", "--json").output)
    assert len(found) == 4
    assert {each["agreement"][0]["kappa_quadratic"] for each in found} == {1.0}
    assert {each["agreement"][0]["items"] for each in found} == {160}
