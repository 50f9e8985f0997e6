"""What the analyses put into the ledger: their names, tasks and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from im_bench.analysis.means import Mean
from im_bench.scores import Score

ANALYSIS = "analysis"
"""The category of what is found out about a checkpoint besides its scores."""
TRAIN, HELDOUT, HELDOUT_NEW = "train", "heldout", "heldout_new"
"""Tasks: the training set, the held-out set, and what of that the training set does not hold."""
LOSSES = (
    ("output", "output_loss_per_token", "output_loss_per_example"),
    ("instruction", "instruction_loss_per_token", "instruction_loss_per_example"),
)
"""Of each part of a conversation, the metrics of both means of its loss."""
KL = "output_kl_per_token"
OVERLAP = "overlap"
BLEU, SENTENCE_BLEU, EXACT, EIGHT_GRAMS = "bleu_corpus", "bleu_sentence", "exact", "eight_grams"
LENGTHS, WORDS = "lengths", "words"
"""What every training says of its conversations: a row of the paper's Table 5, in words as the paper counts them."""
HEADLINES = {"losses": LOSSES[0][1], "memorisation": BLEU}
"""What stands in the ledger of an analysis that failed."""


def measured(
    analysis: str,
    task: str,
    metric: str,
    found: Mean,
    *,
    total: int,
    note: str | None = None,
    truncated: int = 0,
) -> Score:
    """One number of an analysis, of `total` conversations that were looked at.

    A loss on what was trained on, and a distance to the base model, are neither good nor bad.
    """
    return Score(
        benchmark=analysis,
        category=ANALYSIS,
        task=task,
        metric=metric,
        value=found.value,
        stderr=found.stderr,
        count=found.examples,
        total=total,
        direction="neither" if metric == KL or (analysis == "losses" and task == TRAIN) else "lower",
        reading_note=note,
        truncated=truncated,
    )


def lengths(words: Mapping[str, float | None]) -> list[Score]:
    """How long the conversations of a training are, of `im_bench.data.lengths.summary`."""
    examples = int(words["examples"] or 0)
    metrics = ["examples", *(f"{part}_words_{of}" for part, of in LENGTH_PARTS), *RATIOS]
    found = [(name.replace("_words", ""), Mean(words[name], None, examples)) for name in metrics]
    scores = [measured(LENGTHS, WORDS, metric, mean, total=examples) for metric, mean in found]
    return [replace(each, direction="neither") for each in scores]


LENGTH_PARTS = (
    ("total", "mean"),
    *((part, of) for part in ("output", "instruction") for of in ("mean", "std")),
)
RATIOS = ("output_over_instruction", "instruction_over_output")


def missing(analysis: str, *, trained: bool) -> Score:
    """The headline of an analysis that was asked for and has no number."""
    task = TRAIN if trained else HELDOUT
    return measured(analysis, task, HEADLINES[analysis], Mean(None, None, 0), total=0)


def heldout_note(name: str) -> str:
    """What the ledger says of a loss on this dataset, as held out."""
    return f"held out: {name}"
