"""How far two judges agree on the same answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from statistics import fmean
from typing import TypeVar

ALL = "all"
Item = TypeVar("Item")
Pairs = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Agreement:
    """On the items of one category, or of all, that both have a verdict on."""

    category: str
    items: int
    same: float
    """Share of items with the same outcome, 0 to 1."""
    kappa: float | None
    """Cohen's kappa of the outcomes (Cohen 1960): 0 is chance, 1 full agreement; None where nothing else can be."""
    kappa_quadratic: float | None
    """The same where a disagreement counts as the square of its distance (Cohen 1968)."""
    spearman: float | None
    """Rank correlation of the values, ties at their mean rank; None where a judge has one value alone."""
    mean_first: float
    mean_second: float


def agree(
    first: Mapping[Item, float],
    second: Mapping[Item, float],
    categories: Mapping[Item, str],
    outcome: Callable[[float], float],
) -> list[Agreement]:
    """Agreement on all common items, then in each category in the order in which they come; none without common items.

    Args:
        first: one judge's values by item; what could not be parsed is not in it.
        categories: of every item.
        outcome: of a value: what must be the same for two verdicts to agree.
    """
    groups: dict[str, list[tuple[float, float]]] = {}
    for item in first:
        if item in second:
            for name in (ALL, categories[item]):
                groups.setdefault(name, []).append((first[item], second[item]))
    return [_agreement(name, pairs, outcome) for name, pairs in groups.items()]


def _agreement(category: str, pairs: Pairs, outcome: Callable[[float], float]) -> Agreement:
    outcomes = [(outcome(a), outcome(b)) for a, b in pairs]
    return Agreement(
        category=category,
        items=len(pairs),
        same=fmean(a == b for a, b in outcomes),
        kappa=kappa(outcomes, lambda a, b: float(a != b)),
        kappa_quadratic=kappa(outcomes, lambda a, b: (a - b) ** 2),
        spearman=spearman(pairs),
        mean_first=fmean(a for a, _ in pairs),
        mean_second=fmean(b for _, b in pairs),
    )


def kappa(outcomes: Pairs, distance: Callable[[float, float], float]) -> float | None:
    """1 - observed / expected disagreement; expected is that of the two judges' outcomes drawn independently."""
    observed = fmean(distance(a, b) for a, b in outcomes)
    ours, theirs = Counter(a for a, _ in outcomes), Counter(b for _, b in outcomes)
    expected = (
        sum(distance(a, b) * n * m for a, n in ours.items() for b, m in theirs.items()) / len(outcomes) ** 2
    )
    return 1 - observed / expected if expected else None


def spearman(pairs: Pairs) -> float | None:
    """Spearman's rank correlation."""
    from scipy.stats import spearmanr

    if min(len({a for a, _ in pairs}), len({b for _, b in pairs})) < 2:
        return None
    found = float(spearmanr(pairs).statistic)
    return None if isnan(found) else found
