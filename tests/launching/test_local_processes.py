"""This machine's processes for real: which there are, and what one that is killed costs."""

import multiprocessing
import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest
from fake_cells import SOON, fake_cell, lacking, launched

from im_bench.store import Step, Store


def note(out: Path, name: str) -> None:
    """Write down which process this is, and how many threads it may have."""
    (out / "process").write_text(f"{os.getpid()} {os.environ.get('OMP_NUM_THREADS')}")


def die(out: Path, name: str) -> None:
    (out / "part").touch()
    os.kill(os.getpid(), signal.SIGKILL)


def meet(folder: Path, out: Path, name: str) -> None:
    """Wait until another does, too."""
    (folder / name).touch()
    end = time.monotonic() + SOON
    while len(list(folder.iterdir())) < 2:
        assert time.monotonic() < end
        time.sleep(0.01)


def process_of(store: Store, step: Step) -> list[str]:
    return (store.path(step) / "process").read_text().split()


def test_a_cell_is_done_in_one_process_its_verdicts_in_another_and_none_is_left(run, store, seen):
    plan = partial(fake_cell, run, "a", train=note, answer=note, verdict=note)
    assert launched([plan], seen) == []
    verdicts = plan().benchmarks["mt_bench"]
    trained, answered, judged = (
        process_of(store, step)[0] for step in (plan().checkpoint, verdicts.needs[0], verdicts)
    )
    assert len({trained, judged, str(os.getpid())}) == 3 and trained == answered
    assert multiprocessing.active_children() == []


@pytest.mark.slow
def test_two_cells_at_a_time_are_in_two_processes_that_share_the_cores(run, store, seen, tmp_path):
    (tmp_path / "met").mkdir()
    plans = [
        partial(fake_cell, run, name, train=partial(meet, tmp_path / "met"), answer=note) for name in "ab"
    ]
    assert launched(plans, seen, jobs=2) == []
    noted = [process_of(store, plan().benchmarks["mt_bench"].needs[0]) for plan in plans]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert {threads for _, threads in noted} == {str(max(1, cores // 2))}
    assert noted[0][0] != noted[1][0]


@pytest.mark.slow
def test_a_process_that_is_killed_costs_its_step_and_what_needs_it_and_the_next_cell_has_a_new_one(
    run, store, seen, caplog
):
    bad = partial(fake_cell, run, "bad", train=die)
    good = partial(fake_cell, run, "good", train=note)
    [failure] = launched([bad, good], seen)
    why = "its process was killed by SIGKILL, as the system does when memory runs out"
    assert failure.step == bad().checkpoint.name and failure.why.startswith(why)
    assert f"{failure.step}: {why}" in caplog.text
    assert lacking(store, bad, good) == ["bad train", "bad answers", "bad verdicts"]
    assert store.state(bad().checkpoint).name == "failed" and store.state(bad().checkpoint).why == why
    assert ("ended", "bad train") in seen.told
    assert not store.locked(bad().checkpoint)
    again = partial(fake_cell, run, "bad", train=note)
    assert launched([again, good], seen) == []
    assert lacking(store, again, good) == []
