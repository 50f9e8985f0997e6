"""What a cell needs: named, fetched from a hub, and then there without one."""

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import pytest
from hub_server import HubServer
from test_pipeline import words as words_of

from im_bench import cli, preflight
from im_bench.assets import file_sha256
from im_bench.checkpoint import save
from im_bench.cli import main
from im_bench.composing import CONF, compose_run
from im_bench.pipeline import plan
from im_bench.planning.sizes import memory
from im_bench.preflight import machine, need
from im_bench.store import Store
from im_bench.toy.files import write_world

LENGTH = "benchmark.alpaca_eval_2.length_controlled"
TOY = ["experiment=toy", "model=local", "tracker=none"]


@pytest.fixture(scope="module")
def world(tmp_path_factory, make_model, tokenizer):
    """The toy world, and beside its benchmarks a model, as a hub has them."""
    folder = tmp_path_factory.mktemp("world") / "world"
    write_world(folder, 0)
    save(folder / "hub/small/model", make_model(positions=2048), tokenizer)
    return folder


@pytest.fixture
def command(tmp_path):
    """Runs im-bench in a process of its own, whose cache of the hub is empty at first."""

    def run(*words, hub=None, **environment):
        kept = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith("HF_") and "proxy" not in key.lower()
        }
        given = (
            kept
            | {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub or "http://127.0.0.1:9"}
            | environment
        )
        return subprocess.run(
            [sys.executable, "-m", "im_bench", *words, f"paths.results={tmp_path / 'results'}"],
            env=given,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


def states(done):
    return {need["name"]: need["problem"] for need in json.loads(done.stdout)}


def words(*benchmarks):
    model = ["model.source=hub", "+model.id=small/model", "model.chat_template=tulu", "model.path=null"]
    chosen = f"benchmark=[{','.join(benchmarks)}]"
    return [*TOY, *model, "loss=none", "paths.hub=null", chosen, "limit=3", "--json"]


@pytest.mark.slow
def test_what_is_fetched_is_there_without_the_hub(command, world):
    asked = words("piqa", "arc", "humaneval")
    with HubServer(world / "hub") as hub:
        before = command("doctor", *asked, hub=hub.url)
        assert before.returncode == 2
        missing = {name for name, problem in states(before).items() if problem}
        names = {"small/model", "baber/piqa", "allenai/ai2_arc (2 configs)", "openai/openai_humaneval"}
        assert missing == names, before.stderr
        fetched = command("fetch", *asked, hub=hub.url)
        assert fetched.returncode == 0, fetched.stderr
        assert not any(states(fetched).values())
    after = command("doctor", *asked, HF_HUB_OFFLINE="1")
    assert after.returncode == 0
    done = command("run", *asked, "~benchmark.humaneval", "benchmark.piqa.shots=0", HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    scores = {row["task"]: row["count"] for row in json.loads(done.stdout)}
    assert scores == {"piqa": 3, "arc": 6, "arc_easy": 3, "arc_challenge": 3}


@pytest.mark.slow
def test_what_is_gated_moved_or_gone_is_named_so(command, world, tmp_path):
    folder = tmp_path / "hub"
    (folder / "official").mkdir(parents=True)
    (folder / "allenai").mkdir()
    (folder / "baber").mkdir()
    (folder / "baber/piqa").symlink_to(world / "hub/baber/piqa")
    (folder / "official/openbookqa").symlink_to(world / "hub/allenai/openbookqa")
    moved = {"allenai/openbookqa": "official/openbookqa"}
    with HubServer(folder, gated=["baber/piqa"], moved=moved) as hub:
        found = states(command("doctor", *words("piqa", "openbookqa", "hellaswag"), hub=hub.url))
        fetched = command("fetch", *words("piqa"), hub=hub.url)
    assert "gated; ask for access on its page at http" in found["baber/piqa"]
    assert "moved to official/openbookqa" in found["allenai/openbookqa main"]
    assert "the hub has no such dataset, or it is private" in found["Rowan/hellaswag"]
    assert fetched.returncode == 2
    assert "gated" in states(fetched)["baber/piqa"]


def test_the_toy_world_needs_nothing_from_outside(tmp_path, capsys):
    assert main(["doctor", "experiment=toy", "--json", f"paths.results={tmp_path}"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {need["kind"] for need in found} == {"model", "dataset", "benchmark", "file", "package", "sandbox"}
    assert not any(need["problem"] for need in found)


def test_each_thing_is_named_once_with_all_that_need_it(tmp_path, capsys):
    main(["doctor", "demo", "--json", f"paths.results={tmp_path}"])
    found = json.loads(capsys.readouterr().out)
    assert len({(need["kind"], need["name"]) for need in found}) == len(found)
    (harness,) = [need for need in found if need["name"] == "lm_eval"]
    assert len(harness["needed_by"]) == 17


def test_two_files_of_one_name_are_two_needs(tmp_path, capsys):
    (tmp_path / "there.jsonl").write_text('{"prompt": "Hi", "completion": "Hello."}\n')
    mine = """
        defaults: [config, override experiment: toy, override dataset: local, override benchmark: [piqa], _self_]
        sweep: {zip: [{dataset.path: [FOLDER/missing.jsonl, FOLDER/there.jsonl], loss: [it, im]}]}
    """
    (tmp_path / "mine.yaml").write_text(mine.replace("FOLDER", str(tmp_path)))
    assert main(["doctor", str(tmp_path / "mine.yaml"), "--json", f"paths.results={tmp_path}"]) == 2
    found = [need for need in json.loads(capsys.readouterr().out) if need["kind"] == "dataset"]
    missing, there = sorted(found, key=lambda need: need["problem"] is None)
    assert missing["problem"] == f"dataset.path={tmp_path / 'missing.jsonl'}: there is no such file"
    assert there["at"] == str(tmp_path / "there.jsonl")


def test_what_is_missing_is_told_with_its_remedy(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    (tmp_path / "model").mkdir()
    missing = [
        f"model.path={tmp_path / 'model'}",
        "benchmark=[mt_bench,piqa]",
        "judge=openai",
        "judge.model=judge-1",
        "judge.api_key_env=JUDGE_KEY",
        "engine=vllm",
        f"paths.hub={tmp_path}",
        f"paths.assets={tmp_path}",
        f"paths.results={tmp_path}",
        "dataset=local",
        f"dataset.path={tmp_path / 'rows.jsonl'}",
    ]
    assert main(["doctor", *TOY, *missing]) == 2
    said = capsys.readouterr().out
    for words in (
        "there is no tokenizer",
        "export JUDGE_KEY=KEY",
        "pip install 'im-bench[vllm]'",
        "has no data for it",
        "the folder lacks mt_bench/question.jsonl",
        "rows.jsonl: there is no such file",
    ):
        assert words in said
    assert "missing" in said


def test_an_engine_that_is_not_installed_is_refused_before_anything_runs(tmp_path, capsys):
    assert (
        main(["run", "experiment=toy", "benchmark=[piqa]", "engine=vllm", f"paths.results={tmp_path}"]) == 2
    )
    assert "engine=vllm: it is not installed; pip install 'im-bench[vllm]'" in capsys.readouterr().err
    assert not (tmp_path / "store").exists()


def test_a_judge_that_nobody_named_is_one_of_what_is_missing(tmp_path, capsys):
    assert main(["doctor", "main_table", "--json", f"paths.results={tmp_path}", "benchmark=[mt_bench]"]) == 2
    found = {need["name"]: need["problem"] for need in json.loads(capsys.readouterr().out)}
    assert found["judge.model"].startswith("a value is needed")
    assert len(found) > 5


def test_files_of_verdicts_are_looked_for_and_need_neither_key_nor_server(tmp_path, capsys):
    (tmp_path / "said.jsonl").write_text("{}")
    files = f"judge.files=[{tmp_path}/said.jsonl,{tmp_path}/none.jsonl]"
    asked = ["judge=replay", "judge.name=said", files, "benchmark=[mt_bench]", f"paths.results={tmp_path}"]
    assert main(["doctor", "experiment=toy", "--json", *asked]) == 2
    found = json.loads(capsys.readouterr().out)
    of_judge = {need["name"]: need["problem"] for need in found if need["needed_by"] == ["judge"]}
    none = f"{tmp_path}/none.jsonl"
    assert of_judge == {
        f"{tmp_path}/said.jsonl": None,
        none: f"judge.files={none}: there is no such file",
    }


def test_what_only_length_control_needs_is_no_problem_where_it_is_missing(tmp_path, capsys):
    asked = ["judge=overlap", "benchmark=[alpaca_eval_2]", f"paths.results={tmp_path}"]
    assert main(["doctor", "experiment=toy", "--json", *asked]) == 0
    found = {need["name"]: need for need in json.loads(capsys.readouterr().out)}
    gamed = found["alpaca_eval/df_gamed"]
    assert gamed["at"] == "not at hand, so alpaca_eval_2 has no length-controlled win rate"
    assert main(["doctor", "experiment=toy", "--json", *asked, f"{LENGTH}=false"]) == 0
    assert "alpaca_eval/df_gamed" not in capsys.readouterr().out


# Not every judge has a list of models where it answers; an engine's server has.
@pytest.mark.parametrize(("key", "end"), [("engine", "v1"), ("judge", "api")])
def test_what_answers_and_is_no_model_server_is_told_apart(tmp_path, capsys, world, key, end, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    asked = {
        "engine": ["engine=server", "engine.base_url=URL", "benchmark=[piqa]", "loss=none"],
        "judge": [
            "judge=openai",
            "judge.model=m",
            "judge.api_key_env=null",
            "judge.base_url=URL",
            "benchmark=[mt_bench]",
        ],
    }[key]
    with HubServer(world / "hub") as server:
        words = [word.replace("URL", f"{server.url}/{end}") for word in asked]
        assert main(["doctor", "experiment=toy", "--json", *words, f"paths.results={tmp_path}"]) == 2
    (found,) = [need for need in json.loads(capsys.readouterr().out) if need["kind"] == "server"]
    assert (
        f"{key}.base_url={server.url}/{end}: no list of models (status 404); it ends in /v1"
        in found["problem"]
    )


def test_a_judge_that_its_maker_no_longer_serves_is_missing_unless_somebody_else_does(tmp_path, capsys):
    words = [
        "doctor",
        "experiment=toy",
        "benchmark=[mt_bench]",
        "judge=gpt4",
        "judge.api_key_env=null",
        "--json",
    ]
    assert main([*words, f"paths.results={tmp_path}"]) == 2
    found = {each["name"]: each["problem"] for each in json.loads(capsys.readouterr().out)}
    assert found["gpt-4"].startswith("no longer served")
    main([*words, f"paths.results={tmp_path}", "judge.base_url=http://127.0.0.1:9/v1"])
    assert "gpt-4" not in {each["name"] for each in json.loads(capsys.readouterr().out)}


# --- before anything runs ---

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


def refusal(capsys, *words):
    """What a command is refused with, a line for each thing; it has made nothing."""
    capsys.readouterr()
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == "" and "Traceback" not in said.err
    first, *lines = [line for line in said.err.splitlines() if not line.startswith("fetching ")]
    if not lines:
        return [first.removeprefix("im-bench: ")]
    assert first == f"im-bench: {len(lines)} things to mend before anything runs:"
    assert len(set(lines)) == len(lines)
    return [line.removeprefix("  ") for line in lines]


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
    asked = words_of(given, results, *lacking)
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
    asked = words_of(given, tmp_path / "results", *BIG)
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
    lines = refusal(capsys, "run", *words_of(given, tmp_path / "results", *BIG, "launcher=ray"), *ON_GPU)
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
        for word in words_of(given, tmp_path / "results", "benchmark=[piqa]")
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
    run = compose_run("config", CONF, words_of(given, tmp_path, "benchmark=[alpaca_eval_2]"))
    cell = plan(run, fetch=False)
    preflight.check([cell], {step.key for step in cell.steps()})


# --- what is done needs nothing ---


def finish(cell, *kinds):
    """Give the steps of these kinds, or all, their records."""
    store = Store(cell.run.paths.results / "store")
    for step in cell.steps():
        if not kinds or step.kind in kinds:
            out = store.root / step.kind / step.folder
            out.mkdir(parents=True)
            store._commit(step, out, seconds=1.0)


def left(cell):
    store = Store(cell.run.paths.results / "store")
    return {step.key for step in store.missing(cell.steps())}


SERVED = ["benchmark=[mt_bench]", "judge=openai", "judge.model=judge-1"]
DOWN = "judge.base_url=http://127.0.0.1:9/v1"


def test_a_judge_that_is_down_is_needed_only_for_verdicts_that_are_to_come(
    given, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    asked = words_of(given, tmp_path, *SERVED, DOWN)
    finish(plan(compose_run("config", CONF, asked)))
    more = words_of(given, tmp_path, *SERVED, DOWN, "benchmark=[mt_bench,piqa]")
    cell = plan(compose_run("config", CONF, more), fetch=False)
    preflight.check([cell], left(cell))
    key, server = refusal(capsys, "run", *words_of(given, tmp_path, *SERVED, DOWN, "seed=1"))
    assert key.startswith("OPENAI_API_KEY (for judge)")
    assert server.startswith("judge.base_url=http://127.0.0.1:9/v1: no answer")


def test_verdicts_alone_need_neither_the_model_nor_the_data(given, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    rows, folder = tmp_path / "rows.jsonl", tmp_path / "model"
    shutil.copy(given / "rows.jsonl", rows)
    shutil.copytree(given / "model", folder)
    places = [f"dataset.path={rows}", f"model.path={folder}", "engine=vllm", "launcher=local"]
    cell = plan(compose_run("config", CONF, words_of(given, tmp_path, *SERVED, *places)))
    finish(cell, "base", "train", "answers")
    rows.unlink()
    shutil.rmtree(folder)
    assert [step.kind for step in cell.steps() if step.key in left(cell)] == ["verdicts"]
    preflight.check([cell], left(cell))
    found = preflight.needs([(cell.run, preflight.Parts.left(cell, left(cell)))])
    assert {need.kind for need in found} == {"file", "key"}


def test_a_cell_that_is_done_runs_though_its_file_is_gone_and_its_judge_has_no_key(
    given, tmp_path, monkeypatch
):
    """Where the hash of the file is said, its steps are known without it."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    rows = tmp_path / "rows.jsonl"
    shutil.copy(given / "rows.jsonl", rows)
    known = [
        f"dataset.path={rows}",
        "dataset.format=prompt_completion",
        f"dataset.sha256={file_sha256(rows)}",
    ]
    asked = words_of(given, tmp_path / "results", *SERVED, *known)
    finish(plan(compose_run("config", CONF, asked)))
    rows.unlink()
    cells = cli._checked([compose_run("config", CONF, asked)])
    assert left(cells[0]) == set()
    both = [compose_run("config", CONF, [*asked, f"loss={loss}"]) for loss in ("it", "none")]
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    assert [cell.run.loss.name for cell in cli._checked(both)] == ["none", "it"]


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
