"""Instruction tuning: one trained checkpoint, from a file of conversations to weights."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from im_bench.checkpoint import Checkpoint, load_model, load_tokenizer, place, save
from im_bench.config import Dataset, Runtime
from im_bench.data.conversations import read_conversations
from im_bench.data.encoding import Encoding, encode
from im_bench.data.subsets import select
from im_bench.data.templates import Part
from im_bench.data.weights import Example, weigh
from im_bench.identity import TrainIdentity
from im_bench.training.trainer import Log, fit

LABELS = "labels.json"
TRAINING = "training.json"
log = logging.getLogger(__name__)


def tune(
    out: Path,
    base: Checkpoint,
    *,
    spec: TrainIdentity,
    dataset: Dataset,
    file: Path,
    runtime: Runtime,
    follow: Log,
) -> None:
    """Train `base` on the conversations of `file` into `out`, going on from where an interrupted run was.

    Args:
        follow: called once an optimiser step, see `im_bench.training.trainer.fit`.

    Raises:
        UserError: naming the file and row of a conversation that cannot be trained on.
    """
    tokenizer = load_tokenizer(base.tokenizer)
    conversations = read_conversations(file, dataset.format, allow_empty_output=dataset.allow_empty_output)
    chosen = select(conversations, spec.subset, seed=spec.seed)
    encoding = encode(tokenizer, chosen, max_tokens=spec.train.max_tokens, where=str(file))
    examples = [weigh(encoded, spec.loss) for encoded in encoding.kept]
    report = label_report(encoding, examples)
    (out / LABELS).write_text(json.dumps(report, indent=1) + "\n")
    log.info("labels: %s", describe(report))
    torch.manual_seed(spec.seed)
    # Weights are kept in fp32 while they train; bf16 is the precision of the arithmetic.
    model = load_model(base, dtype=torch.float32)
    place(model, runtime)
    training = fit(
        model,
        examples,
        train=spec.train,
        average=spec.loss.average,
        seed=spec.seed,
        runtime=runtime,
        out=out,
        log=follow,
    )
    (out / TRAINING).write_text(json.dumps(training, indent=1) + "\n")
    if spec.train.precision == "bf16":
        model = model.bfloat16()
    save(out, model, tokenizer)


def label_report(encoding: Encoding, examples: Sequence[Example]) -> dict[str, Any]:
    """What is trained on: conversations kept, truncated and dropped, tokens by part, tokens that carry loss.

    `instruction_output_ratio` is in tokens: instruction and system over output, of all conversations.
    """
    parts = Counter(part for encoded in encoding.kept for part in encoded.parts_t.tolist())
    return {
        "conversations": len(encoding.kept) + len(encoding.dropped),
        "kept": len(encoding.kept),
        "truncated": sum(encoded.truncated for encoded in encoding.kept),
        "dropped_rows": encoding.dropped,
        "tokens": {part.name.lower(): parts[part] for part in Part},
        "supervised_tokens": sum(int((example.weights_t > 0).sum()) for example in examples),
        "instruction_output_ratio": (parts[Part.INSTRUCTION] + parts[Part.SYSTEM])
        / max(1, parts[Part.OUTPUT]),
    }


def describe(report: dict[str, Any]) -> str:
    """The label report in one line."""
    tokens = ", ".join(f"{count} {part}" for part, count in report["tokens"].items())
    return (
        f"{report['kept']} of {report['conversations']} conversations ({report['truncated']} truncated, "
        f"{len(report['dropped_rows'])} dropped as no output fits), "
        f"{report['supervised_tokens']} tokens carry loss of {sum(report['tokens'].values())} ({tokens}), "
        f"instruction/output {report['instruction_output_ratio']:.2f}"
    )
