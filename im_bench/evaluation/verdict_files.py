"""Files of verdicts, whoever made them: FastChat's judgments of single answers, and alpaca_eval's annotations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import floor, isfinite
from pathlib import Path
from typing import Any

from im_bench.config import UserError
from im_bench.data.rows import numbered_rows
from im_bench.evaluation import alpaca_eval, mt_bench
from im_bench.judging.replay import is_preference

VERSIONS = {"text_davinci_003": 1, "gpt4_1106_preview": 2, "gpt4_turbo": 2}
"""Of AlpacaEval, by the model that answers are compared with."""
NAMES = (mt_bench.JUDGMENTS, alpaca_eval.ANNOTATIONS)


@dataclass
class Judged:
    """What one judge said of one model's answers to one benchmark."""

    benchmark: str
    model: str
    judge: str
    file: Path
    rows: list[dict[str, Any]] = field(default_factory=list)

    def values(self) -> dict[object, float]:
        """Ratings from 1 to 10 by question and turn, or preferences from 1 to 2 by instruction; no unparsed ones."""
        return {
            item: value for item, value in zip(self.items(), self._said(), strict=True) if value is not None
        }

    def items(self) -> list[object]:
        """What each verdict is on."""
        if self.benchmark == mt_bench.BENCHMARK:
            return [(row["question_id"], row["turn"]) for row in self.rows]
        return [row["instruction"] for row in self.rows]

    def _said(self) -> list[float | None]:
        if self.benchmark == mt_bench.BENCHMARK:
            return [None if row["score"] == mt_bench.UNRATED else float(row["score"]) for row in self.rows]
        # In old annotations 0 is a draw.
        said = (row["preference"] for row in self.rows)
        return [None if each is None else 1.5 if each == 0 else float(each) for each in said]

    def outcome(self, value: float) -> float:
        """What must be the same for two judges to agree: the nearest whole rating, or which answer is better."""
        if self.benchmark == mt_bench.BENCHMARK:
            return float(floor(value + 0.5))
        return 1.5 if value == 1.5 else 1.0 if value < 1.5 else 2.0

    def categories(self, questions: Mapping[int, str]) -> dict[object, str]:
        """The category of each item; of AlpacaEval, the data set an instruction is from."""
        if self.benchmark == mt_bench.BENCHMARK:
            return {(row["question_id"], row["turn"]): questions[row["question_id"]] for row in self.rows}
        return {row["instruction"]: str(row.get("dataset") or "unknown") for row in self.rows}


def read_verdicts(path: Path, *, besides: str = "") -> list[Judged]:
    """The verdicts of a file, or of a step's folder, by model and judge.

    Args:
        besides: what a file may be instead, where it may be; told of one that is not.

    Raises:
        UserError: naming the file and the row that is no verdict, or that stands twice.
    """
    file = next((path / name for name in NAMES if (path / name).is_file()), path)
    if file.is_dir():
        raise UserError(f"{file}: is a folder without {' or '.join(NAMES)}{besides and '; '}{besides}")
    found: dict[tuple[str, str, str], Judged] = {}
    for _, where, row in numbered_rows(file):
        benchmark, model, judge = _kind(row, where, besides)
        found.setdefault((benchmark, model, judge), Judged(benchmark, model, judge, file)).rows.append(row)
    for verdicts in found.values():
        _check_once(file, verdicts)
    return list(found.values())


def _kind(row: Mapping[str, Any], where: str, besides: str) -> tuple[str, str, str]:
    match row:
        case {"question_id": int(), "turn": 1 | 2, "score": score, "model": str(model), "judge": said} if (
            _is_number(score) and (score == mt_bench.UNRATED or 0 <= score <= mt_bench.BEST) and _name(said)
        ):
            return mt_bench.BENCHMARK, model, _name(said)
        case {
            "instruction": str(),
            "preference": preference,
            "generator_2": str(model),
            "annotator": str(judge),
        } if is_preference(preference):
            return f"alpaca_eval_{_version(row.get('generator_1'), where)}", model, judge
        case {"g1_winner": _}:
            raise UserError(f"{where}: a judgment of a pair; MT-Bench's scores are of single answers")
    raise UserError(
        f"{where}: is no verdict; FastChat's judgments have question_id, turn, score, model and judge, alpaca_eval's "
        f"annotations instruction, preference, generator_1, generator_2 and annotator{besides and '; '}{besides}"
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _name(said: object) -> str:
    """FastChat names a judge and its prompt."""
    first = said[0] if isinstance(said, list) and said else said
    return first if isinstance(first, str) else ""


def _version(rival: object, where: str) -> int:
    if not isinstance(rival, str) or rival not in VERSIONS:
        raise UserError(
            f"{where}: generator_1 is {rival!r}; AlpacaEval 1.0 compares with text_davinci_003, 2.0 with "
            "gpt4_1106_preview"
        )
    return VERSIONS[rival]


def _check_once(file: Path, verdicts: Judged) -> None:
    twice = next((item for item, times in Counter(verdicts.items()).items() if times > 1), None)
    if twice is not None:
        raise UserError(
            f"{file}: {verdicts.judge} judged {verdicts.model} twice on {str(twice)[:80]!r}; leave one of them"
        )
