"""The work of a sweep in the order in which it can be done, whoever does it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from itertools import groupby
from typing import NamedTuple, get_args

from im_bench.config import Run
from im_bench.stages import KINDS, Stage
from im_bench.store import Step
from im_bench.work import Job, Planned


@dataclass(frozen=True, eq=False)
class Chain:
    """Steps of one cell, each after those it needs; it begins when the chains are over that make what else it needs."""

    sweep: str
    run: Run
    plan: Callable[[], Planned]
    steps: tuple[Step, ...]

    def job(self, steps: Iterable[Step]) -> Job:
        return Job(self.sweep, self.run, self.plan, tuple(step.key for step in steps))

    def stages(self) -> list[tuple[Stage, list[Step]]]:
        """The steps by what they need of a machine, in order: a training, then its benchmarks, then verdicts."""
        ordered = sorted(self.steps, key=lambda step: get_args(Stage).index(KINDS[step.kind]))
        return [(stage, list(steps)) for stage, steps in groupby(ordered, key=lambda step: KINDS[step.kind])]


class CellPlan(NamedTuple):
    """A cell of a sweep, as far as running it goes."""

    run: Run
    plan: Callable[[], Planned]
    """Plans it again, in another process."""
    steps: Sequence[Step]


def chains_of(sweep: str, cells: Sequence[CellPlan], todo: Iterable[Step]) -> list[Chain]:
    """What is to do, each step once: a chain for each cell, and before it those of what it shares with later ones.

    The cells of one training follow one another, so that who does one chain after the other has the weights of one
    training at a time.
    """
    left = {step.key for step in todo}
    wanted = Counter(key for cell in cells for key in {step.key for step in cell.steps})
    found = []
    for cell in _by_training(cells):
        own = [step for step in cell.steps if step.key in left]
        left.difference_update(step.key for step in own)
        shared = [step for step in own if wanted[step.key] > 1]
        alone = [step for step in own if wanted[step.key] == 1]
        for steps in (*_levels(shared), alone):
            if steps:
                found.append(Chain(sweep, cell.run, cell.plan, tuple(steps)))
    return found


def needs_of(chains: Sequence[Chain]) -> dict[Chain, set[Chain]]:
    """Which of the chains each waits for."""
    makers = {step.key: chain for chain in chains for step in chain.steps}
    return {
        chain: {makers[need.key] for step in chain.steps for need in step.needs if need.key in makers}
        - {chain}
        for chain in chains
    }


def phases_of(chains: Sequence[Chain]) -> Iterator[list[Chain]]:
    """The chains in their order, as few times as can be: each time all whose needs came before."""
    place = {chain: number for number, chain in enumerate(chains)}
    waiting = TopologicalSorter(needs_of(chains))
    waiting.prepare()
    while ready := waiting.get_ready():
        yield sorted(ready, key=place.__getitem__)
        waiting.done(*ready)


def _by_training(cells: Sequence[CellPlan]) -> Iterator[CellPlan]:
    """Those of one training together, where its first is."""
    together: dict[str, list[CellPlan]] = defaultdict(list)
    for cell in cells:
        together[next((step.key for step in cell.steps if step.kind == "train"), "")].append(cell)
    for group in together.values():
        yield from group


def _levels(steps: Sequence[Step]) -> Iterator[list[Step]]:
    """Steps that need none of each other, after those that they need."""

    def level(step: Step) -> tuple[int, bool]:
        return get_args(Stage).index(KINDS[step.kind]), step.kind == "train"

    for _, group in groupby(sorted(steps, key=level), key=level):
        yield list(group)
