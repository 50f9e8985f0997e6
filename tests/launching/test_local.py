"""This machine's own launcher: what runs beside what, and what a sweep of it leaves in the ledger."""

import json
import os
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Barrier, Event, current_thread
from typing import Any

import pytest
from fake_cells import SOON, InThread, Seen, fake_cell, lacking, launched, refuse

from im_bench import sweep
from im_bench.config import Local
from im_bench.launching import CellPlan, chains_of, launch, local
from im_bench.pipeline import Cell
from im_bench.report.collect import read_ledger
from im_bench.store import EVENTS, Step, Store


def test_a_cell_is_answered_while_the_verdicts_of_the_one_before_are_waited_for(run, seen, workers):
    answered = Event()

    def judge(out: Path, name: str) -> None:
        assert answered.wait(SOON)

    first = partial(fake_cell, run, "first", verdict=judge)
    second = partial(fake_cell, run, "second", answer=lambda out, name: answered.set())
    assert launched([first, second], seen) == []
    assert seen.told.index(("began", "second answers")) < seen.told.index(("ended", "first verdicts"))


def test_verdicts_are_asked_for_one_after_the_other_and_by_nobody_who_trains(run, store, seen, workers):
    order: list[str] = []
    threads: dict[str, set[str]] = {"engine": set(), "judge": set()}

    def does(who: str, out: Path, name: str) -> None:
        threads[who].add(current_thread().name)
        if who == "judge":
            order.append(f"{name} begins")
            time.sleep(0.05)
            order.append(f"{name} ends")

    plans = [
        partial(fake_cell, run, name, answer=partial(does, "engine"), verdict=partial(does, "judge"))
        for name in "abc"
    ]
    assert launched(plans, seen) == []
    assert order == [f"{name} {word}" for name in "abc" for word in ("begins", "ends")]
    assert len(threads["judge"]) == 1 and not threads["judge"] & threads["engine"]
    assert lacking(store, *plans) == []


def test_one_cell_is_done_after_the_other_or_as_many_at_a_time_as_are_asked_for(run, seen, workers):
    running, most = Counter(), []
    both = Barrier(2)

    def answer(out: Path, name: str) -> None:
        running["now"] += 1
        most.append(running["now"])
        time.sleep(0.05)
        running["now"] -= 1

    def together(out: Path, name: str) -> None:
        both.wait(SOON)

    one_by_one = [partial(fake_cell, run, name, answer=answer) for name in "abc"]
    assert launched(one_by_one, seen) == []
    assert most == [1, 1, 1]
    assert launched([partial(fake_cell, run, name, answer=together) for name in "defg"], seen, jobs=2) == []


def test_processes_side_by_side_share_the_cores(run, seen, workers, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    for jobs in (1, 3, 16):
        launched([partial(fake_cell, run, str(jobs))], seen, jobs)
    given = [worker.environment for worker in workers]
    assert given == [{}, None, *[{"OMP_NUM_THREADS": "2"}] * 3, None, *[{"OMP_NUM_THREADS": "1"}] * 16, None]


def test_all_workers_are_closed_and_only_the_one_that_judges_has_patience(run, seen, workers):
    launched([partial(fake_cell, run, "a")], seen, jobs=2)
    assert [worker.closed for worker in workers] == [True] * 3
    assert [worker.patience for worker in workers] == [0.0, 0.0, local.JUDGES_PATIENCE]


def test_the_judging_worker_is_made_ready_only_where_there_is_something_to_judge(run, seen, workers):
    plan = partial(fake_cell, run, "a")
    launched([plan], seen)
    assert len(workers[-1].pieces) == 2  # to be ready, and the verdicts
    other = partial(fake_cell, run, "b")
    cell = other()
    answers = cell.benchmarks["mt_bench"].needs[0]
    chains = chains_of("small", [CellPlan(run, other, cell.steps())], [cell.checkpoint, answers])
    seen.start(cell.steps())
    assert launch(chains, Local(kind="local", jobs=1), Store(run.paths.results / "store"), seen) == []
    assert workers[-1].pieces == []


def test_with_nothing_to_do_nothing_is_done(store, seen, workers):
    assert launch([], Local(kind="local", jobs=2), store, seen) == []
    assert all(worker.pieces == [] and worker.closed for worker in workers)


def test_two_cells_with_the_same_verdicts_have_them_asked_for_once(run, seen, workers):
    asked: list[str] = []
    cells = [partial(fake_cell, run, "same", verdict=lambda out, name: asked.append(name)) for _ in "ab"]
    assert launched(cells, seen) == []
    assert asked == ["same"]


# --- through a sweep ---


@pytest.fixture
def swept(monkeypatch: pytest.MonkeyPatch, workers: list[InThread]) -> Callable[..., Any]:
    """Runs cells as a sweep does, each planned again by its own means."""

    def swept(seen: Seen, *plans: Callable[[], Cell]) -> Any:
        cells = [plan() for plan in plans]
        again = iter(plans)
        monkeypatch.setattr(sweep, "partial", lambda plan, run: next(again))
        return sweep.run_sweep("small", cells, seen)

    return swept


def events(store: Store, step: Step) -> list[dict[str, Any]]:
    file = store.path(step) / EVENTS
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_a_failing_verdict_is_one_missing_score_in_the_ledger(run, store, seen, swept):
    bad, good = (
        partial(fake_cell, run, "bad", verdict=partial(refuse, "no key")),
        partial(fake_cell, run, "good"),
    )
    [failure], any_score = swept(seen, bad, good)
    assert any_score and failure.why == "no key"
    values = {row.cell: row.value for row in read_ledger(run.paths.results / "scores.jsonl")}
    assert values == {bad().key: None, good().key: 5.0}
    told = [
        [event["scores"] for event in events(store, plan().benchmarks["mt_bench"])] for plan in (bad, good)
    ]
    assert told == [[], [{"mt_bench/score": 5.0}]]


def test_without_any_score_there_is_no_ledger(run, seen, swept):
    [failure], any_score = swept(seen, partial(fake_cell, run, "bad", answer=partial(refuse, "no room")))
    assert failure.step.startswith("answers/") and not any_score
    assert not (run.paths.results / "scores.jsonl").exists()
