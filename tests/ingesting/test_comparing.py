"""How far two judges agree, as a command."""

import json
import os
import re
from pathlib import Path

import pytest
from ingested import (
    QUESTIONS,
    annotations,
    judgments,
    mt_answers,
    refused,
)

from im_bench.data.rows import read_rows, write_rows


def test_agreement_is_a_table_for_a_person(agreement, world, tmp_path):
    files = judgments(tmp_path / "a.jsonl", world, 7), judgments(tmp_path / "b.jsonl", world, 9, judge="mild")
    code, output, _ = agreement(*files)
    assert code == 0
    lines = output.splitlines()
    assert lines[0].strip() == "mt_bench, ours: strict and mild"
    assert (
        re.split(r"\s+", lines[2].strip())
        == "Category Items Same Kappa Quadratic Spearman Mean, strict Mean, mild".split()
    )
    [whole] = [line for line in lines if line.strip().startswith("all ")]
    assert re.split(r"\s+", whole.strip())[:3] == ["all", str(2 * QUESTIONS), "0.0%"]
    assert whole.split()[-2:] == ["6.500", "8.500"]
    assert sum(" writing " in line for line in lines) == 1


def test_agreement_as_json_has_categories_in_the_order_of_the_first_file(agreement, world, tmp_path):
    files = judgments(tmp_path / "a.jsonl", world), judgments(tmp_path / "b.jsonl", world, judge="mild")
    [found] = json.loads(agreement(*files, "--json").output)
    assert (found["benchmark"], found["model"], found["judges"]) == ("mt_bench", "ours", ["strict", "mild"])
    whole, *categories = found["agreement"]
    same = {key: whole[key] for key in ("category", "items", "same", "kappa", "kappa_quadratic", "spearman")}
    assert same == {
        "category": "all",
        "items": 2 * QUESTIONS,
        "same": 1.0,
        "kappa": 1.0,
        "kappa_quadratic": 1.0,
        "spearman": pytest.approx(1.0),
    }
    asked = [row["category"] for row in read_rows(world / "mt_bench/question.jsonl")]
    assert [each["category"] for each in categories] == list(dict.fromkeys(asked))


def test_the_first_file_is_the_first_judge(agreement, world, tmp_path):
    a, b = judgments(tmp_path / "a.jsonl", world, 7), judgments(tmp_path / "b.jsonl", world, 4, judge="mild")
    there, back = (json.loads(agreement(*files, "--json").output)[0] for files in ((a, b), (b, a)))
    assert there["judges"] == back["judges"][::-1] == ["strict", "mild"]
    ours, theirs = there["agreement"][0], back["agreement"][0]
    assert (
        (ours["mean_first"], ours["mean_second"])
        == (theirs["mean_second"], theirs["mean_first"])
        == (6.5, 3.5)
    )
    assert ours["kappa_quadratic"] == pytest.approx(theirs["kappa_quadratic"])


def test_agreement_on_alpaca_eval_is_of_which_answer_is_better(agreement, world, tmp_path):
    """Three of four have the same winner; one is not in the second file, and one has no verdict there."""
    first = annotations(tmp_path / "a.jsonl", world, [1.0, 1.4, 2.0, 1.9, 1.0, 2.0])
    second = annotations(tmp_path / "b.jsonl", world, [1.2, 1.0, 1.8, 1.1, None], annotator="mild")
    [found] = json.loads(agreement(first, second, "--json").output)
    whole = found["agreement"][0]
    assert (found["benchmark"], whole["items"], whole["same"]) == ("alpaca_eval_2", 4, 0.75)
    # By chance: (2 * 3 + 2 * 1) / 16 agree.
    assert whole["kappa"] == pytest.approx((0.75 - 0.5) / 0.5)


def test_each_model_and_benchmark_that_both_files_have_is_compared(agreement, world, tmp_path):
    for name, judge in (("a", "strict"), ("b", "mild")):
        rows = [
            *read_rows(judgments(tmp_path / "x.jsonl", world, judge=judge)),
            *read_rows(judgments(tmp_path / "x.jsonl", world, judge=judge, model="theirs")),
            *read_rows(judgments(tmp_path / "x.jsonl", world, judge=judge, model=f"only in {name}")),
        ]
        write_rows(tmp_path / f"{name}.jsonl", rows)
    found = json.loads(agreement(tmp_path / "a.jsonl", tmp_path / "b.jsonl", "--json").output)
    assert [each["model"] for each in found] == ["ours", "theirs"]


def test_files_without_a_common_answer_are_refused_with_both_names(agreement, world, tmp_path):
    files = judgments(tmp_path / "a.jsonl", world), judgments(tmp_path / "b.jsonl", world, model="theirs")
    expected = f"{files[0]} and {files[1]} have no verdict on the same answer of the same model"
    refused(agreement(*files), expected)
    first = annotations(tmp_path / "c.jsonl", world, [1.0, None])
    second = annotations(tmp_path / "d.jsonl", world, [None, 1.0])
    refused(agreement(first, second), f"{first} and {second} have no verdict on the same answer")


def test_agreement_needs_two_files(agreement, world, tmp_path):
    code, output, error = agreement(judgments(tmp_path / "a.jsonl", world))
    assert (code, output) == (2, "") and error.strip()


def test_agreement_compares_what_a_judge_said_here_with_a_file(agreement, judge, world, tmp_path):
    judge(mt_answers(tmp_path / "answers.jsonl", world))
    [step] = Path("results/store/verdicts").glob("ours-*")
    [found] = json.loads(agreement(step, judgments(tmp_path / "b.jsonl", world), "--json").output)
    assert found["judges"] == ["overlap", "strict"] and found["agreement"][0]["items"] == 2 * QUESTIONS


def test_agreement_writes_nothing(agreement, world, tmp_path):
    files = judgments(tmp_path / "a.jsonl", world), judgments(tmp_path / "b.jsonl", world, judge="mild")
    before = sorted(os.listdir())
    agreement(*files)
    assert sorted(os.listdir()) == before


def test_stored_verdicts_agree_with_themselves_in_full(said, real):
    stored = real.data / "mt_bench/model_judgment/gpt-4_single.jsonl"
    found = json.loads(said("agreement", stored, stored, f"paths.assets={real.data}", "--json").output)
    assert len(found) == 4
    assert {each["agreement"][0]["kappa_quadratic"] for each in found} == {1.0}
    assert {each["agreement"][0]["items"] for each in found} == {160}
