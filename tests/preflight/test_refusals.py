"""What is missing or too small is told at once, before anything runs, and nothing is made."""

import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import pytest
from refusing import refusal
from small_cell import words

from im_bench import preflight
from im_bench.composing import CONF, compose_run
from im_bench.pipeline import plan
from im_bench.planning.sizes import memory
from im_bench.preflight import machine, need

GB = 10**9
BIG = ["+model.parameters=6.738", "benchmark=[piqa]"]
"""As if the local model were of this size."""
ON_GPU = ["runtime=gpu", "runtime.threads=null"]


class Room(NamedTuple):
    total: int
    used: int
    free: int


@pytest.fixture
def small_machine(monkeypatch):
    """A machine with room for nothing: no GPU, no keys, no packages of launchers."""

    def absent(name):
        if name in ("ray", "submitit"):
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(need, "version", absent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Room(10 * GB, 9 * GB, 1 * GB))
    monkeypatch.setattr(machine, "ram", lambda: 8.0 * GB)
    monkeypatch.setattr(machine, "gpu_memory", lambda: 24.0 * GB)
    monkeypatch.setattr(machine, "GPUS", (Path("/dev/no-gpu"),))
    for key in ("OPENAI_API_KEY", "JUDGE_KEY"):
        monkeypatch.delenv(key, raising=False)


def told(lines, *beginning):
    """The one line that begins so."""
    (line,) = [line for line in lines if line.startswith(beginning)]
    return line


LACKING = [
    "benchmark=[piqa,mt_bench]",
    "judge=openai",
    "judge.api_key_env=JUDGE_KEY",
    "loss=im",
]


@pytest.mark.parametrize("command", ["run", "sweep"])
def test_all_that_is_missing_is_told_at_once_and_nothing_is_made(
    given, tmp_path, capsys, small_machine, command
):
    results = tmp_path / "results"
    lacking = [*LACKING, f"dataset.path={tmp_path}/none.jsonl", f"paths.hub={tmp_path}", "launcher=ray"]
    asked = words(given, results, *lacking)
    if command == "sweep":
        (tmp_path / "mine.yaml").write_text("defaults: [config, _self_]\n")
        asked = [str(tmp_path / "mine.yaml"), *asked]
    lines = refusal(capsys, command, *asked)
    assert "judge.model=NAME" in told(lines, "judge.model (for judge): a value is needed")
    assert "export JUDGE_KEY=KEY" in told(lines, "JUDGE_KEY (for judge): the environment variable is not set")
    assert told(lines, "dataset.path=").endswith("none.jsonl: there is no such file")
    assert "leave it out with ~benchmark.piqa" in told(
        lines, f"benchmark=piqa: paths.hub={tmp_path} has no data"
    )
    assert told(lines, "package ray (for launcher): not installed; pip install ")
    assert len(lines) == 5
    assert not results.exists()


def test_too_little_of_the_machine_is_told_with_what_needs_less(given, tmp_path, capsys, small_machine):
    """To train 6.738 billion parameters takes 16 bytes each."""
    asked = words(given, tmp_path / "results", *BIG)
    lines = refusal(capsys, "run", "--multirun", *asked, *ON_GPU, "loss=it,im")
    assert told(lines, "GPU (for runtime.device=cuda): there is none here; runtime=cpu, or a launcher")
    said = told(
        lines, "memory (for training model=local): about 108 GB besides activations, and a GPU has 24 GB"
    )
    assert "train=lora" in said and "runtime.processes=N" in said
    disk = told(lines, f"disk (for paths.results={tmp_path}/results): about ")
    assert "1 GB are free; keep_checkpoints=until_scored needs about " in disk
    assert len(lines) == 3
    lines = refusal(capsys, "run", *asked, "runtime=cpu")
    assert told(
        lines,
        "memory (for training model=local): about 108 GB besides activations, and this machine has 8 GB",
    )
    assert told(lines, "disk ").endswith("are free")  # a single training needs no less
    assert len(lines) == 2
    assert not (tmp_path / "results").exists()


def test_a_cluster_is_not_judged_by_the_machine_that_asks_it(given, tmp_path, capsys, small_machine):
    lines = refusal(capsys, "run", *words(given, tmp_path / "results", *BIG, "launcher=ray"), *ON_GPU)
    assert {line.partition(" ")[0] for line in lines} == {"package", "disk"}


def test_a_bad_row_of_one_file_and_another_file_that_is_missing_are_both_told(given, tmp_path, capsys):
    (tmp_path / "bad.jsonl").write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "a"}\n')
    mine = """
        defaults: [config, override experiment: toy, override model: local, override dataset: local, _self_]
        sweep: {zip: [{dataset.path: [FOLDER/none.jsonl, FOLDER/bad.jsonl], dataset.name: [none, bad]}]}
    """
    (tmp_path / "mine.yaml").write_text(mine.replace("FOLDER", str(tmp_path)))
    asked = [
        word
        for word in words(given, tmp_path / "results", "benchmark=[piqa]")
        if not word.startswith(("experiment=", "model=", "dataset"))
    ]
    lines = refusal(capsys, "sweep", str(tmp_path / "mine.yaml"), *asked)
    assert told(lines, f"dataset.path={tmp_path}/none.jsonl: there is no such file")
    assert told(lines, f"{tmp_path}/bad.jsonl, row 1 (line 2): fields ['prompt'] fit no format")
    assert len(lines) == 2
    assert not (tmp_path / "results").exists()


def test_the_toy_world_is_not_made_where_something_is_missing(given, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    asked = ["experiment=toy", "judge=openai", "judge.model=judge-1", f"paths.results={tmp_path}/results"]
    (line,) = refusal(capsys, "run", *asked)
    assert line.startswith("OPENAI_API_KEY (for judge)")
    assert not (tmp_path / "results").exists()


def test_more_toy_conversations_than_there_are_are_refused_before_anything_is_trained(tmp_path, capsys):
    asked = ["experiment=toy", "subset=first", "subset.size=1000000", f"paths.results={tmp_path}/results"]
    (line,) = refusal(capsys, "run", *asked)
    assert line.startswith("subset.size=1000000: the dataset has ")
    assert not (tmp_path / "results/store").exists()


def test_what_can_be_done_without_is_no_reason_to_refuse(given, tmp_path, capsys):
    """The toy world's assets have nothing for the length-controlled win rate."""
    run = compose_run("config", CONF, words(given, tmp_path, "benchmark=[alpaca_eval_2]"))
    cell = plan(run, fetch=False)
    preflight.check([cell], {step.key for step in cell.steps()})


# --- memory ---


@pytest.mark.parametrize(
    ("said", "bytes_"),
    [
        ([], 16),
        (["runtime.processes=4"], 4),
        (["runtime.processes=4", "runtime.parallel=ddp"], 16),
        (["loss=kl"], 16 + 2),
        (["loss=kl", "runtime.processes=4"], 4 + 2),
        (["loss=kl", "train.precision=fp32"], 16 + 4),
        (["train=lora"], 4 + 12 * 0.024),
        (["train=lora", "train.lora.rank=128"], 4 + 12 * 0.048),
        (["train=lora", "runtime.processes=2", "runtime.parallel=ddp"], 4 + 12 * 0.024),
        (["train=lora", "runtime.processes=2"], (4 + 12 * 0.024) / 2),
    ],
)
def test_memory_of_a_training_is_that_of_weights_gradients_and_state(said, bytes_):
    """Of each parameter: 4 bytes of weight, 4 of gradient, 8 of Adam's; a base model in the training's precision."""
    run = compose_run("config", CONF, ["judge.model=m", *said])
    assert memory(run, 1e9) == pytest.approx(bytes_ * 1e9)


def test_a_model_that_is_only_asked_takes_two_bytes_a_parameter(given, tmp_path, capsys, small_machine):
    asked = ["model=llama2_7b", "runtime=cpu", "loss=none", f"paths.results={tmp_path}"]
    run = compose_run("config", CONF, [*asked, "judge=overlap"])
    (line,) = machine.too_little_memory([(run, preflight.Parts.whole(run))])
    assert line.startswith("memory (for scoring model=llama2_7b): about 13 GB")
    assert not list(machine.too_little_memory([(run, preflight.Parts(False, frozenset(), frozenset()))]))
