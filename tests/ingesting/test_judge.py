"""Answers of others, judged."""

import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from ingested import (
    INSTRUCTIONS,
    QUESTIONS,
    alpaca_answers,
    digest,
    in_ledger,
    ledger,
    mt_answers,
    refused,
    verdict_files,
)
from judge_server import Answer, JudgeServer, completion, usage

from im_bench.data.rows import read_rows, write_rows
from im_bench.evaluation.alpaca_eval import NO_LENGTH_CONTROL


def test_answers_to_mt_bench_are_told_by_their_format_and_judged(judge, world, tmp_path):
    rows = judge(mt_answers(tmp_path / "answers.jsonl", world), "--json").rows
    headline = rows["ours", "mt_bench"]
    assert headline["count"] == headline["total"] == 2 * QUESTIONS and headline["judge"] == "overlap"
    assert 1 <= headline["value"] <= 10
    assert headline["source"] == f"answers.jsonl (sha256 {digest(tmp_path / 'answers.jsonl')})"
    assert {benchmark.partition("_turn")[0] for _, benchmark in rows} >= {"mt_bench"}
    assert verdict_files() == ["judgments.jsonl"]
    assert {row.model for row in in_ledger()} == {"ours"}


def test_answers_to_alpaca_eval_are_told_by_their_format_and_judged_by_both_versions(judge, world, tmp_path):
    rows = judge(alpaca_answers(tmp_path / "answers.json", world), "--json").rows
    for version in (1, 2):
        row = rows["ours", f"alpaca_eval_{version}"]
        assert (row["count"], row["judge"]) == (INSTRUCTIONS, "overlap") and 0 <= row["value"] <= 100
    assert rows["ours", "alpaca_eval_2_length_controlled"]["reading_note"] == NO_LENGTH_CONTROL
    assert verdict_files() == ["annotations.json", "annotations.json"]


def test_the_toy_worlds_own_references_have_the_best_score_there_is(judge, world, tmp_path):
    rows = judge(world / "mt_bench/reference_answer.jsonl", "--json").rows
    assert rows["toy", "mt_bench"]["value"] == 10.0


def test_judging_again_does_nothing_and_says_so(judge, world, tmp_path, caplog):
    file = mt_answers(tmp_path / "answers.jsonl", world)
    first, before = judge(file, "--json"), ledger()
    records = {path: path.stat().st_mtime_ns for path in Path("results/store").rglob("step.json")}
    caplog.clear()
    again = judge(file, "--json")
    assert "every step is done" in caplog.text
    assert (again.output, ledger()) == (first.output, before)
    assert records == {path: path.stat().st_mtime_ns for path in Path("results/store").rglob("step.json")}


def test_a_renamed_judge_is_called_by_its_new_name_and_asked_nothing(judge, world, tmp_path, caplog):
    file = mt_answers(tmp_path / "answers.jsonl", world)
    judge(file, "judge.name=before")
    rows = judge(file, "judge.name=after", "--json").rows
    assert "every step is done" in caplog.text
    assert rows["ours", "mt_bench"]["judge"] == "after"
    assert {row.judge for row in in_ledger()} == {"after"}


def test_a_limit_takes_the_first_and_judges_no_others(judge, world, tmp_path):
    rows = judge(alpaca_answers(tmp_path / "answers.json", world), "limit=3", "--json").rows
    assert {rows["ours", f"alpaca_eval_{version}"]["total"] for version in (1, 2)} == {3}


def test_half_a_character_in_an_answer_is_judged_as_a_question_mark(judge, world, tmp_path):
    file = alpaca_answers(tmp_path / "answers.json", world)
    rows = json.loads(file.read_text())
    rows[0]["output"] = "half \ud83d"
    file.write_text(json.dumps(rows))
    assert judge(file).code == 0
    [taken] = Path("results/store/given").glob("*/model_outputs.json")
    assert json.loads(taken.read_text())[0]["output"] == "half ?"


def test_the_toy_world_of_paths_assets_is_made_where_it_is_asked_for(said, world, tmp_path):
    file = mt_answers(tmp_path / "answers.jsonl", world)
    rows = said("judge", file, "judge=overlap", "paths.assets=toy", "--json").rows
    assert rows["ours", "mt_bench"]["count"] == 2 * QUESTIONS
    assert list(Path("results/toy").glob("seed0-*"))


def test_what_was_judged_is_not_taken_for_garbage_wherever_gc_is_asked(
    judge, said, world, tmp_path, monkeypatch
):
    """Nor verdicts that a killed command has left, which are in no ledger."""
    (tmp_path / "here").mkdir()
    alpaca_answers(tmp_path / "here/answers.json", world)
    monkeypatch.chdir(tmp_path / "here")
    results = f"paths.results={tmp_path}/results"
    judge("answers.json", results, "--sweep", "others")
    monkeypatch.chdir(tmp_path)
    Path("results/scores.jsonl").unlink()
    for record in Path("results/store/verdicts").glob("*/step.json"):
        record.unlink()
    remembered = Path("results/sweeps/others.jsonl").read_text()
    assert json.loads(remembered)[:2] == ["judge", f"{tmp_path}/here/answers.json"]
    assert said("gc", "--json", "--delete") == (0, "[]\n", "")
    Path("results/sweeps/others.jsonl").unlink()
    kinds = [each["step"].partition("/")[0] for each in json.loads(said("gc", "--json").output)]
    assert kinds == ["given", "verdicts", "verdicts"]


def test_what_cannot_be_judged_is_not_remembered(judge, world, tmp_path):
    refused(judge(mt_answers(tmp_path / "answers.jsonl", world), "benchmark=[piqa]"), "benchmark=piqa: ")
    assert not Path("results/sweeps").exists()


def test_answers_that_are_gone_leave_nobody_to_say_what_was_judged(judge, said, world, tmp_path):
    file = mt_answers(tmp_path / "answers.jsonl", world)
    judge(file)
    file.unlink()
    code, output, error = said("gc", "--delete")
    assert (code, output) == (2, "") and f"({file}: there is no such file)" in error
    assert list(Path("results/store/verdicts").glob("*/step.json"))


def test_a_benchmark_may_be_chosen(judge, world, tmp_path):
    file = alpaca_answers(tmp_path / "answers.json", world)
    rows = judge(file, "benchmark=[alpaca_eval_1]", "--json").rows
    assert {row["benchmark"] for row in rows.values()} == {"alpaca_eval_1"}


def test_a_benchmark_may_be_left_out(judge, world, tmp_path):
    file = alpaca_answers(tmp_path / "answers.json", world)
    rows = judge(file, "~benchmark.alpaca_eval_2", "--json").rows
    assert {row["benchmark"] for row in rows.values()} == {"alpaca_eval_1"}


def test_a_benchmark_that_nobody_judges_is_refused(judge, world, tmp_path):
    file = mt_answers(tmp_path / "answers.jsonl", world)
    refused(judge(file, "benchmark=[piqa]"), "benchmark=piqa: is not judged; mt_bench, alpaca_eval_1 and ")


def test_files_of_several_models_are_judged_each_under_its_own_name(judge, said, world, tmp_path):
    files = [mt_answers(tmp_path / f"{model}.jsonl", world, model) for model in ("ours", "theirs")]
    rows = judge(*files, "--json", "--sweep", "others").rows
    assert {model for model, _ in rows} == {"ours", "theirs"}
    assert {row.sweep for row in in_ledger()} == {"others"}
    assert said("report", "others").code == 0


def test_what_the_judge_said_is_ingested_with_the_same_score(judge, ingest, world, tmp_path):
    judged = judge(mt_answers(tmp_path / "answers.jsonl", world), "--json").rows
    [step] = Path("results/store/verdicts").glob("ours-*")
    taken = ingest(step, "--json").rows
    for key in judged:
        assert taken[key]["value"] == judged[key]["value"] and taken[key]["judge"] == "overlap"


# --- files that are not judged ---


def test_a_file_of_several_models_is_refused_with_their_names(judge, world, tmp_path):
    rows = read_rows(mt_answers(tmp_path / "answers.jsonl", world))
    write_rows(tmp_path / "answers.jsonl", [rows[0] | {"model_id": "theirs"}, *rows[1:]])
    refused(
        judge(tmp_path / "answers.jsonl"),
        f"{tmp_path}/answers.jsonl: holds answers of several models: ours, theirs; give one file for each",
    )


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "a", "completion": "b"}, ": holds no answers; FastChat's have question_id and choices"),
        ({"question_id": 81, "turn": 1, "score": 3}, ": holds no answers"),
        (None, ": the file holds no rows"),
    ],
)
def test_a_file_of_no_answers_is_refused(judge, tmp_path, row, reason):
    write_rows(tmp_path / "rows.jsonl", [] if row is None else [row])
    refused(judge(tmp_path / "rows.jsonl"), f"{tmp_path}/rows.jsonl{reason}")


def test_a_file_of_answers_that_is_not_there_is_refused(judge):
    refused(judge("none.jsonl"), "none.jsonl: there is no such file")


def test_files_to_different_benchmarks_are_refused(judge, world, tmp_path):
    files = mt_answers(tmp_path / "a.jsonl", world), alpaca_answers(tmp_path / "b.json", world)
    refused(judge(*files), "these files are answers to different benchmarks; judge them one after the other")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda rows: rows[1:],
            "has no answer to question_id 81; every one needs one answer, if only an empty one",
        ),
        (lambda rows: [rows[0], *rows], "has several answers to question_id 81; "),
        (lambda rows: [*rows, rows[0] | {"question_id": 7}], "answers question_id 7, which was not asked; "),
    ],
)
def test_missing_doubled_and_unknown_questions_are_refused_by_number(judge, world, tmp_path, change, reason):
    rows = read_rows(mt_answers(tmp_path / "answers.jsonl", world))
    write_rows(tmp_path / "answers.jsonl", change(rows))
    said = judge(tmp_path / "answers.jsonl")
    assert said.code == 2 and reason in said.error
    assert not list(Path("results").rglob("judgments.jsonl"))
    assert not Path("results/scores.jsonl").exists() or in_ledger() == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda rows: rows[1:], "has no answer to instruction '{first}'"),
        (lambda rows: [rows[0], *rows], "has several answers to instruction '{first}'"),
        (
            lambda rows: [*rows, rows[0] | {"instruction": "Sing."}],
            "answers instruction 'Si",
        ),
    ],
)
def test_missing_doubled_and_unknown_instructions_are_refused_by_their_words(
    judge, world, tmp_path, change, reason
):
    rows = read_rows(alpaca_answers(tmp_path / "answers.json", world))
    write_rows(tmp_path / "answers.json", change(rows))
    said = judge(tmp_path / "answers.json", "benchmark=[alpaca_eval_1]")
    assert said.code == 2
    assert reason.format(first=rows[0]["instruction"][:80]) in said.error


def test_a_missing_question_is_told_of_the_users_own_file(judge, world, tmp_path):
    rows = read_rows(mt_answers(tmp_path / "answers.jsonl", world))
    write_rows(tmp_path / "answers.jsonl", rows[1:])
    assert f"{tmp_path}/answers.jsonl: has no answer" in judge(tmp_path / "answers.jsonl").error


def test_the_same_answers_under_two_names_are_judged_once_or_refused(judge, world, tmp_path):
    file = mt_answers(tmp_path / "a.jsonl", world)
    (tmp_path / "b.jsonl").write_bytes(file.read_bytes())
    assert judge(file, tmp_path / "b.jsonl").code in (0, 2)


# --- a served judge, with its bill ---


def seven(body: dict) -> Answer:
    """Rates everything alike, and says what it took."""
    text = "It is fine. Rating: [[7]]"
    return Answer(200, completion(text) | {"usage": usage(body, text)})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[JudgeServer]:
    # A proxy would be asked even for the loopback.
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with JudgeServer(seven) as server:
        yield server


def served_by(server: JudgeServer, *more: str) -> list[str]:
    return ["judge=local", "judge.model=judge-1", f"judge.base_url={server.url}", *more]


PRICE = "judge.price={prompt: 1000, answer: 2000, date: 2026-11-01}"


def taken(server: JudgeServer) -> tuple[int, int]:
    """Tokens by the server's own count."""
    bills = [seven(body).body["usage"] for body in server.bodies]
    return sum(bill["prompt_tokens"] for bill in bills), sum(bill["completion_tokens"] for bill in bills)


@pytest.mark.slow
def test_the_headline_has_the_tokens_and_the_dollars_that_its_verdicts_took(judge, world, tmp_path, server):
    file = mt_answers(tmp_path / "answers.jsonl", world)
    rows = judge(file, *served_by(server, PRICE), "--json").rows
    read, written = taken(server)
    headline = rows["ours", "mt_bench"]
    assert (headline["value"], headline["judge"], headline["count"]) == (7.0, "judge-1", 2 * QUESTIONS)
    assert (headline["judge_prompt_tokens"], headline["judge_answer_tokens"]) == (read, written)
    assert headline["judge_cost"] == pytest.approx((read * 1000 + written * 2000) / 1e6)
    assert {row["judge_cost"] for (_, task), row in rows.items() if task != "mt_bench"} == {None}
    [line] = [row for row in in_ledger() if row.task == "mt_bench"]
    assert (line.judge_prompt_tokens, line.judge_answer_tokens) == (read, written)


def test_without_a_price_tokens_are_counted_and_no_dollars(judge, world, tmp_path, server):
    file = mt_answers(tmp_path / "answers.jsonl", world)
    row = judge(file, *served_by(server), "--json").rows["ours", "mt_bench"]
    assert (row["judge_prompt_tokens"], row["judge_answer_tokens"]) == taken(server)
    assert row["judge_cost"] is None


@pytest.mark.slow
def test_no_verdict_is_asked_for_twice(judge, world, tmp_path, server):
    """Not even where the step is made again, with another file of the same answers."""
    file = mt_answers(tmp_path / "answers.jsonl", world)
    judge(file, *served_by(server))
    rows = read_rows(file)
    write_rows(tmp_path / "again.jsonl", [row | {"tstamp": 1.0} for row in rows])
    again = judge(tmp_path / "again.jsonl", *served_by(server), "--json").rows["ours", "mt_bench"]
    assert len(server.bodies) == 2 * QUESTIONS
    assert again["value"] == 7.0


@pytest.mark.slow
def test_the_estimate_of_a_pass_is_printed_on_standard_error_before_it(world, tmp_path, server, tokenizer):
    """With the tokens that the judge's tokenizer makes of its prompts, and what they cost."""
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    file = mt_answers(tmp_path / "answers.jsonl", world)
    words = [*served_by(server, PRICE, f"judge.tokenizer={tmp_path / 'tokenizer'}"), f"paths.assets={world}"]
    done = subprocess.run(
        [sys.executable, "-m", "im_bench", "judge", str(file), *words, "--json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)
    found = re.search(
        r"judge judge-1: 32 verdicts to ask, 0 kept; about ([\d,]+) tokens of prompts and ([\d,]+) of replies, "
        r"([\d.]+) USD at prices of 2026-11-01",
        done.stderr,
    )
    assert found, done.stderr
    read, written = (int(number.replace(",", "")) for number in found.groups()[:2])
    prompts = ["".join(message["content"] for message in body["messages"]) for body in server.bodies]
    assert read == pytest.approx(sum(len(tokenizer(prompt).input_ids) for prompt in prompts), rel=0.05)
    assert float(found[3]) == pytest.approx((read * 1000 + written * 2000) / 1e6, abs=0.01)


def test_a_judge_that_is_not_there_is_refused_in_its_words(judge, world, tmp_path, server):
    file = mt_answers(tmp_path / "answers.jsonl", world)
    server.says = lambda body: Answer(404, {"error": {"message": "no such model"}})
    said = judge(file, *served_by(server))
    assert said.code == 2 and "model judge-1" in said.error and "there is no such model" in said.error
    assert "Traceback" not in said.error


@pytest.mark.slow
def test_an_interruption_ends_soon_and_the_same_command_goes_on(judge, world, tmp_path, server):
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("only the main thread hears of signals, and the tests are in another")
    main_thread = threading.main_thread().ident

    def third(body: dict) -> Answer:
        if len(server.bodies) == 3:
            signal.pthread_kill(main_thread, signal.SIGINT)
        return seven(body)

    server.says, server.latency = third, 0.1
    words = [mt_answers(tmp_path / "answers.jsonl", world), *served_by(server, "judge.concurrency=1")]
    said = judge(*words)
    assert said.code == 130 and "interrupted" in said.error
    assert len(server.bodies) < QUESTIONS
    server.latency = 0.0
    assert judge(*words, "--json").rows["ours", "mt_bench"]["value"] == 7.0
    assert len(server.bodies) == 2 * QUESTIONS
