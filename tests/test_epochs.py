"""`epoch`: the checkpoints of one training, epoch by epoch, each a cell of its own."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from small_cell import kinds, records, words

from im_bench.cli import main
from im_bench.composing import CONF, compose_run, sweep_runs
from im_bench.config import UserError
from im_bench.pipeline import Cell, plan, plan_sweep
from im_bench.report.collect import FILE, Row, read_ledger
from im_bench.store import Store

TRAINING = ("train.epochs=3", "train.save_epochs=true", "benchmark=[piqa,mt_bench]", "limit=8")
ALL = (*TRAINING, "epoch=1,2,3", "loss=it,im", "keep_checkpoints=none_but_final")


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, given: Path) -> Path:
    """Three epochs of two losses, and the base model."""
    results = tmp_path_factory.mktemp("epochs")
    assert main(["run", "--multirun", *words(given, results, *ALL)]) == 0
    return results


@pytest.fixture
def planned(given: Path) -> Callable[..., Cell]:
    def cell(*overrides: str) -> Cell:
        return plan(compose_run("config", CONF, words(given, Path("results"), *TRAINING, *overrides)))

    return cell


def cells(given: Path, results: Path, *overrides: str) -> list[Cell]:
    return plan_sweep(sweep_runs("config", CONF, words(given, results, *overrides)))


def headlines(results: Path) -> dict[tuple[str, int | None, str], Row]:
    return {
        (row.loss, row.epoch, row.benchmark): row
        for row in read_ledger(results / FILE)
        if row.task == row.benchmark
    }


# --- steps ---


def test_epochs_share_their_training_and_are_scored_one_by_one(planned: Callable[..., Cell]) -> None:
    found = [planned(f"epoch={epoch}") for epoch in (1, 2, 3)]
    assert len({cell.checkpoint.key for cell in found}) == 1
    assert len({cell.key for cell in found}) == 3
    steps = {step.key: step for cell in found for step in cell.steps()}
    count = kinds([step.kind for step in steps.values()])
    assert count == {"base": 1, "train": 1, "harness": 3, "answers": 3, "verdicts": 3}


def test_the_last_epoch_is_the_training_itself(planned: Callable[..., Cell]) -> None:
    assert planned("epoch=3").key == planned().key != planned("epoch=2").key
    assert [step.key for step in planned("epoch=3").steps()] == [step.key for step in planned().steps()]


def test_the_base_model_has_no_epochs(given: Path, planned: Callable[..., Cell]) -> None:
    assert planned("loss=none", "epoch=2").key == planned("loss=none").key
    found = cells(given, Path("results"), *TRAINING, "epoch=1,2,3", "loss=none,it")
    assert [cell.run.loss.name for cell in found].count("none") == 1
    assert len(found) == 4


def test_a_cell_that_names_no_epoch_and_keeps_none_has_the_keys_it_has_without_this(given: Path) -> None:
    """Whatever is added to a shape: what stands at its default is in no key."""
    own = words(given, Path("results"), "benchmark=[piqa]")
    train, piqa = plan(compose_run("config", CONF, own)).steps()[1:]
    assert "save_epochs" not in train.identity["config"]["train"]
    assert "epoch" not in piqa.identity["config"]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (["epoch=4"], "epoch=4: there are 3; raise train.epochs"),
        (
            ["epoch=1", "train.save_epochs=false"],
            "epoch=1: no epoch but the last is kept; add train.save_epochs=true",
        ),
        (["epoch=0"], "epoch=0: "),
        (["epoch=last"], "epoch='last': input should be a valid integer"),
    ],
)
def test_an_epoch_that_there_is_not_is_refused(given: Path, said: list[str], reason: str) -> None:
    with pytest.raises(UserError) as error:
        compose_run("config", CONF, words(given, Path("results"), *TRAINING, *said))
    assert str(error.value).startswith(reason)


def test_the_base_model_takes_any_epoch(given: Path) -> None:
    run = compose_run("config", CONF, words(given, Path("results"), "loss=none", "epoch=9"))
    assert run.scored_epoch is None


# --- scores ---


@pytest.mark.slow
def test_one_training_is_run_and_each_epoch_scored(swept: Path) -> None:
    count = kinds(list(records(swept)))
    assert count == {"base": 1, "train": 2, "harness": 6, "answers": 6, "verdicts": 6}
    found = headlines(swept)
    assert set(found) == {
        (loss, epoch, name) for loss in ("it", "im") for epoch in (1, 2, 3) for name in ("piqa", "mt_bench")
    }
    assert len({row.step for row in found.values()}) == 12
    assert len({row.cell for row in found.values()}) == 6


@pytest.mark.slow
def test_the_checkpoint_that_is_scored_is_that_of_its_epoch(given: Path, swept: Path, tmp_path: Path) -> None:
    """What a model of the user's that lies at epochs/2 scores and answers, and the last epoch's does not."""
    whole = [*TRAINING, "loss=it", "epoch=1,2,3"]
    results = tmp_path / "results"
    assert main(["run", "--multirun", *words(given, results, *whole)]) == 0
    epoch = {cell.run.epoch: cell for cell in cells(given, results, *whole)}
    store = Store(results / "store")
    trained = store.path(epoch[1].checkpoint)
    folders = {1: trained / "epochs/1", 2: trained / "epochs/2", 3: trained}
    assert not (trained / "epochs/3").exists()
    weights = {number: (folder / "model.safetensors").read_bytes() for number, folder in folders.items()}
    assert len(set(weights.values())) == 3
    found = {}
    for number in (1, 2):
        folder = folders[number]
        alone = tmp_path / f"alone{number}"
        shutil.copytree(folder, alone / "model", ignore=shutil.ignore_patterns("epochs", "step.json"))
        own = [f"model.path={alone / 'model'}", "model.chat_template=own", "loss=none", *TRAINING[2:]]
        assert main(["run", *words(given, alone / "results", *own)]) == 0
        (mine,) = (alone / "results/store/answers").glob("*/answers.jsonl")
        theirs = store.path(epoch[number].benchmarks["mt_bench"].needs[0]) / "answers.jsonl"
        assert said(mine) == said(theirs)
        found[number] = outcomes(alone / "results/store", "harness")
        assert found[number] == outcomes_of(store.path(epoch[number].benchmarks["piqa"]))
    found[3] = outcomes_of(store.path(epoch[3].benchmarks["piqa"]))
    assert len({str(each) for each in found.values()}) == 3


def said(answers: Path) -> list[list[str]]:
    return [json.loads(line)["choices"][0]["turns"] for line in answers.read_text().splitlines()]


def outcomes(store: Path, kind: str) -> list[str]:
    (folder,) = (path for path in (store / kind).iterdir() if path.is_dir())
    return outcomes_of(folder)


def outcomes_of(folder: Path) -> list[str]:
    """What a model said of each item: its log-likelihoods."""
    import pyarrow.parquet

    return pyarrow.parquet.read_table(folder / "items.parquet").column("responses").to_pylist()


@pytest.mark.slow
def test_tables_have_a_row_for_each_epoch_and_differences_within_it(
    swept: Path, given: Path, tmp_path: Path
) -> None:
    results = Path(shutil.copytree(swept, tmp_path / "results"))
    # Scores made up, so that a difference says of which epochs it is: IT has 0.1 and IM 0.2 more for each epoch.
    rows = [json.loads(line) for line in (results / FILE).read_text().splitlines()]
    rows = [
        row | {"value": row["epoch"] * (0.1 if row["loss"] == "it" else 0.2)}
        for row in rows
        if row["benchmark"] == "piqa"
    ]
    (results / FILE).write_text("".join(json.dumps(row) + "\n" for row in rows))
    name = rows[0]["sweep"]
    assert main(["report", name, f"paths.results={results}"]) == 0
    lines = (results / f"tables/{name}.md").read_text().splitlines()
    found = [[cell.strip() for cell in line.split("|")[1:-2]] for line in lines if line.startswith("|")]
    assert [row[1:] for row in (found[0], *found[2:])] == [
        ["Epoch", "Loss", "Understanding & Knowledge"],
        ["1", "it", "10.00"],
        ["", "im", "20.00 (\u219110.00)"],
        ["2", "it", "20.00"],
        ["", "im", "40.00 (\u219120.00)"],
        ["3", "it", "30.00"],
        ["", "im", "60.00 (\u219130.00)"],
    ]


# --- weights ---


@pytest.mark.slow
def test_weights_of_epochs_go_once_all_are_scored_and_everything_is_still_done(
    given: Path, swept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not list(swept.glob("store/train/*/epochs/*/*.safetensors"))
    assert len(list(swept.glob("store/train/*/model.safetensors"))) == 2
    asked = words(given, swept, *ALL)
    before = records(swept)
    for cell in cells(given, swept, *ALL):
        assert (
            main(
                [
                    "status",
                    *words(given, swept, *TRAINING, f"loss={cell.run.loss.name}", f"epoch={cell.run.epoch}"),
                ]
            )
            == 0
        )
        assert "every step is done" in capsys.readouterr().out
    assert main(["plan", *words(given, swept, *TRAINING, "loss=im", "epoch=1")]) == 0
    assert "every step is done" in capsys.readouterr().out
    assert main(["run", "--multirun", *asked]) == 0
    assert records(swept) == before


@pytest.mark.slow
@pytest.mark.parametrize(("epoch", "again"), [(3, 0), (2, 1)])
def test_other_scores_of_the_last_epoch_need_no_training(
    given: Path, swept: Path, epoch: int, again: int
) -> None:
    asked = [*TRAINING, "loss=it", f"epoch={epoch}", "limit=9"]
    (cell,) = cells(given, swept, *asked)
    missing = Store(swept / "store").missing(cell.steps())
    scored = {"harness": 1, "answers": 1, "verdicts": 1}
    assert kinds([step.kind for step in missing]) == scored | ({"train": 1} if again else {})


@pytest.mark.slow
def test_an_epoch_that_is_asked_for_later_is_trained_again_and_scores_the_same(
    given: Path, swept: Path, tmp_path: Path
) -> None:
    results = Path(shutil.copytree(swept, tmp_path / "results"))
    before = headlines(results)
    (gone,) = {
        row.step for row in before.values() if (row.loss, row.epoch, row.benchmark) == ("it", 2, "piqa")
    }
    (folder,) = results.glob(f"store/harness/*-{gone}")
    shutil.rmtree(folder)
    assert main(["run", "--multirun", *words(given, results, *ALL)]) == 0
    assert headlines(results) == before
    assert not list(results.glob("store/train/*/epochs/*/*.safetensors"))
