"""Instruction tuning: one trained checkpoint, from a file of conversations to weights."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from im_bench.assets import file_sha256
from im_bench.checkpoint import Checkpoint, added_tokens, load_model, load_tokenizer, place, save
from im_bench.config import Frozen, Runtime, UserError
from im_bench.data.conversations import BadRow
from im_bench.data.encoding import Encoding, encode
from im_bench.data.labels import LABELS, describe, label_report
from im_bench.data.lengths import measured, summary
from im_bench.data.released import markers
from im_bench.data.sources import Source, read_sources
from im_bench.data.subsets import select
from im_bench.data.weights import Example, weigh
from im_bench.identity import TrainIdentity
from im_bench.training import EPOCHS, TOTALS, processes
from im_bench.training.lora import merged, with_lora
from im_bench.training.loss import Objective
from im_bench.training.trainer import Log, fit

JOB = "job.json"
log = logging.getLogger(__name__)


class Job(Frozen):
    """All that one training needs to know; as JSON in its folder, for processes that are started on it."""

    weights: str
    revision: str | None
    tokenizer: Path
    spec: TrainIdentity
    sources: tuple[Source, ...]
    runtime: Runtime

    @property
    def base(self) -> Checkpoint:
        return Checkpoint(self.weights, self.revision, self.tokenizer)


class Prepared(NamedTuple):
    """A dataset in tokens and weights."""

    tokenizer: PreTrainedTokenizerFast
    encoding: Encoding
    examples: list[Example]
    skipped: list[BadRow]
    words: dict[str, Any]
    """Lengths of what was chosen, before anything is cut off; see `im_bench.data.lengths.summary`."""


def tune(out: Path, job: Job, *, follow: Log, tell: Log) -> None:
    """Train the base model on the conversations of `job.sources` into `out`, or go on where an interrupted run was.

    Args:
        follow: called once an optimiser step, see `im_bench.training.trainer.fit`.
        tell: called with the numbers of the label report before training, and with the totals after it.

    Raises:
        UserError: naming the file and row of a conversation that cannot be trained on.
    """
    prepared = prepare(job)
    report = label_report(prepared.encoding, prepared.examples, prepared.skipped) | {"words": prepared.words}
    (out / LABELS).write_text(json.dumps(report, indent=1) + "\n")
    log.info("%s", describe(report))
    tell(_flat("labels", report))
    if job.runtime.processes == 1:
        _train(out, job, prepared, follow)
    else:
        (out / JOB).write_text(job.model_dump_json(indent=1))
        processes.start(out, job.runtime, follow)
    for name in (JOB, processes.EVENTS, processes.OUTPUT):
        # Of this run, or of one in several processes that was killed before it went on in one.
        (out / name).unlink(missing_ok=True)
    tell(_flat("training", json.loads((out / TOTALS).read_text())))


def train_here(out: Path, job: Job, follow: Log) -> None:
    """The part in the training `out` of this process, one of several."""
    _train(out, job, prepare(job), follow)


def read_job(folder: Path) -> Job:
    return Job.model_validate_json((folder / JOB).read_text())


def prepare(job: Job) -> Prepared:
    """Read, choose, encode and weigh the conversations of a training."""
    spec = job.spec
    tokenizer = load_tokenizer(job.tokenizer)
    for source in job.sources:
        if file_sha256(source.file) != source.spec.sha256:
            raise UserError(
                f"{source.file}: was changed while it waited to be trained on; run the command again"
            )
    read = read_sources(job.sources, seed=spec.seed)
    chosen = select(read.conversations, spec.subset, seed=spec.seed, tokenizer=tokenizer)
    encoding = encode(tokenizer, chosen, max_tokens=spec.train.max_tokens)
    found = markers(tokenizer) if spec.loss.labels == "released_im" else ()
    examples = [weigh(encoded, spec.loss, found) for encoded in encoding.kept]
    instruction_n, output_n = np.array(measured(chosen, None)).T
    words = summary(instruction_n, output_n, "words")
    skipped = [_without_folders(bad, job.sources) for bad in read.skipped]
    return Prepared(tokenizer, encoding, examples, skipped, words)


def _without_folders(bad: BadRow, sources: Sequence[Source]) -> BadRow:
    """The label report goes where its checkpoint goes; where a file lay is nobody's business there."""
    reason = bad.reason
    for source in sources:
        reason = reason.replace(str(source.file), source.file.name)
    return bad._replace(reason=reason)


def _train(out: Path, job: Job, prepared: Prepared, follow: Log) -> None:
    spec, runtime = job.spec, job.runtime
    torch.manual_seed(spec.seed)
    model = _trainable(job)
    _check_positions(model, prepared.encoding, job)
    if runtime.processes == 1 or runtime.device == "cpu":
        place(model, runtime)  # else whatever shards or copies it moves it

    def keep(weights: dict[str, Tensor], epoch: int) -> None:
        _keep(_folder(out, epoch, spec.train.epochs), job, prepared.tokenizer, weights)

    fit(
        model,
        prepared.examples,
        train=spec.train,
        average=spec.loss.average,
        seed=spec.seed,
        runtime=runtime,
        out=out,
        log=follow,
        objective=_objective(job),
        keep=keep,
    )


def _flat(name: str, values: dict[str, Any]) -> dict[str, float]:
    """The numbers in a report, by their path."""
    found: dict[str, float] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= _flat(f"{name}/{key}", value)
        elif isinstance(value, int | float):
            found[f"{name}/{key}"] = value
    return found


def _trainable(job: Job) -> PreTrainedModel:
    model = load_model(job.base, dtype=torch.float32)
    _attend(model, job)
    if job.spec.train.lora is not None and (added := added_tokens(job.base)):
        raise UserError(
            f"train.lora: model.chat_template adds {len(added)} control tokens to the tokenizer, whose embeddings "
            "low-rank updates leave as they are, so that no turn's end would be learned; use "
            "model.chat_template=tulu or own, or train in full"
        )
    return with_lora(model, job.spec.train.lora)


def _objective(job: Job) -> Objective:
    loss = job.spec.loss
    base = None
    if loss.kl_weight:
        base = load_model(
            job.base, dtype=torch.bfloat16 if job.spec.train.precision == "bf16" else torch.float32
        )
        _attend(base, job)
        place(base.eval().requires_grad_(False), job.runtime)
    return Objective(neftune_alpha=loss.neftune_alpha, kl_weight=loss.kl_weight, kl=loss.kl, base=base)


def _attend(model: PreTrainedModel, job: Job) -> None:
    kernel = job.runtime.attention
    if kernel.startswith("flash") and job.spec.train.precision == "fp32":
        raise UserError(f"runtime.attention={kernel}: it computes in bf16 only; use train.precision=bf16")
    try:
        model.set_attn_implementation(kernel)
    except (ImportError, ValueError) as error:
        raise UserError(
            f"runtime.attention={kernel}: not to be had for {type(model).__name__} "
            f"({str(error).strip().splitlines()[0]}); use runtime.attention=eager"
        ) from error


def _check_positions(model: PreTrainedModel, encoding: Encoding, job: Job) -> None:
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    for encoded in encoding.kept:
        if positions is not None and len(encoded.ids_t) > positions:
            raise UserError(
                f"{encoded.where}: {len(encoded.ids_t)} tokens, but the model has {positions} "
                f"positions; train.max_tokens={positions} cuts what is longer"
            )


def _folder(out: Path, epoch: int, epochs: int) -> Path:
    """The last epoch's checkpoint is the training's own."""
    return out if epoch == epochs else out / EPOCHS / str(epoch)


def _keep(folder: Path, job: Job, tokenizer: PreTrainedTokenizerFast, weights: dict[str, Tensor]) -> None:
    """Save weights, however they were trained, as a checkpoint that loads anywhere."""
    model = with_lora(load_model(job.base, dtype=torch.float32), job.spec.train.lora)
    model.load_state_dict(weights)
    model = merged(model, job.spec.train.lora)
    if job.spec.train.precision == "bf16":
        model = model.bfloat16()
    folder.mkdir(parents=True, exist_ok=True)
    save(folder, model, tokenizer)
