"""How many tokens a training has, before anything is tokenised: estimates from words."""

from __future__ import annotations

from itertools import islice
from math import ceil
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from im_bench import paper, places
from im_bench.config import Dataset, Subset, Training, UserError
from im_bench.data.conversations import Conversation, scan_conversations
from im_bench.data.published import file_at_hand
from im_bench.data.rows import estimated_rows

WORD, TURN = 1.47, 10
"""Tokens of Llama-2's tokenizer for a word, and for a turn with its marks in the tulu template: a fit to LIMA,
AlpaGasus Alpaca and Dolly, Stanford Alpaca and Dolly HH-RLHF, each of which it meets within 7 %."""
SAMPLE = 2000
"""Conversations of a file that are looked at, from its beginning."""
TABLE_5 = "words of Table 5"


class Tokens(NamedTuple):
    """Of one epoch over a training's conversations."""

    tokens: float
    conversations: float
    origin: str
    """What they are estimated from."""

    def steps(self, run: Training) -> int:
        """Optimiser steps of the whole training."""
        return run.train.epochs * max(1, ceil(self.conversations / run.train.global_batch))


class Estimates:
    """Of the datasets of a sweep, each looked at once."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, Path | None, int], Tokens | None] = {}

    def epoch(self, run: Training) -> Tokens | None:
        """Of the run's subset, a conversation being as long as one of the dataset is on average; None if not known."""
        parts = [(part.dataset, part.fraction) for part in run.dataset.parts.values()] or [(run.dataset, 1.0)]
        found = []
        for dataset, fraction in parts:
            whole = self._whole(run, dataset)
            if whole is None:
                return None
            found.append(Tokens(whole.tokens * fraction, whole.conversations * fraction, whole.origin))
        there = sum(each.conversations for each in found)
        chosen = _chosen(run.subset, there)
        origins = " and ".join(dict.fromkeys(each.origin for each in found))
        return Tokens(sum(each.tokens for each in found) * chosen / there, chosen, origins)

    def _whole(self, run: Training, dataset: Dataset) -> Tokens | None:
        """Of the whole dataset."""
        file, longest = _file(run, dataset), run.train.max_tokens
        this = (dataset.model_dump_json(), file, longest)
        if this not in self._found:
            self._found[this] = _of_file(file, dataset, longest) if file else _of_table_5(dataset, longest)
        return self._found[this]


def tokens(words: float, turns: float, longest: int) -> float:
    """About how many tokens a conversation has."""
    return min(longest, WORD * words + TURN * turns)


def _chosen(subset: Subset, there: float) -> float:
    if subset.size is not None:
        return min(subset.size, there)
    return there * (subset.fraction or 1.0)


def _file(run: Training, dataset: Dataset) -> Path | None:
    if dataset.source != "toy":
        return file_at_hand(dataset, run.paths.datasets, run.paths.cache)
    made = places.world(run, fetch=False) / "sft" / f"{dataset.name}.jsonl"
    return made if made.is_file() else None


def _of_file(file: Path, dataset: Dataset, longest: int) -> Tokens | None:
    """By the first conversations of a file; where those are not all, and Table 5 has all, by that."""
    scanned = scan_conversations(
        file, dataset.format, allow_empty_output=True, source_field=dataset.source_field
    )
    try:
        sample = list(islice(scanned, SAMPLE))
    except UserError:
        return None
    rows = [each for each in sample if not dataset.only or each.stratum in dataset.only]
    lengths = [_length(each, longest) for each in rows if isinstance(each, Conversation)]
    if len(sample) < SAMPLE and lengths:
        return Tokens(sum(lengths), len(lengths), "words of its file")
    printed, conversations = _of_table_5(dataset, longest), dataset.num_examples or estimated_rows(file)
    if printed or not lengths or not conversations:
        return printed
    return Tokens(
        fmean(lengths) * conversations, conversations, f"words of its first {SAMPLE:,} conversations"
    )


def _length(conversation: Conversation, longest: int) -> float:
    words = sum(len(turn.content.split()) for turn in conversation.turns)
    return tokens(words, len(conversation.turns), longest)


def _of_table_5(dataset: Dataset, longest: int) -> Tokens | None:
    """By the mean words that the paper prints, in conversations of two turns."""
    printed = next((row for row in paper.lengths() if row["dataset"] == dataset.name), None)
    if printed is None:
        return None
    conversations = dataset.num_examples or int(printed["examples"])
    return Tokens(
        tokens(float(printed["total_words_mean"]), 2, longest) * conversations, conversations, TABLE_5
    )
