"""Which weights are kept: none is dropped before everything that starts from it is done, and then as was asked."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from threading import Event

import pytest
from pydantic import BaseModel
from settings import Seen

from im_bench.composing import CONF, compose_run
from im_bench.config import Local, Run, UserError
from im_bench.keeping import Keeper
from im_bench.launching import CellPlan, chains_of, launch, local
from im_bench.pipeline import Cell
from im_bench.stages import Wires
from im_bench.store import Step, Store
from im_bench.work import Failure, Quiet

FINAL = {"model-00001-of-00002.safetensors", "adapter_model.bin"}
EPOCHS = {f"epochs/{number}/model.safetensors" for number in (1, 2)}
OTHER = {"config.json", "epochs/1/config.json", "labels.json"}
KEPT = {"all": FINAL | EPOCHS, "none_but_final": FINAL, "until_scored": set()}


class Named(BaseModel):
    name: str


def write(names: Sequence[str], ran: list[str], out: Path, *inputs: Path) -> None:
    """Write these files; what starts from weights finds them."""
    ran.append(out.name.rpartition("-")[0])
    assert all((path / name).exists() for path in inputs for name in FINAL if path.parent.name == "train")
    for name in names:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(f"{name} of {out.name}")


def refuse(out: Path, *inputs: Path) -> None:
    raise UserError("no room")


class World:
    """Cells of fake steps in one store; it remembers which of them ran."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.store = Store(run.paths.results / "store")
        self.ran: list[str] = []

    def step(self, kind: str, name: str, *needs: Step, names: Sequence[str] = ("made.txt",)) -> Step:
        return Step(kind, Named(name=name), partial(write, sorted(names), self.ran), needs=needs, label=name)

    @property
    def base(self) -> Step:
        return self.step("base", "base", names=FINAL)

    def train(self, name: str = "it") -> Step:
        return self.step("train", name, self.base, names=FINAL | EPOCHS | OTHER)

    def cell(
        self, checkpoint: Step, *benchmarks: str, judge: str = "judge", fails: Sequence[str] = ()
    ) -> Cell:
        """Of benchmarks of the harness; `mt_bench` has answers and verdicts."""
        found = {}
        for name in benchmarks:
            kind = "answers" if name == "mt_bench" else "harness"
            step = self.step(kind, f"{checkpoint.label} {name}", checkpoint)
            if name in fails:
                step = Step(kind, step.config, refuse, needs=step.needs, label=step.label)
            found[name] = (
                self.step("verdicts", f"{judge} of {step.label}", step) if kind == "answers" else step
            )
        return Cell(self.run, checkpoint, found, Wires())

    def swept(self, keep: str, *cells: Cell) -> list[Failure]:
        """A sweep of these cells."""
        run = self.run.model_copy(update={"keep_checkpoints": keep})
        cells = [Cell(run, cell.checkpoint, cell.benchmarks, cell.wires) for cell in cells]
        todo = self.store.missing(step for cell in cells for step in cell.steps())
        planned = [CellPlan(run, lambda cell=cell: cell, cell.steps()) for cell in cells]
        keeper = Keeper(cells, self.store, Quiet())
        return launch(chains_of("small", planned, todo), Local(kind="local", jobs=1), self.store, keeper)

    def weights(self, step: Step) -> set[str]:
        """The files of a step that hold weights."""
        out = self.store.path(step)
        return {
            path.relative_to(out).as_posix()
            for path in out.rglob("*")
            if path.suffix in (".safetensors", ".bin")
        }


class InThread:
    """A worker that does its work where it is asked."""

    def __init__(self, *_: object) -> None: ...

    def do(self, piece: Callable, follower: object, stop: Event) -> object:
        return piece(follower, stop)

    def close(self) -> None: ...


@pytest.fixture(scope="module")
def composed() -> Run:
    return compose_run("config", CONF, ["experiment=toy"])


@pytest.fixture
def world(composed: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(local, "Worker", InThread)
    paths = composed.paths.model_copy(update={"results": tmp_path})
    return World(composed.model_copy(update={"paths": paths}))


@pytest.mark.parametrize("keep", KEPT)
def test_weights_are_kept_as_asked_and_everything_else_always(world, keep):
    cell = world.cell(world.train(), "piqa", "arc", "mt_bench")
    assert world.swept(keep, cell) == []
    assert world.weights(cell.checkpoint) == KEPT[keep]
    out = world.store.path(cell.checkpoint)
    assert all((out / name).exists() for name in OTHER)
    assert world.store.missing(cell.steps()) == []
    assert all(world.store.done(step) for step in cell.steps())


def test_a_base_model_is_not_trained_weights(world):
    untrained, trained = world.cell(world.base, "piqa"), world.cell(world.train(), "piqa")
    world.swept("until_scored", untrained, trained)
    assert world.weights(world.base) == FINAL
    assert world.weights(trained.checkpoint) == set()


def test_weights_are_there_until_the_last_step_that_starts_from_them_has_ended(world):
    """Also of another cell with the same checkpoint; verdicts start from answers alone."""
    train = world.train()
    cells = [world.cell(train, "piqa", "mt_bench"), world.cell(train, "arc", "mt_bench", judge="another")]
    run = world.run.model_copy(update={"keep_checkpoints": "until_scored"})
    keeper = Keeper(
        [Cell(run, each.checkpoint, each.benchmarks, each.wires) for each in cells], world.store, Quiet()
    )
    steps = {step.label: step for cell in cells for step in cell.steps()}
    asked = [name for name in steps if steps[name].kind in ("harness", "answers")]
    assert asked == ["it piqa", "it mt_bench", "it arc"]
    for name in ["base", "it", *asked]:
        assert name in ("base", "it") or world.weights(train) == FINAL | EPOCHS
        world.store.ensure(steps[name])
        keeper.ended(steps[name].key)
    assert world.weights(train) == set()


def test_a_benchmark_that_ends_without_a_record_keeps_the_weights_until_it_has_one(world):
    train = world.train()
    [failure] = world.swept("until_scored", world.cell(train, "piqa", "arc", fails=["piqa"]))
    assert failure.why == "no room"
    assert world.weights(train) == FINAL | EPOCHS
    assert world.swept("until_scored", world.cell(train, "piqa", "arc")) == []
    assert world.weights(train) == set()
    assert world.ran.count("it") == 1


def test_a_failing_checkpoint_keeps_its_weights_and_the_others_do_not(world):
    it, im = world.train("it"), world.train("im")
    world.swept("until_scored", world.cell(it, "piqa", fails=["piqa"]), world.cell(im, "piqa"))
    assert (world.weights(it), world.weights(im)) == (FINAL | EPOCHS, set())


def test_a_benchmark_that_is_asked_for_later_has_the_model_trained_again_and_dropped_again(world):
    train = world.train()
    world.swept("until_scored", world.cell(train, "piqa"))
    more = world.cell(train, "piqa", "arc")
    assert [step.label for step in world.store.missing(more.steps())] == ["it", "it arc"]
    world.ran.clear()
    assert world.swept("until_scored", more) == []
    assert world.ran == ["it", "it_arc"]
    assert world.weights(train) == set()
    assert world.swept("all", world.cell(train, "piqa", "arc", "boolq")) == []
    assert world.weights(train) == FINAL | EPOCHS


def test_another_judge_later_needs_no_weights(world):
    train = world.train()
    world.swept("until_scored", world.cell(train, "mt_bench"))
    world.ran.clear()
    assert world.swept("until_scored", world.cell(train, "mt_bench", judge="another")) == []
    assert world.ran == ["another_of_it_mt_bench"]


def test_weights_that_cannot_be_dropped_cost_no_score_and_are_told(world, monkeypatch, caplog):
    def full(self: Store, step: Step, files: object) -> None:
        raise OSError("no room for the record")

    monkeypatch.setattr(Store, "drop", full)
    cell = world.cell(world.train(), "piqa")
    assert world.swept("until_scored", cell) == []
    assert "its weights are kept: no room for the record" in caplog.text
    assert world.weights(cell.checkpoint) == FINAL | EPOCHS


def test_weights_that_another_process_is_making_again_are_not_waited_for(world, caplog):
    train = world.train()
    cell = world.cell(train, "piqa")
    assert world.swept("all", cell) == []
    run = world.run.model_copy(update={"keep_checkpoints": "until_scored"})
    stricter = Cell(run, cell.checkpoint, cell.benchmarks, cell.wires)
    with world.store._lock(train, lambda: True):
        Keeper([stricter], world.store, Quiet()).tidy()
    assert f"its weights are kept: {train.name}: stopped; another process is making it" in caplog.text
    assert world.weights(train) == FINAL | EPOCHS


def test_who_watches_hears_everything(world):
    cell, seen = world.cell(world.train(), "piqa"), Seen()
    keeper = Keeper([cell], world.store, seen)
    keeper.began("a")
    keeper.within("a", 1, 2, "requests")
    keeper.ended("a")
    assert seen.told == [("began", "a"), ("within", "a", 1, 2, "requests"), ("ended", "a")]
