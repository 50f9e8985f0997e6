"""Cells whose steps do what they are told, given to this machine's launcher; and workers that are no processes."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from im_bench.composing import CONF, compose_run
from im_bench.config import Local, Run, UserError
from im_bench.launching import CellPlan, chains_of, launch
from im_bench.pipeline import Cell
from im_bench.scores import Score, write_scores
from im_bench.stages import Wires
from im_bench.store import Step, Store
from im_bench.work import Failure

SOON = 60
"""Seconds in which what must happen has happened, on the slowest machine."""


class Named(BaseModel):
    name: str


class Seen:
    """An observer that remembers who told it what, in order."""

    def __init__(self) -> None:
        self.labels: dict[str, str] = {}
        self.told: list[tuple[str, str]] = []
        self.within_of: list[tuple[float, float, str]] = []

    def start(self, steps: Sequence[Step]) -> None:
        self.labels = {step.key: step.label for step in steps}

    def began(self, key: str) -> None:
        self.told.append(("began", self.labels[key]))

    def within(self, key: str, done: float, total: float, what: str) -> None:
        self.within_of.append((done, total, what))

    def ended(self, key: str) -> None:
        self.told.append(("ended", self.labels[key]))

    def begun(self) -> list[str]:
        return [name for word, name in self.told if word == "began"]


# --- what steps do: `does(out, name)`, to be sent to another process by its name ---


def nothing(out: Path, name: str) -> None: ...


def scored(out: Path, name: str, value: float = 5.0) -> None:
    write_scores(
        out, [Score("mt_bench", "judged", "mt_bench", "score", value, None, 1, 1, "higher", judge="one")]
    )


def refuse(why: str, out: Path, name: str) -> None:
    raise UserError(why)


def run_step(does: Callable[..., object], name: str, out: Path, *inputs: Path) -> None:
    does(out, name)


def fake_cell(
    run: Run,
    name: str,
    *,
    train: Callable[..., object] | None = None,
    answer: Callable[..., object] = nothing,
    verdict: Callable[..., object] = scored,
    shared: str = "",
) -> Cell:
    """A checkpoint, answers and verdicts that do what they are told; a base or training of one name is one.

    Args:
        train: what its training does, where it has one.
        shared: the name of its checkpoint, where others have the same.
    """

    def step(kind: str, does: Callable[..., object], name: str, *needs: Step) -> Step:
        label = f"{name} {kind}"
        return Step(kind, Named(name=name), partial(run_step, does, name), needs=needs, label=label)

    checkpoint = step("base", nothing, "common" if train else shared or name)
    if train:
        checkpoint = step("train", train, shared or name, checkpoint)
    verdicts = step("verdicts", verdict, name, step("answers", answer, name, checkpoint))
    return Cell(run, checkpoint, {"mt_bench": verdicts}, Wires())


def run_of(folder: Path, *overrides: str) -> Run:
    """A config of which nothing is asked that its steps here do not do."""
    model = folder / "model"
    model.mkdir(exist_ok=True)
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (model / name).write_text("{}")
    own = [
        "model=local",
        f"model.path={model}",
        "benchmark=[mt_bench,alpaca_eval_1]",
        f"paths.results={folder / 'results'}",
    ]
    return compose_run("config", CONF, ["experiment=toy", "loss=none", *own, *overrides])


def launched(plans: Sequence[Callable[[], Cell]], seen: Seen, jobs: int = 1) -> list[Failure]:
    """What these cells lack after a sweep of them."""
    cells = [plan() for plan in plans]
    store = Store(cells[0].run.paths.results / "store")
    todo = store.missing(step for cell in cells for step in cell.steps())
    seen.start(todo)
    planned = [CellPlan(cell.run, plan, cell.steps()) for cell, plan in zip(cells, plans, strict=True)]
    return launch(chains_of("small", planned, todo), Local(kind="local", jobs=jobs), store, seen)


def lacking(store: Store, *plans: Callable[[], Cell]) -> list[str]:
    """The steps of these cells without a record."""
    steps = {step.key: step for plan in plans for step in plan().steps()}
    return [step.label for step in steps.values() if not store.done(step)]


class InThread:
    """A worker that does its work where it is asked."""

    made: list["InThread"] = []

    def __init__(self, patience: float, environment: dict[str, str] | None = None) -> None:
        self.patience, self.environment, self.closed = patience, environment, False
        self.pieces: list[Any] = []
        self.made.append(self)

    def do(self, piece: Any, follower: Any, stop: Any) -> Any:
        assert not self.closed
        self.pieces.append(piece)
        return piece(follower, stop)

    def close(self) -> None:
        self.closed = True
