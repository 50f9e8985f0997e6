"""What a step that fails, a process that dies and a stop cost on this machine, with workers that are no processes."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fake_cells import InThread, Seen, fake_cell, lacking, launched, nothing, refuse

from im_bench.config import Local, UserError
from im_bench.launching import CellPlan, chains_of, launch, local
from im_bench.pipeline import Cell
from im_bench.worker import Cancelled, Killed

BASE, TRAIN, ANSWERED, JUDGED = "common base", "bad train", "bad answers", "bad verdicts"


def break_down(out: Path, name: str) -> None:
    raise ZeroDivisionError("a bug")


@pytest.mark.parametrize(
    ("does", "failed", "lacks"),
    [
        ("train", TRAIN, [TRAIN, ANSWERED, JUDGED]),
        ("answer", ANSWERED, [ANSWERED, JUDGED]),
        ("verdict", JUDGED, [JUDGED]),
    ],
)
@pytest.mark.parametrize(
    ("how", "why", "mendable"),
    [(partial(refuse, "no key"), "no key", True), (break_down, "ZeroDivisionError: a bug", False)],
)
def test_a_failing_step_costs_what_needs_it_and_no_other_cell(
    run, store, seen, workers, does, failed, lacks, how, why, mendable
):
    bad = partial(fake_cell, run, "bad", **{"train": nothing, does: how})
    good = partial(fake_cell, run, "good", train=nothing)
    [failure] = launched([bad, good], seen)
    assert failure.step.startswith(f"{failed.split()[1]}/bad_") and failure.mendable == mendable
    assert why in failure.why
    assert lacking(store, bad, good) == lacks
    assert not set(lacks) - {failed} & set(seen.begun())


def test_a_shared_training_that_fails_is_one_failure_of_all_its_cells(run, store, seen, workers):
    cells = [partial(fake_cell, run, name, train=partial(refuse, "no"), shared="it") for name in "ab"]
    [failure] = launched(cells, seen)
    assert failure.step.startswith("train/it_")
    assert len(lacking(store, *cells)) == 5
    assert seen.begun() == [BASE, "it train"]


@pytest.mark.parametrize(
    "error", [UserError("a file was changed"), OSError("no such file"), RuntimeError("a bug")]
)
def test_planning_that_fails_where_the_work_is_done_is_a_failure_of_the_step(
    run, store, seen, workers, error
):
    bad, good = partial(fake_cell, run, "bad"), partial(fake_cell, run, "good")
    cells = [bad(), good()]
    todo = [step for cell in cells for step in cell.steps()]
    seen.start(todo)

    def changed() -> Cell:
        raise error

    planned = [CellPlan(run, plan, cell.steps()) for plan, cell in zip((changed, good), cells, strict=True)]
    [failure] = launch(chains_of("small", planned, todo), Local(kind="local", jobs=1), store, seen)
    assert failure.step.startswith("base/bad") and str(error) in failure.why
    assert lacking(store, bad, good) == ["bad base", "bad answers", "bad verdicts"]


def test_a_judging_process_that_cannot_be_made_ready_stops_nothing(run, store, seen, workers, monkeypatch):
    def broken(names: list[str], follower: object, stop: object) -> None:
        raise RuntimeError("Traceback ... ImportError: pandas")

    monkeypatch.setattr(local, "make_ready", broken)
    plan = partial(fake_cell, run, "a")
    assert launched([plan], seen) == []
    assert lacking(store, plan) == []


class Dying(InThread):
    """Whose process dies of some steps."""

    deadly: tuple[str, ...] = ()

    def do(self, piece: Any, follower: Any, stop: Any) -> Any:
        value = super().do(piece, follower, stop)
        job = piece.args[0] if piece.func is local.do else None
        if job is not None and any(
            step.label in self.deadly for step in job.plan().steps() if step.key in job.keys
        ):
            raise Killed("its process was killed by SIGKILL")
        return value


def test_a_death_is_a_failure_with_its_folder_where_what_the_step_itself_said_is_kept(
    run, store, seen, workers, monkeypatch
):
    monkeypatch.setattr(local, "Worker", Dying)
    monkeypatch.setattr(Dying, "deadly", ("bad answers",))
    bad = partial(fake_cell, run, "bad", answer=partial(refuse, "never mind"))
    good = partial(fake_cell, run, "good")
    [failure] = launched([bad, good], seen)
    step = bad().benchmarks["mt_bench"].needs[0]
    assert (failure.step, failure.mendable) == (step.name, False)
    assert failure.why == f"its process was killed by SIGKILL ({store.path(step)})"
    state = store.state(step)
    assert (state.name, state.why) == ("failed", "never mind")
    assert lacking(store, bad, good) == ["bad answers", "bad verdicts"]


class Stopping(InThread):
    """Whose work is cancelled."""

    def do(self, piece: Any, follower: Any, stop: Any) -> Any:
        raise Cancelled


def test_work_that_is_cancelled_is_no_failure_and_nothing_that_needs_it_begins(
    run, seen, workers, monkeypatch
):
    monkeypatch.setattr(local, "Worker", Stopping)
    assert launched([partial(fake_cell, run, "a")], seen) == []
    assert seen.told == []


class Ended(InThread):
    """Whose process is ended while somebody says stop."""

    def do(self, piece: Any, follower: Any, stop: Any) -> Any:
        if piece.func is not local.do:
            return None
        stop.set()
        raise Killed("its process ended by itself with exit code 1")


def test_a_process_that_ends_after_a_stop_has_failed_of_nothing(run, store, seen, workers, monkeypatch):
    monkeypatch.setattr(local, "Worker", Ended)
    plan = partial(fake_cell, run, "a")
    assert launched([plan], seen) == []
    assert {store.state(step).name for step in plan().steps()} == {"todo"}


def test_an_error_that_is_no_steps_ends_the_sweep_and_begins_nothing_more(run, store, seen, workers):
    class Broken(Seen):
        def ended(self, key: str) -> None:
            raise ZeroDivisionError("of the one who watches")

    plans = [partial(fake_cell, run, name) for name in "abc"]
    broken = Broken()
    with pytest.raises(ZeroDivisionError):
        launched(plans, broken)
    assert broken.begun()[0] == "a base" and len(broken.begun()) <= 2
    assert all(worker.closed for worker in workers)
