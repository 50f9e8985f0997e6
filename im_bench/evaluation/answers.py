"""A model's answers to the items of a judged benchmark: one to each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TypeVar

from im_bench.config import UserError

SHOWN = 5
"""Items that a message names."""
Item = TypeVar("Item", int, str)


def check_one_to_each(
    path: Path, given: Sequence[Item], asked: Sequence[Item], *, known: Collection[Item] = (), item: str
) -> None:
    """Refuse answers that are not one to each item.

    Args:
        given: the item of each answer.
        known: items that may have an answer, whether they are asked or not.
        item: what an item is called.

    Raises:
        UserError: naming the file and the items.
    """
    times, allowed = Counter(given), set(known or asked)
    faults = (
        ("has several answers to {}", [each for each in times if times[each] > 1]),
        ("answers {}, which was not asked", [each for each in times if each not in allowed]),
        ("has no answer to {}", [each for each in asked if each not in times]),
    )
    for fault, items in faults:
        if items:
            named = ", ".join(map(_shown, items[:SHOWN])) + (", ..." if len(items) > SHOWN else "")
            told = fault.format(f"{item} {named}")
            raise UserError(f"{path}: {told}; every one needs one answer, if only an empty one")


def _shown(item: int | str) -> str:
    return repr(item[:80]) if isinstance(item, str) else str(item)
