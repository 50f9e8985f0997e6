"""`im-bench status`: where each step of a sweep stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from im_bench.pipeline import Cell
from im_bench.stages import KINDS
from im_bench.store import State, Step, Store

STATES = {"done": "done", "running": "running", "failed": "failed", "killed": "killed", "todo": "to do"}
"""What a person reads of each state."""


class Standing(NamedTuple):
    """One step, and where it stands."""

    step: Step
    state: State

    def as_json(self) -> dict[str, Any]:
        state = self.state
        return {
            "step": self.step.name,
            "kind": self.step.kind,
            "state": state.name,
            "where": state.where or None,
            "since": state.since or None,
            "why": state.why or None,
            "log": str(state.path) if state.path else None,
        }


def standings(cells: Sequence[Cell], store: Store) -> list[Standing]:
    """Every step of the cells once, kind by kind; one whose files were dropped and are needed again is to do."""
    steps = {step.key: step for cell in cells for step in cell.steps()}
    todo = {step.key for step in store.missing(steps.values())}
    order = list(KINDS)
    ordered = sorted(steps.values(), key=lambda step: order.index(step.kind))
    return [Standing(step, _state(step, store, todo)) for step in ordered]


def _state(step: Step, store: Store, todo: Collection[str]) -> State:
    state = store.state(step)
    return State("todo") if state.name == "done" and step.key in todo else state


def shown(found: Sequence[Standing], head: str) -> RenderableType:
    """How many steps stand where, then those that run and those that went wrong.

    Args:
        head: which cells are meant.
    """
    table = Table(box=SIMPLE_HEAD, show_edge=False)
    table.add_column("steps")
    for word in STATES.values():
        table.add_column(word, justify="right")
    counts: Counter[tuple[str, str]] = Counter((each.step.kind, each.state.name) for each in found)
    for kind in dict.fromkeys(each.step.kind for each in found):
        table.add_row(kind, *(str(counts[kind, state] or "") for state in STATES))
    return Group(escape(head), table, *_lines(found))


def _lines(found: Sequence[Standing]) -> Iterator[str]:
    for step, state in found:
        match state.name:
            case "running":
                yield escape(f"running: {step.name}, {state.where}, since {state.since}")
            case "failed":
                yield escape(f"failed: {step.name}: {state.why} ({state.path})")
            case "killed":
                yield escape(f"killed: {step.name}, {state.where}, which began at {state.since}")
    if all(each.state.name == "done" for each in found):
        yield "every step is done"
    elif any(each.state.name in ("failed", "killed") for each in found):
        yield "the same sweep, run again, tries them again"
