"""Analyses as steps of a cell: what they depend on, what they need, and what of them gets into the ledger."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet
import pytest
from small_cell import kinds, records, words

from im_bench import preflight
from im_bench.cli import main
from im_bench.composing import CONF, compose_run, sweep_runs
from im_bench.config import Run, UserError
from im_bench.pipeline import Cell, plan, plan_sweep
from im_bench.planning import foresee
from im_bench.report.collect import FILE, Row, read_ledger
from im_bench.store import Store

BOTH = "analysis=[losses,memorisation]"
TRAINING = ("train.epochs=3", "train.save_epochs=true", "limit=null", "keep_checkpoints=none_but_final")
MEASURED = {
    "losses": {
        ("train", "output_loss_per_token"),
        ("train", "output_loss_per_example"),
        ("train", "instruction_loss_per_token"),
        ("train", "instruction_loss_per_example"),
        ("train", "output_kl_per_token"),
        ("heldout", "overlap"),
    },
    "memorisation": {
        ("train", metric) for metric in ("bleu_corpus", "bleu_sentence", "exact", "eight_grams")
    },
}
MEASURED["losses"] |= {
    (task, metric)
    for task in ("heldout", "heldout_new")
    for of, metric in MEASURED["losses"]
    if of == "train"
}


def said(given: Path, results: Path, *overrides: str) -> list[str]:
    """The overrides of a small cell with both analyses and no benchmark."""
    heldout = f"analysis.losses.heldout={{path: '{given / 'lines.jsonl'}'}}"
    own = [] if any("heldout" in word for word in overrides) else [heldout]
    own += ["analysis.memorisation.max_new_tokens=8"]
    return words(given, results, "benchmark=[]", BOTH, *own, *overrides)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, given: Path) -> Path:
    """The base model, and two epochs of one training."""
    results = tmp_path_factory.mktemp("analyses")
    assert main(["run", "--multirun", *said(given, results, *TRAINING, "loss=none,it", "epoch=1,3")]) == 0
    return results


@pytest.fixture
def composed(given: Path) -> Callable[..., Run]:
    def run(*overrides: str) -> Run:
        return compose_run("config", CONF, said(given, Path("results"), *overrides))

    return run


@pytest.fixture
def planned(composed: Callable[..., Run]) -> Callable[..., Cell]:
    return lambda *overrides: plan(composed(*overrides))


def of_epoch(results: Path, epoch: int | None) -> list[Row]:
    return [row for row in read_ledger(results / FILE) if row.epoch == epoch]


# --- configs ---


def test_no_analysis_is_made_unasked(composed: Callable[..., Run]) -> None:
    run = compose_run("config", CONF, ["judge=overlap", "benchmark=[piqa]"])
    assert not run.analysis and run.analyses == ()


def test_an_analysis_alone_is_enough_and_nothing_is_too_little(composed: Callable[..., Run]) -> None:
    assert composed().benchmark == {} and set(composed().analyses) == {"losses", "memorisation"}
    with pytest.raises(
        UserError, match=r"benchmark: at least one is needed, .*; or an analysis, e.g. analysis="
    ):
        compose_run("config", CONF, ["judge=overlap", "benchmark=[]"])


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["analysis=[los]"], "analysis=los: there is no such analysis; did you mean losses?"),
        (
            ["analysis=[losses]", "analysis.losses.heldout=toy_helout"],
            "analysis.losses.heldout=toy_helout: there is no such dataset; did you mean toy_heldout? "
            "(a file of yours is {path: FILE})",
        ),
        (
            ["analysis=[losses]", "analysis.losses.heldout=local"],
            "analysis.losses.heldout=local: give the file, {path: FILE}",
        ),
        (["analysis=[losses]", "analysis.losses.examples=0"], "analysis.losses.examples=0: input should be"),
        (
            ["analysis=[losses]", "analysis.losses.example=3"],
            "analysis.losses.example: there is no such key; did you mean analysis.losses.examples?",
        ),
        (
            ["analysis=[losses]", "analysis.losses.heldout={path: a, frmat: auto}"],
            "analysis.losses.heldout.frmat: there is no such key",
        ),
    ],
)
def test_a_wrong_word_is_told_with_the_right_one(overrides: list[str], reason: str) -> None:
    with pytest.raises(UserError) as error:
        compose_run("config", CONF, ["judge=overlap", "benchmark=[piqa]", *overrides])
    assert str(error.value).startswith(reason)


def test_a_held_out_mixture_is_spelled_out_as_a_datasets_is() -> None:
    run = compose_run("config", CONF, ["judge=overlap", "benchmark=[piqa]", "analysis=losses"])
    trained = compose_run("config", CONF, ["judge=overlap", "benchmark=[piqa]", "dataset=tulu_v2_10"])
    assert run.analysis.losses and run.analysis.losses.heldout == trained.dataset


def test_every_cell_of_a_sweep_has_the_held_out_set(given: Path) -> None:
    asked = said(given, Path("results"), "loss=it,im", "dataset.name=a,b")
    runs = sweep_runs("config", CONF, asked)
    assert len(runs) == 4 and len({run.analysis.model_dump_json() for run in runs}) == 1
    assert runs[3].analysis.losses and runs[3].analysis.losses.heldout
    assert runs[3].analysis.losses.heldout.path == str(given / "lines.jsonl")


# --- identity ---


def test_a_base_model_has_held_out_losses_and_no_memorisation(planned: Callable[..., Cell]) -> None:
    assert set(planned().analyses) == {"losses", "memorisation"}
    assert set(planned("loss=none").analyses) == {"losses"}
    assert planned("loss=none", "analysis.losses.heldout=null").analyses == {}


@pytest.mark.parametrize(
    ("override", "others"),
    [
        ("analysis.losses.examples=1", {"losses"}),
        ("analysis.memorisation.examples=1", {"memorisation"}),
        ("analysis.memorisation.max_new_tokens=9", {"memorisation"}),
        ("analysis.losses.heldout=null", {"losses"}),
        ("limit=1", {"losses", "memorisation"}),
        ("limit=null", {"losses", "memorisation"}),
        ("engine=vllm", {"memorisation"}),
        ("seed=1", {"losses", "memorisation"}),
        ("runtime.micro_batch_tokens=64", set()),
        ("engine.batch_size=3", set()),
        ("judge.name=another", set()),
    ],
)
def test_what_changes_a_number_is_another_step(
    planned: Callable[..., Cell], override: str, others: set[str]
) -> None:
    before, after = planned().analyses, planned(override).analyses
    assert {name for name in before if before[name].key != after[name].key} == others


def test_the_held_out_set_is_known_by_its_content(
    planned: Callable[..., Cell], given: Path, tmp_path: Path
) -> None:
    copied, other = tmp_path / "copy.jsonl", tmp_path / "other.jsonl"
    shutil.copy(given / "lines.jsonl", copied)
    shutil.copy(given / "rows.jsonl", other)
    keys = [
        planned(f"analysis.losses.heldout={{path: '{path}'}}").analyses["losses"].key
        for path in (copied, other)
    ]
    assert keys[0] == planned().analyses["losses"].key != keys[1]


def test_a_limit_holds_for_the_examples_too(planned: Callable[..., Cell]) -> None:
    for limit, examples, expected in ((2, "null", 2), (2, "1", 1), ("null", "5", 5)):
        cell = planned(f"limit={limit}", f"analysis.losses.examples={examples}")
        assert cell.analyses["losses"].identity["config"]["examples"] == expected


def test_an_analysis_is_part_of_what_a_cell_is(planned: Callable[..., Cell]) -> None:
    assert len({planned(*each).key for each in ((), ("~analysis.losses",), ("~analysis.memorisation",))}) == 3


# --- running ---


@pytest.mark.slow
def test_each_checkpoint_is_measured_once_and_the_base_model_too(swept: Path) -> None:
    assert kinds(list(records(swept))) == {"analysis": 5, "base": 1, "train": 1}


@pytest.mark.slow
def test_the_ledger_has_every_number_of_every_analysis(swept: Path) -> None:
    for epoch in (1, 3):
        rows = of_epoch(swept, epoch)
        for name, expected in MEASURED.items():
            assert {(row.task, row.metric) for row in rows if row.benchmark == name} == expected
        assert {row.category for row in rows} == {"analysis"}
        assert {row.step for row in rows if row.benchmark != "lengths"} <= {
            path.name.rpartition("-")[2] for path in swept.glob("store/analysis/*")
        }
        # No output of this dataset has eight words.
        assert [row.metric for row in rows if row.value is None] == ["eight_grams"]
    base = of_epoch(swept, None)
    assert {row.task for row in base} == {"heldout"} and len(base) == 4


@pytest.mark.slow
def test_what_a_training_lowers_is_lower_after_it(swept: Path) -> None:
    def loss(epoch: int | None, task: str) -> float:
        (row,) = (
            row for row in of_epoch(swept, epoch) if (row.task, row.metric) == (task, "output_loss_per_token")
        )
        assert row.value is not None and row.count == 24
        return row.value

    assert loss(3, "train") < loss(1, "train") < loss(None, "heldout")


@pytest.mark.slow
def test_a_second_run_does_nothing_and_needs_no_weights_of_an_epoch(given: Path, swept: Path) -> None:
    assert not list(swept.glob("store/train/*/epochs/*/*.safetensors"))
    before = records(swept)
    assert main(["run", "--multirun", *said(given, swept, *TRAINING, "loss=none,it", "epoch=1,3")]) == 0
    assert records(swept) == before


@pytest.mark.slow
def test_the_losses_of_each_conversation_are_kept(swept: Path) -> None:
    tables = [pyarrow.parquet.read_table(path) for path in swept.glob("store/analysis/*/losses.parquet")]
    assert sorted(table.num_rows for table in tables) == [24, 48, 48]
    columns = "set example output_nll output_tokens instruction_nll instruction_tokens output_kl in_training"
    assert all(set(table.column_names) == set(columns.split()) for table in tables)


@pytest.mark.slow
def test_an_analysis_that_fails_is_a_row_without_a_value_and_costs_no_other(
    given: Path, swept: Path, tmp_path: Path
) -> None:
    results = Path(shutil.copytree(swept, tmp_path / "results"))
    asked = said(given, results, *TRAINING, "loss=it", "epoch=3", "analysis.memorisation.examples=1")
    (results / FILE).unlink()
    (broken,) = results.glob("store/train/*/tokenizer.json")
    broken.write_bytes(b" " * broken.stat().st_size)
    assert main(["run", *asked]) == 2
    rows = of_epoch(results, 3)
    assert [(row.metric, row.value) for row in rows if row.benchmark == "memorisation"] == [
        ("bleu_corpus", None)
    ]
    assert len([row for row in rows if row.benchmark == "losses"]) == len(MEASURED["losses"])


# --- before running ---


def test_a_plan_counts_the_analyses_and_foretells_their_hours(given: Path, tmp_path: Path) -> None:
    asked = said(given, tmp_path, "loss=none,it", "runtime=gpu", "train=paper", "limit=null")
    asked = [word for word in asked if not word.startswith("runtime.threads")]
    cells = plan_sweep(sweep_runs("config", CONF, asked), fetch=False)
    found = foresee(cells)
    assert found.steps["analysis"] == (0, 3)
    hours = found.hours["scoring", "GPU"]
    assert hours.unknown == 0 and hours.estimated > 0


def test_a_plan_names_the_held_out_set_that_is_not_at_hand(given: Path, tmp_path: Path) -> None:
    run = compose_run("config", CONF, said(given, tmp_path, "analysis.losses.heldout=lima"))
    found = foresee([plan(run, fetch=False)])
    assert (
        found.absent == {} and found.hours["scoring", "CPU"].unknown == 0
    )  # its content and length are known
    run = compose_run("config", CONF, said(given, tmp_path, "analysis.losses.heldout={path: none.jsonl}"))
    (absent,) = foresee([plan(run, fetch=False)]).absent
    assert "none.jsonl" in absent


def test_doctor_names_the_held_out_set_that_is_missing(
    given: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = said(given, tmp_path, "analysis.losses.heldout={path: none.jsonl}")
    assert main(["doctor", *asked, "--json"]) == 2
    missing = [need for need in json.loads(capsys.readouterr().out) if need["problem"]]
    assert [(need["kind"], need["needed_by"]) for need in missing] == [("dataset", ["losses"])]
    assert missing[0]["problem"] == "analysis.losses.heldout.path=none.jsonl: there is no such file"


def test_what_is_left_of_a_cell_is_all_that_it_needs(
    composed: Callable[..., Run], planned: Callable[..., Cell]
) -> None:
    cell = planned()
    losses, memorisation = (cell.analyses[name].key for name in ("losses", "memorisation"))

    def kinds_of(*todo: str) -> dict[str, tuple[str, ...]]:
        parts = preflight.Parts.left(cell, todo)
        return {
            f"{need.kind} {Path(need.name).name}": need.of for need in preflight.needs([(cell.run, parts)])
        }

    assert kinds_of() == {}
    assert "package sacrebleu" in kinds_of(memorisation) and "package sacrebleu" not in kinds_of(losses)
    both = {each for each, of in kinds_of(losses).items() if each.startswith("dataset")}
    assert len(both) == 1 or len(both) == 2
    assert any(each.startswith("model") for each in kinds_of(losses))


def test_a_held_out_file_that_cannot_be_read_is_refused_before_anything_runs(
    given: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "a", "completion": ""}\n')
    asked = said(given, tmp_path / "results", f"analysis.losses.heldout={{path: '{bad}'}}")
    assert main(["run", *asked]) == 2
    said_of_it = capsys.readouterr().err
    assert (
        "bad.jsonl, row 1" in said_of_it and "; analysis.losses.heldout.on_bad_row=skip leaves" in said_of_it
    )
    assert not (tmp_path / "results/store").exists()


def test_a_needed_store_is_that_of_the_cell(planned: Callable[..., Cell], tmp_path: Path) -> None:
    cell = planned()
    keys = {step.key for step in cell.steps()}
    assert {step.key for step in Store(tmp_path).missing(cell.steps())} == keys and len(keys) == 4
