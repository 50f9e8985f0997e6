"""MT-Bench and AlpacaEval of the toy world, in the file formats of FastChat and alpaca_eval."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from im_bench.toy import requests
from im_bench.toy.requests import Draw, Request
from im_bench.toy.world import World

CATEGORIES: Mapping[str, tuple[Draw, Draw]] = {
    "writing": (requests.tale_of, requests.portrait),
    "roleplay": (requests.introduction, requests.trade),
    "reasoning": (requests.comparison, requests.judgement),
    "math": (requests.sum_of, requests.sum_of),
    "coding": (requests.function, requests.function),
    "extraction": (requests.reading, requests.reading),
    "stem": (requests.portrait, requests.fact),
    "humanities": (requests.trade, requests.portrait),
}
"""The first and the second turn of each category."""

FIRST_QUESTION = 81
"""FastChat numbers its questions from here."""

ALPACA = (requests.portrait, requests.fact, requests.comparison, requests.introduction, requests.tale_of,
          requests.sum_of, requests.function, requests.translation, requests.trade, requests.judgement)  # fmt: skip
ALPACA_ROWS = 40
RATE = 'Rate it from 1 to 10, in the form "[[rating]]".'
CHOOSE = 'End with "[[A]]" if A is better, "[[B]]" if B is better, and "[[C]]" for a tie.'


class Dialogue(NamedTuple):
    question_id: int
    category: str
    turns: tuple[Request, Request]


def dialogues(world: World) -> list[Dialogue]:
    """Two for each category, all instructions different."""
    rng = world.random("mt_bench")
    found: list[Dialogue] = []
    seen: set[str] = set()
    for category, draws in CATEGORIES.items():
        for _ in range(2):
            first, second = (fresh(draw, world, rng, seen) for draw in draws)
            found.append(Dialogue(FIRST_QUESTION + len(found), category, (first, second)))
    return found


def alpaca(world: World) -> list[Request]:
    rng = world.random("alpaca_eval")
    seen = {turn.instruction for dialogue in dialogues(world) for turn in dialogue.turns}
    return [fresh(ALPACA[i % len(ALPACA)], world, rng, seen) for i in range(ALPACA_ROWS)]


def fresh(draw: Draw, world: World, rng: Random, seen: set[str]) -> Request:
    """A request whose instruction is not in `seen`, which gets it."""
    item = draw(world, rng)
    while item.instruction in seen:
        item = draw(world, rng)
    seen.add(item.instruction)
    return item


def instructions(world: World) -> set[str]:
    """Everything the judged benchmarks ask."""
    turns = {turn.instruction for dialogue in dialogues(world) for turn in dialogue.turns}
    return turns | {item.instruction for item in alpaca(world)}


def write_judged(folder: Path, world: World) -> None:
    asked = dialogues(world)
    write_lines(folder / "mt_bench/question.jsonl", (question_row(item) for item in asked))
    write_lines(folder / "mt_bench/reference_answer.jsonl", (reference_row(item) for item in asked))
    write_lines(folder / "mt_bench/judge_prompts.jsonl", judge_prompts())
    items = alpaca(world)
    rng = world.random("alpaca_eval/weak")
    weak = [item._replace(answer=flawed(item, items, rng)) for item in items]
    for version, name, rows in (("v1", "toy_weak", weak), ("v2", "toy_strong", items)):
        path = folder / f"alpaca_eval/reference_outputs_{version}.jsonl"
        write_lines(path, (alpaca_row(item, name) for item in rows))


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def flawed(item: Request, items: list[Request], rng: Random) -> str:
    """Right half of the time; else cut in the middle or an answer to something else."""
    chance = rng.random()
    if chance < 0.5:
        return item.answer
    if chance < 0.75:
        words = item.answer.split()
        return " ".join(words[: (len(words) + 1) // 2])
    return rng.choice([other for other in items if other != item]).answer


def alpaca_row(item: Request, generator: str) -> dict[str, str]:
    return {"instruction": item.instruction, "output": item.answer, "generator": generator, "dataset": "toy"}


def question_row(item: Dialogue) -> dict[str, Any]:
    turns = [turn.instruction for turn in item.turns]
    return {"question_id": item.question_id, "category": item.category, "turns": turns}


def reference_row(item: Dialogue) -> dict[str, Any]:
    choices = [{"index": 0, "turns": [turn.answer for turn in item.turns]}]
    return {"question_id": item.question_id, "answer_id": f"toy-{item.question_id}", "model_id": "toy",
            "choices": choices, "tstamp": 0.0}  # fmt: skip


def judge_prompts() -> list[dict[str, str]]:
    """The official names and fields, with short texts."""
    return [
        prompt(pair, math, multi)
        for pair in (True, False)
        for math in (False, True)
        for multi in (False, True)
    ]


def prompt(pair: bool, math: bool, multi: bool) -> dict[str, str]:
    stem = f"{'pair' if pair else 'single'}-{'math-v1' if math else 'v2' if pair else 'v1'}"
    sides = "ab" if pair else ("",)
    turns = ("_1", "_2") if multi else ("",)
    blocks = []
    for turn in turns:
        blocks.append(f"Question: {{question{turn}}}")
        # The single-turn prompts call the only reference the first.
        blocks += [f"Reference: {{ref_answer{turn or '_1'}}}"] if math else []
        blocks += [f"Answer{' ' + side.upper() if side else ''}: {{answer{'_' + side if side else ''}{turn}}}"
                   for side in sides]  # fmt: skip
    focus = " to the second question" if multi else ""
    task = (
        f"Say which assistant answers better{focus}. {CHOOSE}" if pair else f"Judge the answer{focus}. {RATE}"
    )
    return {
        "name": stem + ("-multi-turn" if multi else ""),
        "type": "pairwise" if pair else "single",
        "system_prompt": task if pair or multi else "You are a fair judge.",
        "prompt_template": "\n\n".join(blocks if pair or multi else [task, *blocks]),
        "description": f"Toy prompt, {'two answers' if pair else 'one answer'}",
        "category": "math" if math else "general",
        "output_format": "[[A]]" if pair else "[[rating]]",
    }
