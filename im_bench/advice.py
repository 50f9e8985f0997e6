"""Should you train on the instructions of this dataset? What the paper's points say of its ratio and size."""

from __future__ import annotations

from collections.abc import Iterator
from math import exp, inf, isfinite, log
from typing import Any, NamedTuple

import numpy as np

from im_bench import paper
from im_bench.analysis.trends import LEVEL, Fit, fit, predict
from im_bench.data.survey import Survey

CATEGORIES = ("knowledge", "multilingual", "commonsense", "math_code", "bbh", "safety", "mean")
NEAREST = 3
PRINTED = {"ratio": (18.85, 25.83), "size": (-39.37, 431.74)}
"""Slope and intercept that Figure 2 prints; the points give 18.85 and 25.85, -39.34 and 431.46."""
CAVEATS = (
    "Every point is one training with one seed, of Llama-2-7B, judged by one judge that is no longer served.",
    "The gain is of the AlpacaEval 1.0 win rate, relative: a gain of 121 % was from 4.4 to 9.8 wins in a hundred.",
    "The published code's IM is not the paper's: it leaves out seven tokens and trains on the rest, template included.",
    "Larger sets of the size fit also lie further from its ratio of 10, so size and ratio are confounded in it.",
)


class Trend(NamedTuple):
    """One of the fits that are asked."""

    name: str
    axis: str
    fit: Fit
    note: str


def trends() -> tuple[Trend, ...]:
    """The paper's two fits, and the first one corrected; spreads and intervals are of the plotted points."""
    plotted, mended, sizes = paper.ratio_points(), paper.corrected_ratio_points(), paper.size_points()
    by_table = paper.points_by_table_1(mended)
    return (
        Trend("paper_ratio", "ratio", _printed(_fit(plotted), "ratio"), "ratio: Figure 2, left, as printed"),
        Trend(
            "paper_size",
            "size",
            _printed(_fit(sizes), "size"),
            "size: Figure 2, right, as printed; for ratios near 10",
        ),
        Trend(
            "corrected_ratio", "ratio", _fit(mended), "ratio: corrected, WizardLM at its own ratio of 0.355"
        ),
        Trend(
            "corrected_ratio_table_1",
            "ratio",
            _fit(by_table),
            "ratio: corrected, and Dolly 9k and Tydiqa at the gains of Table 1",
        ),
    )


def advise(survey: Survey, name: str) -> dict[str, Any]:
    """What the dataset is, where it lies among the paper's, what to expect of IM, and what may be wrong in it.

    The ratio is in words, as the paper's; of characters where white space does not part the words.

    Args:
        survey: in words.
    """
    lengths = survey.summary(name)
    characters, examples = survey.character_ratio(), lengths["examples"]
    ratio = characters or lengths["instruction_over_output"]
    return {
        "file": name,
        "ratio": ratio,
        "ratio_unit": "characters" if characters else "words",
        "lengths": lengths,
        "among_the_paper_s": _places(ratio, examples),
        "gains": [_gain(trend, ratio, examples) for trend in trends()],
        "nearest": _nearest(ratio, examples),
        "recommendation": _recommendation(ratio, examples, "characters" if characters else "words"),
        "what_would_change_it": list(_changes(ratio, examples)),
        "caveats": [*CAVEATS, *_own_caveats(survey, ratio)],
        "max_tokens": survey.max_tokens,
        "max_tokens_estimated": survey.tokenizer is None,
        "findings": {key: value._asdict() for key, value in survey.findings().items()},
        "bad_rows_by_kind": dict(survey.bad.most_common(5)),
        "contamination": survey.contamination(),
    }


def _fit(points: list[paper.Point]) -> Fit:
    return fit([point.x for point in points], [point.gain for point in points])


def _printed(fit: Fit, axis: str) -> Fit:
    slope, intercept = PRINTED[axis]
    return fit._replace(slope=slope, intercept=intercept)


def _places(ratio: float, examples: int) -> dict[str, Any]:
    """Rank and neighbours of the ratio and of the size in Table 5."""
    table = paper.lengths()
    ratios = {row["dataset"]: float(row["instruction_over_output"]) for row in table}
    sizes = {row["dataset"]: float(row["examples"]) for row in table}
    return {"instruction_over_output": _place(ratio, ratios), "examples": _place(examples, sizes)}


def _place(value: float, others: dict[str, float]) -> dict[str, Any]:
    below = [name for name, other in others.items() if other <= value]
    above = [name for name, other in others.items() if other > value]
    return {
        "value": value,
        "below_it": len(below),
        "of": len(others),
        "next_below": max(below, key=others.__getitem__, default=None),
        "next_above": min(above, key=others.__getitem__, default=None),
    }


def _gain(trend: Trend, ratio: float, examples: int) -> dict[str, Any]:
    fit = trend.fit
    told = predict(fit, ratio if trend.axis == "ratio" else examples)
    return {
        "fit": trend.name,
        "note": trend.note,
        "formula": f"{fit.slope:.2f} ln({'ratio' if trend.axis == 'ratio' else 'examples'}) {fit.intercept:+.2f}",
        "points": fit.points,
        "level": LEVEL,
        "expected_percent": told.expected,
        "low_percent": told.low,
        "high_percent": told.high,
        "extrapolated": told.extrapolated,
    }


def _nearest(ratio: float, examples: int) -> list[dict[str, Any]]:
    """The datasets of Table 1 that are nearest by the logarithms of ratio and size, and what IM changed there."""
    table = {row["dataset"]: row for row in paper.lengths()}
    scores = {(row["dataset"], row["loss"]): row for row in paper.main_table()}
    datasets = [dataset for dataset, loss in scores if loss == "im"]

    def distance(dataset: str) -> float:
        row = table[dataset]
        apart = log(float(row["instruction_over_output"]) / ratio), log(float(row["examples"]) / examples)
        return apart[0] ** 2 + apart[1] ** 2

    return [
        {
            "dataset": dataset,
            "instruction_over_output": float(table[dataset]["instruction_over_output"]),
            "examples": int(table[dataset]["examples"]),
            "alpaca_eval_1_gain_percent": paper.gain(dataset),
            "im_minus_it": {
                category: round(
                    float(scores[dataset, "im"][category]) - float(scores[dataset, "it"][category]), 2
                )
                for category in CATEGORIES
            },
            "suspect": scores[dataset, "it"]["suspect"] or None,
        }
        for dataset in sorted(datasets, key=distance)[:NEAREST]
    ]


def _recommendation(ratio: float, examples: int, unit: str = "words") -> dict[str, Any]:
    """IM where both trends expect a gain; sure where the whole interval says the same."""
    _, by_size, corrected, _ = trends()
    gain, limit = predict(corrected.fit, ratio), predict(by_size.fit, examples)
    points = f"the paper's points expect {gain.expected:+.0f} % ({gain.low:+.0f} to {gain.high:+.0f})"
    words = f"{ratio:.2g} {unit} of instruction a {unit.removesuffix('s')} of output"
    if limit.expected <= 0:
        loss, sure = "it", limit.high < 0
        reason = (
            f"With {examples:,} examples the paper's trend over size has come down to no gain, even for instructions "
            f"ten times as long as outputs. By the ratio alone, of sets of every size, {points}."
        )
    elif gain.expected <= 0:
        loss, sure = "it", gain.high < 0
        reason = f"Instructions are short beside outputs ({words}) and add little to learn; at this ratio {points}."
    elif gain.low > 0:
        loss, sure = "im", limit.low > 0
        reason = (
            f"Instructions are long beside outputs ({words}), and outputs alone are little to learn from; at this "
            f"ratio {points}."
        )
    else:
        loss, sure = "im", False
        reason = (
            f"At this ratio ({words}) {points}: more likely a gain than a loss, and too spread to be sure. Train both "
            "and compare."
        )
    return {"loss": loss, "sure": sure, "reason": reason}


def _changes(ratio: float, examples: int) -> Iterator[str]:
    """On the other side of which ratio and size the advice would be another, or its certainty."""
    _, by_size, corrected, _ = trends()
    some, sure, most = _zero(corrected.fit), _first_sure(corrected.fit), _zero(by_size.fit)
    if examples < most:
        yield (
            f"A ratio below {some:.2g}, where no gain is expected; yours is {ratio:.2g}."
            if ratio > some
            else f"A ratio above {some:.2g}, where a gain is expected; yours is {ratio:.2g}."
        )
        yield (
            f"A ratio below {sure:.2g}, where the interval reaches below zero; yours is {ratio:.2g}."
            if ratio > sure
            else f"A ratio above {sure:.2g}, where the whole interval is above zero; yours is {ratio:.2g}."
        )
    side = "above" if examples < most else "below"
    yield f"A size {side} {most:,.0f} examples, where the trend over size crosses zero; yours is {examples:,}."
    yield "A comparison of your own: a training with each loss says more of your data than nineteen points of others."


def _zero(fit: Fit) -> float:
    """Where the line crosses zero."""
    return exp(-fit.intercept / fit.slope)


def _first_sure(fit: Fit) -> float:
    """The ratio from which on the whole interval is above zero, to a hundredth of its logarithm."""
    steps = (
        exp(number / 100) for number in range(round(100 * log(fit.lowest)), round(100 * log(fit.highest)))
    )
    return next((ratio for ratio in steps if predict(fit, ratio).low > 0), inf)


def _own_caveats(survey: Survey, ratio: float) -> Iterator[str]:
    middle = float(np.median(survey.ratios()))
    if isfinite(middle) and not ratio / 2 <= middle <= ratio * 2:
        yield (
            f"The ratio {ratio:.2g} is of the means, as the paper's; half of your conversations have one below "
            f"{middle:.2g}, so a part of them makes it."
        )
    if survey.character_ratio():
        yield "White space does not part the words of your language: the ratio is of characters, the paper's of words."
