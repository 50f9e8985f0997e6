"""What figures are drawn from: one number for each model, dataset, subset, loss and epoch, the seeds averaged.

An interval is of 95 %: over the seeds by Student's t where there are several, else by the row's own standard
error. What is not known is None, never zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf, sqrt
from statistics import fmean, stdev
from typing import NamedTuple

from scipy.special import stdtrit

from im_bench.report import measures
from im_bench.report.cells import Cell, cells_of
from im_bench.report.collect import Row
from im_bench.report.measures import Of
from im_bench.report.readings import Reading, task_entry
from im_bench.report.words import MEAN, benchmark_column

NINETY_FIVE_PERCENT = 1.96
WIN_RATES = ("alpaca_eval_1", "alpaca_eval_2")
"""Whose win rate and answers are drawn: the first that was asked. The paper's figures are of AlpacaEval 1.0."""
RADAR = ("writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities")
"""The categories of MT-Bench in FastChat's order."""
LOSS, KL = "output_loss_per_example", "output_kl_per_token"
NEW = "conversations not in training"
ANALYSED: dict[str, tuple[dict[str, str], float]] = {
    "train_loss": ({f"train_{LOSS}": "training loss on outputs, mean over examples"}, inf),
    "heldout_loss": (
        {
            f"heldout_new_{LOSS}": f"held-out loss on outputs, {NEW}, mean over examples",
            f"heldout_{LOSS}": "held-out loss on outputs, mean over examples",
        },
        inf,
    ),
    "bleu": ({"train_bleu_corpus": "corpus BLEU against training outputs"}, 100.0),
    "kl": (
        {
            f"heldout_new_{KL}": f"KL to the base model on held-out {NEW}, nats per output token",
            f"heldout_{KL}": "KL to the base model on the held-out set, nats per output token",
            f"train_{KL}": "KL to the base model on the training set, nats per output token",
        },
        inf,
    ),
}
"""Of each finding that is drawn: the columns that it may be of, preferred first, with their labels; the most it can be.

The base model has no number where some of the held-out set is in training: what is not differs between datasets.
"""


class Quantity(NamedTuple):
    """A number that every cell of a sweep may have."""

    label: str
    """What an axis says: name and unit."""
    entry: Of
    """From the rows of one cell."""
    least: float = 0.0
    """Of what it can be; no interval goes beyond."""
    most: float = 100.0


class Point(NamedTuple):
    """One number of the cells that differ in the seed alone."""

    model: str
    dataset: str | None
    """None is the base model."""
    subset: str | None
    loss: str
    epoch: int | None
    value: float | None
    low: float | None
    """None where there is one seed without a standard error."""
    high: float | None
    seeds: int
    """That have a value."""
    examples: int | None


def points(rows: Iterable[Row], quantity: Quantity) -> list[Point]:
    """One for each place, in the order of the tables.

    Of cells that differ in nothing that a figure shows, nor in the seed, nobody knows which is meant: no value.
    """
    places: dict[tuple[object, ...], list[tuple[Cell, list[Row]]]] = {}
    for cell, own in cells_of(rows):
        place = cell.model, cell.dataset, cell.subset, cell.loss, cell.epoch
        places.setdefault(place, []).append((cell, own))
    return [_point(alike, quantity) for alike in places.values()]


def interval(values: Sequence[float], stderr: float | None) -> float | None:
    """Half the width of the 95 % interval of a mean of seeds: by their spread, of one seed by its own error."""
    if len(values) > 1:
        return float(stdtrit(len(values) - 1, 0.975)) * stdev(values) / sqrt(len(values))
    return None if stderr is None else NINETY_FIVE_PERCENT * stderr


def last_epoch(rows: Sequence[Row]) -> list[Row]:
    """Without the cells that stand at an earlier epoch than the last, which may be numbered: those are no models.

    The losses and seeds of a model, dataset and subset share the last epoch: what failed there is not shown earlier.
    """
    unnumbered = {_training(row) for row in rows if row.epoch is None}
    last: dict[tuple[str, str | None, str | None], int] = {}
    for row in rows:
        last[_place(row)] = max(last.get(_place(row), 0), row.epoch or 0)
    return [
        row
        for row in rows
        if row.epoch is None or (row.epoch == last[_place(row)] and _training(row) not in unnumbered)
    ]


def _place(row: Row) -> tuple[str, str | None, str | None]:
    return row.model, row.dataset, row.subset


def _training(row: Row) -> tuple[str, str | None, str | None, str, int]:
    return (*_place(row), row.loss, row.seed)


def quantities(rows: Sequence[Row], reading: Reading) -> dict[str, Quantity]:
    """Those that any of the rows has, by name: `mean`, `win_rate`, `length`, and those of ANALYSED."""
    by_category = {each.column.id: each for each in measures.by_category(rows, reading)}
    found: dict[str, Quantity] = {}
    if overall := by_category.get(MEAN.id):
        found["mean"] = Quantity("mean of NLP categories, %", overall.entry)
    if judged := next((name for name in WIN_RATES if name in by_category), None):
        heading = benchmark_column(judged).heading
        found["win_rate"] = Quantity(f"{heading} win rate, %", by_category[judged].entry)
        if any(row.task == f"{judged}_length" for row in rows):
            label = f"characters of an answer to {heading}"
            found["length"] = Quantity(label, _of_task(f"{judged}_length"), most=inf)
    analyses = {each.column.id: each.entry for each in measures.of_analyses(rows)}
    for name, (labels, most) in ANALYSED.items():
        if column := next((each for each in labels if each in analyses), None):
            found[name] = Quantity(labels[column], analyses[column], most=most)
    return found


def radar_quantities(rows: Iterable[Row]) -> dict[str, Quantity]:
    """The scores of MT-Bench by category, in FastChat's order and then by name; 1 to 10."""
    tasks = {row.task for row in rows if row.benchmark == "mt_bench"} - {"mt_bench"}
    categories = {task.removeprefix("mt_bench_") for task in tasks if not task.startswith("mt_bench_turn_")}
    ordered = sorted(categories, key=lambda name: (RADAR.index(name) if name in RADAR else len(RADAR), name))
    return {name: Quantity(name, _of_task(f"mt_bench_{name}"), 1.0, 10.0) for name in ordered}


def _of_task(task: str) -> Of:
    return lambda own: task_entry([row for row in own if row.task == task])


def _point(alike: Sequence[tuple[Cell, Sequence[Row]]], quantity: Quantity) -> Point:
    first, _ = alike[0]
    place = first.model, first.dataset, first.subset, first.loss, first.epoch
    examples = next((row.examples for _, own in alike for row in own if row.examples), None)
    entries = [entry for _, own in alike if (entry := quantity.entry(own)).value is not None]
    values = [entry.value for entry in entries if entry.value is not None]
    if not values or len({cell.seed for cell, _ in alike}) < len(alike):
        return Point(*place, None, None, None, 0, examples)
    value, reach = fmean(values), interval(values, entries[0].stderr)
    low = None if reach is None else max(quantity.least, value - reach)
    high = None if reach is None else min(quantity.most, value + reach)
    return Point(*place, value, low, high, len(values), examples)
