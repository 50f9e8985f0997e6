"""Running cells: every step that is not done, then the ledger. A failure costs its own cell and no other."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, Protocol

from im_bench.analysis import measures
from im_bench.carding import write_cards
from im_bench.config import Run, judge_for
from im_bench.data.labels import LABELS
from im_bench.evaluation.benchmarks import missing_score
from im_bench.keeping import Keeper
from im_bench.launching import CellPlan, chains_of, launch
from im_bench.pipeline import Cell, plan
from im_bench.report.collect import FILE, Row, rows, write_ledger
from im_bench.scores import Score, read_scores
from im_bench.store import Step, Store
from im_bench.work import Failure, Follower, failed

log = logging.getLogger(__name__)


class Observer(Follower, Protocol):
    """Whoever shows a person how far a sweep is."""

    def start(self, steps: Sequence[Step]) -> None:
        """These steps will run."""


class Outcome(NamedTuple):
    """What a sweep came to."""

    failures: list[Failure]
    scored: bool
    """Whether there is any score, and so a ledger to make a table of."""


def run_sweep(name: str, cells: Sequence[Cell], observer: Observer) -> Outcome:
    """Run every step of every cell that is not done, and write the sweep's rows of the ledger.

    Raises:
        UserError: before anything runs, when the store has no locks or the launcher cannot be had.
    """
    run = cells[0].run
    store = Store(run.paths.results / "store")
    todo = store.missing(step for cell in cells for step in cell.steps())
    observer.start(todo)
    keeper = Keeper(cells, store, observer)
    try:
        failures = _launched(name, cells, todo, store, keeper) if todo else []
        failures += _unexplained(todo, store, failures)
        keeper.tidy()
    finally:
        ledger = [row for cell in cells for row in cell_rows(name, cell, store)]
        scored = any(row.value is not None and row.benchmark != measures.LENGTHS for row in ledger)
        if scored:
            write_ledger(run.paths.results / FILE, name, ledger)
        write_cards(cells, store)
    return Outcome(failures, scored)


def _launched(
    name: str, cells: Sequence[Cell], todo: Sequence[Step], store: Store, follower: Follower
) -> list[Failure]:
    store.check_locks()
    planned = [CellPlan(cell.run, partial(plan, cell.run), cell.steps()) for cell in cells]
    return launch(chains_of(name, planned, todo), cells[0].run.launcher, store, follower)


def _unexplained(todo: Sequence[Step], store: Store, failures: Sequence[Failure]) -> list[Failure]:
    """A step that was to be done and is not has failed, unless it needs one that has."""
    told = {failure.step for failure in failures}
    found = []
    for step in store.missing(todo):
        if step.name not in told and not told & {need.name for need in step.needs}:
            found.append(failed(step, "it was not done, and nobody said why; run again"))
        told.add(step.name)
    return found


def cell_rows(sweep: str, cell: Cell, store: Store) -> list[Row]:
    """The ledger rows of a cell; a benchmark or an analysis without a record has one row without a value."""
    found = []
    words = _words(cell, store)
    trained = {"examples": words.get("examples"), "ratio": words.get("instruction_over_output")}
    of_cell: dict[str, Any] = {"sweep": sweep, "cell": cell.key, **trained}
    for name, step in cell.benchmarks.items():
        scores = read_scores(store.path(step)) if store.done(step) else [missing_score(name)]
        found += rows(cell.run, called_now(scores, cell.run, name), step=step.key, **of_cell)
    for name, step in cell.analyses.items():
        lacking = measures.missing(name, trained=cell.run.loss.trains)
        scores = read_scores(store.path(step)) if store.done(step) else [lacking]
        found += rows(cell.run, scores, step=step.key, **of_cell)
    if words and store.done(cell.checkpoint):
        found += rows(cell.run, measures.lengths(words), step=cell.checkpoint.key, **of_cell)
    return found


def called_now(scores: Sequence[Score], run: Run, benchmark: str) -> list[Score]:
    """With the judge as it is called now: a name is no part of a verdict, and a table compares names."""
    judge = judge_for(run.judge, run.benchmark[benchmark]).label
    return [replace(each, judge=judge) if each.judge else each for each in scores]


def _words(cell: Cell, store: Store) -> dict[str, Any]:
    """How many conversations were chosen for a cell, and how long they are; nothing of the base model."""
    labels = store.path(cell.checkpoint) / LABELS
    if not cell.run.loss.trains or not labels.exists():
        return {}
    return json.loads(labels.read_text())["words"]
