"""Cells side by side, killed and interrupted: the same command ends in the same scores."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from small_cell import BENCHMARKS, STEPS, kinds, process, records, words

from im_bench.cli import main
from im_bench.composing import CONF, compose_run
from im_bench.pipeline import plan
from im_bench.report.collect import FILE, Row, read_ledger
from im_bench.store import Step, Store

BOTH = "loss=it,im"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, given: Path) -> bytes:
    """The ledger of two cells that nothing befell."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert main(["run", "--multirun", *words(given, folder, BOTH)]) == 0
    return (folder / FILE).read_bytes()


def steps_of(given: Path, results: Path, loss: str) -> dict[str, Step]:
    """The steps of a cell, each with its record or not, by kind; of several the last."""
    cell = plan(compose_run("config", CONF, words(given, results, loss)))
    return {step.kind: step for step in cell.steps()}


def maker(store: Store, step: Step) -> int:
    """The process that makes a step."""
    return int(store.state(step).where.partition("process ")[2])


def numbers(rows: Sequence[Row]) -> dict[tuple[str, str, str], float | None]:
    return {(row.loss, row.task, row.metric): row.value for row in rows}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["train", "answers"])
def test_an_engine_that_is_killed_costs_one_cell_or_score_and_the_same_command_makes_up_for_it(
    undisturbed: bytes, given: Path, tmp_path: Path, kind: str
) -> None:
    command = ["run", "--multirun", *words(given, tmp_path, BOTH)]
    step, store = steps_of(given, tmp_path, "loss=it")[kind], Store(tmp_path / "store")
    run = process(*command)
    _wait(lambda: (_events(tmp_path) >= 2 or kind != "train") and store.state(step).where != "", run)
    os.kill(maker(store, step), signal.SIGKILL)
    output, error = run.communicate(timeout=300)
    assert run.returncode == 1, error
    why = "its process was killed by SIGKILL, as the system does when memory runs out"
    assert f"failed: {step.name}: {why} ({store.path(step)})\n" in error
    assert error.endswith("failed steps: 1; the same command tries them again\n")
    assert "n/a" in output and "Traceback" not in error
    assert (store.state(step).name, store.state(step).why) == ("failed", why)
    rows = [row for row in read_ledger(tmp_path / FILE) if row.task == row.benchmark]
    lacking = {(row.loss, row.benchmark) for row in rows if row.value is None}
    lost = BENCHMARKS if kind == "train" else {"mt_bench"} if "mt_bench" in step.label else {"alpaca_eval_1"}
    assert lacking == {("it", name) for name in lost}
    again = process(*command)
    output, error = again.communicate(timeout=300)
    assert again.returncode == 0, error
    assert (tmp_path / FILE).read_bytes() == undisturbed
    assert store.state(step).name == "done"


@pytest.mark.slow
def test_cells_side_by_side_end_in_the_same_scores(undisturbed: bytes, given: Path, tmp_path: Path) -> None:
    assert main(["run", "--multirun", *words(given, tmp_path, BOTH, "launcher=local_parallel")]) == 0
    assert (tmp_path / FILE).read_bytes() == undisturbed


@pytest.mark.slow
def test_weights_that_were_dropped_are_made_again_for_a_later_benchmark_and_answer_the_same(
    results: Path, given: Path, tmp_path: Path
) -> None:
    short = ["loss=it", "keep_checkpoints=until_scored"]
    assert main(["run", *words(given, tmp_path, *short, "benchmark=[piqa]")]) == 0
    assert not any(tmp_path.glob("store/train/*/*.safetensors"))
    assert any(tmp_path.glob("store/base/*/tokenizer.json"))
    assert main(["run", *words(given, tmp_path, *short)]) == 0
    assert not any(tmp_path.glob("store/train/*/*.safetensors"))
    expected = numbers(read_ledger(results / FILE))
    assert numbers(read_ledger(tmp_path / FILE)) == expected


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_in_the_same_scores(results: Path, given: Path, tmp_path: Path) -> None:
    command = ["run", *words(given, tmp_path, "loss=it")]
    _kill_when(
        process(*command), lambda: _events(tmp_path) >= 2 and any(tmp_path.glob("store/train/*/state/*"))
    )
    assert kinds(list(records(tmp_path))) == {"base": 1}
    _kill_when(process(*command), lambda: "train" in kinds(list(records(tmp_path))))
    assert "verdicts" not in kinds(list(records(tmp_path)))
    last = process(*command)
    output, error = last.communicate(timeout=300)
    assert last.returncode == 0, error
    assert (tmp_path / FILE).read_bytes() == (results / FILE).read_bytes()
    assert kinds(list(records(tmp_path))) == STEPS


@pytest.mark.slow
def test_two_processes_share_one_store(results: Path, given: Path, tmp_path: Path) -> None:
    command = ["run", *words(given, tmp_path, "loss=it")]
    both = [process(*command), process(*command)]
    said = [one.communicate(timeout=300) for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    made = [line for _, error in said for line in error.splitlines() if line in records(tmp_path)]
    assert sorted(made) == sorted(records(tmp_path))
    assert any("which another process is making" in error for _, error in said)
    assert (tmp_path / FILE).read_bytes() == (results / FILE).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_an_interrupt_says_that_the_same_command_goes_on(
    given: Path, tmp_path: Path, number: signal.Signals, code: int, word: str
) -> None:
    """Of a time limit all processes are told, as a terminal tells them of Ctrl-C."""
    run = process("run", *words(given, tmp_path, "loss=it"), start_new_session=True)
    _wait(lambda: _events(tmp_path) >= 2, run)
    os.killpg(run.pid, number)
    output, error = run.communicate(timeout=60)
    assert (run.returncode, output) == (code, "")
    assert error.endswith(f"im-bench: {word}; the same command goes on from here\n")
    assert "Traceback" not in error and "failed" not in error
    assert Store(tmp_path / "store").state(steps_of(given, tmp_path, "loss=it")["train"]).name == "todo"


@pytest.mark.slow
def test_nothing_is_left_of_a_run_that_is_killed_or_interrupted_twice(given: Path, tmp_path: Path) -> None:
    """As by somebody who presses Ctrl-C again and again; the terminal tells the whole group."""
    store = Store(tmp_path / "store")
    train = steps_of(given, tmp_path, "loss=it")["train"]
    for signals in ([signal.SIGKILL], [signal.SIGINT] * 3):
        run = process("run", *words(given, tmp_path, "loss=it"), start_new_session=True)
        _wait(lambda: store.locked(train) and store.state(train).where != "", run)
        engine = maker(store, train)
        for each in signals:
            with suppress(ProcessLookupError):
                (os.kill if each == signal.SIGKILL else os.killpg)(run.pid, each)
            time.sleep(0.1)
        run.communicate(timeout=60)
        _wait_until(lambda engine=engine: not store.locked(train) and not _lives(engine))


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{process}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


def _events(results: Path) -> int:
    """Optimiser steps that were told of."""
    return sum(path.read_text().count("train/loss") for path in results.glob("store/train/*/events.jsonl"))


def _wait(until: Callable[[], bool], run: subprocess.Popen[str]) -> None:
    def ready() -> bool:
        found = until()
        assert found or run.poll() is None, run.communicate()
        return found

    _wait_until(ready)


def _wait_until(ready: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.01)


def _kill_when(run: subprocess.Popen[str], ready: Callable[[], bool]) -> None:
    _wait(ready, run)
    run.kill()
    run.communicate()
    assert run.returncode == -signal.SIGKILL
