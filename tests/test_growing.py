"""Results that grow, move, are shared and interrupted: nothing is done twice, and nothing is lost."""

import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from small_cell import kinds, process, records, words

from im_bench.cli import main
from im_bench.composing import CONF, sweep_runs
from im_bench.pipeline import Cell, plan_sweep
from im_bench.report.collect import FILE, read_ledger
from im_bench.store import Step, Store

CELLS = ("loss=it", "benchmark=[piqa,mt_bench]")
LONGEST = 120


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, given: Path) -> Path:
    """Results of one cell."""
    results = tmp_path_factory.mktemp("small") / "results"
    assert main(["run", "--multirun", *words(given, results, *CELLS)]) == 0
    return results


@pytest.fixture
def results(small: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small, tmp_path / "results", copy_function=shutil.copy2))


def cells(given: Path, results: Path, *overrides: str) -> list[Cell]:
    return plan_sweep(sweep_runs("config", CONF, words(given, results, *overrides)))


def made_by(given: Path, results: Path, *overrides: str) -> dict[str, int]:
    """Records by kind that a command adds; it changes none that is there."""
    before = records(results)
    assert main(["run", "--multirun", *words(given, results, *CELLS, *overrides)]) == 0
    after = records(results)
    assert {name: after[name] for name in before} == before
    return kinds([name for name in after if name not in before])


def wait_until(ready: Callable[[], object], run: subprocess.Popen[str] | None = None) -> None:
    end = time.monotonic() + LONGEST
    while not ready():
        assert run is None or run.poll() is None, run.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def optimiser_steps(results: Path) -> int:
    return sum(path.read_text().count("train/loss") for path in results.glob("store/train/*/events.jsonl"))


# --- growing ---


@pytest.mark.slow
def test_what_is_added_is_all_that_runs(given: Path, results: Path, tmp_path: Path) -> None:
    chain = {"train": 1, "harness": 1, "answers": 1, "verdicts": 1}
    assert made_by(given, results) == {}
    assert made_by(given, results, "loss=it,im") == chain
    assert made_by(given, results, "seed=0,1") == chain
    assert made_by(given, results, "loss=it,im", "benchmark=[piqa,mt_bench,alpaca_eval_1]") == {
        "answers": 2,
        "verdicts": 2,
    }
    rows = (given / "rows.jsonl").read_text().splitlines(keepends=True)[:8]
    (tmp_path / "more.jsonl").write_text("".join(rows))
    more = [f"dataset.path={tmp_path}/more.jsonl", "dataset.name=more"]
    assert made_by(given, results, *more, "loss=none,it") == chain | {
        "harness": 2,
        "answers": 2,
        "verdicts": 2,
    }
    assert made_by(given, results, *more, "loss=none,it") == {}


# --- moving ---


def texts(folder: Path) -> dict[Path, str]:
    """Every file of a folder whose content is text, but for what a step failed of."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and path.name != "error.txt":
            with suppress(UnicodeDecodeError):
                found[path] = path.read_text()
    return found


@pytest.mark.slow
def test_no_file_of_the_store_says_where_it_lies(small: Path) -> None:
    assert len(texts(small / "store")) > 20
    assert [str(path) for path, text in texts(small / "store").items() if str(small) in text] == []
    assert str(small) not in (small / FILE).read_text()
    assert [str(path) for path, text in texts(small / "tables").items() if str(small) in text] == []


@pytest.mark.slow
def test_nor_does_a_file_of_a_training_by_several_processes(given: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    several = ["runtime.processes=2", "runtime.parallel=ddp", "benchmark=[piqa]", "train.epochs=1"]
    assert main(["run", *words(given, results, "loss=it", *several)]) == 0
    found = texts(results / "store")
    assert [str(path) for path, text in found.items() if str(results) in text] == []


@pytest.mark.slow
def test_what_was_moved_is_done_wherever_the_command_is_given(
    given: Path,
    results: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    moved = tmp_path / "elsewhere/moved"
    moved.parent.mkdir()
    results.rename(moved)
    ledger = (moved / FILE).read_bytes()
    before = records(moved)
    for folder, name in ((tmp_path, "elsewhere/moved"), (moved.parent, "moved"), (given, str(moved))):
        monkeypatch.chdir(folder)
        for command in ("status", "plan"):
            capsys.readouterr()
            assert main([command, *words(given, Path(name), *CELLS)]) == 0
            assert "every step is done" in capsys.readouterr().out
        assert main(["run", "--multirun", *words(given, Path(name), *CELLS)]) == 0
    assert records(moved) == before
    assert (moved / FILE).read_bytes() == ledger
    assert made_by(given, moved, "loss=it,im")["train"] == 1


# --- sharing ---

OVERLAP = ({"it", "im"}, {"im", "full"})


def logged(error: str, steps: set[str]) -> list[str]:
    """The steps that a command says it does."""
    return [line for line in error.splitlines() if line in steps]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, given: Path) -> dict[str, list]:
    """The rows of each loss, of a command that nothing befell."""
    results = tmp_path_factory.mktemp("alone")
    assert main(["run", "--multirun", *words(given, results, *CELLS, "loss=it,im,full")]) == 0
    return rows_by_loss(results)[next(iter(rows_by_loss(results)))]


def rows_by_loss(results: Path) -> dict[str, dict[str, list]]:
    """By sweep and loss what was scored."""
    found: dict[str, dict[str, list]] = {}
    for row in read_ledger(results / FILE):
        said = (row.benchmark, row.task, row.metric, row.value, row.count, row.step)
        found.setdefault(row.sweep, {}).setdefault(row.loss, []).append(said)
    return found


@pytest.mark.slow
def test_two_overlapping_sweeps_at_once_do_each_step_once(
    given: Path, tmp_path: Path, alone: dict[str, list]
) -> None:
    commands = [
        ["run", "--multirun", *words(given, tmp_path, *CELLS, f"loss={','.join(sorted(losses))}")]
        for losses in OVERLAP
    ]
    said = [run.communicate(timeout=LONGEST) for run in [process(*command) for command in commands]]
    made = Counter(line for _, error in said for line in logged(error, set(records(tmp_path))))
    assert made == dict.fromkeys(records(tmp_path), 1), said
    found = rows_by_loss(tmp_path)
    assert sorted(map(sorted, found.values())) == sorted(map(sorted, OVERLAP))
    assert all(rows == alone[loss] for sweep in found.values() for loss, rows in sweep.items())


@pytest.mark.slow
def test_of_two_sweeps_one_of_which_is_killed_the_other_does_its_step(
    given: Path, tmp_path: Path, alone: dict[str, list]
) -> None:
    long = [*CELLS, "train.epochs=30"]
    command = ["run", *words(given, tmp_path, *long)]
    store = Store(tmp_path / "store")
    train = step_of(cells(given, tmp_path, *long), "train")
    first = process(*command, start_new_session=True)
    wait_until(lambda: optimiser_steps(tmp_path) >= 3, first)
    os.killpg(first.pid, signal.SIGSTOP)  # lest it be done before the other has begun
    second = subprocess.Popen(
        [sys.executable, "-m", "im_bench", *command],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert second.stderr is not None
    heard = []
    for line in second.stderr:
        heard.append(line)
        if f"waiting for {train.name}, which another process is making" in line:
            break
    assert store.state(train).name == "running"
    before = store.state(train).where
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    wait_until(lambda: store.state(train).where not in ("", before) or store.done(train), second)
    _, rest = second.communicate(timeout=LONGEST)
    assert second.returncode == 0, "".join(heard) + rest
    assert all(row.value is not None for row in read_ledger(tmp_path / FILE))
    assert store.done(train)


def step_of(found: list[Cell], kind: str) -> Step:
    (step,) = {step.key: step for cell in found for step in cell.steps() if step.kind == kind}.values()
    return step


# --- Ctrl-C ---


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["train", "answers"])
def test_after_ctrl_c_nothing_runs_what_was_scored_is_kept_and_the_same_command_goes_on(
    given: Path, tmp_path: Path, alone: dict[str, list], kind: str
) -> None:
    """As a terminal does it: the whole group is told."""
    command = ["run", "--multirun", *words(given, tmp_path, *CELLS, "loss=it,im")]
    store = Store(tmp_path / "store")
    cell = next(each for each in cells(given, tmp_path, *CELLS, "loss=im"))
    step = next(step for step in cell.steps() if step.kind == kind)
    run = process(*command, start_new_session=True)
    wait_until(lambda: store.state(step).where != "", run)
    engine = int(store.state(step).where.partition("process ")[2])
    os.killpg(run.pid, signal.SIGINT)
    output, error = run.communicate(timeout=LONGEST)
    assert (run.returncode, output) == (130, "")
    assert error.endswith("im-bench: interrupted; the same command goes on from here\n")
    assert "Traceback" not in error
    wait_until(lambda: not group(run.pid))
    with pytest.raises(ProcessLookupError):
        os.kill(engine, 0)
    done = {
        row.loss for row in read_ledger(tmp_path / FILE) if row.benchmark == "piqa" and row.value is not None
    }
    assert done == ({"it"} if kind == "train" else {"it", "im"})
    assert not store.done(step)
    again = process(*command)
    _, error = again.communicate(timeout=LONGEST)
    assert again.returncode == 0, error
    (found,) = rows_by_loss(tmp_path).values()
    assert found == {loss: alone[loss] for loss in ("it", "im")}


def group(leader: int) -> list[int]:
    """Living processes of a group."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, number = path.read_text().rpartition(")")[2].split()[:3]
            if int(number) == leader and state != "Z":
                found.append(int(path.parent.name))
    return found


# --- Weights & Biases ---

SECRETS = {
    "OPENAI_API_KEY": "marker-of-openai-5f1c",
    "WANDB_API_KEY": "marker0of0wandb0" + "5f1c" * 6,
    "HF_TOKEN": "hf_marker_of_the_hub_5f1c",
}


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory, given: Path) -> Path:
    """Results of a sweep that W&B followed offline, with keys in its environment."""
    results = tmp_path_factory.mktemp("followed") / "results"
    command = ["run", "--multirun", *words(given, results, *CELLS, "loss=it,im", "tracker=wandb")]
    environment = os.environ | SECRETS | {"WANDB_MODE": "offline"}
    done = subprocess.run(
        [sys.executable, "-m", "im_bench", *command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=LONGEST,
    )
    assert done.returncode == 0, done.stderr
    return results


def logged_records(data: bytes) -> Iterator[bytes]:
    """What a file of W&B holds, which is LevelDB's log format: blocks of chunks, each with checksum, size and kind."""
    header, block, place, parts = 7, 32_768, 7, b""
    while place + header <= len(data):
        if block - place % block < header:
            place += block - place % block
            continue
        size, kind = struct.unpack_from("<HB", data, place + 4)
        parts += data[place + header : place + header + size]
        place += header + size
        if kind in (1, 4):  # whole, or the last of several
            yield parts
            parts = b""


def offline_runs(results: Path) -> dict[str, dict]:
    """Each offline run by its id: what it is, its config, and the keys of what was logged."""
    from wandb.proto import wandb_internal_pb2

    found: dict[str, dict] = {}
    for file in results.glob("wandb/offline-run-*/run-*.wandb"):
        run: dict = {"logged": set(), "summary": set()}
        for data in logged_records(file.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            if record.HasField("run"):
                run |= {
                    name: getattr(record.run, name)
                    for name in ("run_id", "job_type", "run_group", "display_name")
                }
                run["config"] = {item.key: json.loads(item.value_json) for item in record.run.config.update}
            run["logged"] |= {item.key or item.nested_key[0] for item in record.history.item}
            run["summary"] |= {item.key or item.nested_key[0] for item in record.summary.update}
        assert run["run_id"] not in found
        found[run["run_id"]] = run
    return found


@pytest.mark.slow
def test_each_step_is_a_run_under_its_key_and_the_sweep_one_of_its_own(followed: Path) -> None:
    runs = offline_runs(followed)
    sweep = next(iter(rows_by_loss(followed)))
    of_sweep = runs.pop(f"sweep-{sweep}")
    kind_by_key = {name.rpartition("-")[2]: name.partition("/")[0] for name in records(followed)}
    assert {key: run["job_type"] for key, run in runs.items()} == kind_by_key
    assert {run["run_group"] for run in (*runs.values(), of_sweep)} == {sweep}
    assert of_sweep["job_type"] == "sweep"
    assert "table" in of_sweep["logged"] and sweep in of_sweep["logged"]
    for key, run in runs.items():
        assert run["config"]["step"]["kind"] == kind_by_key[key]
        if run["job_type"] == "train":
            assert {"train/loss", "train/step"} <= run["logged"]
        if run["job_type"] in ("harness", "verdicts"):
            assert any(name.startswith("score/") for name in run["summary"]) and "scores" in run["logged"]
    places = {path.parent for path in followed.rglob("*") if path.suffix == ".wandb"}
    assert {place.parent for place in places} == {followed / "wandb"}


@pytest.mark.slow
def test_no_key_is_in_any_file_of_the_results(followed: Path) -> None:
    files = [path for path in followed.rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in files)
    found = [
        str(path) for path in files for secret in SECRETS.values() if secret.encode() in path.read_bytes()
    ]
    assert found == []


@pytest.mark.slow
def test_a_sweep_that_is_done_adds_no_run_of_a_step(followed: Path, given: Path, tmp_path: Path) -> None:
    results = Path(shutil.copytree(followed, tmp_path / "results", symlinks=True))
    before = sorted(path.name for path in results.glob("wandb/offline-run-*"))
    command = ["run", "--multirun", *words(given, results, *CELLS, "loss=it,im", "tracker=wandb")]
    assert process(*command).communicate(timeout=LONGEST)[0]
    new = [path.name for path in results.glob("wandb/offline-run-*") if path.name not in before]
    assert all(re.search(r"-sweep-multirun-\w+$", name) for name in new)
