"""Jobs of other machines as they are seen from here: what is done, what has failed, and what is still on its way."""

import json
import logging
from functools import partial
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
from fake_cells import fake_cell
from pydantic import BaseModel

from im_bench.config import Run
from im_bench.launching import watching
from im_bench.launching.watching import Watch, lost, told, work_in
from im_bench.store import RUNNING, Step, Store
from im_bench.work import Failure, Job


class Named(BaseModel):
    name: str


def step(kind: str, *needs: Step) -> Step:
    return Step(kind, Named(name=kind), lambda out, *inputs: None, needs=needs, label=kind)


TRAIN = step("train")
PIQA = step("harness", TRAIN)


class Seen:
    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def began(self, key: str) -> None:
        self.told.append(("began", key))

    def within(self, *_: Any) -> None: ...

    def ended(self, key: str) -> None:
        self.told.append(("ended", key))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(watching, "LOOK", 0.02)
    monkeypatch.setattr(watching, "GRACE", 0.2)
    return Store(tmp_path / "store")


def test_each_step_is_told_of_once_when_it_begins_and_when_it_ends(store: Store) -> None:
    seen = Seen()
    watch = Watch(store, seen)
    watch.look([TRAIN, PIQA])
    assert seen.told == []
    store.ensure(TRAIN)
    for _ in range(2):
        watch.look([TRAIN, PIQA])
    watch.over([TRAIN, PIQA])
    # The second has never begun, and its job is over.
    assert seen.told == [("began", TRAIN.key), ("ended", TRAIN.key), ("ended", PIQA.key)]


def test_a_step_that_begins_elsewhere_is_named_as_one_that_begins_here(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.ensure(TRAIN)
    caplog.set_level(logging.INFO, "im_bench")
    caplog.clear()
    watch = Watch(store, Seen())
    watch.look([TRAIN, PIQA])
    watch.over([TRAIN, PIQA])
    assert caplog.messages == [TRAIN.name]


def test_a_step_that_began_and_ended_between_two_looks_is_told_of_both(store: Store) -> None:
    seen = Seen()
    store.ensure(TRAIN)
    Watch(store, seen).over([TRAIN])
    assert seen.told == [("began", TRAIN.key), ("ended", TRAIN.key)]


def test_the_log_of_a_job_says_how_far_it_is(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(Path.cwd())  # a job goes to the folder of its command
    caplog.set_level(logging.INFO, "im_bench")
    plan = partial(fake_cell, run, "a")
    first, second, *_ = plan().steps()
    assert work_in(Path.cwd(), Job("small", run, plan, (first.key, second.key))) == []
    ends = [message for message in caplog.messages if "ended" in message]
    assert caplog.messages[0] == "2 steps to do"
    assert [(end.partition(" ended")[0], end.rpartition(": ")[2]) for end in ends] == [
        ("1 of 2 steps", first.name),
        ("2 of 2 steps", second.name),
    ]


def test_a_record_that_is_on_its_way_is_waited_for(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "GRACE", 60.0)
    timer = Timer(0.2, store.ensure, [TRAIN])
    timer.start()
    assert told(store, [TRAIN], []) == []
    timer.join()


def test_a_step_of_which_no_record_comes_has_failed(store: Store) -> None:
    (failure,) = told(store, [TRAIN, PIQA], [])
    assert (failure.step, failure.mendable) == (TRAIN.name, False)
    assert failure.why == f"its job ended without it ({store.path(TRAIN)})"
    assert store.state(TRAIN).why == "its job ended without it"


def test_what_waited_for_a_failed_step_is_not_waited_for(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "GRACE", 1e9)
    assert told(store, [PIQA], []) == []
    failures = [Failure(TRAIN.name, "why", mendable=True)]
    assert told(store, [TRAIN, PIQA], failures) == failures


def test_of_a_job_that_is_lost_the_step_has_failed_that_it_was_at(store: Store) -> None:
    store.ensure(TRAIN)
    other = step("answers", TRAIN)
    store.path(other).mkdir(parents=True)
    (store.path(other) / RUNNING).write_text(json.dumps({"where": "node1, process 1", "since": "today"}))
    said = {each.step: each.why for each in lost(store, [TRAIN, PIQA, other], "it is gone")}
    at = f"it is gone ({store.path(other)})"
    assert said == {PIQA.name: "not begun: it is gone", other.name: at}
    assert store.state(other).why == "it is gone"
    assert store.state(PIQA).name == "todo"


def test_of_a_job_that_is_lost_before_it_began_the_first_step_has_failed(store: Store) -> None:
    store.ensure(TRAIN)
    steps = [PIQA, step("answers", TRAIN), step("humaneval", TRAIN)]
    assert [each.step for each in lost(store, steps, "it is gone")] == [each.name for each in steps]
    assert [store.state(each).name for each in steps] == ["failed", "todo", "todo"]
