"""What is done needs nothing: only what is still to come must be at hand."""

import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest
from refusing import refusal
from small_cell import cell_of, words

from im_bench import cli, preflight
from im_bench.assets import file_sha256
from im_bench.composing import CONF, compose_run
from im_bench.config import UserError
from im_bench.pipeline import Cell, plan
from im_bench.store import Step, Store


def finish(cell, *kinds):
    """Give the steps of these kinds, or all, their records."""
    store = Store(cell.run.paths.results / "store")
    for step in cell.steps():
        if not kinds or step.kind in kinds:
            out = store.root / step.kind / step.folder
            out.mkdir(parents=True)
            store._commit(step, out, seconds=1.0)


def left(cell):
    store = Store(cell.run.paths.results / "store")
    return {step.key for step in store.missing(cell.steps())}


SERVED = ["benchmark=[mt_bench]", "judge=openai", "judge.model=judge-1"]
DOWN = "judge.base_url=http://127.0.0.1:9/v1"


def test_a_judge_that_is_down_is_needed_only_for_verdicts_that_are_to_come(
    given, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    asked = words(given, tmp_path, *SERVED, DOWN)
    finish(plan(compose_run("config", CONF, asked)))
    more = words(given, tmp_path, *SERVED, DOWN, "benchmark=[mt_bench,piqa]")
    cell = plan(compose_run("config", CONF, more), fetch=False)
    preflight.check([cell], left(cell))
    key, server = refusal(capsys, "run", *words(given, tmp_path, *SERVED, DOWN, "seed=1"))
    assert key.startswith("OPENAI_API_KEY (for judge)")
    assert server.startswith("judge.base_url=http://127.0.0.1:9/v1: no answer")


def test_verdicts_alone_need_neither_the_model_nor_the_data(given, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    rows, folder = tmp_path / "rows.jsonl", tmp_path / "model"
    shutil.copy(given / "rows.jsonl", rows)
    shutil.copytree(given / "model", folder)
    places = [f"dataset.path={rows}", f"model.path={folder}", "engine=vllm", "launcher=local"]
    cell = plan(compose_run("config", CONF, words(given, tmp_path, *SERVED, *places)))
    finish(cell, "base", "train", "answers")
    rows.unlink()
    shutil.rmtree(folder)
    assert [step.kind for step in cell.steps() if step.key in left(cell)] == ["verdicts"]
    preflight.check([cell], left(cell))
    found = preflight.needs([(cell.run, preflight.Parts.left(cell, left(cell)))])
    assert {need.kind for need in found} == {"file", "key"}


def test_a_cell_that_is_done_runs_though_its_file_is_gone_and_its_judge_has_no_key(
    given, tmp_path, monkeypatch
):
    """Where the hash of the file is said, its steps are known without it."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    rows = tmp_path / "rows.jsonl"
    shutil.copy(given / "rows.jsonl", rows)
    known = [
        f"dataset.path={rows}",
        "dataset.format=prompt_completion",
        f"dataset.sha256={file_sha256(rows)}",
    ]
    asked = words(given, tmp_path / "results", *SERVED, *known)
    finish(plan(compose_run("config", CONF, asked)))
    rows.unlink()
    cells = cli._checked([compose_run("config", CONF, asked)])
    assert left(cells[0]) == set()
    both = [compose_run("config", CONF, [*asked, f"loss={loss}"]) for loss in ("it", "none")]
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    assert [cell.run.loss.name for cell in cli._checked(both)] == ["none", "it"]


def todo(cell: Cell, *done: str) -> dict[str, Step]:
    return {step.key: step for step in cell.steps() if step.kind not in done}


def test_an_engine_is_needed_only_where_something_is_to_be_answered(given: Path) -> None:
    cell = cell_of(given, "engine=vllm")
    for done in ((), ("base", "train"), ("base", "train", "harness")):
        with pytest.raises(UserError, match="engine=vllm: it is not installed"):
            preflight.check([cell], todo(cell, *done))
    preflight.check([cell], todo(cell, "base", "train", "harness", "answers"))


def test_a_chat_template_is_needed_only_where_something_is_still_asked_in_it(
    given: Path, tmp_path: Path
) -> None:
    shutil.copytree(given / "model", tmp_path / "model")
    (tmp_path / "model/chat_template.jinja").unlink()
    cell = cell_of(given, f"model.path={tmp_path / 'model'}", "model.chat_template=own")
    for done, needed in (((), "training, .*mt_bench"), (("train", "answers"), None)):
        with pytest.raises(UserError, match=f"needed by {needed}") if needed else nullcontext():
            preflight.check([cell], todo(cell, *done))


def test_a_named_model_of_a_server_is_there_before_it_is_asked(given: Path) -> None:
    words = ["engine=server", "engine.base_url=http://localhost:1/v1", "engine.model=tuned"]
    it, im = cell_of(given, *words), cell_of(given, *words, "loss=im")
    with pytest.raises(UserError, match="engine.model: what is served was there before this checkpoint"):
        preflight.check([it], todo(it))
    with pytest.raises(UserError, match="^engine.base_url=http://localhost:1/v1: no answer"):
        preflight.check([it], todo(it, "train"))
    with pytest.raises(UserError, match="one served model cannot be all checkpoints"):
        preflight.check([it, im], todo(it, "train") | todo(im, "train"))
    preflight.check([it], {})  # what is done asks no server
