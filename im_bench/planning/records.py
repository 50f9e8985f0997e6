"""What the store has measured: how fast trainings were, how many tokens they had, and how long benchmarks took."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from im_bench.store import RECORD, Step
from im_bench.training import TOTALS

TRAINED = "train"


class Speed(NamedTuple):
    """Floating-point operations a second on one device, over so many trainings."""

    flops: float
    trainings: int
    same_model: bool


class Measured:
    """The records of a store, read once.

    Args:
        root: of the store.
        kinds: of steps whose records are wanted, besides trainings.
    """

    def __init__(self, root: Path, kinds: Iterable[str]) -> None:
        self._base: dict[str, str] = {}
        self._trainings: list[tuple[str, dict[str, Any]]] = []
        self._tokens: dict[str, list[float]] = defaultdict(list)
        self._seconds: dict[str, list[float]] = defaultdict(list)
        _each(root / TRAINED, self._take_training)
        for kind in kinds:
            _each(root / kind, self._take)

    def _take_training(self, folder: Path, record: dict[str, Any]) -> None:
        identity = record["identity"]
        (base,) = identity["needs"]
        self._base[record["key"]] = base
        totals = json.loads((folder / TOTALS).read_bytes())
        self._trainings.append((base, totals))
        self._tokens[_data(identity)].append(totals["tokens"] / identity["config"]["train"]["epochs"])

    def _take(self, _: Path, record: dict[str, Any]) -> None:
        identity = record["identity"]
        needs = [self._base.get(need, need) for need in identity["needs"]]
        self._seconds[_asked(identity, needs)].append(record["made"]["seconds"])

    def speed(self, base: Step, device: str) -> Speed | None:
        """Of trainings of this model on such a device, or of any model where it has none."""
        on_such = [(model, totals) for model, totals in self._trainings if totals.get("device") == device]
        same = [totals for model, totals in on_such if model == base.key]
        chosen = same or [totals for _, totals in on_such]
        seconds = sum(totals["seconds"] * totals["processes"] for totals in chosen)
        flops = sum(totals["flops"] for totals in chosen)
        return Speed(flops / seconds, len(chosen), bool(same)) if seconds and flops else None

    def tokens(self, training: Step) -> float | None:
        """Of one epoch over the same conversations, cut at the same length, in whatever training."""
        found = self._tokens.get(_data(training.identity))
        return median(found) if found else None

    def seconds(self, step: Step) -> float | None:
        """Median of steps that ask the same of the same base model or a checkpoint trained from it."""
        needs = [(need.needs[0] if need.kind == TRAINED else need).key for need in step.needs]
        found = self._seconds.get(_asked(step.identity, needs))
        return median(found) if found else None


def _data(identity: dict[str, Any]) -> str:
    """What decides the tokens of a training: its model's tokenizer, its conversations whatever the seed, a length."""
    config = identity["config"]
    longest = config["train"]["max_tokens"]
    return json.dumps([identity["needs"], config["dataset"], config["subset"], longest], sort_keys=True)


def _asked(identity: dict[str, Any], base: list[str]) -> str:
    """What decides how long a benchmark takes, as far as it is known; neither seed nor epoch does."""
    config = {key: value for key, value in identity["config"].items() if key not in ("seed", "epoch")}
    return json.dumps([identity["kind"], base, config], sort_keys=True)


def _each(kind: Path, take: Callable[[Path, dict[str, Any]], None]) -> None:
    """Take every record of a kind that is whole; of others the store itself says what is wrong."""
    with suppress(FileNotFoundError), os.scandir(kind) as folders:
        for folder in folders:
            with suppress(OSError, ValueError, KeyError, TypeError):
                take(Path(folder.path), json.loads(Path(folder.path, RECORD).read_bytes()))
