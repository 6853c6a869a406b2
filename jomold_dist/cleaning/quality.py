"""PURE: how right a confidence is, where the truth is known: precision and recall against it, and calibration.

Legend: n labels of one modality or of both together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99)
EDGES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 1.0)
_Z = 1.96  # two-sided 95 % of a Gaussian


@dataclass(frozen=True)
class AtConfidence:
    """The labels that are told as noise at this confidence or more. Shares are in [0, 1]."""

    confidence: float
    told: int
    """How many."""
    right: int
    """How many of them are noise."""
    noise: int
    """How much noise there is at all."""
    expected: float | None
    """The mean of their confidences: the precision that they promise; None where there are none."""

    @property
    def precision(self) -> float | None:
        return self.right / self.told if self.told else None

    @property
    def recall(self) -> float | None:
        return self.right / self.noise if self.noise else None

    @property
    def interval(self) -> tuple[float, float]:
        """Within which the precision lies in 95 of 100 cases."""
        return wilson(self.right, self.told)


@dataclass(frozen=True)
class Band:
    """The labels whose confidence lies from `low` on, below `high` (the last one's included)."""

    low: float
    high: float
    labels: int
    expected: float
    """Their mean confidence."""
    found: float
    """The share of them that is noise."""
    interval: tuple[float, float]
    """Within which that lies in 95 of 100 cases."""


def against_confidence(
    confidence: np.ndarray, noise: np.ndarray, thresholds: tuple[float, ...] = THRESHOLDS
) -> list[AtConfidence]:
    """Of labels with a confidence (n,) that are noise or not, bool (n,), what is told at each threshold."""
    total, rows = int(noise.sum()), []
    for threshold in thresholds:
        told = confidence >= threshold
        count = int(told.sum())
        expected = float(confidence[told].mean(dtype=np.float64)) if count else None
        rows.append(AtConfidence(threshold, count, int(noise[told].sum()), total, expected))
    return rows


def calibration(confidence: np.ndarray, noise: np.ndarray) -> list[Band]:
    """The bands of EDGES that have labels."""
    bands = []
    place = np.clip(np.searchsorted(EDGES, confidence, side="right") - 1, 0, len(EDGES) - 2)
    for number, (low, high) in enumerate(pairwise(EDGES)):
        inside = place == number
        if count := int(inside.sum()):
            right = int(noise[inside].sum())
            expected = float(confidence[inside].mean(dtype=np.float64))
            bands.append(Band(low, high, count, expected, right / count, wilson(right, count)))
    return bands


def calibration_error(bands: list[Band]) -> float:
    """The mean distance between confidence and share of noise, over labels by bands; 0 without any."""
    labels = sum(band.labels for band in bands)
    return sum(band.labels * abs(band.expected - band.found) for band in bands) / labels if labels else 0.0


def wilson(right: int, count: int) -> tuple[float, float]:
    """The interval of a share by Wilson's score, 95 %; all of [0, 1] without any."""
    if not count:
        return 0.0, 1.0
    share, spread = right / count, _Z**2 / count
    half = _Z * math.sqrt(share * (1 - share) / count + spread / (4 * count))
    low, high = ((share + spread / 2 + sign * half) / (1 + spread) for sign in (-1, 1))
    return max(min(low, share), 0.0), min(max(high, share), 1.0)
