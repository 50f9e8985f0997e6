"""MT-Bench: two-turn questions, answered by the engine, each turn rated by a judge from 1 to 10.

Questions, references, judge prompts, answers and judgments are JSON lines with FastChat's fields, so that its
`show_result` reads our judgments and we read its.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from im_bench.config import UserError
from im_bench.counting import Follow, Tally, nobody
from im_bench.data.rows import read_rows, write_rows
from im_bench.evaluation.answers import check_one_to_each
from im_bench.items import write_items
from im_bench.judging.judge import Judge, Rating, Reply, Request, spoken, tell_mute, total
from im_bench.scores import Score, billed, write_scores

if TYPE_CHECKING:
    from im_bench.evaluation.engine import Engine

ANSWERS = "answers.jsonl"
JUDGMENTS = "judgments.jsonl"
BENCHMARK = "mt_bench"
ITEM = "question_id"

TEMPERATURES = (
    dict.fromkeys(("writing", "roleplay"), 0.7)
    | dict.fromkeys(("extraction", "math", "coding", "reasoning"), 0.0)
    | dict.fromkeys(("stem", "humanities"), 0.1)
)
"""Sampling temperature of a category, 0 being greedy; a category of another name has FastChat's 0.7."""
WITH_REFERENCE = frozenset({"math", "reasoning", "coding"})
"""Categories whose judge prompt shows the reference answers."""
VERDICT_TOKENS = 2048
USUAL_TOKENS = 150
"""Of a rating with its reasons."""
BEST = 10
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
    """Answer the questions, at most the first `limit` of each category, into `out`; a saved group is not asked again.

    The second turn follows the model's own first answer.
    """
    asked = _first_of_each(read_questions(questions), limit)
    tally = Tally(2 * len(asked), follow)
    saved = {out / f"answers-{each:g}.jsonl": each for each in sorted({_temperature(each) for each in asked})}
    for file, temperature in saved.items():
        group = [question for question in asked if _temperature(question) == temperature]
        if file.exists():
            tally.more(2 * len(group))
        else:
            how: dict[str, Any] = {"max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed}
            answers = _two_turns(engine, group, **how, done=tally.more)
            write_rows(
                file, [_answer(each, given, model_id) for each, given in zip(group, answers, strict=True)]
            )
    found = {row["question_id"]: row for file in saved for row in read_rows(file)}
    write_rows(out / ANSWERS, [found[question.id] for question in asked])
    for file in saved:
        file.unlink()


def judge(
    out: Path,
    answers: Path,
    judge: Judge,
    *,
    questions: Path,
    references: Path,
    prompts: Path,
    limit: int | None = None,
    seed: int = 0,
) -> None:
    """Have both turns of every answer in the folder `answers` rated, into `out`.

    Args:
        limit: the answers are to the first so many questions of each category.
        seed: of a judge that samples.

    Raises:
        UserError: answers that are not one to each question, or a missing reference or prompt.
    """
    to_each = asked(questions, limit)
    given = read_answers(answers / ANSWERS)
    check_one_to_each(answers / ANSWERS, [row[ITEM] for row in given], list(to_each), item=ITEM)
    known = {row["question_id"]: row["choices"][0]["turns"] for row in read_answers(references)}
    templates = {row["name"]: row for row in read_rows(prompts, ("name", "system_prompt", "prompt_template"))}
    rows, requests = [], []
    for each in given:
        question = to_each[each["question_id"]]
        if question.category in WITH_REFERENCE and question.id not in known:
            raise UserError(
                f"{references}: question_id {question.id} ({question.category}) needs its reference here"
            )
        for turn in (1, 2):
            name = prompt_name(question, turn)
            if name not in templates:
                raise UserError(f"{prompts}: there is no judge prompt named {name}")
            turns = each["choices"][0]["turns"]
            shown = request(question, turns, turn, known.get(question.id), templates[name], seed=seed)
            rows.append(_unjudged(each, turn, [judge.name, name], shown))
            requests.append(shown)
    replies = judge.replies(requests)
    judgments = [_judged(row, reply) for row, reply in zip(rows, replies, strict=True)]
    write_rows(out / JUDGMENTS, judgments)
    tell_mute(judge.name, [row["judgment"] for row in judgments if row["score"] == UNRATED], len(judgments))
    write_items(out, _items(to_each, given, known, judgments))
    categories = {question.id: question.category for question in to_each.values()}
    headline, *parts = scores(judgments, categories, judge=judge.name, note=judge.note)
    truncated = sum(lost > 0 for each in given for lost in each.get("cut_tokens", ()))
    write_scores(out, [billed(replace(headline, truncated=truncated), total(replies)), *parts])


def _items(
    questions: Mapping[int, Question],
    answers: Sequence[Mapping[str, Any]],
    references: Mapping[int, Sequence[str]],
    judgments: Sequence[Mapping[str, Any]],
) -> Iterator[dict[str, Any]]:
    """One row per question and turn; the second question stands below the first and its answer."""
    turns = {row["question_id"]: row["choices"][0]["turns"] for row in answers}
    for row in judgments:
        question, given, turn = questions[row["question_id"]], turns[row["question_id"]], row["turn"]
        asked = [question.turns[0], f"[answer 1] {given[0]}", question.turns[1]]
        yield {
            "task": f"{BENCHMARK}_{question.category}",
            "item": f"{question.id}, turn {turn}",
            "stratum": "",
            "cluster": str(question.id),
            "outcome": None if row["score"] == UNRATED else float(row["score"]),
            "size": 1.0,
            "question": asked[0] if turn == 1 else "\n\n".join(asked),
            "answer": given[turn - 1],
            "target": references[question.id][turn - 1] if question.id in references else None,
            "verdict": row["judgment"],
        }


def asked(questions: Path, limit: int | None) -> dict[int, Question]:
    """The questions of a file, at most the first `limit` of each category, by id."""
    return {question.id: question for question in _first_of_each(read_questions(questions), limit)}


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


def num_items(task: str, categories: Mapping[int, str]) -> int:
    """How many verdicts a task has over all questions: two a question, one in a turn."""
    part = task.removeprefix(f"{BENCHMARK}_")
    if part.startswith("turn_"):
        return len(categories)
    return 2 * sum(task == BENCHMARK or category == part for category in categories.values())


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
    """The number in the first `[[...]]`, or else in the first `[...]`; None if there is neither, or it is over 10."""
    words = spoken(judgment)
    found = re.search(r"\[\[(\d+\.?\d*)\]\]", words) or re.search(r"\[(\d+\.?\d*)\]", words)
    return float(found[1]) if found and float(found[1]) <= BEST else None


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
    *,
    seed: int = 0,
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
        seed=seed,
        usual_tokens=USUAL_TOKENS,
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


class Answers(NamedTuple):
    """To one question, and how many tokens of each turn's prompt the context had no room for."""

    turns: list[str]
    cut_tokens: list[int]


def _two_turns(
    engine: Engine, questions: Sequence[Question], *, max_new_tokens: int, **how: Any
) -> list[Answers]:
    """The two answers to each question; `how` is what else `Engine.generate` takes."""
    conversations: list[list[dict[str, str]]] = [[] for _ in questions]
    cut: list[list[int]] = [[] for _ in questions]
    for turn in (0, 1):
        for conversation, question in zip(conversations, questions, strict=True):
            conversation.append({"role": "user", "content": question.turns[turn]})
        prompts = [engine.chat_prompt(conversation) for conversation in conversations]
        texts = engine.generate(prompts, max_new_tokens=max_new_tokens, **how)
        for conversation, lost, prompt, text in zip(conversations, cut, prompts, texts, strict=True):
            conversation.append({"role": "assistant", "content": text.strip()})
            lost.append(engine.num_cut(prompt, max_new_tokens))
    found = zip(conversations, cut, strict=True)
    return [Answers([message["content"] for message in said[1::2]], lost) for said, lost in found]


def _answer(question: Question, given: Answers, model_id: str) -> dict[str, Any]:
    return {
        "question_id": question.id,
        "answer_id": f"{model_id}-{question.id}",
        "model_id": model_id,
        "choices": [{"index": 0, "turns": given.turns}],
        "tstamp": 0.0,
        "cut_tokens": given.cut_tokens,
    }


def _unjudged(given: Mapping[str, Any], turn: int, judge: list[str], shown: Request) -> dict[str, Any]:
    row = {"question_id": given["question_id"], "model": given.get("model_id"), "judge": judge}
    return row | {"user_prompt": shown.messages[-1]["content"], "turn": turn, "tstamp": 0.0}


def _judged(row: dict[str, Any], reply: Reply | None) -> dict[str, Any]:
    text = reply.text if reply else ""
    score = None if reply is None or reply.refused else rating(text)
    return row | {"judgment": text, "score": UNRATED if score is None else score}
