"""What each kind of step does when it runs. Heavy modules are imported here, where they are needed."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from im_bench import config as c
from im_bench import places
from im_bench.assets import check_tokenizer_folder
from im_bench.data.sources import Source
from im_bench.data.templates import with_template
from im_bench.evaluation.benchmarks import BENCHMARKS
from im_bench.identity import TrainIdentity

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from im_bench.checkpoint import Checkpoint
    from im_bench.evaluation.engine import Engine

Family = Literal["mt_bench", "alpaca_eval"]


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

    A tokenizer without the template of its own that it should have is kept as it is: `sweep.py` has made sure that
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


def judge(out: Path, answers: Path, *, run: c.Run, name: str, files: dict[str, Path]) -> None:
    """Have the answers judged; `files` are the benchmark's assets by name."""
    from im_bench.evaluation import alpaca_eval, mt_bench
    from im_bench.judging import open_judge

    chosen = open_judge(run.judge)
    match run.benchmark[name]:
        case c.MTBench():
            mt_bench.judge(
                out,
                answers,
                chosen,
                questions=files["question"],
                references=files["reference_answer"],
                prompts=files["judge_prompts"],
            )
        case c.AlpacaEval(version=version):
            references, gold = files[f"reference_outputs_v{version}"], files["reference_outputs_v2"]
            alpaca_eval.judge(
                out, answers, chosen, version=version, references=references, gold=gold, seed=run.seed
            )


def _engine(run: c.Run, folder: Path) -> Engine:
    """The checkpoint's model, which stays open until another is asked for: a cell's benchmarks share it."""
    from im_bench.evaluation.engine import open_engine

    key = (_checkpoint(run, folder, trained=run.loss.trains), run.engine, run.runtime)
    if key not in _open:
        _open.clear()
        _open[key] = open_engine(*key)
    return _open[key]


def _checkpoint(run: c.Run, folder: Path, *, trained: bool) -> Checkpoint:
    from im_bench.checkpoint import Checkpoint

    if trained or run.model.source == "toy":
        return Checkpoint(str(folder), None, folder)
    return Checkpoint(_place(run.model), run.model.revision, folder)


def _place(model: c.Model) -> str:
    place = model.path if model.source == "local" else model.id
    assert place is not None
    return place
