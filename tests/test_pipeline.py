"""A cell from its words to its scores, with a tiny model: what is run, what is not, and what is left."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import fields
from functools import cache
from pathlib import Path
from threading import Event

import pyarrow.parquet
import pytest

from im_bench import preflight
from im_bench.cli import main
from im_bench.composing import CONF, compose_run
from im_bench.config import UserError, judge_for
from im_bench.pipeline import Cell, plan
from im_bench.report.collect import FILE, Row, read_ledger
from im_bench.store import Step, Store
from im_bench.work import Follower

LEDGER = (
    "sweep cell model dataset subset loss seed benchmark category task metric value stderr count total "
    "direction judge reading_note step examples ratio truncated "
    "judge_prompt_tokens judge_answer_tokens judge_cost epoch source version"
).split()
BENCHMARKS = {"piqa", "mt_bench", "alpaca_eval_1"}
# One of each kind that a cell of these benchmarks has.
STEPS = {"base": 1, "train": 1, "harness": 1, "answers": 2, "verdicts": 2}
ALL = f"benchmark=[{','.join(sorted(BENCHMARKS))}]"
SHORT = ["benchmark.piqa.shots=0"]
SHORT += [f"benchmark.{name}.max_new_tokens=8" for name in ("mt_bench", "alpaca_eval_1", "alpaca_eval_2")]
TRAINING = ["train.epochs=4", "train.global_batch=4", "runtime.save_steps=1"]


def words(given: Path, results: Path, *overrides: str) -> list[str]:
    """The overrides of a small cell; a later one of the same key wins."""
    chosen = next((word for word in overrides if word.startswith("benchmark=")), ALL)
    short = [word for word in SHORT if word.split(".")[1] in chosen]
    own = [
        "experiment=toy",
        "model=local",
        f"model.path={given / 'model'}",
        "dataset=local",
        f"dataset.path={given / 'rows.jsonl'}",
        chosen,
        f"paths.hub={given / 'hub'}",
        f"paths.assets={given / 'assets'}",
        f"paths.results={results}",
        "runtime.threads=1",
        "limit=2",
        *short,
        *TRAINING,
        *overrides,
    ]
    return list({word.partition("=")[0]: word for word in own}.values())


def process(*arguments: str, start_new_session: bool = False) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "im_bench", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=start_new_session,
    )


class InThread:
    """A worker that is no process: what a test has broken here is broken there."""

    def __init__(self, *_: object) -> None: ...

    def do(self, piece: Callable[..., object], follower: Follower, stop: Event) -> object:
        return piece(follower, stop)

    def close(self) -> None: ...


def records(results: Path) -> dict[str, int]:
    """The steps that are done, with when."""
    found = sorted((results / "store").glob("*/*/step.json"))
    return {str(path.parent.relative_to(results / "store")): path.stat().st_mtime_ns for path in found}


def kinds(steps: Sequence[str]) -> dict[str, int]:
    count: dict[str, int] = {}
    for step in steps:
        kind = step.partition("/")[0]
        count[kind] = count.get(kind, 0) + 1
    return count


def numbers(rows: Sequence[Row]) -> dict[tuple[str, str, str], float | None]:
    return {(row.loss, row.task, row.metric): row.value for row in rows}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, given: Path) -> Path:
    """Of one cell with loss=it, run to its end."""
    folder = tmp_path_factory.mktemp("results")
    assert main(["run", *words(given, folder, "loss=it")]) == 0
    return folder


# --- identity ---


@pytest.fixture(scope="module")
def planned(given: Path) -> Callable[..., Cell]:
    @cache
    def cell(*overrides: str) -> Cell:
        return plan(compose_run("config", CONF, words(given, Path("results"), *overrides)))

    return cell


@pytest.mark.parametrize(
    "override",
    [
        "runtime.micro_batch_tokens=64",
        "runtime.save_steps=7",
        "engine.batch_size=3",
        "runtime.threads=2",
        "runtime=gpu",
        "tracker=wandb",
        "paths.results=elsewhere",
        "paths.cache=elsewhere",
        "loss.name=a_label",
        "model.name=a_label",
        "dataset.name=a_label",
        "dataset.format=prompt_completion",
        "dataset.source_field=nowhere",
        "dataset.num_examples=24",
        "judge.name=a_label",
        "report.reading=published",
        "report.baseline=im",
    ],
)
def test_where_and_how_a_cell_runs_does_not_change_its_key(
    planned: Callable[..., Cell], override: str
) -> None:
    assert planned(override).key == planned().key


@pytest.mark.parametrize(
    ("override", "kept"),
    [
        ("train.global_batch=8", {"base"}),
        ("train.precision=bf16", {"base"}),
        ("train.learning_rate=0.01", {"base"}),
        ("loss=im", {"base"}),
        ("loss.average=token", {"base"}),
        ("dataset.on_bad_row=skip", {"base"}),
        ("seed=1", {"base"}),
        ("limit=3", {"base", "train"}),
        ("benchmark.piqa.shots=1", {"base", "train", "answers", "verdicts"}),
        ("model.chat_template=own", set()),
    ],
)
def test_what_changes_a_number_changes_the_keys_of_what_it_touches(
    planned: Callable[..., Cell], override: str, kept: set[str]
) -> None:
    before, after = planned(), planned(override)
    assert after.key != before.key
    keys = {step.key for step in before.steps()}
    assert {step.kind for step in after.steps() if step.key in keys} == kept


SERVED = ("judge=openai", "judge.model=judge-1")


@pytest.mark.parametrize(
    "override",
    [
        "judge.name=a_label",
        "judge.concurrency=7",
        "judge.timeout_seconds=7",
        "judge.deadline_seconds=7",
        "judge.base_url=http://127.0.0.1:1/v1",
        "judge.api_key_env=null",
        "judge.price={prompt: 1, answer: 2, date: 2026-11-01}",
        "judge.tokenizer=elsewhere",
        "judge.retired=since today",
    ],
)
def test_where_and_how_a_judge_is_asked_does_not_change_the_key(
    planned: Callable[..., Cell], override: str
) -> None:
    assert planned(*SERVED, override).key == planned(*SERVED).key


@pytest.mark.parametrize(
    "override",
    [
        "judge.model=another",
        "judge.temperature=1",
        "judge.temperature=null",
        "judge.body={reasoning_effort: low}",
    ],
)
def test_what_changes_a_verdict_is_another_key_for_the_verdicts_alone(
    planned: Callable[..., Cell], override: str
) -> None:
    before, after = planned(*SERVED), planned(*SERVED, override)
    keys = {step.key for step in before.steps()}
    assert kinds([step.kind for step in after.steps() if step.key not in keys]) == {"verdicts": 2}


@pytest.mark.parametrize(
    ("override", "others"),
    [
        ("judge.pairwise=ranking", {"alpaca_eval_2"}),
        ("judge.both_orders=true", {"alpaca_eval_1", "alpaca_eval_2"}),
    ],
)
def test_a_way_of_comparing_is_another_judge_only_where_it_changes_what_is_asked(
    planned: Callable[..., Cell], override: str, others: set[str]
) -> None:
    judged = "benchmark=[mt_bench,alpaca_eval_1,alpaca_eval_2]"
    before, after = planned(judged), planned(judged, override)
    keys = {step.key for step in before.benchmarks.values()}
    assert {name for name, step in after.benchmarks.items() if step.key not in keys} == others
    labels = {name: judge_for(after.run.judge, spec).label for name, spec in after.run.benchmark.items()}
    assert {name for name, label in labels.items() if label != "overlap"} == others


def test_files_of_verdicts_are_known_by_their_content(planned: Callable[..., Cell], tmp_path: Path) -> None:
    said = [tmp_path / "mine.jsonl", tmp_path / "copied.jsonl", tmp_path / "other.jsonl"]
    for path, text in zip(said, ("{}", "{}", "{ }"), strict=True):
        path.write_text(text)
    replayed = [planned("judge=replay", "judge.name=said", f"judge.files={path}").key for path in said]
    assert replayed[0] == replayed[1] != replayed[2]
    several = f"judge.files=[{said[0]},{said[2]}]"
    assert planned("judge=replay", "judge.name=said", several).key not in replayed
    with pytest.raises(UserError, match=f"judge.files={tmp_path}/none.jsonl: there is no such file"):
        planned("judge=replay", "judge.name=said", f"judge.files={tmp_path}/none.jsonl")


def test_length_control_is_of_its_own_benchmark_alone(planned: Callable[..., Cell]) -> None:
    both = "benchmark=[piqa,alpaca_eval_1,alpaca_eval_2]"
    with_it, without = planned(both), planned(both, "benchmark.alpaca_eval_2.length_controlled=false")
    kept = {step.key for step in with_it.steps()} & {step.key for step in without.steps()}
    assert [step.label for step in with_it.steps() if step.key not in kept] == [
        "local-local-full-it-seed0-alpaca_eval_2-overlap"
    ]


def test_a_mixture_of_one_whole_file_is_that_file(planned: Callable[..., Cell], given: Path) -> None:
    def mixed(fraction: float) -> str:
        parts = f"dataset.parts={{mine: {{path: '{given / 'rows.jsonl'}', fraction: {fraction}}}}}"
        overrides = [word for word in words(given, Path("results")) if not word.startswith("dataset")]
        return plan(compose_run("config", CONF, [*overrides, "dataset=mixture", parts])).checkpoint.key

    assert mixed(1) == planned().checkpoint.key != mixed(0.5)


def test_every_value_of_a_subset_is_in_its_key(planned: Callable[..., Cell]) -> None:
    subsets = [
        ["subset=ratio", "subset.target=2", "subset.size=8"],
        ["subset=ratio", "subset.target=3", "subset.size=8"],
        ["subset=ratio", "subset.target=3", "subset.size=8", "subset.unit=tokens"],
        ["subset=ratio_window", "subset.window=[1,3]", "subset.size=8"],
        ["subset=stratified", "subset.size=8"],
        ["subset=fraction", "subset.fraction=0.5"],
        ["subset=fraction", "subset.fraction=0.25"],
    ]
    assert len({planned(*each).checkpoint.key for each in subsets}) == len(subsets)


def test_a_subset_is_another_training(planned: Callable[..., Cell]) -> None:
    first, random = (planned(f"subset={name}", "+subset.size=8") for name in ("first", "random"))
    assert len({planned().checkpoint.key, first.checkpoint.key, random.checkpoint.key}) == 3


def test_a_file_or_folder_is_known_by_its_content_and_not_its_place(
    planned: Callable[..., Cell], given: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    for name in ("model", "hub", "assets"):
        shutil.copytree(given / name, moved / name)
    shutil.copy(given / "rows.jsonl", moved / "other.jsonl")
    places = [f"model.path={moved}/model", f"paths.hub={moved}/hub", f"paths.assets={moved}/assets"]
    assert planned(*places, f"dataset.path={moved}/other.jsonl").key == planned().key
    (moved / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    assert planned(*places, f"dataset.path={moved}/rows.jsonl").key != planned().key


def test_the_base_model_is_one_cell_whatever_would_have_been_trained(
    planned: Callable[..., Cell], tmp_path: Path
) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text('{"prompt": "a", "completion": "b"}\n')
    changes = [f"dataset.path={other}", "train.epochs=9", "subset=first", "+subset.size=1"]
    assert planned("loss=none", *changes).key == planned("loss=none").key


def test_both_versions_of_alpaca_eval_judge_the_same_answers(planned: Callable[..., Cell]) -> None:
    both = planned("benchmark=[piqa,mt_bench,alpaca_eval_1,alpaca_eval_2]")
    assert kinds([step.kind for step in both.steps()]) == STEPS | {"verdicts": 3}


# --- running ---


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


def todo(cell: Cell, *done: str) -> dict[str, Step]:
    return {step.key: step for step in cell.steps() if step.kind not in done}


def test_an_engine_is_needed_only_where_something_is_to_be_answered(planned: Callable[..., Cell]) -> None:
    cell = planned("engine=vllm")
    for done in ((), ("base", "train"), ("base", "train", "harness")):
        with pytest.raises(UserError, match="engine=vllm: it is not installed"):
            preflight.check([cell], todo(cell, *done))
    preflight.check([cell], todo(cell, "base", "train", "harness", "answers"))


def test_a_chat_template_is_needed_only_where_something_is_still_asked_in_it(
    planned: Callable[..., Cell], given: Path, tmp_path: Path
) -> None:
    shutil.copytree(given / "model", tmp_path / "model")
    (tmp_path / "model/chat_template.jinja").unlink()
    cell = planned(f"model.path={tmp_path / 'model'}", "model.chat_template=own")
    for done, needed in (((), "training, .*mt_bench"), (("train", "answers"), None)):
        with pytest.raises(UserError, match=f"needed by {needed}") if needed else nullcontext():
            preflight.check([cell], todo(cell, *done))


def test_a_named_model_of_a_server_is_there_before_it_is_asked(planned: Callable[..., Cell]) -> None:
    words = ["engine=server", "engine.base_url=http://localhost:1/v1", "engine.model=tuned"]
    it, im = planned(*words), planned(*words, "loss=im")
    with pytest.raises(UserError, match="engine.model: what is served was there before this checkpoint"):
        preflight.check([it], todo(it))
    with pytest.raises(UserError, match="^engine.base_url=http://localhost:1/v1: no answer"):
        preflight.check([it], todo(it, "train"))
    with pytest.raises(UserError, match="one served model cannot be all checkpoints"):
        preflight.check([it, im], todo(it, "train") | todo(im, "train"))
    preflight.check([it], {})  # what is done asks no server


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


# --- processes ---

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
