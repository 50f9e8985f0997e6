"""The commands as a person meets them: above all, what bad input gets.

What is wrong is found from files alone, so the model here is a folder of the right names and no content.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from im_bench.cli import main

ROW = {"prompt": "Name a fruit.", "completion": "An apple."}
TURNS = [{"role": "user", "content": "Name a fruit."}, {"role": "assistant", "content": "An apple."}]


class Said(NamedTuple):
    code: int
    output: str
    error: str


Command = Callable[..., Said]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that holds whatever a cell needs in order to be planned, and nothing else."""
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        write(tmp_path / "model" / name, "{}")
    write(tmp_path / "hub/baber/piqa/train.jsonl", "{}")
    for name in ("question.jsonl", "reference_answer.jsonl", "judge_prompts.jsonl"):
        write(tmp_path / "assets/mt_bench" / name, "{}")
    write(tmp_path / "rows.jsonl", f"{json.dumps(ROW)}\n" * 3)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command in this process."""

    def run(*words: str) -> Said:
        try:
            code = main(words)
        except SystemExit as leave:  # how argparse refuses
            code = int(leave.code or 0)
        return Said(code, *capsys.readouterr())

    return run


@pytest.fixture
def cell(said: Command, place: Path) -> Command:
    """Runs a cell in which nothing is wrong but what the test adds."""
    right = {
        "experiment": "toy",
        "model": "local",
        "model.path": "model",
        "dataset": "local",
        "dataset.path": "rows.jsonl",
        "benchmark": "[piqa]",
        "paths.hub": "hub",
        "paths.assets": "assets",
    }

    def run(*words: str) -> Said:
        given = {word.partition("=")[0] for word in words}
        return said("run", *(f"{key}={value}" for key, value in right.items() if key not in given), *words)

    return run


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_judge_is_named_where_somebody_is_judged(cell: Callable[..., Said]) -> None:
    refused(
        cell("benchmark=[mt_bench]", "judge=openai"),
        "judge.model (for judge): a value is needed, e.g. judge.model=NAME",
    )
    assert "judge" not in cell("benchmark=[piqa]", "judge=openai").error


def refused(said: Said, reason: str) -> None:
    """Exit code 2, the reason on standard error, nothing on standard output, nothing written."""
    assert (said.code, said.output) == (2, "")
    # What is missing is said at once: one thing in one line, and several in a list.
    lines = [line.removeprefix("im-bench: ").strip() for line in said.error.splitlines()]
    assert any(line.startswith(reason) for line in lines), said.error
    assert len(lines) == 1 or "things to mend before anything runs:" in lines[0]
    assert not Path("results").exists()


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("loss=imm", "loss=imm: there is no such loss; did you mean im?"),
        ("loss=", "loss=: there is no such loss; there are full, im, im_neftune, im_released, it"),
        ("model=lama2_7b", "model=lama2_7b: there is no such model; did you mean llama2_7b?"),
        ("model=/srv/weights", "model=/srv/weights: there is no such model; there are "),
        ("dataset=limaa", "dataset=limaa: there is no such dataset; did you mean lima?"),
        ("benchmark=piqqa", "benchmark=piqqa: there is no such benchmark; did you mean piqa?"),
        ("benchmark=[piqa,mtbench]", "benchmark=mtbench: there is no such benchmark; did you mean mt_bench?"),
        ("experiment=toys", "experiment=toys: there is no such experiment; did you mean toy?"),
        ("los=im", "los: there is no such key; did you mean loss?"),
        ("train.epoch=3", "train.epoch: there is no such key; did you mean train.epochs?"),
        ("epochs=3", "epochs: there is no such key; did you mean epoch?"),
        ("train.epoch=3", "train.epoch: there is no such key; did you mean train.epochs?"),
        ("judge.temprature=0", "judge.temprature: there is no such key; did you mean judge.temperature?"),
        ("~benchmark.pica", "benchmark.pica: there is no such key; did you mean benchmark.piqa?"),
        ("model.id=x/y", "model.id: the chosen model has no such key"),
        (
            "zzz=1",
            "zzz: there is no such key; there are analysis, benchmark, dataset, engine, experiment, judge, ",
        ),
        ("+train.momentum=1", "train.momentum: there is no such key"),
        ("loss", "loss: an override is KEY=VALUE, e.g. loss=im"),
        ("loss=im=it", "loss=im=it: an override is KEY=VALUE, e.g. loss=im"),
        (
            "loss=[it,im]",
            "loss=[it,im]: one loss is needed, e.g. loss=NAME; several are an axis: loss=A,B on the ",
        ),
        (
            "seed=[1,2]",
            "seed=[1, 2]: one value is needed; several are an axis: seed=A,B on the command line, ",
        ),
        ("train=null", "train=null: one train is needed, e.g. train=NAME"),
        ("benchmark=null", "benchmark=null: one benchmark is needed"),
        ("loss=it,im", "loss=it,im: several values make several cells; add --multirun"),
        ("loss.prompt_weight=1.5", "loss.prompt_weight=1.5: input should be less than or equal to 1"),
        ("loss.output_weight=0", "loss=it: prompt, output and template weight are 0, 0, 0"),
        ("subset=random", "subset.size: a value is needed, e.g. subset.size=VALUE"),
    ],
)
def test_a_wrong_word_is_named_with_the_nearest_right_one(cell: Command, override: str, reason: str) -> None:
    refused(cell(override), reason)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "rows.jsonl: the file holds no rows"),
        ("\n\n", "rows.jsonl: the file holds no rows"),
        (f"{json.dumps(ROW)}\n" + '{"prompt": ', "rows.jsonl, row 1 (line 2): not JSON"),
        ("[1]", "rows.jsonl, row 0 (line 1): expected an object with fields, found list"),
        ('{"text": "a"}', "rows.jsonl, row 0 (line 1): fields ['text'] fit no format; give `messages` (or "),
        (
            '{"messages": []}',
            "rows.jsonl, row 0 (line 1): `messages` (or `conversations`) must be a list",
        ),
        (
            json.dumps(ROW) + '\n{"prompt": "a"}',
            "rows.jsonl, row 1 (line 2): fields ['prompt'] fit no format; give `prompt` and ",
        ),
        (json.dumps(ROW | {"completion": " "}), "rows.jsonl, row 0 (line 1), turn 2: the output is empty"),
        (json.dumps(ROW | {"prompt": ""}), "rows.jsonl, row 0 (line 1), turn 1: the user turn is empty"),
        (
            json.dumps({"messages": [{"role": "tool", "content": "a"}]}),
            "rows.jsonl, row 0 (line 1), message 1: role 'tool' is unknown; use one of system, user, assistant",
        ),
        (json.dumps({"messages": TURNS[:1]}), "rows.jsonl, row 0 (line 1): there is no assistant turn"),
    ],
)
def test_a_bad_row_is_named_by_file_and_number(cell: Command, place: Path, content: str, reason: str) -> None:
    write(place / "rows.jsonl", content)
    refused(cell(), reason)


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["dataset.path=none.jsonl"], "dataset.path=none.jsonl: there is no such file"),
        (["dataset.path=model"], "dataset.path=model: is a folder; name a file"),
        (
            ["dataset.format=alpaca"],
            "rows.jsonl, row 0 (line 1): has `prompt` and `completion` (or `response`), but the file is of `inst",
        ),
        (["subset=first", "subset.size=4"], "subset.size=4: the dataset has 3 conversations"),
        (["model.path=none"], "model.path=none: there is no such folder"),
        (["model.path=rows.jsonl"], "model.path=rows.jsonl: there is no such folder"),
        (
            ["model.chat_template=alpaca"],
            "model.chat_template=alpaca: use chatml, llama3, tulu, zephyr, own",
        ),
        (["paths.hub=none"], "paths.hub=none: there is no such folder"),
        (["paths.hub=rows.jsonl"], "paths.hub=rows.jsonl: there is no such folder"),
        (
            ["benchmark=[piqa,hellaswag]"],
            "benchmark=hellaswag: paths.hub=hub has no data for it (hub/Rowan/hellaswag is missing); "
            "leave it out with ~benchmark.hellaswag",
        ),
        (["benchmark=[mt_bench]", "paths.assets=none"], "paths.assets=none: there is no such folder"),
        (
            ["benchmark=[mt_bench]", "paths.assets=model"],
            "paths.assets=model: the folder lacks mt_bench/question.jsonl",
        ),
        (
            ["benchmark=[piqa,alpaca_eval_1]"],
            "paths.assets=assets: the folder lacks alpaca_eval/reference_outputs_v2.json",
        ),
    ],
)
def test_a_file_or_folder_that_is_not_there_is_named_by_its_key(
    cell: Command, overrides: list[str], reason: str
) -> None:
    refused(cell(*overrides), reason)


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ("config.json", "there is no config.json"),
        ("model.safetensors", "there are no weights"),
        ("tokenizer.json", "there is no tokenizer"),
    ],
)
def test_a_model_folder_without_one_of_its_parts_is_refused(
    cell: Command, place: Path, missing: str, reason: str
) -> None:
    (place / "model" / missing).unlink()
    refused(cell(), f"model.path=model: {reason}")


def test_another_file_than_the_published_one_is_refused_with_both_hashes(cell: Command) -> None:
    said = cell("dataset.sha256=" + "0" * 64)
    refused(said, "dataset.path=rows.jsonl: sha256 is ")
    assert "but must be " + "0" * 64 in said.error


def test_a_judge_without_its_key_is_refused_before_anything_is_trained(
    cell: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    said = cell("benchmark=[mt_bench]", "judge=openai", "judge.model=judge-1")
    refused(said, "OPENAI_API_KEY (for judge): the environment variable is not set")


WRITERS = [
    ["run", "experiment=toy"],
    ["sweep", "demo"],
    ["report", "demo"],
    ["stats", "dataset=local", "dataset.path=rows.jsonl"],
    ["mask", "experiment=toy"],
    ["ingest", "rows.jsonl"],
    ["judge", "answers.jsonl", "judge=overlap", "paths.assets=assets"],
    ["doctor", "demo"],
    ["fetch", "demo"],
    ["gc", "--delete"],
]


@pytest.mark.parametrize("words", WRITERS, ids=lambda words: words[0])
def test_results_that_cannot_be_written_are_named_by_every_command_that_writes(
    said: Command, place: Path, words: list[str]
) -> None:
    write(place / "answers.jsonl", '{"question_id": 1, "choices": []}')
    code, output, error = said(*words, "paths.results=rows.jsonl/x")
    assert (code, output) == (2, "")
    line = error.splitlines()[-1]
    assert line.startswith("im-bench: paths.results=")
    assert f"rows.jsonl/x: nothing can be written in {place}/rows.jsonl (Not a directory); " in line
    assert line.endswith("give another folder, paths.results=FOLDER")


@pytest.mark.parametrize("command", ["plan", "status", "gc"])
def test_results_that_are_no_folder_are_named_by_those_that_only_read(
    said: Command, place: Path, command: str
) -> None:
    error = said(command, "paths.results=rows.jsonl").error
    assert error.startswith("im-bench: paths.results=rows.jsonl: nothing can be read in ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_only_be_read_is_planned_and_not_written(said: Command, place: Path) -> None:
    (place / "theirs").mkdir(mode=0o500)
    assert said("plan", "demo", "paths.results=theirs").code == 0
    assert "(Permission denied); give another" in said("sweep", "demo", "paths.results=theirs").error


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["sweep", "demmo"], "there is no sweep demmo; did you mean demo?"),
        (
            ["sweep", "xyz"],
            "there is no sweep xyz; there are averaging, ",
        ),
        (["sweep", "mine.yaml"], "there is no file mine.yaml"),
        (["report", "some/where/mine.yaml"], "there is no file some/where/mine.yaml"),
        (["report", "sweeps/demmo.yaml"], "there is no file sweeps/demmo.yaml; did you mean demo?"),
        (["sweep", "rows.jsonl"], "rows.jsonl: the name of a sweep's file ends in .yaml; rename it"),
        (["report", "demmo"], "there is no sweep demmo; did you mean demo?"),
        (
            ["report", "demo"],
            "demo: results/scores.jsonl has no score of this sweep; im-bench sweep, with the same words, makes them",
        ),
        (["sweep", "main_table"], "judge.model (for judge): a value is needed"),
        (["sweep", "own_files"], "dataset.path: a value is needed"),
    ],
)
def test_a_sweep_that_cannot_be_run_says_why(
    said: Command, place: Path, words: list[str], reason: str
) -> None:
    refused(said(*words), reason)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["runn"], "invalid choice: 'runn'"),
        (["run", "--nosuch"], "unrecognized arguments: --nosuch"),
        (["sweep"], "the following arguments are required: NAME\n"),
    ],
)
def test_a_command_that_is_none_shows_how_to_give_one(
    said: Command, place: Path, words: list[str], reason: str
) -> None:
    code, output, error = said(*words)
    assert (code, output) == (2, "")
    assert error.startswith("usage: im-bench")
    assert reason in error


def test_help_names_every_command(said: Command) -> None:
    code, output, error = said("--help")
    assert (code, error) == (0, "")
    for command in ("run", "sweep", "report"):
        assert f"\n    {command} " in output


def test_options_may_stand_anywhere(said: Command, place: Path) -> None:
    for words in (["report", "--json", "demo"], ["report", "demo", "--json"]):
        refused(said(*words), "demo: results/scores.jsonl has no score")


def test_debug_shows_where_the_error_was_raised(cell: Command) -> None:
    with pytest.raises(ValueError, match="there is no such loss"):
        cell("loss=imm", "--debug")


def test_a_refusal_is_one_line_and_no_traceback_in_a_process_of_its_own(place: Path) -> None:
    words = ["run", "experiment=toy", "loss=imm"]
    done = subprocess.run(
        [sys.executable, "-m", "im_bench", *words], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "im-bench: loss=imm: there is no such loss; did you mean im?\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "reason", "remedy"),
    [
        (["model=opt_6_7b"], "facebook/opt-6.7b", "model=local model.path=FOLDER"),
        (["model=local", "model.path=model", "paths.hub=null"], "baber/piqa", "paths.hub=FOLDER"),
    ],
)
def test_a_name_of_the_hub_without_network_fails_fast_and_leaves_no_score(
    place: Path, tokenizer, make_model, overrides: list[str], reason: str, remedy: str
) -> None:
    """No retries: the hub here is a port at which nobody answers."""
    make_model(positions=2048).save_pretrained("model")
    tokenizer.save_pretrained("model")
    environment = os.environ | {"HF_ENDPOINT": "http://127.0.0.1:9"}
    del environment["HF_HUB_OFFLINE"], environment["HF_DATASETS_OFFLINE"]
    words = ["run", "experiment=toy", "benchmark=[piqa]", "loss=none", "paths.hub=hub", *overrides]
    done = subprocess.run(
        [sys.executable, "-m", "im_bench", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environment,
    )
    assert done.returncode == 2, done.stderr
    assert reason in done.stderr and remedy in done.stderr
    assert "Traceback" not in done.stderr and "Retrying" not in done.stderr
    assert not (place / "results/scores.jsonl").exists() and not (place / "results/tables").exists()
