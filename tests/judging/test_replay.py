"""Verdicts from files, put to the answers that they are about."""

import csv
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from im_bench.config import Replay, UserError
from im_bench.data.rows import read_rows, write_rows
from im_bench.evaluation import alpaca_eval, mt_bench
from im_bench.judging import open_judge
from im_bench.judging.judge import UNKNOWN, Comparison, Judge, Rating, Reply, Request
from im_bench.judging.overlap import OverlapJudge
from im_bench.scores import Score, read_scores

RANKS_1 = "[{'model': 'm', 'rank': 1}, {'model': 'M', 'rank': 2}]"
RANKS_2 = "[{'model': 'm', 'rank': 2}, {'model': 'M', 'rank': 1}]"
RATED = {"user_prompt": "Rate this.", "judgment": "Rating: [[7]]"}
COMPARED = {"instruction": "Which?", "output_1": "one", "output_2": "two", "preference": 1.25}


def rating(prompt: str) -> Request:
    messages = [{"role": "system", "content": "a judge"}, {"role": "user", "content": prompt}]
    return Request(messages, Rating("q", "a", None), max_tokens=10)


def comparison(*answers: str, question: str = "Which?", top_logprobs: int = 0) -> Request:
    subject = Comparison(question, answers, ("m", "M"), None)
    return Request([{"role": "user", "content": "not looked at"}], subject, 10, top_logprobs)


@pytest.fixture
def replay(tmp_path: Path) -> Callable[..., Judge]:
    """A judge with these rows, or with several files of rows."""

    def judge(*files: list[dict[str, Any]]) -> Judge:
        paths = [tmp_path / f"said-{number}.jsonl" for number in range(len(files))]
        for path, rows in zip(paths, files, strict=True):
            write_rows(path, rows)
        return open_judge(Replay(name="said", kind="replay", files=tuple(paths)), tmp_path)

    return judge


def chances(reply: Reply | None) -> dict[str, float]:
    from math import exp

    assert reply is not None and reply.first_token is not None
    return {label: pytest.approx(exp(value)) for label, value in reply.first_token.items()}


def test_fastchats_judgments_are_found_by_the_prompt_that_the_judge_saw(replay):
    judge = replay([RATED, RATED | {"user_prompt": "Rate that.", "judgment": "I cannot."}])
    assert judge.replies([rating("Rate that."), rating("Rate this.")]) == [
        Reply("I cannot."),
        Reply("Rating: [[7]]"),
    ]


@pytest.mark.parametrize(
    ("stored", "asked", "found"),
    [
        ("gpt4_turbo", "gpt4_1106_preview", True),
        ("text_davinci_003", "gpt4_turbo", False),
        (None, "any", True),
    ],
)
def test_a_verdict_is_on_the_rival_that_it_names_by_either_name(replay, stored, asked, found):
    named = COMPARED | ({} if stored is None else {"generator_1": stored})
    judge = replay([named, COMPARED | {"output_2": "three"}])
    request = comparison("one", "two")
    replies = judge.replies(
        [replace(request, subject=request.subject._replace(rival=asked)), comparison("one", "three")]
    )
    assert (replies[0] is not None) is found


def test_alpaca_evals_annotations_are_found_by_the_instruction_and_both_outputs(replay):
    judge = replay([COMPARED, COMPARED | {"output_2": "three", "preference": 2.0}])
    assert judge.replies([comparison("one", "three"), comparison("one", "two")]) == [
        Reply(RANKS_2),
        Reply(RANKS_1),
    ]


@pytest.mark.parametrize("preference", [1.0, 1.25, 1.9, 2.0])
def test_a_preference_is_put_to_the_order_that_is_shown(replay, preference):
    judge = replay([COMPARED | {"preference": preference}])
    straight, swapped = judge.replies([comparison("one", "two"), comparison("two", "one")])
    first_wins = preference < 1.5
    assert (straight.text, swapped.text) == ((RANKS_1, RANKS_2) if first_wins else (RANKS_2, RANKS_1))


def test_a_weighted_preference_is_the_chance_of_the_second_output(replay):
    judge = replay([COMPARED])
    asked = [comparison("one", "two", top_logprobs=5), comparison("two", "one", top_logprobs=5)]
    straight, swapped = judge.replies(asked)
    assert chances(straight) == {"m": 0.75, "M": 0.25}
    assert chances(swapped) == {"m": 0.25, "M": 0.75}
    assert (straight.text, swapped.text) == ("m", "M")


def test_a_sure_preference_leaves_the_other_label_out(replay):
    judge = replay([COMPARED | {"preference": 1.0}])
    [reply] = judge.replies([comparison("one", "two", top_logprobs=5)])
    assert reply.first_token == {"m": 0.0}


def test_an_annotation_without_a_preference_is_a_verdict_that_cannot_be_parsed(replay):
    judge = replay([COMPARED | {"preference": None}])
    assert judge.replies([comparison("one", "two")]) == [Reply("")]


def test_several_files_of_either_form_are_one_judge_that_took_nothing_known(replay):
    judge = replay([RATED], [COMPARED])
    replies = judge.replies([comparison("one", "two"), rating("Rate this.")])
    assert [reply.text for reply in replies] == [RANKS_1, "Rating: [[7]]"]
    assert {reply.bill for reply in replies} == {UNKNOWN}
    assert (judge.name, judge.note) == ("said", None)


def test_what_is_not_in_the_files_has_no_verdict_and_is_counted(replay, caplog):
    caplog.set_level(logging.WARNING, logger="im_bench")
    judge = replay([COMPARED, RATED])
    others = [comparison("one", "two", question="Who?"), comparison("one", "six"), rating("Rate me.")]
    assert judge.replies([*others, comparison("one", "two")]) == [None, None, None, Reply(RANKS_1)]
    assert [record.getMessage() for record in caplog.records] == [
        "judge said: 3 of 4 verdicts are not in its files"
    ]


def test_files_about_other_answers_altogether_are_refused(replay, tmp_path):
    judge = replay([RATED], [COMPARED])
    with pytest.raises(UserError) as error:
        judge.replies([rating("Rate me."), comparison("one", "six")])
    files = f"{tmp_path}/said-0.jsonl, {tmp_path}/said-1.jsonl"
    assert str(error.value) == f"judge.files={files}: none of the 2 answers has its verdict there"
    assert judge.replies([]) == []


@pytest.mark.parametrize(
    "row",
    [
        {"judgment": "Rating: [[7]]", "score": 7},  # as FastChat has published some
        {"user_prompt": None, "judgment": "Rating: [[7]]"},
        {key: value for key, value in COMPARED.items() if key != "output_1"},
        {key: value for key, value in COMPARED.items() if key != "preference"},
        COMPARED | {"output_2": None},
        COMPARED | {"preference": "1"},
    ],
)
def test_a_row_that_is_no_verdict_is_named_with_what_is_needed(replay, tmp_path, row):
    with pytest.raises(UserError, match=f"{tmp_path}/said-0.jsonl, row 2: .*`user_prompt` and `judgment`"):
        replay([RATED, row])


def test_a_file_that_is_not_there_or_holds_nothing_is_named(tmp_path):
    path = tmp_path / "said.jsonl"
    spec = Replay(name="said", kind="replay", files=(path,))
    with pytest.raises(UserError, match=f"{path}: "):
        open_judge(spec, tmp_path)
    path.touch()
    with pytest.raises(UserError, match=f"{path}: the file holds no rows"):
        open_judge(spec, tmp_path)


# --- what we have written ourselves ---


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("seed", [0, 1])
def test_our_own_annotations_are_replayed_to_the_same_preferences(tmp_path, version, seed):
    texts = ["red", "red green", "blue", "pink red", ""]
    rows = [{"instruction": f"Task {text}", "output": text, "generator": "mine"} for text in texts]
    write_rows(tmp_path / alpaca_eval.ANSWERS, rows)
    write_rows(tmp_path / "gold.json", [row | {"output": "red green blue grey"} for row in rows])
    write_rows(tmp_path / "weak.json", [row | {"output": "a green", "generator": "weak"} for row in rows])
    paths = {"references": tmp_path / "weak.json", "gold": tmp_path / "gold.json"}
    said = tmp_path / "said.json"

    def judged(judge: Judge, seed: int) -> tuple[list[float], Score]:
        alpaca_eval.judge(tmp_path, tmp_path, judge, version=version, seed=seed, **paths)
        (tmp_path / alpaca_eval.ANNOTATIONS).replace(said)
        return [row["preference"] for row in read_rows(said)], read_scores(tmp_path)[0]

    first, score = judged(OverlapJudge("overlap"), 0)
    again, replayed = judged(open_judge(Replay(name="said", kind="replay", files=(said,)), tmp_path), seed)
    assert again == pytest.approx(first)
    assert len(set(first)) > 1
    assert (replayed.value, replayed.count) == (pytest.approx(score.value), 5)


# --- the published scores come out of the published verdicts ---


@pytest.fixture(scope="module")
def prompts_seen(shared, tmp_path_factory) -> Path:
    """FastChat's judgments with the prompts that were left out of the published file."""
    real = shared / "data/mt_bench"
    questions = {question.id: question for question in mt_bench.read_questions(real / "question.jsonl")}
    templates = {row["name"]: row for row in read_rows(real / "judge_prompts.jsonl")}
    references = turns_of(real / "reference_answer_gpt-4.jsonl")
    verdicts = read_rows(real / "model_judgment/gpt-4_single.jsonl")
    given = {model: turns_of(real / f"model_answer/{model}.jsonl") for model in models(verdicts)}
    rows = []
    for row in verdicts:
        number, turn = row["question_id"], row["turn"]
        shown = given[row["model"]][number]
        template = templates[row["judge"][1]]
        built = mt_bench.request(questions[number], shown, turn, references.get(number), template)
        rows.append(row | {"user_prompt": built.messages[-1]["content"]})
    path = tmp_path_factory.mktemp("mt_bench") / "gpt-4_single.jsonl"
    write_rows(path, rows)
    return path


def models(verdicts: list[dict[str, Any]]) -> set[str]:
    return {row["model"] for row in verdicts}


def turns_of(path: Path) -> dict[int, list[str]]:
    return {row["question_id"]: row["choices"][0]["turns"] for row in mt_bench.read_answers(path)}


def test_prompts_rebuilt_from_their_parts_are_those_that_the_judge_saw(shared, prompts_seen):
    def parts(row: dict[str, Any]) -> tuple[object, ...]:
        return row["model"], row["question_id"], row["turn"], row["judge"][1]

    rebuilt = {parts(row): row["user_prompt"] for row in read_rows(prompts_seen)}
    seen = read_rows(shared / "data/mt_bench/judge_prompts_seen.jsonl")
    assert {parts(row): row["user_prompt"] for row in seen}.items() <= rebuilt.items()
    assert len(rebuilt) == 640


def test_mt_benchs_published_scores_come_out_of_its_verdicts(shared, prompts_seen, tmp_path):
    real = shared / "data/mt_bench"
    judge = open_judge(Replay(name="gpt-4", kind="replay", files=(prompts_seen,)), tmp_path)
    files = {
        "questions": real / "question.jsonl",
        "references": real / "reference_answer_gpt-4.jsonl",
        "prompts": real / "judge_prompts.jsonl",
    }
    with (real / "published_scores.csv").open() as file:
        published = list(csv.DictReader(file))
    for row in published:
        write_rows(tmp_path / mt_bench.ANSWERS, read_rows(real / f"model_answer/{row['model']}.jsonl"))
        mt_bench.judge(tmp_path, tmp_path, judge, **files)
        scores = {score.task: score for score in read_scores(tmp_path)}
        found = [scores[task] for task in ("mt_bench_turn_1", "mt_bench_turn_2", "mt_bench")]
        assert [score.value for score in found] == [float(row[of]) for of in ("turn_1", "turn_2", "average")]
        assert [score.count for score in found] == [80, 80, 160]
        assert {score.judge for score in scores.values()} == {"gpt-4"}
    assert len(published) == 3


class Stored:
    """A model's outputs, the reference's, and the verdicts on them, as complete files."""

    def __init__(self, real: Path, folder: Path, version: int, model: str) -> None:
        weak = real / "reference_outputs/alpaca_eval_v1_reference_text_davinci_003.jsonl"
        strong = real / "reference_outputs/gpt4_1106_preview.jsonl"
        self.references, self.gold = (weak if version == 1 else strong), folder / "gold.jsonl"
        annotations = read_rows(real / f"annotations_v{version}/{model}.jsonl")
        theirs = {row["instruction"]: row["output"] for row in read_rows(self.references)}
        outputs = {
            row["instruction"]: row["output"] for row in read_rows(real / f"model_outputs/{model}.jsonl")
        }
        rows = [
            {"output_2": outputs.get(row["instruction"])} | row | {"output_1": theirs[row["instruction"]]}
            for row in annotations
        ]
        write_rows(folder / "verdicts.jsonl", rows)
        answered = [{"instruction": row["instruction"], "output": row["output_2"]} for row in rows]
        write_rows(folder / alpaca_eval.ANSWERS, [row | {"generator": model} for row in answered])
        # What is asked is what the model was asked: one of the published models has no output to two instructions.
        asked = {row["instruction"] for row in answered}
        write_rows(self.gold, [row for row in read_rows(strong) if row["instruction"] in asked])

    def judged(self, folder: Path, version: int, **how: Any) -> Score:
        judge = open_judge(Replay(name="gpt4", kind="replay", files=(folder / "verdicts.jsonl",)), folder)
        paths = {"references": self.references, "gold": self.gold}
        alpaca_eval.judge(folder, folder, judge, version=version, **paths, **how)
        return read_scores(folder)[0]


PUBLISHED = [
    (version, model)
    for version, those in (
        (1, ("alpaca-7b", "text_davinci_001")),
        (2, ("vicuna-13b", "text_davinci_001", "alpaca-7b")),
    )
    for model in those
]


@pytest.mark.slow
@pytest.mark.parametrize(("version", "model"), PUBLISHED)
def test_alpaca_evals_published_win_rates_come_out_of_its_annotations(shared, tmp_path, version, model):
    real = shared / "data/alpaca_eval"
    with (real / f"published_v{version}.csv").open() as file:
        published = {row[""]: row for row in csv.DictReader(file)}
    assert {each for of, each in PUBLISHED if of == version} == set(published)
    stored = Stored(real, tmp_path, version, model)
    # In an order that the package draws, and in both.
    both = alpaca_eval.Ways(both_orders=True)
    for how in ({"seed": 7}, {"seed": 0, "ways": both}):
        score = stored.judged(tmp_path, version, **how)
        assert score.value == pytest.approx(float(published[model]["win_rate"]), abs=1e-6)
        assert score.stderr == pytest.approx(float(published[model]["standard_error"]), abs=1e-6)
        assert score.count == int(published[model]["n_total"])
        assert score.judge == "gpt4"
