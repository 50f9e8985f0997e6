"""`im-bench status`: where each step stands, told from the store alone."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small_cell import InThread, process, words

from im_bench.cli import main
from im_bench.composing import CONF, compose_run
from im_bench.pipeline import plan
from im_bench.store import Step, Store

FIELDS = ["step", "kind", "state", "where", "since", "why", "log"]
CELL = ("loss=it", "benchmark=[piqa,mt_bench]")
HOLD = """
import sys
from pathlib import Path
from im_bench.store import Step, Store
from im_bench.identity import BaseIdentity

class Held(Step):
    key = sys.argv[3]

def hold(out):
    print("began", flush=True)
    sys.stdin.read()

identity = BaseIdentity(source="toy", template_sha256="")
Store(Path(sys.argv[1])).ensure(Held(sys.argv[2], identity, hold, label=sys.argv[4]))
"""
"""Makes a step of this kind, key and label until its standard input ends."""


@pytest.fixture
def holding() -> Iterator[Callable[[Store, Step], subprocess.Popen[str]]]:
    """Has another process make a step for as long as the test takes."""
    started: list[subprocess.Popen[str]] = []

    def hold(store: Store, step: Step) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLD, str(store.root), step.kind, step.key, step.label]
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(holder)
        assert holder.stdout is not None and holder.stdout.readline() == "began\n"
        return holder

    yield hold
    for holder in started:
        holder.kill()
        holder.communicate()


@pytest.fixture
def steps(given: Path, tmp_path: Path) -> dict[str, Step]:
    """Those of one cell, by kind."""
    cell = plan(compose_run("config", CONF, words(given, tmp_path, *CELL)))
    return {step.kind: step for step in cell.steps()}


@pytest.fixture
def status(given: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def told(*options: str) -> str:
        capsys.readouterr()
        assert main(["status", *words(given, tmp_path, *CELL), *options]) == 0
        return capsys.readouterr().out

    return told


def finish(store: Store, step: Step) -> None:
    out = store.root / step.kind / step.folder
    out.mkdir(parents=True)
    store._commit(step, out, seconds=1.0)


def files(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def by_kind(said: str) -> dict[str, dict]:
    return {each["kind"]: each for each in json.loads(said)}


def test_every_state_is_counted_and_what_wants_a_look_has_a_line(
    tmp_path: Path, steps: dict[str, Step], status: Callable[..., str], holding
) -> None:
    store = Store(tmp_path / "store")
    finish(store, steps["base"])
    holder = holding(store, steps["train"])
    out = store.root / "harness" / steps["harness"].folder
    out.mkdir(parents=True)
    (out / "error.txt").write_text("Traceback (most recent call last):\n  ...\nRuntimeError: no such thing\n")
    killed = store.root / "answers" / steps["answers"].folder
    killed.mkdir(parents=True)
    (killed / "running.json").write_text(
        '{"where": "node7, process 12", "since": "2026-11-20T10:00:00+00:00"}'
    )

    said = by_kind(status("--json"))
    assert {kind: each["state"] for kind, each in said.items()} == {
        "base": "done",
        "train": "running",
        "harness": "failed",
        "answers": "killed",
        "verdicts": "todo",
    }
    assert all(list(each) == FIELDS for each in said.values())
    running, failed = said["train"], said["harness"]
    assert running["where"].endswith(f", process {holder.pid}") and running["where"].startswith(
        os.uname().nodename
    )
    assert abs(time.time() - time.mktime(time.strptime(running["since"][:19], "%Y-%m-%dT%H:%M:%S"))) < 3600
    assert failed["why"] == "RuntimeError: no such thing"
    assert Path(failed["log"]).read_text().startswith("Traceback")
    assert said["answers"]["where"] == "node7, process 12"
    assert all(each["step"] == steps[kind].name for kind, each in said.items())
    assert [said[kind][field] for kind in ("base", "verdicts") for field in FIELDS[3:]] == [None] * 8

    head, *lines = status().splitlines()
    assert head.startswith("no sweep named, experiment=toy ") and head.endswith(
        ": 1 cell, local-local-full-it-seed0"
    )
    assert lines[0].split() == ["steps", "done", "running", "failed", "killed", "to", "do"]
    counts = {line.split()[0]: line.split()[1:] for line in lines[2:7]}
    assert counts == {kind: ["1"] for kind in ("base", "train", "harness", "answers", "verdicts")}
    columns = [next(line for line in lines if line.split()[:1] == [kind]).index("1") for kind in counts]
    assert columns == sorted(set(columns))
    assert f"running: {steps['train'].name}, {running['where']}, since {running['since']}" in lines
    assert f"failed: {steps['harness'].name}: RuntimeError: no such thing ({out / 'error.txt'})" in lines
    assert (
        f"killed: {steps['answers'].name}, node7, process 12, which began at 2026-11-20T10:00:00+00:00"
        in lines
    )
    assert lines[-1] == "the same sweep, run again, tries them again"


def test_a_step_whose_process_is_killed_is_killed_until_somebody_tries_it_again(
    tmp_path: Path, steps: dict[str, Step], status: Callable[..., str], holding
) -> None:
    store = Store(tmp_path / "store")
    holder = holding(store, steps["base"])
    assert by_kind(status("--json"))["base"]["state"] == "running"
    holder.kill()
    holder.wait()
    said = by_kind(status("--json"))["base"]
    assert (said["state"], said["why"], said["log"]) == ("killed", None, None)
    assert said["where"].endswith(f", process {holder.pid}")
    holding(store, steps["base"])
    assert by_kind(status("--json"))["base"]["state"] == "running"


def test_kinds_stand_in_the_order_of_plan_whatever_a_cell_begins_with(
    given: Path, tmp_path: Path, capsys
) -> None:
    """The base model's cell comes first, and has no training."""
    cells = words(given, tmp_path, "loss=none,it", "benchmark=[mt_bench,humaneval,piqa]")
    assert main(["status", *cells, "--json"]) == 0
    kinds = [each["kind"] for each in json.loads(capsys.readouterr().out)]
    assert list(dict.fromkeys(kinds)) == ["base", "train", "harness", "humaneval", "answers", "verdicts"]
    assert kinds == sorted(kinds, key=list(dict.fromkeys(kinds)).index)
    assert main(["plan", *cells, "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["steps"]) == list(dict.fromkeys(kinds))


def test_a_training_whose_dropped_weights_are_needed_again_is_to_do_as_plan_says(
    given: Path, tmp_path: Path, capsys
) -> None:
    store = Store(tmp_path / "store")
    trained = plan(compose_run("config", CONF, words(given, tmp_path, "loss=it", "benchmark=[piqa]")))
    for step in trained.steps():
        finish(store, step)
    weights = store.path(trained.checkpoint) / "model.safetensors"
    weights.write_text("")
    store._commit(trained.checkpoint, weights.parent, seconds=1.0)
    store.drop(trained.checkpoint, [weights])
    for benchmarks, state in (("[piqa]", "done"), ("[piqa,arc]", "todo")):
        assert main(["status", *words(given, tmp_path, "loss=it", f"benchmark={benchmarks}"), "--json"]) == 0
        assert by_kind(capsys.readouterr().out)["train"]["state"] == state


@pytest.mark.parametrize(
    ("named", "head"),
    [
        ([], "no sweep named: 1 cell, llama2_7b-lima-full-it-seed0"),
        (["loss=im,none"], "no sweep named, loss=im,none: 2 cells"),
        (["demo"], "sweep demo: 5 cells"),
        (["demo", "loss=im"], "sweep demo, loss=im: 2 cells"),
        (["demo", "loss=none"], "sweep demo, loss=none: 1 cell, toy"),
    ],
)
@pytest.mark.parametrize("command", ["plan", "status"])
def test_the_first_line_says_which_cells_are_meant(
    tmp_path: Path, monkeypatch, capsys, command: str, named: list[str], head: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([command, *named]) == 0
    assert capsys.readouterr().out.splitlines()[0] == head


def test_asking_writes_nothing_and_makes_no_folder(given: Path, tmp_path: Path, capsys) -> None:
    results = tmp_path / "results"
    assert main(["status", *words(given, results, *CELL)]) == 0
    assert main(["status", "demo", f"paths.results={results}"]) == 0
    capsys.readouterr()
    assert main(["status", "demo", "--json", f"paths.results={results}"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {each["state"] for each in said} == {"todo"}
    assert not list(tmp_path.iterdir())


def test_asking_leaves_a_store_as_it_is(tmp_path: Path, steps: dict[str, Step], status, holding) -> None:
    store = Store(tmp_path / "store")
    finish(store, steps["base"])
    holding(store, steps["train"])
    before = files(tmp_path)
    status()
    status("--json")
    assert files(tmp_path) == before


def test_where_nothing_is_at_hand_every_step_waits_and_nothing_is_refused(
    given: Path, tmp_path: Path, capsys
) -> None:
    """Neither model, dataset and benchmark data, nor a judge's name or key."""
    absent = [f"model.path={tmp_path}/model", f"dataset.path={tmp_path}/rows.jsonl", "judge=openai"]
    absent += [f"paths.hub={tmp_path}/hub", f"paths.assets={tmp_path}/assets"]
    assert main(["status", *words(given, tmp_path / "results", *CELL, *absent), "--json"]) == 0
    said = by_kind(capsys.readouterr().out)
    assert {kind: each["state"] for kind, each in said.items()} == dict.fromkeys(said, "todo")
    assert main(["status", "main_table", f"paths.results={tmp_path / 'results'}", "--json"]) == 0
    assert not list(tmp_path.iterdir())


def test_a_dataset_that_is_gone_and_whose_hash_is_said_was_trained_on(
    given: Path, tmp_path: Path, capsys
) -> None:
    from im_bench.assets import file_sha256

    rows = shutil.copy(given / "rows.jsonl", tmp_path / "rows.jsonl")
    known = [
        f"dataset.path={rows}",
        "dataset.format=prompt_completion",
        f"dataset.sha256={file_sha256(Path(rows))}",
    ]
    asked = words(given, tmp_path / "results", *CELL, *known)
    for step in plan(compose_run("config", CONF, asked)).steps():
        finish(Store(tmp_path / "results/store"), step)
    Path(rows).unlink()
    assert main(["status", *asked]) == 0
    assert "every step is done" in capsys.readouterr().out


def test_a_sweep_that_is_none_is_told_with_the_nearest_name(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["status", "demmo"]) == 2
    said = capsys.readouterr()
    assert said.out == "" and "there is no sweep demmo; did you mean demo?" in said.err
    assert not list(tmp_path.iterdir())


def test_a_step_that_failed_says_why_and_where_its_traceback_is(
    given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a [red]broken[/red] harness")

    monkeypatch.setattr("lm_eval.evaluate", broken)
    monkeypatch.setattr("im_bench.launching.local.Worker", InThread)
    cell = words(given, tmp_path, "loss=none", "benchmark=[piqa]")
    assert main(["run", *cell]) == 1
    capsys.readouterr()
    assert main(["status", *cell, "--json"]) == 0
    said = by_kind(capsys.readouterr().out)
    assert said["base"]["state"] == "done"
    assert (said["harness"]["state"], said["harness"]["why"]) == (
        "failed",
        "RuntimeError: a [red]broken[/red] harness",
    )
    assert "Traceback" in Path(said["harness"]["log"]).read_text()
    assert main(["status", *cell]) == 0
    assert "RuntimeError: a [red]broken[/red] harness" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_that_is_killed_while_it_trains_leaves_a_killed_training(
    given: Path, tmp_path: Path, capsys
) -> None:
    cell = words(given, tmp_path, "loss=it", "benchmark=[piqa]", "train.epochs=40")
    run = process("run", *cell, start_new_session=True)
    store = Store(tmp_path / "store")
    train = next(step for step in plan(compose_run("config", CONF, cell)).steps() if step.kind == "train")
    end = time.monotonic() + 60
    while not list(tmp_path.glob("store/train/*/events.jsonl")):
        assert time.monotonic() < end and run.poll() is None
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    assert store.state(train).name == "killed"
    assert main(["status", *cell]) == 0
    said = capsys.readouterr().out
    assert f"killed: {train.name}, {os.uname().nodename}, process " in said
