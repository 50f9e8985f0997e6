"""Score: the record every benchmark makes and every table reads."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from im_bench.drafts import drafted

FILE = "scores.json"


@dataclass(frozen=True)
class Score:
    """One number of one benchmark of one cell.

    `value` and `stderr` are in the unit the benchmark's own tool reports (accuracy as a fraction, TER and
    win rate in percent, MT-Bench from 1 to 10). A value that could not be had is None, never zero.
    """

    benchmark: str
    category: str
    task: str
    """The leaf task, or the benchmark's own name for its headline number."""
    metric: str
    value: float | None
    stderr: float | None
    count: int
    """Items that have an outcome."""
    total: int
    """Items that were asked; an unparsed verdict makes `count` smaller."""
    direction: str
    """`higher` or `lower`: which way is better."""
    judge: str | None = None
    """Name of the judge, for judged benchmarks."""
    reading_note: str | None = None
    """What the table must say under the column."""
    truncated: int = 0
    """Items whose prompt was longer than the model's context, so that its beginning was left out."""
    judge_prompt_tokens: int | None = None
    """Tokens that the judge read for these verdicts, by the server's count; of a benchmark's headline number."""
    judge_answer_tokens: int | None = None
    """Tokens that it wrote."""
    judge_cost: float | None = None
    """US dollars, at the prices of when they were asked."""
    source: str | None = None
    """The file that a number was taken from, where nothing here made it."""
    version: str | None = None
    """Of lm-eval's task; scores of different versions are not compared. None where nobody says one."""


def billed(score: Score, bill: tuple[int | None, int | None, float | None]) -> Score:
    """A score with what its verdicts took: tokens read, tokens written, US dollars."""
    read, written, cost = bill
    return replace(score, judge_prompt_tokens=read, judge_answer_tokens=written, judge_cost=cost)


def write_scores(out: Path, scores: Iterable[Score]) -> None:
    """Write the scores of a step into its directory, by rename."""
    with drafted(out / FILE) as draft:
        draft.write_text(json.dumps([asdict(score) for score in scores], indent=1, allow_nan=False) + "\n")


def read_scores(out: Path) -> list[Score]:
    """The scores a step wrote."""
    return [Score(**row) for row in json.loads((out / FILE).read_text())]
