"""Gains against the logarithm of a ratio or of a size, as Figure 2 of the paper fits them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

LEVEL = 0.95


class Fit(NamedTuple):
    """Least squares of y = slope * ln(x) + intercept."""

    slope: float
    intercept: float
    correlation: float
    """Pearson's, of y with ln(x)."""
    points: int
    deviation: float
    """Residual standard deviation, of points - 2 degrees of freedom."""
    mean: float
    """Of ln(x)."""
    spread: float
    """Sum of squares of ln(x) about its mean."""
    lowest: float
    highest: float
    """The range of x; beyond it a prediction is an extrapolation."""


class Prediction(NamedTuple):
    """Where a new y is expected at some x."""

    expected: float
    low: float
    high: float
    extrapolated: bool


def fit(x: Sequence[float], y: Sequence[float]) -> Fit:
    """Fit y to ln(x); natural logarithm, at least three points, x above zero and not all alike."""
    log_n, y_n = np.log(np.asarray(x, np.float64)), np.asarray(y, np.float64)
    from_mean_n = log_n - log_n.mean()
    spread = float(from_mean_n @ from_mean_n)
    slope = float(from_mean_n @ (y_n - y_n.mean())) / spread
    intercept = float(y_n.mean() - slope * log_n.mean())
    residual_n = y_n - slope * log_n - intercept
    return Fit(
        slope=slope,
        intercept=intercept,
        correlation=float(np.corrcoef(log_n, y_n)[0, 1]),
        points=len(y_n),
        deviation=float(np.sqrt(residual_n @ residual_n / (len(y_n) - 2))),
        mean=float(log_n.mean()),
        spread=spread,
        lowest=min(x),
        highest=max(x),
    )


def predict(fit: Fit, x: float, level: float = LEVEL) -> Prediction:
    """The prediction interval of one new point at x, by Student's t with points - 2 degrees of freedom."""
    distance = np.log(x) - fit.mean
    expected = fit.slope * np.log(x) + fit.intercept
    error = fit.deviation * np.sqrt(1 + 1 / fit.points + distance**2 / fit.spread)
    reach = float(stdtrit(fit.points - 2, 0.5 + level / 2) * error)
    inside = fit.lowest <= x <= fit.highest
    return Prediction(float(expected), float(expected) - reach, float(expected) + reach, not inside)
