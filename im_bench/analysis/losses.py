"""The loss of a checkpoint on each conversation that it was trained on, and on others that it was not.

The paper's losses (Figures 3, 8 and 9) are means over conversations of each one's mean over output tokens; a mean over
all tokens weighs long outputs more. Both are there, and so is the loss on instructions, and the KL to the base model.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow
import pyarrow.parquet
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from im_bench.analysis import measures
from im_bench.analysis.likelihoods import Sums, likelihoods
from im_bench.analysis.means import Mean, mean, ratio
from im_bench.analysis.measures import HELDOUT, HELDOUT_NEW, TRAIN, heldout_note, measured
from im_bench.analysis.overlap import standing
from im_bench.analysis.sets import Trained, heldout_set, name_of, some, training_set
from im_bench.checkpoint import Checkpoint, context_length, load_model, load_tokenizer, place
from im_bench.config import Runtime
from im_bench.counting import Follow, nobody
from im_bench.data.conversations import Conversation
from im_bench.data.encoding import Encoded, encode_each
from im_bench.data.sources import Source
from im_bench.drafts import drafted
from im_bench.scores import Score, write_scores

LOSSES = "losses.parquet"
SCHEMA = pyarrow.schema(
    [
        ("set", pyarrow.string()),
        ("example", pyarrow.string()),
        ("output_nll", pyarrow.float64()),
        ("output_tokens", pyarrow.int64()),
        ("instruction_nll", pyarrow.float64()),
        ("instruction_tokens", pyarrow.int64()),
        ("output_kl", pyarrow.float64()),
        ("in_training", pyarrow.bool_()),
    ]
)
"""A row for each conversation: its set, its source and row, sums in nats and tokens, and whether it was trained on."""
Row = dict[str, Any]
log = logging.getLogger(__name__)


class Heldout(NamedTuple):
    """Conversations that a training is held against."""

    name: str
    sources: tuple[Source, ...]


class Looked(NamedTuple):
    """A conversation that is looked at."""

    set: str
    example: str
    in_training: bool
    encoded: Encoded


def measure(
    out: Path,
    checkpoint: Checkpoint,
    *,
    base: Checkpoint | None,
    trained: Trained | None,
    heldout: Heldout | None,
    examples: int | None,
    max_tokens: int,
    precision: Literal["bf16", "fp32"],
    runtime: Runtime,
    follow: Follow = nobody,
) -> None:
    """Write `losses.parquet` and the scores that are made of it.

    Args:
        base: what KL is to; None for a base model, which has none to itself.
        trained: what the checkpoint was trained on; None for a base model.
        examples: at most so many conversations of each set.
        max_tokens: what is longer is cut, as in the training.
        precision: of the weights.
        follow: told how many conversations are done, and of how many.

    Raises:
        UserError: when a file was changed or cannot be encoded, or the model is none that losses are written for.
    """
    tokenizer = load_tokenizer(checkpoint.tokenizer)
    training = training_set(trained, tokenizer) if trained else []
    others = some(heldout_set(heldout.sources), examples) if heldout else []
    known = standing(others, training)
    ours = some(training, examples)
    longest = min(max_tokens, context_length(checkpoint) or max_tokens)
    looked = [
        *_looked(TRAIN, ours, [True] * len(ours), trained.sources if trained else (), tokenizer, longest),
        *_looked(HELDOUT, others, known, heldout.sources if heldout else (), tokenizer, longest),
    ]
    found = likelihoods(
        _model(checkpoint, precision, runtime),
        _model(base, precision, runtime) if base else None,
        [each.encoded for each in looked],
        max_tokens=runtime.micro_batch_tokens,
        follow=follow,
    )
    rows = _kept(out, looked, found)
    scores = [*_scores(rows, TRAIN, len(ours), kl=base is not None)] if trained else []
    if heldout:
        scores += _scores(rows, HELDOUT, len(others), kl=base is not None, note=heldout_note(heldout.name))
    if heldout and trained:
        scores += _overlap_scores(rows, heldout, known, kl=base is not None)
    write_scores(out, scores)


def _kept(out: Path, looked: Sequence[Looked], found: Sequence[Sums]) -> list[Row]:
    """What is found of each conversation, written into the step's folder."""
    rows: list[Row] = [
        {"set": each.set, "example": each.example, "in_training": each.in_training, **sums._asdict()}
        for each, sums in zip(looked, found, strict=True)
    ]
    with drafted(out / LOSSES) as draft:
        table = pyarrow.Table.from_pylist(rows, schema=SCHEMA)
        pyarrow.parquet.write_table(table, draft, compression="zstd")
    return rows


def _looked(
    name: str,
    conversations: Sequence[Conversation],
    in_training: Sequence[bool],
    sources: Sequence[Source],
    tokenizer: PreTrainedTokenizerFast,
    longest: int,
) -> Iterator[Looked]:
    """Those of a set whose output is not cut off whole; the training leaves the others out, too."""
    encoded = encode_each(tokenizer, conversations, max_tokens=longest)
    for conversation, known, each in zip(conversations, in_training, encoded, strict=True):
        if each.has_output:
            yield Looked(name, name_of(conversation, sources), known, each)


def _model(checkpoint: Checkpoint, precision: str, runtime: Runtime) -> PreTrainedModel:
    model = load_model(checkpoint, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    place(model.eval(), runtime)
    return model


def _overlap_scores(
    rows: Sequence[Row], heldout: Heldout, known: Sequence[bool], *, kl: bool
) -> Iterator[Score]:
    """How much of the held-out set stands in the training set, and the scores of what does not.

    Args:
        known: of each held-out conversation, whether it stands there.
    """
    asked, there = len(known), sum(known)
    share = Mean(there / asked if asked else None, None, asked)
    yield measured("losses", HELDOUT, measures.OVERLAP, share, total=asked, note=heldout_note(heldout.name))
    if there:
        log.warning(
            "%d of %d held-out conversations of %s stand in the training set; heldout_new is the loss on the others",
            *(there, asked, heldout.name),
        )
    new = [row | {"set": HELDOUT_NEW} for row in rows if row["set"] == HELDOUT and not row["in_training"]]
    yield from _scores(new, HELDOUT_NEW, asked - there, kl=kl, note=heldout_note(heldout.name))


def _scores(
    rows: Sequence[Row], task: str, asked: int, *, kl: bool, note: str | None = None
) -> Iterator[Score]:
    """The means of one set, over tokens and over conversations."""
    mine = [row for row in rows if row["set"] == task]

    def score(metric: str, found: Mean) -> Score:
        return measured("losses", task, metric, found, total=asked, note=note)

    for part, per_token, per_example in measures.LOSSES:
        pairs = [(row[f"{part}_nll"], row[f"{part}_tokens"]) for row in mine if row[f"{part}_tokens"]]
        yield score(per_token, ratio(*_columns(pairs)))
        yield score(per_example, mean([nll / tokens for nll, tokens in pairs]))
    if kl:
        pairs = [(row["output_kl"], row["output_tokens"]) for row in mine]
        yield score(measures.KL, ratio(*_columns(pairs)))


def _columns(pairs: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [first for first, _ in pairs], [second for _, second in pairs]
