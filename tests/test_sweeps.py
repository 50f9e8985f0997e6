"""sweeps/ and what becomes of a sweep file: the product of its axes, one composed cell each."""

import shutil
from functools import cache
from itertools import product
from pathlib import Path

import pytest

from im_bench import composing, paper
from im_bench.composing import SWEEPS, sweep_runs
from im_bench.config import Run, UserError
from im_bench.evaluation.benchmarks import BENCHMARKS
from im_bench.pipeline import plan_sweep

# What only the user can say.
JUDGE = ["judge=openai", "judge.model=judge-1"]
JUDGED = ("main_table", "length_ratio", "data_size", "data_size_window")
SAID = dict.fromkeys(JUDGED, JUDGE) | {"own_files": ["dataset.path=rows.jsonl"]}
FILES = sorted(SWEEPS.glob("*.yaml"))


def cells(runs: list[Run]) -> list[tuple[str, str]]:
    return [(run.dataset.name, run.loss.name) for run in runs]


@cache
def composed(name: str) -> list[Run]:
    """Every cell of one of our sweeps, with one benchmark, which is quick."""
    return sweep_runs(name, SWEEPS, [*SAID.get(name, []), "benchmark=[piqa]"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_sweep_composes_all_its_cells(path: Path) -> None:
    runs = composed(path.stem)
    assert len({run.model_dump_json() for run in runs}) == len(runs) > 1


def test_the_main_table_is_seven_datasets_by_base_model_it_neftune_and_im() -> None:
    runs = composed("main_table")
    datasets = [
        "alpagasus_alpaca_5k",
        "alpagasus_dolly_3k",
        "alpagasus_dolly_9k",
        "less_tydiqa",
        "less_mmlu_chat",
        "less_bbh_icl",
        "lima",
    ]
    assert cells(runs) == list(product(datasets, ["none", "it", "neftune", "im"]))
    assert {run.model.name for run in runs} == {"llama2_7b"}


def test_a_cell_of_the_main_table_has_all_21_benchmarks_from_the_hub() -> None:
    said = [*SAID["main_table"], "dataset=lima", "loss=im"]
    (run,) = sweep_runs("main_table", SWEEPS, said)
    assert set(run.benchmark) == set(BENCHMARKS)
    assert run.paths.hub is None and run.paths.assets is None


def test_figure_2_is_three_ratios_and_fifteen_sizes_of_tulu_v2() -> None:
    ratios, sizes = composed("length_ratio"), composed("data_size")
    assert {run.dataset.name for run in (*ratios, *sizes)} == {"tulu_v2"}
    assert [run.subset.label for run in ratios[::2]] == ["ratio_5_3000", "ratio_10_3000", "ratio_15_3000"]
    assert [run.subset.size for run in sizes[::2]] == [int(point.x) for point in paper.size_points()]
    assert {run.subset.target for run in sizes} == {10}


@pytest.mark.parametrize("name", ["length_ratio", "data_size"])
def test_a_toy_twin_varies_what_its_sweep_varies(name: str) -> None:
    own, twin = composed(name), composed(f"toy_{name}")
    assert {run.subset.name for run in twin} == {run.subset.name for run in own} == {"ratio"}
    assert {run.subset.target for run in twin} == {run.subset.target for run in own}
    assert (len({run.subset.size for run in twin}) > 1) == (len({run.subset.size for run in own}) > 1)
    assert {run.model.source for run in twin} == {"toy"}


def test_the_demo_is_two_datasets_by_base_model_it_and_im() -> None:
    assert cells(composed("demo")) == list(product(["toy_long", "toy_short"], ["none", "it", "im"]))


def test_the_demo_needs_no_gpu_no_network_and_no_key() -> None:
    for run in composed("demo"):
        assert (run.runtime.device, run.judge.kind, run.model.source) == ("cpu", "overlap", "toy")
        assert (run.paths.hub, run.paths.assets, run.dataset.source) == ("toy", "toy", "toy")


def test_the_demo_has_five_cells_as_the_base_model_is_one_whatever_the_dataset(tmp_path: Path) -> None:
    runs = sweep_runs("demo", SWEEPS, [f"paths.results={tmp_path}"])
    planned = plan_sweep(runs)
    assert len({cell.key for cell in planned}) == len(planned) == 5
    assert sum(not cell.run.loss.trains for cell in planned) == 1
    assert all(set(cell.benchmarks) == set(BENCHMARKS) for cell in planned)


def test_a_value_on_the_command_line_takes_the_place_of_an_axis() -> None:
    runs = sweep_runs("demo", SWEEPS, ["loss=im", "benchmark=[piqa]"])
    assert cells(runs) == [("toy_long", "im"), ("toy_short", "im")]


def test_several_values_on_the_command_line_are_the_axis() -> None:
    runs = sweep_runs("demo", SWEEPS, ["loss=it,im", "seed=1,2", "dataset=toy_long", "benchmark=[piqa]"])
    assert [(run.loss.name, run.seed) for run in runs] == [("it", 1), ("it", 2), ("im", 1), ("im", 2)]


def test_a_benchmark_is_left_out_of_every_cell() -> None:
    runs = sweep_runs("demo", SWEEPS, ["loss=it", "~benchmark.humaneval", "~benchmark.bbh"])
    assert [set(BENCHMARKS) - set(run.benchmark) for run in runs] == [{"humaneval", "bbh"}] * 2


def test_a_sweep_of_ones_own_stands_on_conf_wherever_it_lies(tmp_path: Path) -> None:
    mine = """
        defaults: [config, override experiment: toy, override benchmark: [piqa], _self_]
        train: {epochs: 7}
        loss: {name: 'plw_${loss.prompt_weight}'}
        hydra: {sweeper: {params: {seed: 'range(0,3)', loss.prompt_weight: '0.1, 0.2'}}}
    """
    (tmp_path / "mine.yaml").write_text(mine)
    runs = sweep_runs("mine", tmp_path, [])
    assert [(run.seed, run.loss.prompt_weight) for run in runs] == list(product([0, 1, 2], [0.1, 0.2]))
    assert {run.train.epochs for run in runs} == {7}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("defaults: [config", "not YAML: "),
        ("- config", "expected keys, found list"),
        ("", "has no defaults; a sweep begins with `defaults: [config, _self_]`"),
        ("hydra: {sweeper: {params: {loss: 'it,im'}}}", "has no defaults"),
        ("defaults: [config]\nhydra: {sweeper: {param: {}}}", "hydra.sweeper.param: there is no such key"),
        ("defaults: [confg]", "{file}: defaults: there is no config confg"),
        ("defaults: [config, override loss: imm]", "loss=imm: there is no such loss; did you mean im?"),
        ("defaults: [config, override los: im]", "los: there is no such key; did you mean loss?"),
        ("defaults: [config, _self_]\nhydra:", "hydra is None, but must hold keys"),
        ("defaults: [config, _self_]\nhydra: {sweeper: {params: it}}", "params is 'it', but must hold keys"),
        (
            "defaults: [config, _self_]\nhydra: {sweeper: {params: {los: 'it,im'}}}",
            "los: there is no such key",
        ),
        (
            "defaults: [config, _self_]\nhydra: {sweeper: {params: {loss: [it, im]}}}",
            "loss=[it, im]: one loss is needed, e.g. loss=NAME; several are an axis: loss=A,B on the command line, "
            "`loss: A, B` below hydra.sweeper.params",
        ),
        (
            "defaults: [config, override judge: overlap, _self_]\nhydra: {sweeper: {params: {train.epochs: [1, 2]}}}",
            "train.epochs=[1, 2]: one value is needed; several are an axis: train.epochs=A,B on the command line, ",
        ),
        (
            "defaults: [config, override loss: [it, im]]",
            "{file}: defaults: override loss: [it, im]: one loss is",
        ),
        (
            "defaults: [config, _self_]\nloss: [it, im]",
            "{file}: loss: [it, im]: one is chosen in defaults, `- override loss: NAME`; several are an axis",
        ),
        ("defaults: [config, _self_]\ntrain: toy", "{file}: train: toy: one is chosen in defaults"),
        ("defaults: config", "{file}: defaults is 'config', but must be a list; a sweep begins with"),
        (
            "defaults: [config, _self_]\nhydra: {sweeper: {params: {loss: 'it,,im'}}}",
            "an override is KEY=VALUE",
        ),
        (
            "defaults: [config, override judge: overlap, _self_]\nsed: 1",
            "{file}: sed: there is no such key; did you mean seed?",
        ),
        (
            "defaults: [config, override judge: overlap, _self_]\nhydre: {}",
            "{file}: hydre: there is no such key; did you mean hydra?",
        ),
        (
            "defaults: [config, override judge: overlap, _self_]\ntrain: {epoch: 2}",
            "{file}: train.epoch: there is no such key; did you mean train.epochs?",
        ),
        (
            "defaults: [config, _self_]\nhydra: {mod: MULTIRUN}",
            "{file}: hydra.mod: there is no such key; did you mean hydra.mode?",
        ),
    ],
)
def test_a_sweep_that_cannot_be_read_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UserError) as error:
        sweep_runs("mine", tmp_path, [])
    assert reason.replace("{file}", str(tmp_path / "mine.yaml")) in str(error.value)


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        (
            "dataset/mine.yaml",
            "name: mine\nsource: local\npath: rows.jsonl\nformt: alpaca\n",
            "dataset.formt: there is no such key; did you mean dataset.format?",
        ),
        (
            "experiment/mine.yaml",
            "# @package _global_\nsed: 1\n",
            "sed: there is no such key; did you mean seed?",
        ),
    ],
)
def test_a_wrong_key_in_a_file_of_conf_is_told_with_the_file_and_the_nearest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, text: str, reason: str
) -> None:
    conf = Path(shutil.copytree(composing.CONF, tmp_path / "conf"))
    (conf / file).write_text(text)
    monkeypatch.setattr(composing, "CONF", conf)
    with pytest.raises(UserError) as error:
        sweep_runs("config", conf, ["judge=overlap", f"{file.partition('/')[0]}=mine"])
    assert str(error.value) == f"{conf / file}: {reason}"
