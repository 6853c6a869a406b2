"""Simple statistics of a feature's values.

Shapes: n videos, R rows, F a feature's width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Statistics:
    """Of some values: their mean and standard deviation, the least and the largest, and the share that is zero."""

    mean: float
    std: float
    least: float
    largest: float
    zeros: float


class Sums:
    """Statistics of values that come in parts."""

    def __init__(self) -> None:
        self._count, self._zeros = 0, 0
        self._sum, self._squares = 0.0, 0.0
        self._least, self._largest = math.inf, -math.inf

    def add(self, values: np.ndarray) -> None:
        """So many more, of any shape."""
        exact = values.astype(np.float64)
        self._count += exact.size
        self._zeros += int((exact == 0).sum())
        self._sum += float(exact.sum())
        self._squares += float(np.square(exact).sum())
        self._least = min(self._least, float(exact.min(initial=math.inf)))
        self._largest = max(self._largest, float(exact.max(initial=-math.inf)))

    def statistics(self) -> Statistics | None:
        """Of all that was added; None if that was nothing."""
        if not self._count:
            return None
        mean = self._sum / self._count
        variance = max(0.0, self._squares / self._count - mean * mean)
        return Statistics(mean, math.sqrt(variance), self._least, self._largest, self._zeros / self._count)


def statistics_of(values: np.ndarray) -> Statistics:
    """Of one array that is not empty."""
    exact = values.astype(np.float64)
    return Statistics(
        float(exact.mean()),
        float(exact.std()),
        float(exact.min()),
        float(exact.max()),
        float((exact == 0).mean()),
    )
