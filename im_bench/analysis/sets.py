"""The conversations that an analysis looks at: those of the training as it read them, and held-out ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from im_bench.assets import file_sha256
from im_bench.config import Subset, UserError
from im_bench.data.conversations import Conversation
from im_bench.data.sources import Source, read_sources
from im_bench.data.subsets import draws, select

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

HELDOUT_SEED = 0
"""Of the fractions of a held-out mixture: it is the same for trainings of every seed."""


class Trained(NamedTuple):
    """What a checkpoint was trained on."""

    sources: tuple[Source, ...]
    subset: Subset
    seed: int


def training_set(trained: Trained, tokenizer: PreTrainedTokenizerFast) -> list[Conversation]:
    """The conversations that a training chose, before those are left out whose output does not fit.

    Raises:
        UserError: when a file was changed since it was planned.
    """
    sources, subset, seed = trained
    return select(_read(sources, seed), subset, seed=seed, tokenizer=tokenizer)


def heldout_set(sources: Sequence[Source]) -> list[Conversation]:
    """All conversations of the held-out sources.

    Raises:
        UserError: as `training_set`.
    """
    return _read(sources, HELDOUT_SEED)


def some(conversations: Sequence[Conversation], most: int | None) -> list[Conversation]:
    """At most so many, whatever the seed: by their content, in the order of the dataset."""
    drawn = draws(conversations, "analysis")
    chosen = sorted(range(len(conversations)), key=drawn.__getitem__)[:most]
    return [conversations[index] for index in sorted(chosen)]


def name_of(conversation: Conversation, sources: Sequence[Source]) -> str:
    """What an example is called: its source and the row in it."""
    source = next(source.name for source in sources if str(source.file) == conversation.file)
    return f"{source}/{conversation.row}"


def _read(sources: Sequence[Source], seed: int) -> list[Conversation]:
    for source in sources:
        if file_sha256(source.file) != source.spec.sha256:
            raise UserError(f"{source.file}: was changed while it waited to be read; run the command again")
    return read_sources(sources, seed=seed).conversations
