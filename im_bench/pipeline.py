"""The experiment as one page: what steps a cell is made of.

base -> train -> one step per benchmark and analysis; a judged benchmark is two, answers and verdicts. Planning loads no
torch and runs nothing: it reads the files that identities need, so what is missing is refused before any work.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

from im_bench import config as c
from im_bench import places, stages
from im_bench.analysis.sets import HELDOUT_SEED
from im_bench.assets import benchmark_data_sha256, check_model_folder, folder_sha256
from im_bench.data.sources import Source
from im_bench.data.templates import template_sha256
from im_bench.evaluation.benchmarks import BENCHMARKS
from im_bench.grid import ledger_name
from im_bench.identity import (
    AnswersIdentity,
    BaseIdentity,
    HarnessIdentity,
    HumanEvalIdentity,
    JudgeIdentity,
    LossesIdentity,
    LossIdentity,
    MemorisationIdentity,
    TrainIdentity,
    VerdictsIdentity,
)
from im_bench.store import Step


@dataclass(frozen=True, eq=False)
class Cell:
    """One composed config as steps: a checkpoint, and for each benchmark and analysis the step with its scores."""

    run: c.Run
    checkpoint: Step
    benchmarks: dict[str, Step]
    wires: stages.Wires
    analyses: dict[str, Step] = field(default_factory=dict)
    """Fewer than are asked for of a base model, which was trained on nothing."""

    @cached_property
    def key(self) -> str:
        """The identity of the cell: that of its steps."""
        return _key([self.checkpoint.key, *(step.key for step in self._measuring)])

    @property
    def label(self) -> str:
        return self.checkpoint.label

    def steps(self) -> list[Step]:
        """Every step once, each after those it needs."""
        ordered = _in_order([self.checkpoint, *self._measuring])
        return list({step.key: step for step in ordered}.values())

    @property
    def _measuring(self) -> list[Step]:
        return [*self.benchmarks.values(), *self.analyses.values()]


def plan(run: c.Run, *, fetch: bool = True) -> Cell:
    """The steps of one cell.

    Args:
        fetch: whether what is missing is fetched or made; without, steps that need it can be looked for and not run,
            see `im_bench.places`.

    Raises:
        UserError: when a file or folder that the cell needs is missing, or is not what it must be.
    """
    (cell,) = plan_sweep([run], fetch=fetch)
    return cell


def plan_sweep(runs: Sequence[c.Run], *, fetch: bool = True) -> list[Cell]:
    """The distinct cells of a sweep, as `plan`: the base model is one, and equal steps under two names are two."""
    _data_sha256.cache_clear()
    cells = map(partial(_plan, fetch=fetch), runs)
    return list({(cell.key, *ledger_name(cell.run).values()): cell for cell in cells}.values())


# A folder of benchmark data is read once for all cells of a sweep, and again for the next.
_data_sha256 = cache(benchmark_data_sha256)


def _plan(run: c.Run, *, fetch: bool) -> Cell:
    wires = stages.Wires()
    base = _base_step(run, wires, fetch=fetch)
    sources = places.sources(run, fetch=fetch) if run.loss.trains else ()
    checkpoint = _train_step(run, base, sources, wires) if run.loss.trains else base
    benchmarks = {name: _benchmark_step(run, name, checkpoint, wires, fetch=fetch) for name in run.benchmark}
    analyses = {
        name: _analysis_step(run, name, sources, checkpoint, wires, fetch=fetch) for name in run.analyses
    }
    return Cell(run, checkpoint, benchmarks, wires, analyses)


def grid_name(cells: Sequence[Cell]) -> str:
    """What an unnamed set of cells is called in the ledger: the cell's own name, or that of the set."""
    if len(cells) == 1:
        return f"{cells[0].label}-{cells[0].key}"
    return f"multirun-{_key([cell.key for cell in cells])}"


def _base_step(run: c.Run, wires: stages.Wires, *, fetch: bool) -> Step:
    model = run.model
    template = template_sha256(model.chat_template)
    match model.source:
        case "toy":
            corpus = places.sha256(places.world(run, fetch=fetch) / "corpus.jsonl", "the toy world")
            identity = BaseIdentity(
                source="toy", template_sha256=template, sha256=corpus, seed=places.TOY_SEED
            )
            return Step("base", identity, partial(stages.make_toy, run=run, wires=wires), label=model.name)
        case "local":
            content = _model_sha256(Path(model.path or ""), fetch=fetch)
            identity = BaseIdentity(source="local", template_sha256=template, sha256=content)
        case "hub":
            identity = BaseIdentity(
                source="hub", template_sha256=template, id=model.id, revision=model.revision
            )
    return Step("base", identity, partial(stages.prepare_base, run=run), label=model.name)


def _model_sha256(folder: Path, *, fetch: bool) -> str:
    try:
        check_model_folder(folder, "model.path")
    except c.UserError:
        if fetch:
            raise
        return places.absent(f"model {folder}")
    return folder_sha256(folder)


def _train_step(run: c.Run, base: Step, sources: tuple[Source, ...], wires: stages.Wires) -> Step:
    identity = TrainIdentity(
        dataset=tuple(source.spec for source in sources),
        subset=run.subset,
        loss=loss_identity(run.loss),
        train=run.train,
        seed=run.seed,
    )
    label = "-".join([run.model.name, run.dataset.name, run.subset.label, run.loss.name, f"seed{run.seed}"])
    train = partial(stages.train, run=run, identity=identity, sources=sources, wires=wires)
    return Step("train", identity, train, needs=(base,), label=label, version=3)


def loss_identity(loss: c.Loss) -> LossIdentity:
    """A loss without its name."""
    return LossIdentity(**loss.model_dump(exclude={"name"}))


def _benchmark_step(run: c.Run, name: str, checkpoint: Step, wires: stages.Wires, *, fetch: bool) -> Step:
    if name not in BENCHMARKS:
        raise c.UserError(f"benchmark.{name}: there is no such benchmark; there are {', '.join(BENCHMARKS)}")
    match run.benchmark[name]:
        case c.Harness() as spec:
            return _harness_step(run, name, spec, checkpoint, wires, fetch=fetch)
        case c.HumanEval() as spec:
            return _humaneval_step(run, name, spec, checkpoint, wires, fetch=fetch)
        case c.MTBench() as spec:
            answers = _answers_step(run, "mt_bench", spec.max_new_tokens, checkpoint, wires, fetch=fetch)
            return verdicts_step(run, name, answers, checkpoint.label, wires, fetch=fetch)
        case c.AlpacaEval() as spec:
            answers = _answers_step(run, "alpaca_eval", spec.max_new_tokens, checkpoint, wires, fetch=fetch)
            return verdicts_step(run, name, answers, checkpoint.label, wires, fetch=fetch)


def _harness_step(
    run: c.Run, name: str, spec: c.Harness, checkpoint: Step, wires: stages.Wires, *, fetch: bool
) -> Step:
    entry = BENCHMARKS[name]
    identity = HarnessIdentity(
        benchmark=name,
        benchmark_version=entry.version,
        shots=spec.shots,
        limit=run.limit,
        data_sha256=_benchmark_sha256(run, name, fetch=fetch),
        prompt=spec.prompt,
        **_asked(run),
    )
    data = identity.data_sha256
    score = partial(stages.score_harness, run=run, name=name, spec=spec, data_sha256=data, wires=wires)
    label = f"{checkpoint.label}-{name}"
    return Step("harness", identity, score, needs=(checkpoint,), label=label, version=3, reads=_reads(run))


def _benchmark_sha256(run: c.Run, name: str, *, fetch: bool) -> str:
    try:
        return _data_sha256(name, BENCHMARKS[name].datasets, places.hub(run, fetch=fetch))
    except c.UserError:
        if fetch:
            raise
        return places.absent(f"benchmark {name}")


def _humaneval_step(
    run: c.Run, name: str, spec: c.HumanEval, checkpoint: Step, wires: stages.Wires, *, fetch: bool
) -> Step:
    identity = HumanEvalIdentity(
        benchmark_version=BENCHMARKS[name].version,
        spec=spec,
        limit=run.limit,
        data_sha256=_benchmark_sha256(run, name, fetch=fetch),
        seed=run.seed,
        **_asked(run),
    )
    data = identity.data_sha256
    score = partial(stages.score_humaneval, run=run, spec=spec, data_sha256=data, wires=wires)
    label = f"{checkpoint.label}-{name}"
    return Step("humaneval", identity, score, needs=(checkpoint,), label=label, version=3, reads=_reads(run))


# Both versions of AlpacaEval ask the same instructions, so they judge the same answers.
QUESTIONS: dict[stages.Family, str] = {
    "mt_bench": "mt_bench/question",
    "alpaca_eval": "alpaca_eval/reference_outputs_v2",
}


def _answers_step(
    run: c.Run,
    family: stages.Family,
    max_new_tokens: int,
    checkpoint: Step,
    wires: stages.Wires,
    *,
    fetch: bool,
) -> Step:
    """Answers do not know their judge, so a second judge costs no GPU."""
    asset = QUESTIONS[family]
    questions = places.asset(run, asset, fetch=fetch)
    identity = AnswersIdentity(
        questions=family,
        questions_sha256=places.asset_sha256(run, asset, questions),
        max_new_tokens=max_new_tokens,
        limit=run.limit,
        seed=run.seed,
        **_asked(run),
    )
    answer = partial(
        stages.answer,
        run=run,
        wires=wires,
        family=family,
        questions=questions,
        max_new_tokens=max_new_tokens,
        model_id=checkpoint.label,
    )
    label = f"{checkpoint.label}-{family}"
    return Step("answers", identity, answer, needs=(checkpoint,), label=label, version=3, reads=_reads(run))


def _asked(run: c.Run) -> dict[str, Any]:
    """Which epoch's checkpoint is asked, and what of its engine changes an answer."""
    context = getattr(run.engine, "max_length", None)
    return {"engine": run.engine.kind, "context": context, "epoch": run.scored_epoch}


def _reads(run: c.Run) -> Callable[[str], bool]:
    return partial(stages.reads, run.scored_epoch)


def _analysis_step(
    run: c.Run, name: str, sources: tuple[Source, ...], checkpoint: Step, wires: stages.Wires, *, fetch: bool
) -> Step:
    match run.analysis.chosen[name]:
        case c.Losses() as spec:
            return _losses_step(run, spec, sources, checkpoint, wires, fetch=fetch)
        case c.Memorisation() as spec:
            return _memorisation_step(run, spec, sources, checkpoint, wires)


def _losses_step(
    run: c.Run,
    spec: c.Losses,
    sources: tuple[Source, ...],
    checkpoint: Step,
    wires: stages.Wires,
    *,
    fetch: bool,
) -> Step:
    held_out = with_heldout(run, spec)
    heldout = places.sources(held_out, key=HELDOUT, fetch=fetch) if held_out else ()
    identity = LossesIdentity(
        analysis="losses",
        heldout=tuple(source.spec for source in heldout),
        examples=_at_most(run, spec.examples),
        max_tokens=run.train.max_tokens,
        precision=run.train.precision,
        epoch=run.scored_epoch,
    )
    measure = partial(
        stages.measure_losses, run=run, spec=identity, sources=sources, heldout=heldout, wires=wires
    )
    label = f"{checkpoint.label}-losses"
    # KL is to the base model, which a training needs; its files are never dropped, so `reads` is of the training's.
    needs = (checkpoint, *checkpoint.needs)
    return Step("analysis", identity, measure, needs=needs, label=label, reads=_reads(run))


def _memorisation_step(
    run: c.Run, spec: c.Memorisation, sources: tuple[Source, ...], checkpoint: Step, wires: stages.Wires
) -> Step:
    identity = MemorisationIdentity(
        analysis="memorisation",
        examples=_at_most(run, spec.examples),
        max_new_tokens=spec.max_new_tokens,
        **_asked(run),
    )
    measure = partial(stages.measure_memorisation, run=run, spec=identity, sources=sources, wires=wires)
    label = f"{checkpoint.label}-memorisation"
    return Step("analysis", identity, measure, needs=(checkpoint,), label=label, reads=_reads(run))


HELDOUT = "analysis.losses.heldout"
"""Where the user says what is held out."""


def with_heldout(run: c.Run, spec: c.Losses | None) -> c.Run | None:
    """The run as if it were to train on its held-out conversations, all of them; None where it has none."""
    if spec is None or spec.heldout is None:
        return None
    whole = {"subset": c.Subset(name="full"), "seed": HELDOUT_SEED}
    return run.model_copy(update={"dataset": spec.heldout, **whole})


def _at_most(run: c.Run, examples: int | None) -> int | None:
    return min((each for each in (examples, run.limit) if each is not None), default=None)


def verdicts_step(
    run: c.Run, name: str, answers: Step, label: str, wires: stages.Wires, *, fetch: bool = True
) -> Step:
    """What the run's judge says of the answers, under one benchmark."""
    spec = run.benchmark[name]
    assert isinstance(spec, c.MTBench | c.AlpacaEval)
    run = run.model_copy(update={"judge": c.judge_for(run.judge, spec)})
    found = _judged_files(run, spec, fetch=fetch)
    files = {asset.partition("/")[2]: path for asset, path in found.items()}
    identity = VerdictsIdentity(
        benchmark=name,
        benchmark_version=BENCHMARKS[name].version,
        judge=_judge_identity(run.judge, fetch=fetch),
        assets_sha256={
            asset.partition("/")[2]: places.asset_sha256(run, asset, path) for asset, path in found.items()
        },
        seed=run.seed,
        length_control=isinstance(spec, c.AlpacaEval) and spec.length_controlled,
    )
    of_cell = answers.kind == "answers"
    judge = partial(stages.judge, run=run, name=name, files=files, of_cell=of_cell, wires=wires)
    label = f"{label}-{name}-{run.judge.name}"
    return Step("verdicts", identity, judge, needs=(answers,), label=label, version=3)


def assets_of(spec: c.MTBench | c.AlpacaEval) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The assets that a judged benchmark needs, and those that only its length-controlled win rate needs."""
    if isinstance(spec, c.MTBench):
        return ("mt_bench/question", "mt_bench/reference_answer", "mt_bench/judge_prompts"), ()
    references = dict.fromkeys(
        (f"alpaca_eval/reference_outputs_v{spec.version}", "alpaca_eval/reference_outputs_v2")
    )
    return tuple(references), ("alpaca_eval/df_gamed",) if spec.length_controlled else ()


def _judged_files(run: c.Run, spec: c.MTBench | c.AlpacaEval, *, fetch: bool) -> dict[str, Path]:
    """The assets by name; those that can be done without only where they are at hand."""
    needed, optional = assets_of(spec)
    found = {name: places.asset(run, name, fetch=fetch) for name in needed}
    return found | {
        name: path for name in optional if (path := places.asset_if_there(run, name, fetch=fetch))
    }


def _judge_identity(judge: c.Judge, *, fetch: bool) -> JudgeIdentity:
    ways: dict[str, Any] = {"pairwise": judge.pairwise, "both_orders": judge.both_orders}
    match judge:
        case c.Overlap():
            return JudgeIdentity(kind="overlap", **ways)
        case c.Replay(files=files):
            absent = next((path for path in files if not path.is_file()), None)
            if absent and fetch:
                raise c.UserError(f"judge.files={absent}: there is no such file")
            said = tuple(places.sha256(path, f"judge.files {path}") for path in files)
            return JudgeIdentity(kind="replay", sha256=said, **ways)
        case c.Served(model=model, temperature=temperature, body=body):
            return JudgeIdentity(kind="openai", model=model, temperature=temperature, body=body, **ways)


def _in_order(steps: Sequence[Step]) -> Iterator[Step]:
    for step in steps:
        yield from _in_order(step.needs)
        yield step


def _key(keys: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(sorted(keys)).encode()).hexdigest()[:8]
