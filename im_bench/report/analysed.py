"""What analyses keep of single conversations, as outcomes: their differences are paired like those of benchmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow
from numpy.typing import NDArray
from pyarrow import compute, parquet

from im_bench import items
from im_bench.analysis.measures import ANALYSIS, EIGHT_GRAMS, EXACT, HELDOUT, HELDOUT_NEW, KL, SENTENCE_BLEU
from im_bench.analysis.measures import LOSSES as MEANS
from im_bench.items import Outcomes
from im_bench.report.collect import Row
from im_bench.report.distributions import FILE as LOSSES
from im_bench.report.words import LENGTH_CONTROLLED

PER_TOKEN = {per_token: (f"{part}_nll", f"{part}_tokens") for part, per_token, _ in MEANS} | {
    KL: ("output_kl", "output_tokens")
}
PER_EXAMPLE = {per_example: (f"{part}_nll", f"{part}_tokens") for part, _, per_example in MEANS}
SINGLE = {SENTENCE_BLEU: "outcome", EXACT: "exact", EIGHT_GRAMS: "eight_grams"}
"""The column of `items.parquet` that a mean over answers is of."""
OF_ALL = "it is one number of all items together"
"""Why there is nothing to pair: BLEU of a corpus, an overlap that no loss changes, a fit."""


def of_items(row: Row) -> bool:
    """Whether a score is made of a number for each item, so that two can be paired."""
    if row.category != ANALYSIS:
        return row.task != LENGTH_CONTROLLED.id
    return row.metric in {*PER_TOKEN, *PER_EXAMPLE, *SINGLE}


def outcomes(folder: Path, row: Row) -> Outcomes | None:
    """The part of each conversation in a row of an analysis; None where the row is of all of them together.

    A loss per token is sum(nll) / sum(tokens), one per example the mean of nll / tokens.
    """
    if row.metric in PER_TOKEN or row.metric in PER_EXAMPLE:
        return _losses(folder, row)
    if row.metric in SINGLE:
        return _answers(folder, SINGLE[row.metric])
    return None


def _losses(folder: Path, row: Row) -> Outcomes | None:
    if not (folder / LOSSES).is_file():
        return None
    table = parquet.read_table(folder / LOSSES)
    of_set = compute.equal(table["set"], HELDOUT if row.task == HELDOUT_NEW else row.task)
    table = table.filter(of_set)
    if row.task == HELDOUT_NEW:
        table = table.filter(compute.invert(table["in_training"]))
    nll, tokens = (PER_TOKEN | PER_EXAMPLE)[row.metric]
    outcome, size = _numbers(table, nll), _numbers(table, tokens)
    said = np.flatnonzero(size > 0)
    if row.metric in PER_EXAMPLE:
        outcome, size = outcome[said] / size[said], np.ones(len(said))
    else:
        outcome, size = outcome[said], size[said]
    return _outcomes(row.task, [table["example"][int(place)].as_py() for place in said], outcome, size)


def _answers(folder: Path, column: str) -> Outcomes | None:
    if not (folder / items.FILE).is_file():
        return None
    table = parquet.read_table(folder / items.FILE, columns=["task", "item", column])
    outcome = _numbers(table, column)
    return _outcomes("train", table["item"].to_pylist(), outcome, np.ones(len(outcome)))


def _numbers(table: pyarrow.Table, column: str) -> NDArray[np.float64]:
    return table[column].cast("float64").to_numpy()


def _outcomes(
    task: str, names: list[str], outcome: NDArray[np.float64], size: NDArray[np.float64]
) -> Outcomes:
    alike = [task] * len(names)
    return Outcomes(alike, names, alike, [None] * len(names), outcome, size)
