"""The kinds of steps, and what each does when it runs. Heavy modules are imported where they are needed."""

from __future__ import annotations

import gc
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, Literal

from im_bench import config as c
from im_bench import places
from im_bench.assets import check_tokenizer_folder
from im_bench.config import UserError
from im_bench.data.sources import Source
from im_bench.data.templates import with_template
from im_bench.evaluation.benchmarks import BENCHMARKS
from im_bench.identity import LossesIdentity, MemorisationIdentity, TrainIdentity
from im_bench.training import EPOCHS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from im_bench.analysis.sets import Trained
    from im_bench.checkpoint import Checkpoint
    from im_bench.evaluation.engine import Engine
    from im_bench.judging.judge import Judge, Stop

Stage = Literal["train", "score", "judge"]
"""A part of a cell, by what it needs of a machine: an accelerator for hours, one to ask the model, none."""
KINDS: dict[str, Stage] = {
    "base": "train",
    "train": "train",
    "harness": "score",
    "humaneval": "score",
    "answers": "score",
    "given": "score",
    "analysis": "score",
    "verdicts": "judge",
}
"""Of what stage each kind of step is, in the order in which kinds need each other."""
Family = Literal["mt_bench", "alpaca_eval"]

log = logging.getLogger(__name__)


_open: dict[tuple[Checkpoint, c.Engine, c.Runtime], Engine] = {}
"""The one model that is loaded."""


@dataclass
class Wires:
    """Whom a running step tells what; set when its cell runs, and no part of any step."""

    follow: Callable[[dict[str, float]], None] = field(default=lambda values: None)
    """Of each optimiser step."""
    tell: Callable[[dict[str, float]], None] = field(default=lambda values: None)
    """Of the whole training: which tokens carry loss, and what it came to."""
    count: Callable[[int, int], None] = field(default=lambda done, total: None)
    """Of a benchmark: how many requests the model has answered, and of how many."""
    stop: Stop = field(default_factory=Event)
    """When it is set, no judge is asked anything more."""


def make_toy(out: Path, *, run: c.Run, wires: Wires) -> None:
    """Pretrain the toy model on the corpus of its world."""
    from im_bench.toy.base import make_base, read_pages

    make_base(
        out,
        tokenizer(run),
        pages=read_pages(places.world(run)),
        seed=places.TOY_SEED,
        runtime=run.runtime,
        log=lambda values: wires.follow(values),
    )


def prepare_base(out: Path, *, run: c.Run) -> None:
    """Keep an untrained model's tokenizer with the chat template; its weights stay where they are.

    A tokenizer without the template of its own that it should have is kept as it is: `preflight` has made sure that
    nothing asks for it.

    Raises:
        UserError: when the tokenizer cannot be had.
    """
    from im_bench.checkpoint import load_tokenizer, save

    own = run.model.chat_template == "own"
    save(out, None, load_tokenizer(_place(run.model), run.model.revision) if own else tokenizer(run))


def tokenizer(run: c.Training) -> PreTrainedTokenizerFast:
    """The tokenizer of a run's base model, with the chat template; weights need not be there.

    Raises:
        UserError: when it cannot be had, or has no template of its own and should.
    """
    from im_bench.checkpoint import templated_tokenizer

    model = run.model
    if model.source == "local":
        check_tokenizer_folder(Path(_place(model)), "model.path")
    if model.source != "toy":
        return templated_tokenizer(_place(model), model.revision, model.chat_template)
    from im_bench.toy.base import make_tokenizer, read_pages

    return with_template(make_tokenizer(read_pages(places.world(run))), model.chat_template, "model=toy")


def train(
    out: Path,
    base: Path,
    *,
    run: c.Run,
    identity: TrainIdentity,
    sources: tuple[Source, ...],
    wires: Wires,
) -> None:
    """Tune the base model on the conversations of `sources`."""
    from im_bench.training.tuning import Job, tune

    _open.clear()  # a model that was scored would share the device with the one that is trained
    weights, revision, tokenizer = _checkpoint(run, base, trained=False)
    job = Job(
        weights=weights,
        revision=revision,
        tokenizer=tokenizer,
        spec=identity,
        sources=sources,
        runtime=run.runtime,
    )
    tune(out, job, follow=lambda values: wires.follow(values), tell=lambda values: wires.tell(values))
    gc.collect()  # the Trainer and its model hold each other; the engine needs the room


def score_harness(
    out: Path, checkpoint: Path, *, run: c.Run, name: str, spec: c.Harness, data_sha256: str, wires: Wires
) -> None:
    """Score one benchmark of lm-eval."""
    from im_bench.evaluation import harness

    harness.evaluate(
        out,
        _engine(run, checkpoint),
        name=name,
        entry=BENCHMARKS[name],
        spec=spec,
        limit=run.limit,
        hub=places.hub(run),
        rows=places.rows(run, data_sha256),
        follow=lambda done, total: wires.count(done, total),
    )


def score_humaneval(
    out: Path, checkpoint: Path, *, run: c.Run, spec: c.HumanEval, data_sha256: str, wires: Wires
) -> None:
    """Have programs written and run them in the sandbox."""
    from im_bench.evaluation import humaneval

    hub, (dataset,) = places.hub(run), BENCHMARKS["humaneval"].datasets
    path, rows = f"{hub}/{dataset}" if hub else dataset, places.rows(run, data_sha256)
    problems = humaneval.load_problems(path, None, rows)[: run.limit]
    humaneval.evaluate(
        out,
        _engine(run, checkpoint),
        problems,
        spec=spec,
        seed=run.seed,
        follow=lambda done, total: wires.count(done, total),
    )


def answer(
    out: Path,
    checkpoint: Path,
    *,
    run: c.Run,
    family: Family,
    questions: Path,
    max_new_tokens: int,
    model_id: str,
    wires: Wires,
) -> None:
    """Answer the questions of MT-Bench, or the instructions of AlpacaEval."""
    from im_bench.evaluation import alpaca_eval, mt_bench

    ask: dict[str, Any] = {
        "max_new_tokens": max_new_tokens,
        "limit": run.limit,
        "seed": run.seed,
        "follow": lambda done, total: wires.count(done, total),
    }
    engine = _engine(run, checkpoint)
    if family == "mt_bench":
        mt_bench.answer(out, engine, questions=questions, model_id=model_id, **ask)
    else:
        alpaca_eval.answer(out, engine, instructions=questions, model_id=model_id, **ask)


def measure_losses(
    out: Path,
    checkpoint: Path,
    base: Path | None = None,
    *,
    run: c.Run,
    spec: LossesIdentity,
    sources: tuple[Source, ...],
    heldout: tuple[Source, ...],
    wires: Wires,
) -> None:
    """Look at the losses of a checkpoint, and with the base model at what divides them.

    Args:
        sources: what it was trained on; none of a base model.
    """
    from im_bench.analysis import losses

    _open.clear()  # the engine's model and these would share the device
    gc.collect()
    losses.measure(
        out,
        _scored(run, checkpoint),
        base=None if base is None else _checkpoint(run, base, trained=False),
        trained=_trained(run, sources) if sources else None,
        heldout=losses.Heldout(_heldout_name(run), heldout) if heldout else None,
        examples=spec.examples,
        max_tokens=spec.max_tokens,
        precision=spec.precision,
        runtime=run.runtime,
        follow=lambda done, total: wires.count(done, total),
    )


def measure_memorisation(
    out: Path,
    checkpoint: Path,
    *,
    run: c.Run,
    spec: MemorisationIdentity,
    sources: tuple[Source, ...],
    wires: Wires,
) -> None:
    """Have what a checkpoint was trained on answered, and hold the answers beside the outputs."""
    from im_bench.analysis import memorisation

    engine = _engine(run, checkpoint)
    memorisation.measure(
        out,
        engine,
        trained=_trained(run, sources),
        context=engine.lm.max_length,
        examples=spec.examples,
        max_tokens=run.train.max_tokens,
        max_new_tokens=spec.max_new_tokens,
        follow=lambda done, total: wires.count(done, total),
    )


def _trained(run: c.Run, sources: tuple[Source, ...]) -> Trained:
    from im_bench.analysis.sets import Trained

    return Trained(sources, run.subset, run.seed)


def _heldout_name(run: c.Run) -> str:
    assert run.analysis.losses and run.analysis.losses.heldout
    return run.analysis.losses.heldout.name


def take_answers(out: Path, *, file: Path, family: Family, items: frozenset[object]) -> None:
    """Take the answers to these items of a file of somebody else's, in FastChat's or alpaca_eval's format."""
    from im_bench.data.rows import read_rows, write_rows
    from im_bench.evaluation import alpaca_eval, mt_bench

    is_mt_bench = family == "mt_bench"
    name, item = (mt_bench.ANSWERS, mt_bench.ITEM) if is_mt_bench else (alpaca_eval.ANSWERS, alpaca_eval.ITEM)
    rows = [row for row in read_rows(file) if row[item] in items]
    # Half a character, which JSON can hold and nothing can send, becomes a question mark.
    whole = json.dumps(rows, ensure_ascii=False).encode(errors="replace")
    write_rows(out / name, json.loads(whole))


def judge(
    out: Path,
    answers: Path,
    *,
    run: c.Run,
    name: str,
    files: dict[str, Path],
    of_cell: bool,
    wires: Wires,
) -> None:
    """Have the answers judged; `files` are the benchmark's assets by name.

    Args:
        of_cell: whether the answers are those of the run's own model.
    """
    from im_bench.judging import open_judge

    asked = open_judge(
        run.judge,
        run.paths.results,
        tokens=_counter(run, of_cell),
        follow=lambda done, total: wires.count(done, total),
        stop=wires.stop,
    )
    match run.benchmark[name]:
        case c.MTBench():
            _judge_mt_bench(out, answers, asked, run=run, files=files)
        case c.AlpacaEval() as spec:
            _judge_alpaca_eval(out, answers, asked, run=run, spec=spec, files=files)


def _judge_mt_bench(out: Path, answers: Path, judge: Judge, *, run: c.Run, files: dict[str, Path]) -> None:
    from im_bench.evaluation import mt_bench

    mt_bench.judge(
        out,
        answers,
        judge,
        questions=files["question"],
        references=files["reference_answer"],
        prompts=files["judge_prompts"],
        limit=run.limit,
        seed=run.seed,
    )


def _judge_alpaca_eval(
    out: Path, answers: Path, judge: Judge, *, run: c.Run, spec: c.AlpacaEval, files: dict[str, Path]
) -> None:
    from im_bench.evaluation import alpaca_eval

    alpaca_eval.judge(
        out,
        answers,
        judge,
        version=spec.version,
        references=files[f"reference_outputs_v{spec.version}"],
        gold=files["reference_outputs_v2"],
        seed=run.seed,
        ways=alpaca_eval.Ways(run.judge.pairwise == "ranking", run.judge.both_orders),
        length_control=spec.length_controlled,
        gamed=files.get("df_gamed"),
        limit=run.limit,
    )


def _counter(run: c.Run, of_cell: bool) -> Callable[[str], int] | None:
    """Counts tokens about as the judge does, where it costs something; without a tokenizer, one is four bytes."""
    if not isinstance(run.judge, c.Served) or run.judge.price is None:
        return None
    from im_bench.checkpoint import load_tokenizer

    own = run.judge.tokenizer
    if own is None and not of_cell:
        return lambda text: len(text.encode()) // 4
    try:
        found = load_tokenizer(own, None) if own else tokenizer(run)
    except UserError as error:
        log.warning("the judge's tokens are estimated by four bytes each, as %s", error)
        return lambda text: len(text.encode()) // 4
    return lambda text: len(found(text).input_ids)


def reads(epoch: int | None, name: str) -> bool:
    """Whether a file of a training is part of the checkpoint after this epoch, None being the last."""
    return name.startswith(f"{EPOCHS}/{epoch}/") if epoch else not name.startswith(f"{EPOCHS}/")


def _engine(run: c.Run, folder: Path) -> Engine:
    """The checkpoint's model, which stays open until another is asked for: a cell's benchmarks share it."""
    from im_bench.evaluation.engine import open_engine

    key = (_scored(run, folder), run.engine, run.runtime)
    if key not in _open:
        _open.clear()
        _open[key] = open_engine(*key)
    return _open[key]


def _scored(run: c.Run, folder: Path) -> Checkpoint:
    """That which is scored of a training, or the base model."""
    if run.scored_epoch is not None:
        folder = folder / EPOCHS / str(run.scored_epoch)
    return _checkpoint(run, folder, trained=run.loss.trains)


def _checkpoint(run: c.Run, folder: Path, *, trained: bool) -> Checkpoint:
    from im_bench.checkpoint import Checkpoint

    if trained or run.model.source == "toy":
        return Checkpoint(str(folder), None, folder)
    return Checkpoint(_place(run.model), run.model.revision, folder)


def _place(model: c.Model) -> str:
    place = model.path if model.source == "local" else model.id
    assert place is not None
    return place
