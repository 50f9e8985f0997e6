"""Running cells: every step that is not done, then the ledger. A failure costs its own cell and no other."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, NamedTuple, Protocol

from im_bench.config import HumanEval, Model, Run, Server, UserError, judge_for
from im_bench.data.conversations import Conversation
from im_bench.data.labels import LABELS
from im_bench.data.sources import Source, read_sources
from im_bench.data.subsets import select
from im_bench.evaluation.benchmarks import missing_score
from im_bench.evaluation.engines import check_installed
from im_bench.judges import Failure, Judges, Watcher, attempt
from im_bench.judging import open_judge
from im_bench.pipeline import Cell
from im_bench.places import sources
from im_bench.report.collect import FILE, Row, rows, write_ledger
from im_bench.scores import Score, read_scores
from im_bench.stages import tokenizer
from im_bench.store import Step, Store
from im_bench.tracking import Tracker, open_tracker

ANSWERING = ("harness", "humaneval", "answers")
"""Kinds of steps that the model answers."""

log = logging.getLogger(__name__)


class Observer(Watcher, Protocol):
    """Whoever shows a person how far a sweep is."""

    def start(self, steps: Sequence[Step]) -> None:
        """These steps will run."""

    def step(self, step: Step) -> None:
        """A step begins."""

    def training(self, values: dict[str, float]) -> None:
        """An optimiser step of the running training was done."""

    def answered(self, done: int, total: int) -> None:
        """So many of the running benchmark's requests are answered."""


class Outcome(NamedTuple):
    """What a sweep came to."""

    failures: list[Failure]
    scored: bool
    """Whether there is any score, and so a ledger to make a table of."""


def run_sweep(name: str, cells: Sequence[Cell], observer: Observer) -> Outcome:
    """Run every step of every cell that is not done, then write the sweep's rows of the ledger.

    Raises:
        UserError: before anything runs, when a dataset to train on cannot be read or a judge cannot be asked.
    """
    results = cells[0].run.paths.results
    store = Store(results / "store")
    todo = {step.key: step for cell in cells for step in cell.steps() if not store.done(step)}
    _check(cells, todo)
    _conversations.cache_clear()
    observer.start(list(todo.values()))
    with Judges(store, observer) as judges:
        judges.prepare(todo.values())
        failures = [
            failure for cell in cells for failure in _run_cell(name, cell, store, todo, observer, judges)
        ]
        failures += judges.finished()
    ledger = [row for cell in cells for row in cell_rows(name, cell, store)]
    scored = any(row.value is not None for row in ledger)
    if scored:
        write_ledger(results / FILE, name, ledger)
    return Outcome(failures, scored)


def cell_rows(sweep: str, cell: Cell, store: Store) -> list[Row]:
    """The ledger rows of a cell; a benchmark without a record has one row without a value."""
    found = []
    trained = _trained(cell, store)
    for name, step in cell.benchmarks.items():
        scores = read_scores(store.path(step)) if store.done(step) else [missing_score(name)]
        found += rows(
            cell.run, called_now(scores, cell.run, name), sweep=sweep, cell=cell.key, step=step.key, **trained
        )
    return found


def called_now(scores: Sequence[Score], run: Run, benchmark: str) -> list[Score]:
    """With the judge as it is called now: a name is no part of a verdict, and a table compares names."""
    judge = judge_for(run.judge, run.benchmark[benchmark]).label
    return [replace(each, judge=judge) if each.judge else each for each in scores]


def _trained(cell: Cell, store: Store) -> dict[str, Any]:
    """How many conversations were chosen for a cell, and their ratio; nothing of the base model."""
    labels = store.path(cell.checkpoint) / LABELS
    if not cell.run.loss.trains or not labels.exists():
        return {"examples": None, "ratio": None}
    report = json.loads(labels.read_text())
    return {"examples": report["words"]["examples"], "ratio": report["words"]["instruction_over_output"]}


def _check(cells: Sequence[Cell], todo: dict[str, Step]) -> None:
    """Refuse now what would else be found after hours of training."""
    checked: set[tuple[object, ...]] = set()
    _check_served(cells, todo)
    for cell in cells:
        if _asked(cell, todo):
            check_installed(cell.run.engine)
        _check_template(cell, todo)
        if cell.run.model.source == "hub" and any(
            step.kind == "base" for step in cell.steps() if step.key in todo
        ):
            _check_hub_model(cell.run.model)
        if _trains(cell, todo):
            _check_dataset(cell.run, checked)
        if any(step.kind == "verdicts" and step.key in todo for step in cell.benchmarks.values()):
            open_judge(cell.run.judge, cell.run.paths.results)


def _asked(cell: Cell, todo: dict[str, Step]) -> list[str]:
    """The benchmarks that the model has still to answer; a verdict needs its answers and no model."""
    return [
        name
        for name, step in cell.benchmarks.items()
        if any(each.kind in ANSWERING and each.key in todo for each in (step, *step.needs))
    ]


def _check_template(cell: Cell, todo: dict[str, Step]) -> None:
    """A tokenizer may lack a chat template where nobody asks in one."""
    run = cell.run
    specs = {name: run.benchmark[name] for name in _asked(cell, todo)}
    asking = [
        name
        for name, spec in specs.items()
        if not isinstance(spec, HumanEval) and getattr(spec, "prompt", "chat") == "chat"
    ]
    users = [*(["training"] if _trains(cell, todo) else []), *asking]
    if run.model.chat_template == "own" and run.model.source != "toy" and users:
        try:
            tokenizer(run)
        except UserError as error:
            raise UserError(f"{error} (needed by {', '.join(users)})") from None


def _trains(cell: Cell, todo: dict[str, Step]) -> bool:
    return cell.run.loss.trains and cell.checkpoint.key in todo


def _check_served(cells: Sequence[Cell], todo: dict[str, Step]) -> None:
    """One served name cannot be several checkpoints, nor one that is not there yet."""
    asked = [cell for cell in cells if _asked(cell, todo)]
    named = [cell for cell in asked if isinstance(cell.run.engine, Server) and cell.run.engine.model]
    if len({cell.checkpoint.key for cell in named}) > 1:
        raise UserError(
            "engine.model: one served model cannot be all checkpoints of a sweep; leave it null, and serve each "
            "under its own path"
        )
    if any(_trains(cell, todo) for cell in named):
        raise UserError(
            "engine.model: what is served was there before this checkpoint is trained; leave it null, and after "
            "the training serve the checkpoint under its own path"
        )


def _check_hub_model(model: Model) -> None:
    from im_bench.checkpoint import load_tokenizer

    assert model.id is not None
    load_tokenizer(model.id, model.revision)


def _check_dataset(run: Run, checked: set[tuple[object, ...]]) -> None:
    """Read and choose as the training will; a choice that another cell has made is not made again."""
    found = sources(run)
    in_tokens = run.subset.unit == "tokens"
    this = (found, run.subset, run.seed, run.model if in_tokens else None)
    if this not in checked:
        checked.add(this)
        counter = tokenizer(run) if in_tokens else None
        select(_conversations(found, run.seed), run.subset, seed=run.seed, tokenizer=counter)


@lru_cache(maxsize=1)
def _conversations(found: tuple[Source, ...], seed: int) -> list[Conversation]:
    return read_sources(found, seed=seed).conversations


def _run_cell(
    sweep: str, cell: Cell, store: Store, todo: dict[str, Step], observer: Observer, judges: Judges
) -> Iterator[Failure]:
    steps = [step for step in cell.steps() if step.key in todo]
    if not steps:
        return
    tracker = _open_tracker(sweep, cell)
    cell.wires.follow = partial(_follow, tracker, observer)
    cell.wires.tell = tracker.log
    cell.wires.count = observer.answered
    judges.wire(cell.wires)
    failed: set[str] = set()
    for step in steps:
        if failed & {need.key for need in step.needs}:
            failed.add(step.key)
        elif step.kind == "verdicts":
            del todo[step.key]
            judges.ask(step)
        else:
            observer.step(step)
            failure = attempt(store, step)
            if failure is None:
                del todo[step.key]
            else:
                failed.add(step.key)
                yield failure
            observer.done(step)
    judges.then(lambda: _finish(tracker, cell_rows(sweep, cell, store)))


def _open_tracker(sweep: str, cell: Cell) -> Tracker:
    """A tracker that cannot be opened is told at once, and stops nothing that was asked besides."""
    run = cell.run
    folder = run.paths.results / "tracking" / f"{cell.label}-{cell.key}"
    about = {"key": cell.key, "name": cell.label, "group": sweep}
    config = run.model_dump(mode="json")
    try:
        return open_tracker(run.tracker, folder, config=config, **about)
    except UserError as error:
        log.warning("%s; %s has everything", error, folder)
        return Tracker(folder, None)


def _follow(tracker: Tracker, observer: Observer, values: dict[str, float]) -> None:
    # The step is a value among others: a cell may hold two trainings, and W&B's own step never goes back.
    tracker.log({f"train/{name}": value for name, value in values.items()})
    observer.training(values)


def _finish(tracker: Tracker, ledger: Sequence[Row]) -> None:
    headlines = [row for row in ledger if row.task == row.benchmark]
    scores = {f"{row.benchmark}/{row.metric}": row.value for row in headlines if row.value is not None}
    tracker.finish(scores, [vars(row) for row in ledger])
