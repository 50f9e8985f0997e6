"""Jobs on other machines, seen from here: by the records in the store, which all machines share."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from threading import Event

from im_bench.config import Resources, Run
from im_bench.launching.chains import Chain
from im_bench.progress import Progress
from im_bench.store import Step, Store
from im_bench.work import Failure, Follower, Job, Quiet, do, failed, is_judging, make_ready

LOOK = 2.0
"""Seconds between two looks."""
GRACE = 20.0
"""Seconds after a job's end in which what it wrote may still be on its way through the file system."""

log = logging.getLogger(__name__)


class Watch:
    """Tells a follower what becomes of steps that others run."""

    def __init__(self, store: Store, follower: Follower) -> None:
        self._store, self._follower = store, follower
        self._began: set[str] = set()
        self._ended: set[str] = set()

    def look(self, steps: Iterable[Step]) -> None:
        """Tell what has begun and what is done; what waits for another of the steps is not looked for."""
        left = [step for step in steps if step.key not in self._ended]
        unmade = {step.key for step in left}
        for step in left:
            if not unmade.isdisjoint(need.key for need in step.needs):
                continue
            done = self._store.whole(step)  # one whose files were dropped is made again
            if done or self._store.locked(step):
                self._begin(step)
            if done:
                self._end(step)

    def over(self, steps: Iterable[Step]) -> None:
        """The job of these steps is over, whatever came of it."""
        steps = list(steps)
        self.look(steps)
        for step in steps:
            if step.key not in self._ended:
                self._end(step)

    def _begin(self, step: Step) -> None:
        if step.key not in self._began:
            self._began.add(step.key)
            self._follower.began(step.key)
            log.info("%s", step.name)

    def _end(self, step: Step) -> None:
        self._ended.add(step.key)
        self._follower.ended(step.key)


def work_in(folder: Path, job: Job) -> list[Failure]:
    """Do a job on another machine, in the folder from which relative paths are; its log is its standard error.

    A training that failed has no record, so nothing is done that needs it.
    """
    os.chdir(folder)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("im_bench").setLevel(logging.INFO)
    steps = [step for step in job.plan().steps() if step.key in job.keys]
    if steps and all(map(is_judging, steps)):
        make_ready([getattr(step.config, "benchmark", "") for step in steps], Quiet(), Event())
    progress = Progress()
    progress.start(steps)
    return do(job, progress, Event())


def told(store: Store, steps: Sequence[Step], failures: Sequence[Failure]) -> list[Failure]:
    """What a job says that failed, once all that it says is done can be seen here."""
    end = time.monotonic() + GRACE
    while not failures and _ready(store, steps) and time.monotonic() < end:
        time.sleep(LOOK)
    return list(failures) or lost(store, steps, "its job ended without it")


def lost(store: Store, steps: Sequence[Step], why: str) -> list[Failure]:
    """What a job that ended without a word leaves: the step that it was at has failed, and others were not begun."""
    ready = _ready(store, steps)
    at = [step for step in ready if store.state(step).name == "killed"] or ready[:1]
    found = []
    for step in ready:
        said = f"{why} ({store.fail(step, why).parent})" if step in at else f"not begun: {why}"
        found.append(failed(step, said))
    return found


def _ready(store: Store, steps: Sequence[Step]) -> list[Step]:
    """What is not done and lacks nothing that it needs."""
    return [
        step
        for step in steps
        if not store.done(step) and all(store.serves(need, step) for need in step.needs)
    ]


def asked(resources: Resources, run: Run) -> Resources:
    """What a job gets; a machine without GPUs is asked for none."""
    return resources if run.runtime.device == "cuda" else resources.model_copy(update={"gpus": 0})


def steps_of(chains: Sequence[Chain]) -> list[Step]:
    return [step for chain in chains for step in chain.steps]
