"""What one process does of a sweep: some steps of one cell, in whatever process it is called."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from im_bench.config import Run, UserError
from im_bench.judging.judge import Stop
from im_bench.scores import FILE as SCORES
from im_bench.scores import Score, read_scores
from im_bench.stages import KINDS, Wires
from im_bench.store import Step, StepFailed, Store
from im_bench.tracking import Tracker, open_tracker

ALPACA_EVAL = "alpaca_eval_"
"""What its benchmarks' names begin with."""

COMPUTED = ("model", "dataset", "subset", "loss", "train", "seed", "epoch", "benchmark", "analysis", "limit")
"""What of a run W&B is told."""

log = logging.getLogger(__name__)


class Follower(Protocol):
    """Whoever shows a person how far the steps are; they are named by their keys, as several processes speak."""

    def began(self, key: str) -> None:
        """A step begins."""

    def within(self, key: str, done: float, total: float, what: str) -> None:
        """So much of a step that runs is done, `what` being what is counted."""

    def ended(self, key: str) -> None:
        """A step has its record, or has failed."""


class Quiet:
    """Follows without a word: where others look at the store."""

    def began(self, key: str) -> None: ...

    def within(self, key: str, done: float, total: float, what: str) -> None: ...

    def ended(self, key: str) -> None: ...


class Planned(Protocol):
    """Steps, and whom they tell what: a cell, or others that are planned like one."""

    @property
    def wires(self) -> Wires:
        """Of all its steps."""

    def steps(self) -> list[Step]:
        """Every step once, each after those it needs."""


@dataclass(frozen=True)
class Job:
    """Steps of one cell for one process, as plain values: whoever does them plans them again."""

    sweep: str
    run: Run
    plan: Callable[[], Planned]
    keys: tuple[str, ...]
    """Of the steps to do, each after those it needs."""


@dataclass(frozen=True)
class Failure:
    """A step that has no record, and why."""

    step: str
    """Its kind, label and key."""
    why: str
    mendable: bool
    """Whether it is for the user to mend."""


def do(job: Job, follower: Follower, stop: Stop) -> list[Failure]:
    """Do the steps of a job that are not done; what fails costs itself and what needs it.

    Args:
        stop: when it is set, nothing more is begun, and no judge is asked anything more.
    """
    planned = job.plan()
    steps = {step.key: step for step in planned.steps()}
    store = Store(job.run.paths.results / "store")
    failures: list[Failure] = []
    lacking: set[str] = set()
    for key in job.keys:
        if key not in steps:
            raise UserError(f"{job.sweep}: a file that a step reads was changed while it waited; run again")
        step = steps[key]
        absent = [need for need in step.needs if need.key not in job.keys and not store.serves(need, step)]
        if stop.is_set() or absent or lacking & {need.key for need in step.needs}:
            # One that is done was whole when the work was planned; of any other its failure is told.
            gone = [need.name for need in absent if store.done(need)]
            why = "its files were dropped meanwhile; run again"
            failures += [failed(step, f"{name}: {why}", mendable=True) for name in gone]
            lacking.add(key)
            continue
        follower.began(key)
        failure = attempt(store, _followed(step, job, planned.wires, follower, stop), stop.is_set)
        if failure is not None:
            failures.append(failure)
            lacking.add(key)
        follower.ended(key)
    return failures


def attempt(store: Store, step: Step, stop: Callable[[], bool] = lambda: False) -> Failure | None:
    """Run a step, also where files of it were dropped; what is wrong is told, and is the value."""
    try:
        store.ensure(step, stop, whole=True)
    except (StepFailed, UserError, OSError) as error:
        return failed(step, str(error), mendable=isinstance(error, UserError))
    return None


def failed(step: Step, why: str, *, mendable: bool = False) -> Failure:
    log.error("%s: %s", step.name, why)
    return Failure(step.name, why, mendable)


def _followed(step: Step, job: Job, wires: Wires, follower: Follower, stop: Stop) -> Step:
    """The step with somebody who follows it while it runs."""

    def run(out: Path, *inputs: Path) -> None:
        tracker = _open_tracker(step, job, out)
        wires.follow = partial(_training, tracker, follower, step.key)
        wires.tell = tracker.log
        wires.count = lambda done, total: follower.within(step.key, done, total, _counted(step))
        wires.stop = stop
        try:
            step.run(out, *inputs)
        except BaseException:
            tracker.fail()
            raise
        scores = read_scores(out) if (out / SCORES).exists() else []
        tracker.finish(_headlines(scores), [asdict(each) for each in scores])

    return replace(step, run=run)


def _headlines(scores: Sequence[Score]) -> dict[str, float]:
    return {
        f"{each.benchmark}/{each.metric}": each.value
        for each in scores
        if each.task == each.benchmark and each.value is not None
    }


def _training(tracker: Tracker, follower: Follower, key: str, values: dict[str, float]) -> None:
    tracker.log({f"train/{name}": value for name, value in values.items()})
    follower.within(key, values["step"], values["steps"], f"optimiser steps, loss {values['loss']:.4f}")


def _counted(step: Step) -> str:
    return "verdicts" if is_judging(step) else "requests"


def _open_tracker(step: Step, job: Job, out: Path) -> Tracker:
    """A tracker that cannot be opened is told at once, and stops nothing that was asked besides."""
    # What is computed: a launcher's lines and a machine's paths are for nobody else to read.
    computed = job.run.model_dump(mode="json", include=set(COMPUTED))
    config: dict[str, Any] = {"step": step.identity, "run": computed}
    try:
        return open_tracker(
            job.run.tracker,
            out,
            results=job.run.paths.results,
            key=step.key,
            name=step.label,
            kind=step.kind,
            group=job.sweep,
            config=config,
        )
    except UserError as error:
        log.warning("%s; %s has everything", error, out)
        return Tracker(out, None)


def is_judging(step: Step) -> bool:
    """Whether a step asks a judge and no model."""
    return KINDS[step.kind] == "judge"


def make_ready(names: Sequence[str], follower: Follower, stop: Stop) -> None:
    """Import in a process that does nothing but judge what the benchmarks of these names need."""
    from im_bench.evaluation.alpaca_eval import import_package

    if any(name.startswith(ALPACA_EVAL) for name in names):
        import_package(alone=True)
