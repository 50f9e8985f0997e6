"""Which held-out conversations stand in a training set, so that a loss on them is no held-out loss."""

from __future__ import annotations

from collections.abc import Sequence

from im_bench.data.contamination import Index, Item
from im_bench.data.conversations import Conversation

AT_ONCE = 4096
"""Training conversations whose words are held at a time."""


def standing(heldout: Sequence[Conversation], training: Sequence[Conversation]) -> list[bool]:
    """Of each held-out conversation, whether the training set has it.

    It has one that says the same, white space and system turn aside; or one that shares more than half of its words in
    runs of eight, as `im_bench.data.contamination` counts them.
    """
    there = set(map(_said, training))
    index = Index(Item("heldout", _text(each)) for each in heldout)
    for start in range(0, len(training), AT_ONCE):
        found = index.hits([_text(each) for each in training[start : start + AT_ONCE]])
        there |= {_said(heldout[hit.item]) for hit in found}
    return [_said(each) in there for each in heldout]


def _said(conversation: Conversation) -> tuple[str, ...]:
    """Instructions and outputs, in which white space is one space."""
    turns = (turn for turn in conversation.turns if turn.role != "system")
    return tuple(f"{turn.role} {' '.join(turn.content.split())}" for turn in turns)


def _text(conversation: Conversation) -> str:
    return "\n".join(turn.content for turn in conversation.turns if turn.role != "system")
