"""Data sizes: which conversations of a dataset a cell is trained on."""

from __future__ import annotations

import random
from collections.abc import Sequence

from im_bench.config import Subset, UserError
from im_bench.data.conversations import Conversation


def select(conversations: Sequence[Conversation], subset: Subset, *, seed: int) -> list[Conversation]:
    """The chosen conversations, in dataset order.

    For one seed the random subsets are nested (the first n of one shuffle): the 1k subset is in the 2k one.

    Raises:
        UserError: when more are asked for than there are.
    """
    size = len(conversations) if subset.size is None else subset.size
    if size > len(conversations):
        raise UserError(f"subset.size={size}: the dataset has {len(conversations)} conversations")
    order = list(range(len(conversations)))
    if subset.name == "random":
        random.Random(f"{seed}/subset").shuffle(order)
    return [conversations[index] for index in sorted(order[:size])]
