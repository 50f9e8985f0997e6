"""Data sizes and length ratios: which conversations of a dataset a cell is trained on.

Chance is in one place: `draws`, a number for each conversation that comes of its content, the seed and the purpose. So
a choice depends neither on the order of a file nor on what else is in it, and a smaller one is inside a larger.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from im_bench.config import Subset, UserError
from im_bench.data.conversations import Conversation
from im_bench.data.lengths import CHARACTERS_PER_WORD, measured

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

log = logging.getLogger(__name__)
NEAR = 2.0
"""Some conversation's ratio must be within this factor of a target, for the target to mean anything."""


def select(
    conversations: Sequence[Conversation],
    subset: Subset,
    *,
    seed: int,
    tokenizer: PreTrainedTokenizerFast | None = None,
) -> list[Conversation]:
    """The chosen conversations, in dataset order.

    Args:
        tokenizer: that of the model, needed for `subset.unit=tokens` and used for nothing else.

    Raises:
        UserError: when more are asked for than there are, or a ratio that none is near.
    """
    order = _order(conversations, subset, seed, tokenizer)
    if subset.size is None:
        chosen = order
    elif subset.size <= len(order):
        chosen = order[: subset.size]
    else:
        there = f"the dataset has {len(conversations)} conversations"
        if subset.name == "ratio_window":
            there += f", {len(order)} of them in subset.window"
        raise UserError(f"subset.size={subset.size}: {there}")
    if not chosen:
        raise UserError(f"subset={subset.label}: none of the {len(conversations)} conversations is chosen")
    return [conversations[index] for index in sorted(chosen)]


def content(conversation: Conversation) -> bytes:
    """A digest of what is said in a conversation, wherever it stands."""
    digest = hashlib.blake2b(digest_size=16)
    for turn in conversation.turns:
        digest.update(f"\0{turn.role}\0{turn.content}".encode())
    return digest.digest()


def draws(conversations: Sequence[Conversation], purpose: str) -> list[int]:
    """A random number for each conversation; equal ones are told apart by how many stood there before."""
    seen: Counter[bytes] = Counter()
    drawn = []
    for conversation in conversations:
        said = content(conversation)
        text = b"%b %d %b" % (said, seen[said], purpose.encode())
        drawn.append(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()))
        seen[said] += 1
    return drawn


def fraction(conversations: Sequence[Conversation], share: float, purpose: str) -> list[int]:
    """Indices of a share of each stratum at random, to the nearest whole of its conversations."""
    places = _places(conversations, purpose)
    return [index for index, place in enumerate(places) if place[0] < share]


def _order(
    conversations: Sequence[Conversation],
    subset: Subset,
    seed: int,
    tokenizer: PreTrainedTokenizerFast | None,
) -> list[int]:
    """Indices of what may be chosen, the first to be chosen first."""
    indices, purpose = range(len(conversations)), f"subset {seed}"
    match subset.name:
        case "full" | "first":
            return list(indices)
        case "fraction":
            assert subset.fraction is not None
            return fraction(conversations, subset.fraction, purpose)
        case "stratified":
            return sorted(indices, key=_places(conversations, purpose).__getitem__)
    drawn = draws(conversations, purpose)
    if subset.name == "random":
        return sorted(indices, key=drawn.__getitem__)
    if subset.unit == "words":
        _check_words(conversations)
    assert subset.unit == "words" or tokenizer is not None
    ratios = [
        length.ratio for length in measured(conversations, tokenizer if subset.unit == "tokens" else None)
    ]
    if subset.window is not None:
        low, high = subset.window
        return sorted((index for index in indices if low <= ratios[index] <= high), key=drawn.__getitem__)
    assert subset.target is not None
    target = subset.target
    order = sorted(indices, key=lambda index: (abs(ratios[index] - target), drawn[index]))
    _check_near([ratios[index] for index in order], subset)
    return order


def _places(conversations: Sequence[Conversation], purpose: str) -> list[tuple[float, int]]:
    """Where each stands in its stratum: between 0 and 1, evenly, in an order by chance; and its draw.

    The n that stand first, or all below a share, hold of each stratum what is its due to the nearest whole.
    """
    drawn = draws(conversations, purpose)
    strata: dict[str | None, list[int]] = defaultdict(list)
    for index, conversation in enumerate(conversations):
        strata[conversation.stratum].append(index)
    places = [(0.0, 0)] * len(conversations)
    for members in strata.values():
        for rank, index in enumerate(sorted(members, key=drawn.__getitem__)):
            places[index] = ((rank + 0.5) / len(members), drawn[index])
    return places


def _check_near(nearest_first: Sequence[float], subset: Subset) -> None:
    """Refuse a target that none is near, and say when most of the chosen are not."""
    assert subset.target is not None and subset.size is not None
    target = subset.target
    if not _near(nearest_first[0], target):
        raise UserError(
            f"subset.target={target:g}: no conversation's instruction/output ratio is near it; the nearest is "
            f"{nearest_first[0]:.3g}, and they go from {min(nearest_first):.3g} to {max(nearest_first):.3g}"
        )
    chosen = nearest_first[: subset.size]
    near = sum(_near(ratio, target) for ratio in chosen)
    if near < len(chosen) / 2:
        log.warning(
            "subset=%s: only %d of the %d conversations nearest to the target have a ratio within a factor of %g "
            "of it; they go from %.3g to %.3g",
            *(subset.label, near, len(chosen), NEAR, min(chosen), max(chosen)),
        )


def _near(ratio: float, target: float) -> bool:
    return target / NEAR <= ratio <= target * NEAR


def _check_words(conversations: Sequence[Conversation]) -> None:
    """Refuse to count words where white space does not part them."""
    contents = [turn.content for conversation in conversations for turn in conversation.turns]
    characters, words = sum(map(len, contents)), sum(len(content.split()) for content in contents)
    if characters > CHARACTERS_PER_WORD * max(1, words):
        raise UserError(
            f"subset.unit=words: a word would have {characters / max(1, words):.0f} characters, so white space does "
            "not part the words of this language; use subset.unit=tokens"
        )
