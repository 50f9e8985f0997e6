"""`im-bench plan`: what of some cells is done and to do, and what that will take. Nothing is run, fetched or made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from im_bench import places
from im_bench.pipeline import HELDOUT, Cell, with_heldout
from im_bench.places import ABSENT
from im_bench.planning.forecast import Device, Forecast, Hours, Part, Peak, Share, Verdicts
from im_bench.planning.records import Measured
from im_bench.stages import KINDS
from im_bench.store import Step, Store


class Tally(NamedTuple):
    """Steps of one kind; one that several cells need is one."""

    done: int
    todo: int


@dataclass(frozen=True)
class Plan:
    """All that is foretold of some cells."""

    cells: int
    steps: dict[str, Tally]
    absent: dict[str, int]
    """What is not at hand, and how many steps are counted as to do that are made of it."""
    tokens: list[Share]
    hours: dict[tuple[Part, Device], Hours]
    disk: Peak
    keep: str
    judges: dict[str, Verdicts]

    @property
    def todo(self) -> int:
        return sum(tally.todo for tally in self.steps.values())

    def as_json(self) -> dict[str, Any]:
        return {
            "cells": self.cells,
            "steps": {kind: tally._asdict() for kind, tally in self.steps.items()},
            "absent": self.absent,
            "tokens": [share._asdict() for share in self.tokens],
            "hours": [
                {"part": part, "device": device, **asdict(hours)}
                for (part, device), hours in self.hours.items()
            ],
            "disk": {"keep_checkpoints": self.keep, **self.disk._asdict()},
            "judges": {judge: asdict(verdicts) for judge, verdicts in self.judges.items()},
        }


def foresee(cells: Sequence[Cell]) -> Plan:
    """What is done and to do of cells, which were planned with `fetch=False`."""
    run = cells[0].run
    store = Store(run.paths.results / "store")
    steps = {step.key: (step, cell) for cell in cells for step in cell.steps()}
    todo = {step.key for step in store.missing(step for step, _ in steps.values())}
    left = [(step, cell) for key, (step, cell) in steps.items() if key in todo]
    measured = Measured(store.root, {step.kind for step, _ in left} - {"train", "verdicts"})
    forecast = Forecast(measured)
    for step, cell in left:
        forecast.take(step, cell)
    return Plan(
        cells=len(cells),
        steps=_tallies([step for step, _ in steps.values()], todo),
        absent=dict(Counter(name for step, cell in left for name in sorted(set(_absent(step, cell))))),
        tokens=forecast.shares(),
        hours=dict(forecast.hours),
        disk=forecast.peak(run),
        keep=run.keep_checkpoints,
        judges=dict(forecast.judges),
    )


def _tallies(steps: Sequence[Step], todo: set[str]) -> dict[str, Tally]:
    of_kind = Counter(step.kind for step in steps)
    left = Counter(step.kind for step in steps if step.key in todo)
    return {kind: Tally(of_kind[kind] - left[kind], left[kind]) for kind in KINDS if of_kind[kind]}


def _absent(step: Step, cell: Cell) -> Iterator[str]:
    """What is not at hand of what a step, or one that it needs, is made of."""
    for need in step.needs:
        yield from _absent(need, cell)
    if step.kind == "train":
        yield from places.absent_files(cell.run)
    held_out = with_heldout(cell.run, cell.run.analysis.losses)
    if held_out and step.identity["config"].get("analysis") == "losses":
        yield from places.absent_files(held_out, key=HELDOUT)
    yield from _marked(step.identity["config"])


def _marked(value: Any) -> Iterator[str]:
    if isinstance(value, str) and value.startswith(ABSENT):
        yield value.removeprefix(ABSENT)
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _marked(each)
