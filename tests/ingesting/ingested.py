"""Commands in this process, and small files of verdicts and answers."""

import csv
import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from im_bench.data.rows import read_rows, write_rows
from im_bench.report.collect import Row, read_ledger

QUESTIONS = 16
"""Of the toy world's MT-Bench; each has two turns."""
INSTRUCTIONS = 40
"""Of its AlpacaEval."""


class Said(NamedTuple):
    code: int
    output: str
    error: str

    @property
    def rows(self) -> dict[tuple[str, str], dict[str, Any]]:
        """What `--json` prints, by model and task."""
        assert self.code == 0, self.error
        found = json.loads(self.output)
        rows = {(row["model"], row["task"]): row for row in found}
        assert len(rows) == len(found), "one model's task stands twice"
        return rows


Command = Callable[..., Said]


def refused(said: Said, reason: str) -> None:
    """One line on standard error, nothing on standard output, no row in a ledger."""
    assert (said.code, said.output) == (2, "")
    assert f"im-bench: {reason}" in said.error, said.error
    assert not Path("results/scores.jsonl").exists()


def digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()[:12]


class Real(NamedTuple):
    """What ingesting every stored file of verdicts gives."""

    data: Path
    rows: list[dict[str, Any]]

    def row(self, model: str, task: str) -> dict[str, Any]:
        [row] = [each for each in self.rows if (each["model"], each["task"]) == (model, task)]
        return row

    def published(self, name: str, key: str) -> dict[str, dict[str, str]]:
        with (self.data / name).open() as file:
            return {row[key]: row for row in csv.DictReader(file)}


def questions(world: Path) -> list[int]:
    return [row["question_id"] for row in read_rows(world / "mt_bench/question.jsonl")]


def instructions(world: Path) -> list[str]:
    return [row["instruction"] for row in read_rows(world / "alpaca_eval/reference_outputs_v2.jsonl")]


def judgments(file: Path, world: Path, score: int = 7, model: str = "ours", judge: str = "strict") -> Path:
    """Turns of every question, the first turn a point better than the second."""
    rows = [
        {
            "question_id": number,
            "turn": turn,
            "score": score + 1 - turn,
            "model": model,
            "judge": [judge, "v1"],
        }
        for number in questions(world)
        for turn in (1, 2)
    ]
    write_rows(file, rows)
    return file


def annotations(file: Path, world: Path, preferences: list[float | None], **other: str) -> Path:
    """Preferences on the first instructions."""
    texts = instructions(world)[: len(preferences)]
    write_rows(file, [annotation(*each, **other) for each in zip(texts, preferences, strict=True)])
    return file


def annotation(instruction: str, preference: float | None, **other: str) -> dict[str, Any]:
    rest = {"generator_1": "gpt4_1106_preview", "generator_2": "ours", "annotator": "strict"} | other
    return rest | {"instruction": instruction, "preference": preference}


def ledger() -> bytes:
    return Path("results/scores.jsonl").read_bytes()


def in_ledger() -> list[Row]:
    return read_ledger(Path("results/scores.jsonl"))


def mt_answers(file: Path, world: Path, model: str = "ours", **changes: Any) -> Path:
    rows = [
        {"question_id": number, "model_id": model, "choices": [{"index": 0, "turns": ["Red.", "Green."]}]}
        for number in questions(world)
    ]
    write_rows(file, [row | changes for row in rows])
    return file


def alpaca_answers(file: Path, world: Path, model: str = "ours") -> Path:
    rows = [
        {"instruction": text, "output": f"An answer: {text[:20]}", "generator": model}
        for text in instructions(world)
    ]
    write_rows(file, rows)
    return file


def verdict_files() -> list[str]:
    found = Path("results/store/verdicts").glob("*/*.json*")
    return sorted(
        path.name for path in found if path.name not in ("step.json", "scores.json", "events.jsonl")
    )
