"""Means of a sample with their standard errors; None where a sample says nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Mean(NamedTuple):
    """Of a sample of examples."""

    value: float | None
    """None of an empty sample."""
    stderr: float | None
    """None of fewer than two examples."""
    examples: int


def mean(values: Sequence[float]) -> Mean:
    """The mean of one value an example; its standard error is s / sqrt(n), with n - 1 in s."""
    n = len(values)
    if n == 0:
        return Mean(None, None, 0)
    return Mean(float(np.mean(values)), float(np.std(values, ddof=1) / math.sqrt(n)) if n > 1 else None, n)


def ratio(sums: Sequence[float], sizes: Sequence[float]) -> Mean:
    """The sum of all examples' sums over the sum of their sizes, such as a loss per token.

    Its standard error is that of the linearised ratio with examples as the sample: sqrt(n / (n - 1) * sum of
    (sum - ratio * size)^2) / total size (Cochran, Sampling Techniques, section 6.4).
    """
    n, total = len(sums), float(np.sum(sizes))
    if n == 0:
        return Mean(None, None, 0)
    value = float(np.sum(sums)) / total
    residuals = np.asarray(sums) - value * np.asarray(sizes)
    stderr = math.sqrt(n / (n - 1) * float(np.square(residuals).sum())) / total if n > 1 else None
    return Mean(value, stderr, n)
