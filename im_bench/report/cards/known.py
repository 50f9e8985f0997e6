"""What a card is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from im_bench.config import Dataset, Run
from im_bench.report.collect import Row


class Scored(NamedTuple):
    """A row of the ledger that is of the card's checkpoint."""

    row: Row
    asked: str
    """How it was asked, e.g. `25 shots, first 8 of each task`."""
    data: str | None
    """Beginning of the sha256 of the benchmark's data, where they are not those that im-bench fetches."""


class Made(NamedTuple):
    """How a checkpoint came to be."""

    name: str
    """Label of its step."""
    key: str
    identity: Mapping[str, Any]
    """Config of the training's identity: the files it read, and its loss without what stands at its default."""
    base: Mapping[str, Any]
    """Config of the base model's identity."""
    made: Mapping[str, Any]
    """`python` and `packages` of the record."""
    labels: Mapping[str, Any]
    """The label report."""
    training: Mapping[str, Any]
    """What the training came to, see `im_bench.training.trainer.fit`."""


def name_of(run: Run, made: Made) -> str:
    """Of the checkpoint, as a heading."""
    return made.name if run.scored_epoch is None else f"{made.name}-epoch{run.scored_epoch}"


def datasets_of(dataset: Dataset) -> list[Dataset]:
    """The dataset, or those of a mixture."""
    return [part.dataset for part in dataset.parts.values()] or [dataset]
