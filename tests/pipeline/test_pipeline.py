"""A cell from its words to its scores, with a tiny model: what is run, what is not, and what is left."""

import json
import shutil
from dataclasses import fields
from pathlib import Path

import pyarrow.parquet
import pytest
from small_cell import BENCHMARKS, STEPS, InThread, kinds, records, words

from im_bench.cli import main
from im_bench.report.collect import FILE, Row, read_ledger

LEDGER = (
    "sweep cell model dataset subset loss seed benchmark category task metric value stderr count total "
    "direction judge reading_note step examples ratio truncated "
    "judge_prompt_tokens judge_answer_tokens judge_cost epoch source version"
).split()


def test_a_cell_makes_one_record_a_step_and_a_row_a_score(results: Path) -> None:
    assert kinds(list(records(results))) == STEPS
    rows = read_ledger(results / FILE)
    assert {
        row.benchmark for row in rows if row.task == row.benchmark and row.value is not None
    } == BENCHMARKS
    assert {row.step for row in rows} <= {name.rpartition("-")[2] for name in records(results)}


def test_the_ledger_has_the_fields_of_a_row_in_order_and_nothing_else(results: Path) -> None:
    lines = (results / FILE).read_text().splitlines()
    assert all(list(json.loads(line)) == LEDGER for line in lines)
    assert [field.name for field in fields(Row)] == LEDGER


def test_a_second_run_does_no_step_and_changes_no_byte(
    results: Path, given: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    before = {path: path.read_bytes() for path in results.rglob("*") if path.is_file()}
    assert main(["run", *words(given, results, "loss=it")]) == 0
    assert "every step is done" in caplog.text
    assert {path: path.read_bytes() for path in results.rglob("*") if path.is_file()} == before
    assert "MT-Bench" in capsys.readouterr().out


def test_json_is_the_rows_of_the_ledger_and_nothing_else(
    results: Path, given: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *words(given, results, "loss=it"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == [json.loads(line) for line in (results / FILE).read_text().splitlines()]
    assert list(printed[0]) == LEDGER


def test_another_loss_and_the_base_model_run_only_what_is_new(
    results: Path, given: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "results"
    shutil.copytree(results, folder, copy_function=shutil.copy2)
    before = records(folder)
    assert main(["run", "--multirun", *words(given, folder, "loss=none,it,im")]) == 0
    after = records(folder)
    assert {step: after[step] for step in before} == before
    new = [step for step in after if step not in before]
    assert kinds(new) == {"train": 1, "harness": 2, "answers": 4, "verdicts": 4}


def test_a_benchmark_that_fails_costs_its_own_score_and_no_other(
    given: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a broken harness")

    monkeypatch.setattr("lm_eval.evaluate", broken)
    monkeypatch.setattr("im_bench.launching.local.Worker", InThread)
    monkeypatch.setattr("im_bench.launching.local.make_ready", lambda *_: None)
    folder = tmp_path / "results"
    command = ["run", *words(given, folder)]
    for _ in range(2):  # the next run tries it again
        assert main(command) == 1
        said = capsys.readouterr()
        assert "failed: harness/local-local-full-it-seed0-piqa-" in said.err
        assert "failed steps: 1; the same command tries them again" in said.err
        assert "n/a" in said.out
        (error,) = folder.glob("store/harness/*/error.txt")
        assert str(error) in said.err and "Traceback" in error.read_text()
        values = {row.benchmark: row.value for row in read_ledger(folder / FILE) if row.task == row.benchmark}
        assert values.pop("piqa") is None
        assert None not in values.values() and set(values) == BENCHMARKS - {"piqa"}


def test_a_model_without_a_chat_template_answers_what_is_asked_as_plain_text(
    given: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(given / "model", tmp_path / "model")
    (tmp_path / "model/chat_template.jinja").unlink()
    plain = [f"model.path={tmp_path / 'model'}", "model.chat_template=own", "benchmark=[piqa]"]
    folder = tmp_path / "results"
    assert main(["run", *words(given, folder, *plain, "loss=none")]) == 0
    for asked, needed in (
        (["loss=it"], "training"),
        (["loss=none", "benchmark=[piqa,mt_bench]"], "mt_bench"),
        (["loss=none", "benchmark.piqa.prompt=chat"], "piqa"),
    ):
        capsys.readouterr()
        assert main(["run", *words(given, folder, *plain, *asked)]) == 2
        said = capsys.readouterr().err
        assert f"has no chat template; use model.chat_template=tulu (needed by {needed})" in said


def test_the_rows_scored_are_those_of_the_folder_given(results: Path, given: Path, tmp_path: Path) -> None:
    """Another folder of the same names and layout: here with one row of PIQA instead of its 60."""
    hub, folder = tmp_path / "hub", tmp_path / "results"
    shutil.copytree(given / "hub", hub)
    (path,) = (hub / "baber/piqa").rglob("validation*.parquet")
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(path).slice(0, 1), path)
    assert main(["run", *words(given, folder, f"paths.hub={hub}", "benchmark=[piqa]", "loss=none")]) == 0
    assert [row.count for row in read_ledger(folder / FILE)] == [1]


def test_a_cell_without_any_score_has_no_table(
    given: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *words(given, tmp_path, "train.max_tokens=8")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "train.max_tokens=8 cuts off the output of every conversation" in said.err
    assert not (tmp_path / FILE).exists() and not (tmp_path / "tables").exists()
