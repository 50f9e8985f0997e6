"""What a cell needs: named, fetched from a hub, and then there without one."""

import json
import os
import subprocess
import sys

import pytest
from hub_server import HubServer

from im_bench.checkpoint import save
from im_bench.cli import main
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
