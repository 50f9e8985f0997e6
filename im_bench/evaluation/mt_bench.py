"""MT-Bench: two-turn questions, answered by the engine, each turn rated by a judge from 1 to 10.

Questions, references, judge prompts, answers and judgments are JSON lines with FastChat's fields, so that its
`show_result` reads our judgments and we read its.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from im_bench.config import UserError
from im_bench.data.rows import read_rows, write_rows
from im_bench.evaluation.counting import Follow, Tally, nobody
from im_bench.judging.judge import Judge, Rating, Reply, Request
from im_bench.scores import Score, write_scores

if TYPE_CHECKING:
    from im_bench.evaluation.engine import Engine

ANSWERS = "answers.jsonl"
JUDGMENTS = "judgments.jsonl"
BENCHMARK = "mt_bench"

TEMPERATURES = (
    dict.fromkeys(("writing", "roleplay"), 0.7)
    | dict.fromkeys(("extraction", "math", "coding", "reasoning"), 0.0)
    | dict.fromkeys(("stem", "humanities"), 0.1)
)
"""Sampling temperature of a category, 0 being greedy; a category of another name has FastChat's 0.7."""
WITH_REFERENCE = frozenset({"math", "reasoning", "coding"})
"""Categories whose judge prompt shows the reference answers."""
VERDICT_TOKENS = 2048
UNRATED = -1
"""FastChat's score of a judgment without a rating; its averages and ours leave it out."""


class Question(NamedTuple):
    id: int
    category: str
    turns: list[str]


def answer(
    out: Path,
    engine: Engine,
    *,
    questions: Path,
    max_new_tokens: int,
    limit: int | None,
    seed: int,
    model_id: str,
    follow: Follow = nobody,
) -> None:
    """Answer the questions, at most the first `limit` of each category, into `out`.

    The second turn follows the model's own first answer.
    """
    asked = _first_of_each(read_questions(questions), limit)
    turns: dict[int, list[str]] = {}
    tally = Tally(2 * len(asked), follow)
    for temperature in sorted({_temperature(question) for question in asked}):
        group = [question for question in asked if _temperature(question) == temperature]
        how = {"max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed, "done": tally.more}
        answers = _two_turns(engine, group, **how)
        turns |= {question.id: each for question, each in zip(group, answers, strict=True)}
    rows = [
        {
            "question_id": question.id,
            "answer_id": f"{model_id}-{question.id}",
            "model_id": model_id,
            "choices": [{"index": 0, "turns": turns[question.id]}],
            "tstamp": 0.0,
        }
        for question in asked
    ]
    write_rows(out / ANSWERS, rows)


def judge(
    out: Path, answers: Path, judge: Judge, *, questions: Path, references: Path, prompts: Path
) -> None:
    """Have both turns of every answer in the folder `answers` rated, into `out`.

    Raises:
        UserError: an answer to no known question, or a missing reference or prompt.
    """
    asked = {question.id: question for question in read_questions(questions)}
    known = {row["question_id"]: row["choices"][0]["turns"] for row in read_answers(references)}
    templates = {row["name"]: row for row in read_rows(prompts, ("name", "system_prompt", "prompt_template"))}
    rows, requests = [], []
    for given in read_answers(answers / ANSWERS):
        question = asked.get(given["question_id"])
        if question is None:
            raise UserError(f"{answers / ANSWERS}: question_id {given['question_id']} is not in {questions}")
        if question.category in WITH_REFERENCE and question.id not in known:
            raise UserError(
                f"{references}: question_id {question.id} ({question.category}) needs its reference here"
            )
        for turn in (1, 2):
            name = prompt_name(question, turn)
            if name not in templates:
                raise UserError(f"{prompts}: there is no judge prompt named {name}")
            shown = request(
                question, given["choices"][0]["turns"], turn, known.get(question.id), templates[name]
            )
            rows.append(_unjudged(given, turn, [judge.name, name], shown))
            requests.append(shown)
    judgments = [_judged(row, reply) for row, reply in zip(rows, judge.replies(requests), strict=True)]
    write_rows(out / JUDGMENTS, judgments)
    categories = {question.id: question.category for question in asked.values()}
    write_scores(out, scores(judgments, categories, judge=judge.name, note=judge.note))


def scores(
    judgments: Sequence[Mapping[str, Any]], categories: Mapping[int, str], *, judge: str, note: str | None
) -> list[Score]:
    """Scores of FastChat's judgments of one model: all turns (the headline), each turn, each category."""
    parts = {BENCHMARK: list(judgments)}
    for turn in (1, 2):
        parts[f"{BENCHMARK}_turn_{turn}"] = [row for row in judgments if row["turn"] == turn]
    for category in dict.fromkeys(categories[row["question_id"]] for row in judgments):
        parts[f"{BENCHMARK}_{category}"] = [
            row for row in judgments if categories[row["question_id"]] == category
        ]
    return [_score(task, rows, judge, note) for task, rows in parts.items()]


def _score(task: str, judgments: Sequence[Mapping[str, Any]], judge: str, note: str | None) -> Score:
    rated = [(row["question_id"], float(row["score"])) for row in judgments if row["score"] != UNRATED]
    mean = sum(rating for _, rating in rated) / len(rated) if rated else None
    return Score(
        benchmark=BENCHMARK,
        category="judged",
        task=task,
        metric="score",
        value=mean,
        stderr=clustered_stderr(rated),
        count=len(rated),
        total=len(judgments),
        direction="higher",
        judge=judge,
        reading_note=note,
    )


def clustered_stderr(rated: Sequence[tuple[int, float]]) -> float | None:
    """Standard error of the mean of (question, rating) pairs, the ratings of one question being dependent.

    sqrt(G / (G - 1) * sum over the G questions of (sum of its residuals)^2) / n; None below two questions.
    """
    mean = sum(each for _, each in rated) / max(1, len(rated))
    residuals: dict[int, float] = defaultdict(float)
    for question, each in rated:
        residuals[question] += each - mean
    groups = len(residuals)
    if groups < 2:
        return None
    return sqrt(groups / (groups - 1) * sum(residual**2 for residual in residuals.values())) / len(rated)


def rating(judgment: str) -> float | None:
    """The number in the first `[[...]]`, or else in the first `[...]`; None if there is neither."""
    found = re.search(r"\[\[(\d+\.?\d*)\]\]", judgment) or re.search(r"\[(\d+\.?\d*)\]", judgment)
    return float(found[1]) if found else None


def prompt_name(question: Question, turn: int) -> str:
    """Which of FastChat's single-answer prompts grades this turn."""
    kind = "single-math-v1" if question.category in WITH_REFERENCE else "single-v1"
    return kind if turn == 1 else f"{kind}-multi-turn"


def request(
    question: Question,
    answers: Sequence[str],
    turn: int,
    references: Sequence[str] | None,
    template: Mapping[str, str],
) -> Request:
    """What the judge of one turn is sent; it sees references only where the template asks for them."""
    fields = {"question": question.turns[0], "answer": answers[0]}
    for number in (1, 2):
        fields[f"question_{number}"] = question.turns[number - 1]
        fields[f"answer_{number}"] = answers[number - 1]
        fields[f"ref_answer_{number}"] = references[number - 1] if references else ""
    try:
        prompt = template["prompt_template"].format(**fields)
    except (KeyError, IndexError, ValueError) as error:
        raise UserError(
            f"the judge prompt {template['name']} has a field that cannot be filled: {error}"
        ) from None
    return Request(
        messages=[
            {"role": "system", "content": template["system_prompt"]},
            {"role": "user", "content": prompt},
        ],
        subject=Rating(
            question.turns[turn - 1], answers[turn - 1], references[turn - 1] if references else None
        ),
        max_tokens=VERDICT_TOKENS,
    )


def read_questions(path: Path) -> list[Question]:
    """The questions of a FastChat question file, in its order."""
    questions = []
    for number, row in enumerate(read_rows(path, ("category",)), start=1):
        turns = row.get("turns")
        if not isinstance(row.get("question_id"), int) or not isinstance(turns, list) or len(turns) != 2:
            raise UserError(f"{path}, question {number}: needs an integer `question_id` and two `turns`")
        questions.append(Question(row["question_id"], row["category"], turns))
    return questions


def read_answers(path: Path) -> list[dict[str, Any]]:
    """The rows of a FastChat answer file, references included."""
    rows = read_rows(path, ())
    for number, row in enumerate(rows, start=1):
        match row:
            case {"question_id": int(), "choices": [{"turns": [str(), str()]}, *_]}:
                continue
        raise UserError(f"{path}, answer {number}: needs `question_id` and `choices` with two `turns`")
    return rows


def _first_of_each(questions: Sequence[Question], limit: int | None) -> list[Question]:
    taken: defaultdict[str, int] = defaultdict(int)
    chosen = []
    for question in questions:
        taken[question.category] += 1
        if limit is None or taken[question.category] <= limit:
            chosen.append(question)
    return chosen


def _temperature(question: Question) -> float:
    return TEMPERATURES.get(question.category, 0.7)


def _two_turns(engine: Engine, questions: Sequence[Question], **how: Any) -> list[list[str]]:
    """The two answers to each question; `how` is what `Engine.generate` takes."""
    conversations: list[list[dict[str, str]]] = [[] for _ in questions]
    for turn in (0, 1):
        for conversation, question in zip(conversations, questions, strict=True):
            conversation.append({"role": "user", "content": question.turns[turn]})
        prompts = [engine.chat_prompt(conversation) for conversation in conversations]
        texts = engine.generate(prompts, **how)
        for conversation, text in zip(conversations, texts, strict=True):
            conversation.append({"role": "assistant", "content": text.strip()})
    return [[message["content"] for message in conversation[1::2]] for conversation in conversations]


def _unjudged(given: Mapping[str, Any], turn: int, judge: list[str], shown: Request) -> dict[str, Any]:
    row = {"question_id": given["question_id"], "model": given.get("model_id"), "judge": judge}
    return row | {"user_prompt": shown.messages[-1]["content"], "turn": turn, "tstamp": 0.0}


def _judged(row: dict[str, Any], reply: Reply | None) -> dict[str, Any]:
    text = reply.text if reply else ""
    score = rating(text)
    return row | {"judgment": text, "score": UNRATED if score is None else score}
