"""Sweep files in words: axes that walk together, what is left out, names; and cells as Hydra composes them."""

import random
from itertools import product
from pathlib import Path

import pytest

from im_bench import assets, composing
from im_bench.composing import SWEEPS, compose_run, sweep_cells, sweep_runs
from im_bench.config import Run, UserError
from im_bench.grid import texts
from im_bench.pipeline import plan_sweep

TOY = "defaults: [config, override experiment: toy, override benchmark: [piqa], _self_]\n"
ZIP = (
    TOY
    + "sweep: {zip: [{loss: [it, kl, kl], loss.kl_weight: [0, 0.01, 1.0], loss.name: [it, kl_low, kl_high]}]}\n"
)
EXCLUDE = TOY + "hydra: {sweeper: {params: {dataset: 'toy_long, toy_short', loss: 'none, it, im'}}}\n"
FILES = sorted(SWEEPS.glob("*.yaml"))
# What only the user can say.
SAID = ["judge=openai", "judge.model=judge-1", "benchmark=[piqa]"]
SAID_OF = {"own_files": ["dataset.path=rows.jsonl"]}


def runs_of(folder: Path, text: str, *overrides: str) -> list[Run]:
    (folder / "mine.yaml").write_text(text)
    return sweep_runs("mine", folder, overrides)


def refusal(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(UserError) as error:
        runs_of(folder, text, *overrides)
    assert "\n" not in str(error.value)
    return str(error.value)


def names(runs: list[Run]) -> list[tuple[str, str]]:
    return [(run.dataset.name, run.loss.name) for run in runs]


# --- keys that walk together ---


def test_the_keys_of_an_entry_of_zip_walk_together(tmp_path: Path) -> None:
    losses = [run.loss for run in runs_of(tmp_path, ZIP)]
    assert [(loss.name, loss.kl_weight) for loss in losses] == [("it", 0), ("kl_low", 0.01), ("kl_high", 1)]


def test_a_sweep_is_the_product_of_params_and_then_of_each_entry_of_zip(tmp_path: Path) -> None:
    more = (
        "  - {subset: [random, first], subset.size: [10, 20]}\n  - {train.epochs: '1, 2', loss: [it, im]}\n"
    )
    params = "hydra: {sweeper: {params: {seed: 'range(0,2)'}}}\n"
    runs = runs_of(tmp_path, TOY + params + "sweep:\n  zip:\n" + more)
    found = [(run.seed, run.subset.label, run.train.epochs, run.loss.name) for run in runs]
    points = product([0, 1], ["random_10", "first_20"], [(1, "it"), (2, "im")])
    assert found == [(seed, subset, *point) for seed, subset, point in points]


@pytest.mark.parametrize("values", ["[1, 2, 3]", "'1, 2, 3'", "'range(1,4)'"])
def test_values_of_zip_are_a_list_or_words_as_on_the_command_line(tmp_path: Path, values: str) -> None:
    text = TOY + f"sweep: {{zip: [{{train.epochs: {values}, loss.name: [one, two, three]}}]}}"
    assert [(run.train.epochs, run.loss.name) for run in runs_of(tmp_path, text)] == [
        (1, "one"),
        (2, "two"),
        (3, "three"),
    ]


def test_a_value_of_a_list_is_taken_as_it_is_whatever_signs_it_has(tmp_path: Path) -> None:
    paths = ["a b,c=d.jsonl", "it's {1}.jsonl", "tail\\", "null", "1", "[x]", "ä\\'.jsonl", "-x", "it: 1"]
    listed = ", ".join("'" + path.replace("'", "''") + "'" for path in paths)
    head = TOY.replace("_self_", "override dataset: local, _self_")
    text = head + f"sweep: {{zip: [{{dataset.path: [{listed}], dataset.name: 'range(0,{len(paths)})'}}]}}"
    (tmp_path / "mine.yaml").write_text(text)
    cells = sweep_cells("mine", tmp_path, [])
    assert [said.value for cell in cells for said in cell if said.key == "dataset.path"] == paths


def test_lists_and_keys_are_values_of_zip(tmp_path: Path) -> None:
    zipped = "{dataset: [mixture, mixture], dataset.parts: [{lima: 1}, {lima: 0.5, dolly_15k: 0.1}]}"
    windows = "{subset: [ratio_window, ratio_window], subset.window: [[5, 20], [8, 12]], subset.size: [9, 9]}"
    runs = runs_of(tmp_path, TOY + f"sweep: {{zip: [{zipped}, {windows}]}}")
    assert list(dict.fromkeys(run.dataset.name for run in runs)) == ["lima", "lima_0.5-dolly_15k_0.1"]
    assert [run.subset.window for run in runs[:2]] == [(5, 20), (8, 12)]


@pytest.mark.parametrize(
    ("given", "left"),
    [
        (["loss=kl"], ["kl_low", "kl_high"]),
        (["loss=it,kl", "loss.kl_weight=1"], ["kl_high"]),
        (["loss.name=kl_high,it"], ["it", "kl_high"]),
    ],
)
def test_a_value_on_the_command_line_chooses_points_of_zip(
    tmp_path: Path, given: list[str], left: list[str]
) -> None:
    assert [run.loss.name for run in runs_of(tmp_path, ZIP, *given)] == left


def test_what_is_no_axis_is_said_of_all_cells(tmp_path: Path) -> None:
    assert {run.train.epochs for run in runs_of(tmp_path, ZIP, "train.epochs=7")} == {7}


# --- what is left out ---


@pytest.mark.parametrize(
    ("entries", "left_out"),
    [
        ("{dataset: toy_long, loss: im}", {("toy_long", "im")}),
        ("{dataset: toy_long, loss: [it, im]}", {("toy_long", "it"), ("toy_long", "im")}),
        ("{dataset: toy_long, loss: 'it, im'}", {("toy_long", "it"), ("toy_long", "im")}),
        (
            "{dataset: toy_long, loss: it}, {dataset: toy_short, loss: im}",
            {("toy_long", "it"), ("toy_short", "im")},
        ),
    ],
)
def test_a_cell_that_matches_all_of_an_entry_is_left_out(
    tmp_path: Path, entries: str, left_out: set[tuple[str, str]]
) -> None:
    whole = list(product(["toy_long", "toy_short"], ["none", "it", "im"]))
    runs = runs_of(tmp_path, EXCLUDE + f"sweep: {{exclude: [{entries}]}}")
    assert names(runs) == [cell for cell in whole if cell not in left_out]


def test_what_the_command_line_says_is_left_out_too(tmp_path: Path) -> None:
    text = EXCLUDE + "sweep: {exclude: [{dataset: toy_pool, loss: none}, {dataset: toy_long, loss: im}]}"
    assert "no cell has dataset=toy_pool" in refusal(tmp_path, text)
    assert names(runs_of(tmp_path, text, "dataset=toy_pool")) == [("toy_pool", "it"), ("toy_pool", "im")]


def test_a_number_is_left_out_however_it_is_written(tmp_path: Path) -> None:
    text = ZIP.replace("sweep: {", "sweep: {exclude: [{loss.kl_weight: 1}], ")
    assert [run.loss.name for run in runs_of(tmp_path, text)] == ["it", "kl_low"]


# --- what is refused ---


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("sweep: {zips: []}", "sweep.zips: there is no such key; there are exclude and zip"),
        ("sweep: it", "sweep is 'it', but must hold keys"),
        ("sweep:", "sweep is None, but must hold keys"),
        ("sweep: {zip: {loss: [it, im]}}", "sweep.zip is {'loss': ['it', 'im']}, but must list entries"),
        ("sweep: {exclude: [it]}", "sweep.exclude is ['it'], but must list entries"),
        (
            "sweep: {zip: [{loss: [it, im], seed: [1, 2, 3]}]}",
            "keys of one entry walk together and need equally many values; loss has 2, seed has 3",
        ),
        ("sweep: {zip: [{loss: []}]}", "sweep.zip of loss: there is no value, and so no cell"),
        ("hydra: {sweeper: {params: {seed: 'range(3,3)'}}}", "seed: there is no value, and so no cell"),
        (
            "hydra: {sweeper: {params: {loss: 'it, im'}}}\nsweep: {exclude: [{loss: [it, im]}]}",
            "sweep.exclude leaves no cell; take an entry out of it",
        ),
        ("hydra: {sweeper: {params: {loss: 'it, it'}}}", "loss: loss=it is there twice"),
        (
            "sweep: {zip: [{loss: [it, im, it], seed: [1, 1, 1]}]}",
            "sweep.zip of loss, seed: loss=it seed=1 is there twice",
        ),
        (
            "hydra: {sweeper: {params: {loss: 'it, im'}}}\nsweep: {zip: [{loss: [it, im], seed: [1, 2]}]}",
            "sweep.zip of loss, seed: loss is also in",
        ),
        ("sweep: {zip: [{seed: [1, 2]}, {seed: [1, 2]}]}", "sweep.zip of seed: seed is also in"),
        (
            "hydra: {sweeper: {params: {loss: 'it, im'}}}\nsweep: {exclude: [{los: it}]}",
            "sweep.exclude: los is no axis of this sweep; there are loss",
        ),
        (
            "hydra: {sweeper: {params: {loss: 'it, im'}}}\nsweep: {exclude: [{loss: neftun}]}",
            "sweep.exclude: no cell has loss=neftun; there are it, im",
        ),
    ],
)
def test_a_sweep_that_is_no_set_of_cells_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    said = refusal(tmp_path, TOY + text)
    assert said.startswith(f"{tmp_path / 'mine.yaml'}: ") and reason in said


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (["loss=im"], "loss=im: {file}: sweep.zip of loss, loss.kl_weight, loss.name has no such point"),
        (["loss=im"], "its loss is one of it, kl"),
        (["loss=it", "loss.kl_weight=1"], "loss.kl_weight=1: "),
        (["seed=1,2,1"], "seed=1,2,1: seed=1 is there twice, and would be the same cell"),
        (["seed=interval(0,3)"], "seed=interval(0,3): name the values, seed=A,B or seed=range(0,5)"),
        (["sweep.zip=[]"], "sweep.zip=[]: the block sweep is said in a sweep's file"),
    ],
)
def test_a_command_line_that_is_no_set_of_cells_is_refused(
    tmp_path: Path, given: list[str], reason: str
) -> None:
    assert reason.format(file=tmp_path / "mine.yaml") in refusal(tmp_path, ZIP, *given)


@pytest.mark.parametrize(
    "text", ["hydra: {sweeper: {params: {loss: 'it, imm'}}}", "sweep: {zip: [{loss: [it, imm]}]}"]
)
def test_a_choice_that_is_not_there_is_told_wherever_it_stands(tmp_path: Path, text: str) -> None:
    assert refusal(tmp_path, TOY + text) == "loss=imm: there is no such loss; did you mean im?"


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["train.epochs=1,2"], "differ in train.epochs (1 and 2)"),
        (["train.epochs=1,2"], "give each a name of its own, e.g. 'loss.name=it_${train.epochs}'"),
        (["dataset=local", "dataset.path=a.jsonl,b.jsonl"], "dataset.path (a.jsonl and b.jsonl)"),
        (
            ["dataset=local", "dataset.path=a.jsonl,b.jsonl"],
            "e.g. dataset.name=NAME, or one beside its dials",
        ),
        (["loss=plw", "loss.prompt_weight=0.1,0.2"], "loss=plw seed=0, but differ in loss.prompt_weight"),
        (["loss=none", "model.chat_template=tulu,chatml"], "model.chat_template (tulu and chatml)"),
        (["dataset=mixture", "dataset.name=a", "dataset.parts={lima: 1},{dolly_15k: 1}"], "dataset.parts."),
    ],
)
def test_cells_that_a_table_could_not_tell_apart_are_refused(
    tmp_path: Path, overrides: list[str], reason: str
) -> None:
    assert reason in refusal(tmp_path, TOY, *overrides)


def test_a_dial_that_walks_with_the_seed_is_refused_as_no_table_shows_it(tmp_path: Path) -> None:
    said = refusal(tmp_path, TOY + "sweep: {zip: [{seed: [1, 2], train.epochs: [1, 3]}]}")
    assert "loss=it with seed=1 and seed=2, but differ in train.epochs (1 and 3) too" in said
    assert said.endswith("names of their own, e.g. 'loss.name=it_${train.epochs}'")
    named = "sweep: {zip: [{seed: [1, 2], train.epochs: [1, 3], loss.name: [short, long]}]}"
    assert len(runs_of(tmp_path, TOY + named)) == 2


def test_a_seed_may_have_a_sample_of_its_own(tmp_path: Path) -> None:
    head = TOY.replace("_self_", "override dataset: local, _self_")
    runs = runs_of(tmp_path, head + "sweep: {zip: [{seed: [1, 2], dataset.path: [a.jsonl, b.jsonl]}]}")
    assert [(run.seed, run.dataset.path) for run in runs] == [(1, "a.jsonl"), (2, "b.jsonl")]


def test_the_remedy_for_cells_of_one_name_is_one(tmp_path: Path) -> None:
    runs = runs_of(tmp_path, TOY, "train.epochs=1,2", "loss.name=it_${train.epochs}")
    assert [(run.train.epochs, run.loss.name) for run in runs] == [(1, "it_1"), (2, "it_2")]


def test_the_base_model_has_one_name_over_datasets_subsets_and_trainings(tmp_path: Path) -> None:
    said = ["loss=none", "dataset=toy_long,toy_short", "train.epochs=1,2", "seed=0,1"]
    assert len(runs_of(tmp_path, TOY, *said)) == 8


def test_cells_that_only_run_differently_may_share_a_name(tmp_path: Path) -> None:
    assert len(runs_of(tmp_path, TOY, "runtime.threads=1,2")) == 2


# --- a cell is what Hydra composes ---


def composed_both_ways(name: str, folder: Path, overrides: list[str]) -> tuple[list[str], list[str]]:
    """Some thirty cells of a sweep, put together and as Hydra composes them."""
    cells, runs = sweep_cells(name, folder, overrides), sweep_runs(name, folder, overrides)
    some = sorted(random.Random(0).sample(range(len(cells)), min(len(cells), 30)))
    whole = [compose_run(name, folder, texts(cells[place])) for place in some]
    return [runs[place].model_dump_json() for place in some], [run.model_dump_json() for run in whole]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_cell_of_our_sweeps_is_what_hydra_composes(path: Path) -> None:
    quick, whole = composed_both_ways(path.stem, SWEEPS, [*SAID, *SAID_OF.get(path.stem, [])])
    assert quick == whole


GRIDS = {
    "values of a group that another axis chooses": [
        "subset=random,first,stratified",
        "subset.size=10,20",
        "seed=1,2",
    ],
    "a dial that follows another by interpolation": [
        "loss=wit",
        "loss.prompt_weight=0.1,0.2,0.3",
        "loss.name=a,b",
    ],
    "names made of dials": [
        "loss=plw",
        "loss.prompt_weight=0.1,0.2",
        "loss.name='plw_${loss.prompt_weight}','w_${loss.prompt_weight}'",
        "paths.results='of/${loss.name}','on/${loss.name}'",
    ],
    "a value that refers to another group": ["seed=1,2", "train.epochs='${seed}'", "loss.name=e_${seed}"],
    "files of one's own": ["dataset=local", "dataset.path=a.jsonl,b.jsonl", "dataset.name='${dataset.path}'"],
    "a field that the dataset leaves at its default": [
        "dataset=lima,dolly_15k",
        "dataset.on_bad_row=skip,error",
    ],
    "parts of a mixture": [
        "dataset=mixture",
        "dataset.parts={lima: 1},{lima: 0.5, dolly_15k: {fraction: 0.1, on_bad_row: skip}}",
        "loss=it,im",
    ],
    "a mixture whose fraction is another's value": [
        "dataset=mixture",
        "dataset.parts={lima: '${subset.fraction}'}",
        "subset=fraction",
        "subset.fraction=0.1,0.2",
    ],
    "mixtures that are named": [
        "dataset=tulu_v2_10,tulu_v2_20,mixture",
        "dataset.parts={lima: 1}",
        "seed=0,1",
    ],
    "windows": ["subset=ratio_window", "subset.window=[5,20],[8,12]", "subset.size=9,10"],
    "benchmarks": ["benchmark=[piqa],[arc,piqa],nlp", "benchmark.piqa.shots=0,5", "seed=0,1"],
    "a benchmark that is left out": ["~benchmark.humaneval", "benchmark=nlp,all", "loss=it,im"],
    "a key more": ["+loss.kl_weight=null", "~loss.kl_weight", "benchmark=nlp,all"],
    "judges and none": ["benchmark=[piqa],[piqa,coqa]", "judge=local,overlap", "seed=0,1"],
    "judges with bodies": [
        "judge=openai",
        "judge.model=a,b",
        "judge.body.effort=low,high",
        "judge.price={prompt: 1, answer: 2, date: 2026-11-01},null",
    ],
    "a price and its part": [
        "judge=gpt4,gpt4_turbo",
        "judge.price.prompt=1,2",
        "judge.price={prompt: 3, answer: 2, date: 2026-11-01}",
    ],
    "values at the top": ["limit=null,3", "seed=0,1", "limit=1,null"],
    "a limit that is the seed": ["limit='${seed}',4", "seed=1,2"],
    "no other weights": ["train=paper,lora", "loss.name='m_${train.max_tokens}','a'", "seed=0,1"],
    "experiments": ["experiment=toy", "loss=it,im", "dataset=toy_short,toy_pool", "paths.results=a,b"],
}


@pytest.mark.parametrize("grid", GRIDS)
def test_a_cell_of_a_grid_is_what_hydra_composes(grid: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(composing, "check_names", lambda runs: None)
    overrides = GRIDS[grid]
    said = " ".join(overrides)
    rest = ["benchmark=[piqa]"] if "benchmark=" not in said else []
    rest += ["judge.model=judge-1"] if "judge" not in said and "experiment" not in said else []
    quick, whole = composed_both_ways("config", composing.CONF, [*rest, *overrides])
    assert quick == whole and len(set(quick)) > 1


@pytest.mark.parametrize("choice", ["train=paper,wide,toy", "train=wide,paper", "experiment=short,long"])
def test_a_choice_that_reaches_beyond_its_group_reaches_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, choice: str
) -> None:
    files = {
        "train/wide": "defaults: [/train/paper@train]\nloss: {name: wide}\n",
        "experiment/short": "loss: {name: short}\n",
        "experiment/long": "loss: {name: long}\n",
        "mine": "defaults: [config, override benchmark: [piqa], _self_]\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.yaml").write_text(f"# @package _global_\n{text}")
    monkeypatch.setattr(composing, "check_names", lambda runs: None)
    quick, whole = composed_both_ways("mine", tmp_path, ["judge=overlap", "seed=0,1", "loss=it,im", choice])
    assert quick == whole
    assert {Run.model_validate_json(run).loss.name for run in quick} & {"wide", "long"}


def test_a_judge_that_nobody_asks_in_one_cell_is_needed_in_another(tmp_path: Path) -> None:
    said = "defaults: [config, _self_]"
    assert len(runs_of(tmp_path, said, "benchmark=[piqa],[arc]")) == 2
    assert refusal(tmp_path, said, "benchmark=[piqa],mt_bench").startswith("judge.model: a value is needed")


def test_hydra_composes_a_choice_once_whatever_the_number_of_cells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    composed = []
    hydra = composing.compose
    monkeypatch.setattr(composing, "compose", lambda *a, **k: composed.append(a) or hydra(*a, **k))
    runs = runs_of(tmp_path, TOY, "dataset=toy_long,toy_short,toy_pool", "loss=it,im", "seed=range(0,50)")
    assert len(runs) == 300 and len(composed) == 1 + 2 + 1


# --- a plan of them ---


@pytest.fixture
def offline(tmp_path: Path) -> list[str]:
    """A model, a dataset and benchmark data in folders, as far as planning looks at them."""
    for name in (
        "model/config.json",
        "model/tokenizer.json",
        "model/a.safetensors",
        "hub/baber/piqa/README.md",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    places = {
        "model.path": "model",
        "dataset.path": "rows.jsonl",
        "paths.hub": "hub",
        "paths.results": "results",
    }
    return ["model=local", "dataset=local", *(f"{key}={tmp_path / place}" for key, place in places.items())]


def test_equal_points_under_two_names_are_two_cells_of_the_same_steps(
    tmp_path: Path, offline: list[str]
) -> None:
    zipped = "{loss: [none, it, plw, im], loss.prompt_weight: [0, 0, 0, 1]}"
    runs = runs_of(tmp_path, TOY + f"sweep: {{zip: [{zipped}]}}", *offline, "subset=full")
    base, it, plw, im = plan_sweep(runs)
    assert it.key == plw.key and [step.key for step in it.steps()] == [step.key for step in plw.steps()]
    assert [cell.run.loss.name for cell in (base, it, plw, im)] == ["none", "it", "plw", "im"]
    assert len({cell.key for cell in (base, it, im)}) == 3


def test_the_base_model_is_one_cell_however_many_datasets_and_seeds_there_are(
    tmp_path: Path, offline: list[str]
) -> None:
    runs = runs_of(tmp_path, TOY, *offline, "loss=none,it", "dataset.name=a,b", "seed=0,1,2")
    assert [cell.run.loss.name for cell in plan_sweep(runs)].count("none") == 1


def test_a_folder_of_benchmark_data_is_read_once_for_all_cells_of_a_sweep_and_again_for_the_next(
    tmp_path: Path, offline: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = runs_of(tmp_path, TOY, *offline, "loss=it,im")
    read = []
    folder_sha256 = assets.folder_sha256
    monkeypatch.setattr(assets, "folder_sha256", lambda *a: read.append(a) or folder_sha256(*a))
    before = plan_sweep(runs)
    assert len(read) == 1
    (tmp_path / "hub" / "baber" / "piqa" / "README.md").write_text("another")
    after = plan_sweep(runs)
    assert {cell.key for cell in before}.isdisjoint(cell.key for cell in after)
