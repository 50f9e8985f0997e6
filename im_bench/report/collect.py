"""The ledger: `results/scores.jsonl`, one line per cell and metric, the only source of tables and figures.

It is sorted and holds nothing that changes when the same sweep is scored again, so equal scores give equal
bytes. Several sweeps, and several processes, share one file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from filelock import FileLock
from pydantic import ConfigDict, TypeAdapter, ValidationError

from im_bench.config import Run, UserError
from im_bench.drafts import drafted
from im_bench.scores import Score

FILE = "scores.jsonl"
UNKNOWN = "unknown"
"""The dataset and the loss of a model that nobody here has trained."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the ledger: a `Score`, the cell and sweep it belongs to, the step that made it.

    The order of the fields is the order of the keys in the file. The untrained base model has neither
    dataset nor subset.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    sweep: str
    cell: str
    model: str
    dataset: str | None
    subset: str | None
    loss: str
    seed: int
    benchmark: str
    category: str
    task: str
    metric: str
    value: float | None
    stderr: float | None
    count: int
    total: int
    direction: str
    judge: str | None
    reading_note: str | None
    step: str
    """Key of the step whose record holds the score."""
    examples: int | None
    """Conversations that were chosen to train on."""
    ratio: float | None
    """Instruction over output length of what was chosen, ratio of the means, in words as the paper counts them."""
    truncated: int = 0
    """Items whose prompt was longer than the model's context."""
    judge_prompt_tokens: int | None = None
    """Tokens that the judge read; of a headline number."""
    judge_answer_tokens: int | None = None
    """Tokens that it wrote."""
    judge_cost: float | None = None
    """US dollars."""
    epoch: int | None = None
    """After which the checkpoint was scored; None is the last."""
    source: str | None = None
    """The file that an ingested number was taken from."""
    version: str | None = None
    """Of lm-eval's task, where it is one."""

    @property
    def place(self) -> tuple[str, ...]:
        """Where the row stands in the file: no two rows of a ledger share it."""
        of_cell = (
            self.model,
            self.dataset or "",
            self.subset or "",
            self.loss,
            f"{self.seed:010d}",
            f"{self.epoch or 0:05d}",
            self.cell,
        )
        headline_first = "" if self.task == self.benchmark else self.task
        return (self.sweep, *of_cell, self.benchmark, headline_first, self.metric, self.judge or "")


_row = TypeAdapter(Row)


def rows(
    run: Run,
    scores: Iterable[Score],
    *,
    sweep: str,
    cell: str,
    step: str,
    examples: int | None,
    ratio: float | None,
) -> list[Row]:
    """The ledger's lines for the scores that one step made of one cell."""
    trains = run.loss.trains
    return [
        Row(
            sweep=sweep,
            cell=cell,
            model=run.model.name,
            dataset=run.dataset.name if trains else None,
            subset=run.subset.label if trains else None,
            examples=examples,
            ratio=ratio,
            loss=run.loss.name,
            seed=run.seed,
            epoch=run.epoch if trains else None,
            step=step,
            **asdict(score),
        )
        for score in scores
    ]


def write_ledger(
    path: Path, sweep: str, rows: Iterable[Row], *, keep: Callable[[Row], bool] = lambda row: False
) -> None:
    """Replace the rows of `sweep` in the ledger at `path` and keep every other; whole or not at all.

    Args:
        keep: which rows of the sweep stay beside the new ones.

    Raises:
        UserError: when a line that is already there cannot be read.
    """
    new = set(rows)
    assert all(row.sweep == sweep for row in new), f"rows of another sweep than {sweep}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        kept = {row for row in read_ledger(path) if row.sweep != sweep or keep(row)}
        ordered = sorted(kept | new, key=lambda row: row.place)
        assert len({row.place for row in ordered}) == len(ordered), f"{sweep}: one score stands twice"
        with drafted(path) as draft:
            draft.write_bytes("".join(_line(row) for row in ordered).encode())


def read_ledger(path: Path) -> list[Row]:
    """Every row of every sweep, each once, in the file's order; none where there is no file yet.

    Raises:
        UserError: naming the file and the line that is not a row.
    """
    if not path.exists():
        return []
    lines = path.read_bytes().splitlines()
    rows = (_parsed(line, f"{path}, line {number}") for number, line in enumerate(lines, start=1) if line)
    return list(dict.fromkeys(rows))


def _line(row: Row) -> str:
    return json.dumps(asdict(row), allow_nan=False) + "\n"


def _parsed(line: bytes, place: str) -> Row:
    try:
        return _row.validate_json(line)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"]) or "the line"
        remedy = "delete the line and run its sweep again; finished steps are not repeated"
        raise UserError(f"{place}: {key}: {problem['msg']}; {remedy}") from None
