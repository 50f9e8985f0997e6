"""The experiment as one page: what steps a cell is made of, and how cells are run.

base -> train -> one step per benchmark; the judged ones are two, answers and verdicts. Heavy modules are
imported where a step runs, so that a finished sweep is recognised without loading torch.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from im_bench import config as c
from im_bench.assets import benchmark_data_sha256, dataset_file, file_sha256, find_asset, folder_sha256
from im_bench.data.conversations import read_conversations
from im_bench.data.subsets import select
from im_bench.data.templates import template_sha256, template_text
from im_bench.evaluation.benchmarks import BENCHMARKS
from im_bench.report.collect import Row, rows, write_ledger
from im_bench.scores import Score, read_scores
from im_bench.store import Step, StepFailed, Store
from im_bench.tracking import Tracker, open_tracker

if TYPE_CHECKING:
    from im_bench.checkpoint import Checkpoint
    from im_bench.evaluation.engine import Engine

log = logging.getLogger(__name__)
Follow = Callable[[dict[str, float]], None]


class Observer(Protocol):
    """Whoever shows a person how far a sweep is."""

    def start(self, steps: Sequence[Step]) -> None:
        """These steps will run."""

    def step(self, step: Step) -> None:
        """A step begins."""

    def training(self, values: dict[str, float]) -> None:
        """An optimiser step of the running training was done."""

    def done(self, step: Step) -> None:
        """A step has its record, or has failed."""


@dataclass
class Wires:
    """What a running training tells to whom; it is execution and no part of any step."""

    follow: Follow = field(default=lambda values: None)


@dataclass(frozen=True, eq=False)
class Cell:
    """One composed config as steps: a checkpoint, and for each benchmark the step that holds its scores."""

    run: c.Run
    checkpoint: Step
    benchmarks: dict[str, Step]
    wires: Wires

    @cached_property
    def key(self) -> str:
        """The identity of the cell: that of its steps."""
        return _key([self.checkpoint.key, *(step.key for step in self.benchmarks.values())])

    @property
    def label(self) -> str:
        return self.checkpoint.label

    def steps(self) -> Iterator[Step]:
        """Every step, each after those it needs."""
        seen = set()
        for step in _in_order([self.checkpoint, *self.benchmarks.values()]):
            if step.key not in seen:
                seen.add(step.key)
                yield step


@dataclass(frozen=True)
class Failure:
    """Why a cell lacks a score."""

    cell: Cell
    what: str
    error: Exception


# --- planning: pure but for reading the files that give identities ---


def plan(run: c.Run) -> Cell:
    """The steps of one cell.

    Raises:
        UserError: when a file or folder that the cell needs is missing, or holds what it must not.
    """
    wires = Wires()
    base = _base_step(run)
    checkpoint = _train_step(run, base, wires) if run.loss.trains else base
    benchmarks = {name: _benchmark_step(run, name, checkpoint) for name in run.benchmark}
    return Cell(run, checkpoint, benchmarks, wires)


def plan_sweep(runs: Sequence[c.Run]) -> list[Cell]:
    """The distinct cells of a sweep: the base model is one cell, however many datasets there are."""
    cells = {cell.key: cell for cell in map(plan, runs)}
    return list(cells.values())


def grid_name(cells: Sequence[Cell]) -> str:
    """What an unnamed set of cells is called in the ledger: the cell's own name, or that of the set."""
    if len(cells) == 1:
        return f"{cells[0].label}-{cells[0].key}"
    return f"multirun-{_key([cell.key for cell in cells])}"


def _key(keys: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(sorted(keys)).encode()).hexdigest()[:8]


def _base_step(run: c.Run) -> Step:
    model = run.model
    template = template_sha256(model.chat_template)
    if model.source == "toy":
        corpus = file_sha256(_world(run) / "corpus.jsonl")
        identity = c.BaseIdentity(source="toy", template_sha256=template, sha256=corpus, seed=TOY_SEED)
        make = partial(_make_toy, world=_world(run), template=model.chat_template, runtime=run.runtime)
        return Step("base", identity, make, label=model.name)
    if model.source == "local":
        assert model.path is not None
        _check_model_folder(model.path)
        identity = c.BaseIdentity(
            source="local", template_sha256=template, sha256=folder_sha256(Path(model.path))
        )
    else:
        identity = c.BaseIdentity(
            source="hub", template_sha256=template, id=model.id, revision=model.revision
        )
    return Step("base", identity, partial(_prepare_base, model=model), label=model.name)


def _train_step(run: c.Run, base: Step, wires: Wires) -> Step:
    file = _dataset_file(run)
    dials = c.LossIdentity(**run.loss.model_dump(exclude={"name"}))
    identity = c.TrainIdentity(
        dataset_sha256=file_sha256(file), subset=run.subset, loss=dials, train=run.train, seed=run.seed
    )
    subset = run.subset.name if run.subset.size is None else f"{run.subset.name}_{run.subset.size}"
    label = "-".join([run.model.name, run.dataset.name, subset, run.loss.name, f"seed{run.seed}"])
    train = partial(_train, run=run, identity=identity, file=file, wires=wires)
    return Step("train", identity, train, needs=(base,), label=label)


def _benchmark_step(run: c.Run, name: str, checkpoint: Step) -> Step:
    if name not in BENCHMARKS:
        raise c.UserError(f"benchmark={name}: there is no such benchmark; there are {', '.join(BENCHMARKS)}")
    match run.benchmark[name]:
        case c.Harness() as spec:
            return _harness_step(run, name, spec, checkpoint)
        case c.HumanEval() as spec:
            return _humaneval_step(run, spec, checkpoint)
        case c.MTBench() | c.AlpacaEval() as spec:
            return _verdicts_step(run, name, spec, checkpoint)


def _harness_step(run: c.Run, name: str, spec: c.Harness, checkpoint: Step) -> Step:
    entry, hub = BENCHMARKS[name], _hub(run)
    identity = c.HarnessIdentity(
        benchmark=name,
        benchmark_version=entry.version,
        shots=spec.shots,
        limit=run.limit,
        data_sha256=benchmark_data_sha256(name, entry.datasets, hub),
    )

    def evaluate(out: Path, weights: Path) -> None:
        from im_bench.evaluation import harness

        engine = _engine(run, weights)
        harness.evaluate(out, engine, name=name, entry=entry, shots=spec.shots, limit=run.limit, hub=hub)

    return Step("harness", identity, evaluate, needs=(checkpoint,), label=f"{checkpoint.label}-{name}")


def _humaneval_step(run: c.Run, spec: c.HumanEval, checkpoint: Step) -> Step:
    hub, (dataset,) = _hub(run), BENCHMARKS["humaneval"].datasets
    data = benchmark_data_sha256("humaneval", (dataset,), hub)
    identity = c.HumanEvalIdentity(spec=spec, limit=run.limit, data_sha256=data, seed=run.seed)

    def evaluate(out: Path, weights: Path) -> None:
        from im_bench.evaluation import humaneval

        problems = humaneval.load_problems(f"{hub}/{dataset}" if hub else dataset, None)[: run.limit]
        humaneval.evaluate(out, _engine(run, weights), problems, spec=spec, seed=run.seed)

    return Step("harness", identity, evaluate, needs=(checkpoint,), label=f"{checkpoint.label}-humaneval")


def _verdicts_step(run: c.Run, name: str, spec: c.MTBench | c.AlpacaEval, checkpoint: Step) -> Step:
    """Answers do not know their judge, so a second one costs no GPU; both AlpacaEvals share theirs."""
    if isinstance(spec, c.MTBench):
        questions = _asset(run, "mt_bench/question")
        files = {
            name: _asset(run, f"mt_bench/{name}")
            for name in ("question", "reference_answer", "judge_prompts")
        }
        family: Literal["mt_bench", "alpaca_eval"] = "mt_bench"
    else:
        questions = _asset(run, "alpaca_eval/reference_outputs_v2")
        files = {version: _asset(run, f"alpaca_eval/reference_outputs_{version}") for version in ("v1", "v2")}
        family = "alpaca_eval"
    answers = _answers_step(run, family, questions, spec.max_new_tokens, checkpoint)
    identity = c.VerdictsIdentity(
        benchmark=name,
        benchmark_version=BENCHMARKS[name].version,
        judge=run.judge.identity,
        assets_sha256={name: file_sha256(path) for name, path in files.items()},
        seed=run.seed,
    )
    judge = partial(_judge, run=run, name=name, files=files)
    return Step(
        "verdicts", identity, judge, needs=(answers,), label=f"{checkpoint.label}-{name}-{run.judge.name}"
    )


def _answers_step(
    run: c.Run,
    family: Literal["mt_bench", "alpaca_eval"],
    questions: Path,
    max_new_tokens: int,
    checkpoint: Step,
) -> Step:
    identity = c.AnswersIdentity(
        questions=family,
        questions_sha256=file_sha256(questions),
        max_new_tokens=max_new_tokens,
        limit=run.limit,
        seed=run.seed,
    )

    def answer(out: Path, weights: Path) -> None:
        from im_bench.evaluation import alpaca_eval, mt_bench

        ask: dict[str, Any] = {"max_new_tokens": max_new_tokens, "limit": run.limit, "seed": run.seed}
        ask["model_id"] = checkpoint.label
        if family == "mt_bench":
            mt_bench.answer(out, _engine(run, weights), questions=questions, **ask)
        else:
            alpaca_eval.answer(out, _engine(run, weights), instructions=questions, **ask)

    return Step("answers", identity, answer, needs=(checkpoint,), label=f"{checkpoint.label}-{family}")


# --- what steps do when they run ---


def _make_toy(out: Path, *, world: Path, template: str, runtime: c.Runtime) -> None:
    from im_bench.toy.base import make_base

    make_base(out, world=world, seed=TOY_SEED, chat_template=template_text(template), runtime=runtime)


def _prepare_base(out: Path, *, model: c.Model) -> None:
    """An untrained model's tokenizer with the chat template; its weights stay where they are."""
    from im_bench import checkpoint

    place = model.path if model.source == "local" else model.id
    assert place is not None
    tokenizer = checkpoint.load_tokenizer(place, model.revision)
    if model.chat_template != "own":
        tokenizer.chat_template = template_text(model.chat_template)
    elif tokenizer.chat_template is None:
        raise c.UserError(
            f"model.chat_template=own: {place} has no chat template; use model.chat_template=tulu"
        )
    checkpoint.save(out, None, tokenizer)


def _train(out: Path, base: Path, *, run: c.Run, identity: c.TrainIdentity, file: Path, wires: Wires) -> None:
    from im_bench.training.tuning import tune

    follow = lambda values: wires.follow(values)  # noqa: E731  # looked up late: the tracker is opened after planning
    tune(
        out,
        _checkpoint(run, base, trained=False),
        spec=identity,
        dataset=run.dataset,
        file=file,
        runtime=run.runtime,
        follow=follow,
    )


def _judge(out: Path, answers: Path, *, run: c.Run, name: str, files: dict[str, Path]) -> None:
    from im_bench.evaluation import alpaca_eval, mt_bench
    from im_bench.judging.judge import open_judge

    judge = open_judge(run.judge)
    match run.benchmark[name]:
        case c.MTBench():
            mt_bench.judge(
                out,
                answers,
                judge,
                questions=files["question"],
                references=files["reference_answer"],
                prompts=files["judge_prompts"],
            )
        case c.AlpacaEval(version=version):
            references = files[f"v{version}"]
            alpaca_eval.judge(
                out, answers, judge, version=version, references=references, gold=files["v2"], seed=run.seed
            )


def _checkpoint(run: c.Run, folder: Path, *, trained: bool) -> Checkpoint:
    from im_bench.checkpoint import Checkpoint

    if trained or run.model.source == "toy":
        return Checkpoint(str(folder), None, folder)
    place = run.model.path if run.model.source == "local" else run.model.id
    return Checkpoint(str(place), run.model.revision, folder)


def _engine(run: c.Run, folder: Path) -> Engine:
    from im_bench.evaluation.engine import open_engine

    return open_engine(_checkpoint(run, folder, trained=run.loss.trains), run.runtime)


# --- places ---

TOY_SEED = 0


@cache
def _world_in(results: Path) -> Path:
    """The toy world's folder, written unless it is there; by rename, so one that exists is whole."""
    from im_bench.toy.files import VERSION, write_world

    folder = results / "toy" / f"seed{TOY_SEED}-v{VERSION}"
    if not folder.exists():
        draft = folder.with_name(f".{folder.name}.{os.getpid()}")
        write_world(draft, TOY_SEED)
        try:
            draft.rename(folder)
        except OSError:  # another process was faster
            shutil.rmtree(draft)
    return folder


def _world(run: c.Run) -> Path:
    return _world_in(run.paths.results)


def _hub(run: c.Run) -> str | None:
    return str(_world(run) / "hub") if run.paths.hub == "toy" else run.paths.hub


def _asset(run: c.Run, name: str) -> Path:
    folder = str(_world(run) / "assets") if run.paths.assets == "toy" else run.paths.assets
    return find_asset(name, folder, run.paths.cache)


def _dataset_file(run: c.Run) -> Path:
    if run.dataset.source == "toy":
        return _world(run) / "sft" / f"{run.dataset.name}.jsonl"
    return dataset_file(run.dataset, run.paths.cache)


def _check_model_folder(path: str) -> None:
    from im_bench.checkpoint import check_folder

    check_folder(Path(path), "model.path")


# --- running ---


def run_sweep(name: str, cells: Sequence[Cell], observer: Observer) -> list[Failure]:
    """Run every step of every cell that is not done, then write the sweep's rows of the ledger.

    A step that fails costs its own cell's scores and no other's.

    Raises:
        UserError: before anything runs, when a dataset of a cell to be trained cannot be read.
    """
    store = Store(cells[0].run.paths.results / "store")
    todo = _todo(cells, store)
    for cell in cells:
        if cell.run.loss.trains and cell.checkpoint.key in todo:
            _check_dataset(cell.run)
    observer.start(list(todo.values()))
    failures = [failure for cell in cells for failure in _run_cell(name, cell, store, todo, observer)]
    ledger = [row for cell in cells for row in cell_rows(name, cell, store)]
    write_ledger(cells[0].run.paths.results / "scores.jsonl", name, ledger)
    return failures


def cell_rows(sweep: str, cell: Cell, store: Store) -> list[Row]:
    """The ledger rows of a cell; a benchmark without a record has one row without a value."""
    found = []
    for name, step in cell.benchmarks.items():
        scores = read_scores(store.path(step)) if store.done(step) else [_missing(name)]
        found += rows(cell.run, scores, sweep=sweep, cell=cell.key, step=step.key)
    return found


def _run_cell(
    sweep: str, cell: Cell, store: Store, todo: dict[str, Step], observer: Observer
) -> Iterator[Failure]:
    if not any(step.key in todo for step in cell.steps()):
        return
    run = cell.run
    tracker = open_tracker(
        run.tracker,
        run.paths.results / "tracking" / f"{cell.label}-{cell.key}",
        key=cell.key,
        name=cell.label,
        group=sweep,
        config=run.model_dump(mode="json"),
    )
    cell.wires.follow = partial(_follow, tracker, observer)
    failed: set[str] = set()
    for step in cell.steps():
        if failed & {need.key for need in step.needs}:
            failed.add(step.key)
        elif step.key in todo:
            observer.step(step)
            try:
                store.ensure(step)
            except (StepFailed, c.UserError) as error:
                log.error("%s", error if isinstance(error, StepFailed) else f"{step.name}: {error}")
                failed.add(step.key)
                yield Failure(cell, step.name, error)
            del todo[step.key]
            observer.done(step)
    _finish(tracker, cell_rows(sweep, cell, store))


def _follow(tracker: Tracker, observer: Observer, values: dict[str, float]) -> None:
    tracker.log(
        {f"train/{name}": value for name, value in values.items() if name != "step"}, step=int(values["step"])
    )
    observer.training(values)


def _finish(tracker: Tracker, ledger: Sequence[Row]) -> None:
    headlines = [row for row in ledger if row.task == row.benchmark and row.value is not None]
    scores = {f"{row.benchmark}/{row.metric}": row.value for row in headlines if row.value is not None}
    tracker.finish(scores, [vars(row) for row in ledger])


def _todo(cells: Sequence[Cell], store: Store) -> dict[str, Step]:
    return {step.key: step for cell in cells for step in cell.steps() if not store.done(step)}


def _check_dataset(run: c.Run) -> None:
    file = _dataset_file(run)
    conversations = read_conversations(
        file, run.dataset.format, allow_empty_output=run.dataset.allow_empty_output
    )
    select(conversations, run.subset, seed=run.seed)


def _in_order(steps: Sequence[Step]) -> Iterator[Step]:
    for step in steps:
        yield from _in_order(step.needs)
        yield step


def _missing(name: str) -> Score:
    entry = BENCHMARKS[name]
    return Score(
        benchmark=name,
        category=entry.category,
        task=name,
        metric=entry.metric,
        value=None,
        stderr=None,
        count=0,
        total=0,
        direction=entry.direction,
        reading_note=None,
    )
