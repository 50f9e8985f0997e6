"""`im-bench stats` and `im-bench advise` as a person meets them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from im_bench.cli import main

ROWS = [
    {
        "prompt": f"Name fruit number {number} and say why you like it.",
        "completion": "An apple." if number else "",
    }
    for number in range(30)
]
Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Run a command in an empty folder with a file of rows; its code, output and errors."""
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))

    def run(*words: str) -> tuple[int, str, str]:
        code = main(words)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


MINE = ("dataset=local", "dataset.path=rows.jsonl", "dataset.allow_empty_output=true")


def test_stats_prints_an_object_with_the_fields_of_table_5(ask: Ask) -> None:
    code, said, _ = ask("stats", *MINE, "--unit", "words", "--json")
    found = json.loads(said)
    assert code == 0
    assert (found["dataset"], found["examples"], found["instruction_words_mean"]) == ("local", 30, 10 + 1)
    assert found["instruction_over_output"] == pytest.approx(11 / ((29 * 3 + 2) / 30))
    assert found["findings"]["empty_outputs"] == {"found": 1, "rows": ["0"]}
    assert found["contamination"] is None
    assert Path(found["picture"]).read_bytes().startswith(b"\x89PNG")


def test_stats_is_of_the_subset_that_is_asked(ask: Ask) -> None:
    _, said, _ = ask("stats", *MINE, "subset=random", "subset.size=7", "--json")
    found = json.loads(said)
    assert (found["examples"], found["subset"]) == (7, "random_7")


def test_stats_of_several_datasets_is_a_line_each_and_a_picture_of_all(ask: Ask) -> None:
    _, said, error = ask("stats", "experiment=toy", "dataset=toy_long,toy_short", "--json")
    assert error.splitlines()[-1] == "results/figures/outputs_words.png"
    assert Path("results/figures/outputs_words.pdf").exists()
    assert [json.loads(line)["dataset"] for line in said.splitlines()] == ["toy_long", "toy_short"]


def test_stats_in_tokens_is_by_the_model_s_tokenizer(ask: Ask) -> None:
    _, said, _ = ask("stats", "experiment=toy", "--unit", "tokens", "--json")
    found = json.loads(said)
    assert found["instruction_tokens_mean"] > 0 and "instruction_words_mean" not in found


def test_stats_for_a_person_has_the_row_the_histograms_and_what_was_found(ask: Ask) -> None:
    _, said, _ = ask("stats", *MINE)
    assert "rows.jsonl" in said and "30" in said
    assert "output, words" in said and "instruction, words" in said and "█" in said
    assert "conversations with an empty output: rows 0" in said
    assert "not looked for: test items" in said


def test_a_bad_row_stops_stats_unless_it_may_be_skipped(ask: Ask) -> None:
    with Path("rows.jsonl").open("a") as file:
        file.write('{"prompt": "a"}\n')
    code, said, error = ask("stats", *MINE)
    assert (code, said) == (2, "")
    assert "rows.jsonl, row 30 (line 31): fields ['prompt'] fit no format" in error
    code, said, _ = ask("stats", *MINE, "dataset.on_bad_row=skip", "--json")
    assert code == 0
    assert json.loads(said)["findings"]["bad_rows"]["found"] == 1


def test_contamination_is_looked_for_where_the_benchmarks_are(ask: Ask) -> None:
    ask("stats", "experiment=toy", "--json")  # makes the world
    (table,) = Path("results/toy").glob("*/hub/openai/gsm8k/main/test*.parquet")
    import pyarrow.parquet

    question = pyarrow.parquet.read_table(table).to_pylist()[3]["question"]
    Path("own.jsonl").write_text(json.dumps({"prompt": f"Solve. {question}", "completion": "7"}) + "\n")
    toy = ("paths.hub=toy", "paths.assets=toy")
    _, said, _ = ask("stats", "dataset=local", "dataset.path=own.jsonl", *toy, "--json")
    found = {
        name: entry["found"] for name, entry in json.loads(said)["contamination"].items() if entry["found"]
    }
    assert found == {"gsm8k": 1}
    assert len(json.loads(said)["contamination"]) == 20  # all but the second AlpacaEval, which asks the same


def test_advise_says_a_loss_its_reason_and_what_is_wrong(ask: Ask) -> None:
    code, said, _ = ask("advise", "rows.jsonl")
    assert code == 0
    assert "loss=im" in said and "expect" in said
    for part in (
        "gain of IM over IT",
        "nearest datasets",
        "What would change",
        "grain of salt",
        "Found in the file",
    ):
        assert part in said
    assert "conversations with an empty output: rows 0" in said


def test_advise_prints_json_for_a_script(ask: Ask) -> None:
    _, said, _ = ask("advise", "rows.jsonl", "--json")
    found = json.loads(said)
    assert found["recommendation"]["loss"] == "im"
    assert {gain["fit"] for gain in found["gains"]} >= {"paper_ratio", "paper_size", "corrected_ratio"}


def test_advise_reads_what_it_can_and_tells_the_rest(ask: Ask) -> None:
    with Path("rows.jsonl").open("a") as file:
        file.write('{"prompt": "a"}\n{broken\n')
    _, said, _ = ask("advise", "rows.jsonl", "--json")
    found = json.loads(said)
    assert found["lengths"]["examples"] == 30
    assert found["findings"]["bad_rows"]["found"] == 2


@pytest.mark.parametrize("words", [["subset=random", "subset.size=3"], ["dataset.on_bad_row=skip"]])
def test_advise_is_of_a_whole_file(ask: Ask, words: list[str]) -> None:
    code, _, error = ask("advise", "rows.jsonl", *words)
    assert (code, "advise reads its file whole" in error) == (2, True)


def test_where_white_space_parts_no_words_the_ratio_is_of_characters(ask: Ask) -> None:
    rows = [{"prompt": f"{number}" + "\u6771" * 400, "completion": "\u4eac" * 4} for number in range(9)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, said, _ = ask("advise", "rows.jsonl", "--json")
    found = json.loads(said)
    assert (found["ratio_unit"], round(found["ratio"])) == ("characters", 100)
    assert any("White space does not part" in line for line in found["caveats"])


def test_a_folder_of_benchmarks_that_is_not_there_is_named(ask: Ask) -> None:
    code, _, error = ask("advise", "rows.jsonl", "paths.hub=nowhere")
    assert (code, error) == (2, "im-bench: paths.hub=nowhere: there is no such folder\n")


def test_what_is_piped_is_not_folded(ask: Ask) -> None:
    long = "a" * 150 + ".jsonl"
    Path("rows.jsonl").rename(long)
    assert ask("advise", long)[1].startswith(f"{long}\n")


def test_a_stream_that_is_not_utf_8_gets_signs_it_has(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(ROWS[1]) + "\n")
    command = [sys.executable, "-m", "im_bench", "stats", "dataset=local", "dataset.path=rows.jsonl"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_whoever_reads_a_part_of_the_output_gets_no_error(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(ROWS[1]) + "\n")
    command = f"{sys.executable} -m im_bench advise rows.jsonl | true"
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_stats_says_where_white_space_parts_no_words(ask: Ask) -> None:
    rows = [{"prompt": f"{number}" + "\u6771" * 400, "completion": "\u4eac" * 40} for number in range(9)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, said, _ = ask("stats", *MINE, "--json")
    assert round(json.loads(said)["instruction_over_output_in_characters"]) == 10
    code, _, error = ask("stats", *MINE, "subset=ratio", "subset.target=10", "subset.size=3")
    assert code == 2 and "use subset.unit=tokens" in error


def test_a_target_that_most_of_the_chosen_are_far_from_is_told(
    ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{"prompt": "w " * (100 if number == 0 else 9), "completion": "w " * 9} for number in range(30)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, _, _ = ask("stats", *MINE, "subset=ratio", "subset.target=10", "subset.size=20", "--json")
    assert code == 0
    assert (
        "only 1 of the 20 conversations nearest to the target have a ratio within a factor of 2"
        in caplog.text
    )


def test_a_terminal_is_not_acted_on(ask: Ask) -> None:
    name = "red\x1b[31m.jsonl"
    Path("rows.jsonl").rename(name)
    for words in (["advise", name], ["advise", f"{name}x"], ["stats", *MINE]):
        _, said, error = ask(*words)
        assert "\x1b" not in said + error


def test_advise_takes_any_name_of_a_file(ask: Ask) -> None:
    name = "my data = 'new', [x] {y} ${z} a\\b.jsonl"
    Path("rows.jsonl").rename(name)
    code, said, error = ask("advise", name, "--json")
    assert code == 0, error
    assert json.loads(said)["file"] == name


WRONG = {
    "missing": (None, "nowhere.jsonl: there is no such file"),
    "empty": ("", "the file holds no rows"),
    "no conversation": ('{"text": "a"}\n', "no row of it is a conversation; the first: "),
    "no instruction": (
        json.dumps({"messages": [{"role": "assistant", "content": "Ho"}]}) + "\n",
        "there is no instruction in it",
    ),
}


@pytest.mark.parametrize(("content", "reason"), WRONG.values(), ids=WRONG)
def test_a_file_that_nothing_can_be_said_of_is_refused(ask: Ask, content: str | None, reason: str) -> None:
    if content is not None:
        Path("nowhere.jsonl").write_text(content)
    code, said, error = ask("advise", "nowhere.jsonl")
    assert (code, said) == (2, "")
    assert reason in error


def test_advice_and_statistics_in_words_need_neither_torch_nor_transformers(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(ROWS[1]) + "\n")
    program = (
        "import sys; from im_bench.cli import main; main(['advise', 'rows.jsonl']); "
        "main(['stats', 'dataset=local', 'dataset.path=rows.jsonl']); "
        "sys.exit(' '.join({'torch', 'transformers', 'datasets'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
