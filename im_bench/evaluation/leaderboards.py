"""alpaca_eval's leaderboards: csv as the package writes them, a row a model.

Neither the judge nor the version of AlpacaEval stands in the file, but in the names of the file and its folders.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import isfinite
from pathlib import Path

from im_bench.config import UserError
from im_bench.data.rows import numbered_rows
from im_bench.evaluation.alpaca_eval import RANKING, WEIGHTED, as_length_controlled
from im_bench.evaluation.costs import items
from im_bench.evaluation.result_files import Results
from im_bench.judging.overlap import note_of
from im_bench.scores import Score

NAME = "leaderboard.csv"
FOLDERS = {"data_AlpacaEval": 1, "data_AlpacaEval_2": 2}
"""Where the package keeps its own leaderboards, by version of AlpacaEval."""
ANNOTATORS = {RANKING.config: 1, WEIGHTED.config: 2}
"""The official annotators of each version."""
COLUMNS = ("win_rate", "n_total")
"""Without which it is no leaderboard; the first column has the models and no name."""


def read_leaderboard(file: Path) -> Iterator[Results]:
    """The win rate, its length-controlled twin (of 2.0 alone) and the mean length of each model's answers.

    Raises:
        UserError: naming the file, the row and the column that is not as the package writes it, a model that stands
            twice, or what the names of the file and its folders must say.
    """
    seen: set[str] = set()
    for _, where, row in numbered_rows(file):
        first, *others = row
        if not set(COLUMNS) <= set(others):
            raise UserError(
                f"{file}, line 1: is no leaderboard of alpaca_eval, whose header has the columns "
                f"{' and '.join(COLUMNS)} after that of the models"
            )
        annotator, version = _whose(file)
        model = row[first].strip()
        if not model or model in seen:
            raise UserError(f"{where}: {f'{model} stands twice' if model else 'names no model'}")
        seen.add(model)
        yield Results(model, file, list(_scores(row, where, annotator, version)))


def _whose(file: Path) -> tuple[str, int]:
    """The annotator and the version, by the names of the file and its folders, the nearest first."""
    *folders, name = file.absolute().parts
    annotator = folders[-1] if name == NAME else name.removesuffix(f"_{NAME}")
    said = next((FOLDERS[folder] for folder in reversed(folders) if folder in FOLDERS), None)
    version = said or ANNOTATORS.get(annotator)
    if annotator == name or version is None:
        raise UserError(
            f"{file}: its name does not say whose annotations these are, and of which AlpacaEval; name it "
            f"{RANKING.config}_{NAME} (1.0) or {WEIGHTED.config}_{NAME} (2.0), or by another annotator in a folder "
            f"{' (1.0) or '.join(FOLDERS)} (2.0)"
        )
    return annotator, version


def _scores(row: Mapping[str, str], where: str, annotator: str, version: int) -> Iterator[Score]:
    benchmark = f"alpaca_eval_{version}"
    value, count = _number(row, "win_rate", where, 100), _number(row, "n_total", where)
    if value is None or count is None or count != int(count):
        column = "win_rate" if value is None else "n_total"
        raise UserError(f"{where}: {column} is {row[column]!r}, which is no number of that kind")
    score = Score(
        benchmark=benchmark,
        category="judged",
        task=benchmark,
        metric="win_rate",
        value=value,
        stderr=_number(row, "standard_error", where),
        count=int(count),
        total=max(int(count), items(benchmark, None)),
        direction="higher",
        judge=annotator,
        reading_note=note_of(annotator),
    )
    yield score
    controlled = _number(row, "length_controlled_winrate", where, 100)
    if version == 2 and controlled is not None:
        error = _number(row, "lc_standard_error", where)
        yield replace(as_length_controlled(score), value=controlled, stderr=error)
    length = _number(row, "avg_length", where)
    if length is not None:
        yield replace(
            score,
            task=f"{benchmark}_length",
            metric="avg_length",
            value=length,
            stderr=None,
            reading_note="mean length of an answer in characters",
        )


def _number(row: Mapping[str, str], column: str, where: str, most: float | None = None) -> float | None:
    """None where a row has nothing in that column, or the file has no such column."""
    text = row.get(column, "").strip()
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not isfinite(number) or number < 0 or (most is not None and number > most):
        limits = "of at least 0" if most is None else f"from 0 to {most:g}"
        raise UserError(f"{where}: {column} is {text!r}, not a number {limits}")
    return number
