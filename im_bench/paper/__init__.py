"""Numbers that the paper prints: Tables 1 to 5 and 7, the means in Figures 3, 8 and 9, and the points of Figure 2.

What is known to be wrong in them is said beside them and mended only where a function says so.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import NamedTuple


class Point(NamedTuple):
    """One point of Figure 2: `gain` is of IM's AlpacaEval 1.0 win rate over IT's, relative, in percent."""

    name: str
    x: float
    gain: float


class Number(NamedTuple):
    """One number of one cell; the base models have no dataset."""

    table: int | None
    """None where it is of a figure."""
    dataset: str | None
    loss: str
    column: str
    """As of im-bench's own tables."""
    value: float
    suspect: str
    """Why it is not to be believed, if it is not."""


TABLES = {"main_table": 1, "bleu": 2, "kl": 3, "im_neftune": 4, "losses": None}
"""The files of scores, by the table that they are from; Table 7 is `kl` again."""


@cache
def scores() -> list[Number]:
    """Every score, loss and BLEU that the paper prints, as printed.

    The paper does not say whether its BLEU is of the corpus or the mean of sentences ("average BLEU"), so it stands
    with the means of sentences. The means in its figures are over examples.
    """
    return [
        Number(table, row["dataset"] or None, row["loss"], column, float(value), row.get("suspect") or "")
        for name, table in TABLES.items()
        for row in _rows(name)
        for column, value in row.items()
        if column not in ("dataset", "loss", "suspect")
    ]


@cache
def lengths() -> list[dict[str, str]]:
    """Table 5, its cells as printed."""
    return _rows("lengths")


@cache
def main_table() -> list[dict[str, str]]:
    """Table 1, its cells as printed; the base models have no dataset."""
    return _rows("main_table")


def gain(dataset: str) -> float | None:
    """IM's relative gain over IT by the win rates of Table 1, in percent; None where it has not the dataset."""
    rates = {row["loss"]: float(row["alpaca_eval_1"]) for row in main_table() if row["dataset"] == dataset}
    return 100 * (rates["im"] / rates["it"] - 1) if rates else None


def ratio_points() -> list[Point]:
    """Figure 2, left, as plotted: `x` is instruction over output length in words."""
    rows = _rows("ratio_gains")
    return [
        Point(row["dataset"], float(row["instruction_over_output"]), float(row["gain_percent"]))
        for row in rows
    ]


def corrected_ratio_points() -> list[Point]:
    """As `ratio_points`, WizardLM at its own ratio: it is plotted at output over instruction."""
    ratios = {row["dataset"]: float(row["instruction_over_output"]) for row in lengths()}
    return [
        point._replace(x=ratios["wizardlm"]) if point.name == "wizardlm" else point
        for point in ratio_points()
    ]


def points_by_table_1(points: list[Point]) -> list[Point]:
    """As they are, where Figure 2 plots another gain than Table 1 gives (Dolly 9k, Tydiqa) at that of Table 1."""
    apart = {
        row["dataset"] for row in _rows("ratio_gains") if row["as_plotted_is_wrong"].startswith("Table 1")
    }
    return [
        point._replace(gain=gain_)
        if point.name in apart and (gain_ := gain(point.name)) is not None
        else point
        for point in points
    ]


def size_points() -> list[Point]:
    """Figure 2, right: `x` is the number of examples, chosen from Tulu V2 by nearness to a ratio of 10."""
    rows = _rows("size_gains")
    return [Point(row["examples"], float(row["examples"]), float(row["gain_percent"])) for row in rows]


def _rows(name: str) -> list[dict[str, str]]:
    with Path(__file__).with_name(f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
