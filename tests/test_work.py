"""What one process does of a sweep: which steps run, who is told, and what a failure costs."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from pydantic import BaseModel
from settings import Seen

from im_bench import tracking, work
from im_bench.composing import CONF, compose_run
from im_bench.config import Run, UserError
from im_bench.scores import Score, write_scores
from im_bench.stages import Wires
from im_bench.store import EVENTS, Step, Store
from im_bench.work import Job, do, make_ready


class Named(BaseModel):
    name: str


@dataclass
class Fakes:
    """Planned steps that do what they are told, and remember that they ran."""

    wires: Wires = field(default_factory=Wires)
    found: list[Step] = field(default_factory=list)
    ran: list[str] = field(default_factory=list)

    def steps(self) -> list[Step]:
        return self.found

    def step(
        self,
        name: str,
        *needs: Step,
        does: Callable[[Path], object] = lambda out: None,
        kind: str = "harness",
    ) -> Step:
        def run(out: Path, *inputs: Path) -> None:
            self.ran.append(name)
            does(out)

        step = Step(kind, Named(name=name), run, needs=needs, label=name)
        self.found.append(step)
        return step


@pytest.fixture(scope="module")
def composed() -> Run:
    return compose_run("config", CONF, ["experiment=toy"])


@pytest.fixture
def run(composed: Run, tmp_path: Path) -> Run:
    return composed.model_copy(
        update={"paths": composed.paths.model_copy(update={"results": tmp_path / "results"})}
    )


@pytest.fixture
def store(run: Run) -> Store:
    return Store(run.paths.results / "store")


@pytest.fixture
def fakes() -> Fakes:
    return Fakes()


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def done(run: Run, fakes: Fakes, seen: Seen) -> Callable[..., list[work.Failure]]:
    """Does these steps as one job."""

    def done(*steps: Step, stop: Event | None = None, run: Run = run) -> list[work.Failure]:
        job = Job("small", run, lambda: fakes, tuple(step.key for step in steps))
        return do(job, seen, stop or Event())

    return done


def failing(error: Exception) -> Callable[[Path], None]:
    def fail(out: Path) -> None:
        raise error

    return fail


def events(store: Store, step: Step) -> list[dict[str, Any]]:
    """What was written in a step's folder, without when."""
    file = store.path(step) / EVENTS
    found = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    assert all(event.pop("time") > 0 for event in found)
    return found


# --- which steps run ---


def test_the_steps_of_a_job_are_done_in_its_order_and_no_others(done, fakes, store, seen):
    first, other = fakes.step("first"), fakes.step("other")
    last = fakes.step("last", first)
    assert done(first, last) == []
    assert fakes.ran == ["first", "last"]
    assert [store.done(step) for step in (first, last, other)] == [True, True, False]
    assert seen.told == [(word, step.key) for step in (first, last) for word in ("began", "ended")]


def test_what_is_done_when_its_turn_comes_is_not_done_again(done, fakes, store):
    step = fakes.step("a")
    store.ensure(step)
    assert done(step) == []
    assert fakes.ran == ["a"]


@pytest.mark.parametrize(
    ("error", "mendable"),
    [(UserError("no key"), True), (ValueError("a bug"), False), (OSError("no such folder"), False)],
)
def test_a_failing_step_is_one_failure_that_is_told_and_the_others_go_on(
    done, fakes, store, seen, caplog, error, mendable
):
    bad, good = fakes.step("bad", does=failing(error)), fakes.step("good")
    [failure] = done(bad, good)
    assert (failure.step, failure.mendable) == (bad.name, mendable)
    assert str(error) in failure.why and f"{bad.name}: {failure.why}" in caplog.text
    assert [store.done(step) for step in (bad, good)] == [False, True]
    assert seen.told == [(word, step.key) for step in (bad, good) for word in ("began", "ended")]


def test_what_needs_a_failed_step_is_not_done_and_the_failed_one_is_tried_once(done, fakes, store, seen):
    bad = fakes.step("bad", does=failing(UserError("no room")))
    needing = fakes.step("needing", bad)
    far, other = fakes.step("far", needing), fakes.step("other")
    assert [failure.step for failure in done(bad, needing, far, other)] == [bad.name]
    assert fakes.ran == ["bad", "other"]
    assert {key for _, key in seen.told} == {bad.key, other.key}


def test_a_step_whose_need_another_job_should_have_made_and_did_not_is_not_run(done, fakes, seen):
    """Its failure is told where it failed."""
    needing = fakes.step("needing", fakes.step("train", kind="train"))
    far = fakes.step("far", needing)
    assert done(needing, far) == []
    assert (fakes.ran, seen.told) == ([], [])


def weights(out: Path) -> None:
    (out / "model.safetensors").write_text("weights")


def test_a_step_whose_files_were_dropped_is_made_again_where_the_job_has_it(done, fakes, store):
    train = fakes.step("train", does=weights, kind="train")
    needing = fakes.step("needing", train)
    store.drop(train, [store.ensure(train) / "model.safetensors"])
    assert done(train, needing) == []
    assert fakes.ran == ["train", "train", "needing"]
    assert store.whole(train)


def test_files_that_were_dropped_while_a_step_waited_are_its_failure(done, fakes, store):
    train = fakes.step("train", does=weights, kind="train")
    needing = fakes.step("needing", train)
    store.drop(train, [store.ensure(train) / "model.safetensors"])
    [failure] = done(needing)
    assert (failure.step, failure.mendable) == (needing.name, True)
    assert failure.why == f"{train.name}: its files were dropped meanwhile; run again"
    assert fakes.ran == ["train"]


def test_a_file_that_was_changed_while_the_job_waited_is_told_before_anything_runs(done, fakes):
    known, stranger = fakes.step("known"), Fakes().step("of other files")
    with pytest.raises(
        UserError, match="small: a file that a step reads was changed while it waited; run again"
    ):
        done(stranger, known)
    assert fakes.ran == []


# --- stop ---


def test_a_job_that_is_told_to_stop_begins_nothing(done, fakes, seen):
    stop = Event()
    stop.set()
    assert done(fakes.step("a"), stop=stop) == []
    assert (fakes.ran, seen.told) == ([], [])


def test_a_stop_lets_what_runs_end_and_begins_nothing_more(done, fakes, store):
    stop = Event()
    first = fakes.step("first", does=lambda out: stop.set())
    assert done(first, fakes.step("second"), stop=stop) == []
    assert fakes.ran == ["first"]
    assert store.done(first)


def test_a_judge_hears_of_the_stop(done, fakes):
    stop, heard = Event(), []
    done(fakes.step("a", does=lambda out: heard.append(fakes.wires.stop), kind="verdicts"), stop=stop)
    assert heard == [stop]


# --- who is told ---


def test_a_training_tells_each_optimiser_step_to_its_file_and_its_follower(done, fakes, store, seen):
    def train(out: Path) -> None:
        fakes.wires.tell({"data/examples": 3})
        fakes.wires.follow({"step": 1, "steps": 2, "loss": 0.5})

    step = fakes.step("a", does=train, kind="train")
    done(step)
    trained = {"train/step": 1, "train/steps": 2, "train/loss": 0.5}
    assert events(store, step) == [{"data/examples": 3}, trained]
    assert seen.told[1:-1] == [("within", step.key, 1, 2, "optimiser steps, loss 0.5000")]


@pytest.mark.parametrize(
    ("kind", "what"), [("harness", "requests"), ("answers", "requests"), ("verdicts", "verdicts")]
)
def test_a_benchmark_counts_requests_and_a_judge_verdicts(done, fakes, seen, kind, what):
    step = fakes.step("a", does=lambda out: fakes.wires.count(3, 5), kind=kind)
    done(step)
    assert seen.told[1:-1] == [("within", step.key, 3, 5, what)]


def test_each_step_is_told_of_under_its_own_key_and_in_its_own_folder(done, fakes, store, seen):
    steps = [
        fakes.step(name, does=lambda out, number=number: fakes.wires.follow(told(number)), kind="train")
        for number, name in enumerate("ab")
    ]
    done(*steps)
    assert [each[1] for each in seen.told if each[0] == "within"] == [step.key for step in steps]
    assert [[event["train/step"] for event in events(store, step)] for step in steps] == [[0], [1]]


def told(number: int) -> dict[str, float]:
    return {"step": number, "steps": 2, "loss": 0.5}


def scored(out: Path) -> None:
    score = Score("mt_bench", "judged", "mt_bench", "score", 5.0, None, 1, 1, "higher")
    category = Score("mt_bench", "judged", "mt_bench_math", "score", 4.0, None, 1, 1, "higher")
    missing = Score("mt_bench", "judged", "mt_bench", "other", None, None, 0, 1, "higher")
    write_scores(out, [score, category, missing])


def test_the_headlines_of_a_step_are_its_last_event(done, fakes, store):
    with_scores, without = fakes.step("a", does=scored, kind="verdicts"), fakes.step("b", kind="answers")
    done(with_scores, without)
    assert events(store, with_scores) == [{"scores": {"mt_bench/score": 5.0}}]
    assert events(store, without) == []


class Service:
    """W&B's client, that remembers what it was asked for, and which of its runs are open."""

    def __init__(self, fails: str | None = None) -> None:
        self.fails, self.asked, self.open = fails, [], 0
        self.summary: dict[str, float] = {}

    def init(self, **asked: Any) -> "Service":
        if self.fails == "init":
            raise RuntimeError("no entry")
        self.asked.append(asked)
        self.open += 1
        return self

    def log(self, values: dict[str, Any]) -> None:
        if self.fails == "log":
            raise RuntimeError("the service has died")

    def finish(self, exit_code: int = 0) -> None:
        self.open -= 1


@pytest.fixture
def tracked(run: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Run, Service]]:
    """A run that is tracked by such a client."""
    import wandb

    def tracked(fails: str | None = None) -> tuple[Run, Service]:
        service = Service(fails)
        monkeypatch.setattr(wandb, "init", service.init)
        monkeypatch.setattr(tracking, "_table", lambda rows: list(rows))
        spec = run.tracker.model_copy(update={"kind": "wandb", "project": "tests"})
        return run.model_copy(update={"tracker": spec}), service

    return tracked


def test_each_step_is_a_run_under_its_key_and_all_of_a_sweep_are_a_group(done, fakes, tracked):
    run, service = tracked()
    steps = [fakes.step("a", kind="train"), fakes.step("b", does=scored, kind="verdicts")]
    done(*steps, run=run)
    assert [(each["id"], each["name"], each["job_type"], each["group"]) for each in service.asked] == [
        (step.key, step.label, step.kind, "small") for step in steps
    ]
    assert service.asked[0]["config"]["step"] == steps[0].identity
    assert all(each["dir"] == run.paths.results for each in service.asked)
    assert (service.summary, service.open) == ({"score/mt_bench/score": 5.0}, 0)


def test_the_run_of_a_failed_step_is_ended_too(done, fakes, tracked):
    run, service = tracked()
    assert len(done(fakes.step("bad", does=failing(ValueError("a bug"))), run=run)) == 1
    assert (len(service.asked), service.open) == (1, 0)


@pytest.mark.parametrize("fails", ["init", "log"])
def test_a_tracker_that_fails_stops_nothing_and_the_file_has_everything(
    done, fakes, store, tracked, caplog, fails
):
    run, _ = tracked(fails)
    step = fakes.step("a", does=lambda out: fakes.wires.follow(told(1)), kind="train")
    assert done(step, run=run) == []
    assert [event["train/step"] for event in events(store, step)] == [1]
    [warning] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert {"init": "no entry", "log": "the service has died"}[fails] in warning.getMessage()
    assert "has everything" in warning.getMessage()


# --- ready ---


@pytest.mark.parametrize(
    ("names", "imports"),
    [(["mt_bench"], 0), (["mt_bench", "alpaca_eval_2", "alpaca_eval_1"], 1), ([], 0)],
)
def test_a_process_that_judges_imports_what_its_benchmarks_need(monkeypatch, names, imports):
    asked: list[bool] = []
    monkeypatch.setattr(
        "im_bench.evaluation.alpaca_eval.import_package", lambda *, alone: asked.append(alone)
    )
    make_ready(names, Seen(), Event())
    assert asked == [True] * imports
