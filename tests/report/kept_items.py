"""Items in a store, as scoring steps keep them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from im_bench.items import write_items
from im_bench.store import RECORD


def keep(
    results: Path,
    step: str,
    outcomes: Sequence[float | None],
    *,
    task: str = "piqa",
    clusters: Sequence[str | None] | None = None,
    sizes: Sequence[float] | None = None,
    **other: object,
) -> None:
    """The items 0, 1, ... with these outcomes, in the folder of a step of this key."""
    folder = results / "store" / "harness" / f"toy-{step}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD).write_text("{}")
    write_items(
        folder,
        [
            {
                "task": task,
                "item": str(number),
                "stratum": "",
                "cluster": clusters[number] if clusters else None,
                "outcome": outcome,
                "size": sizes[number] if sizes else 1.0,
                "question": f"question {number}",
                "answer": "yes",
                "target": "no",
                "verdict": None,
            }
            | other
            for number, outcome in enumerate(outcomes)
        ],
    )
