"""PURE: how many labels a ranking over batches can reach, for it looks at k = trunc(ratio × n) of a batch's n labels.

Where a category is rare, or its noise ratio or the batch small, k is mostly 0, and the category is never denoised.
Figures are expectations over all orders of the videos, and exact for these. Ratios are those after the warm-up.

Symbols: N videos of a split, B of a batch, C categories, M modalities.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Reach(NamedTuple):
    """What is reached in an epoch of batches of one size: float64 (M, C) each."""

    intended: np.ndarray
    """ratio × labels."""
    candidates: np.ndarray
    """Labels that the ranking looks at, on the average."""

    @property
    def noisy(self) -> np.ndarray:
        """Where the ratio means at least one label, bool (M, C)."""
        return self.intended >= 1

    @property
    def reached(self) -> np.ndarray:
        """Where of these at least one label an epoch is looked at, bool (M, C)."""
        return self.noisy & (self.candidates >= 1)

    @property
    def shares(self) -> np.ndarray:
        """The share of each modality's intended labels that is looked at, float64 (M,); 0 where none is intended."""
        intended = self.intended.sum(1)
        return self.candidates.sum(1) / np.where(intended > 0, intended, 1)


def reach(ratios: np.ndarray, labels: np.ndarray, videos: int, batch_size: int) -> Reach:
    """Noise ratios (M, C) in [0, 1], and labels (C,) of a split of N videos that are dealt in batches of B.

    As in Algorithm 1, k is truncated in float64. The last batch of an epoch may be smaller.
    """
    ratios = np.asarray(ratios, dtype=np.float64)
    size = min(batch_size, videos)
    sizes = [(size, videos // size), (videos % size, 1)] if size else []
    candidates = np.zeros_like(ratios)
    for category, count in enumerate(labels.tolist()):
        if not ratios[:, category].any():
            continue
        for batch, times in sizes:
            there, chance = batch_labels(videos, count, batch)
            k = (ratios[:, category, None] * there).astype(np.int64)  # (M, n)
            candidates[:, category] += times * (k @ chance)
    return Reach(ratios * labels, candidates)


def batch_labels(videos: int, labels: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """How many of a category's labels a batch may hold, ascending int64 (n,), and how likely each number is, float64.

    The hypergeometric distribution: B of N videos without replacement, `labels` of which have the category. Built from
    the quotients of neighbours in logarithms, so that no factorial and no cancellation enters.
    """
    others = videos - labels
    there = np.arange(max(0, batch_size - others), min(batch_size, labels) + 1, dtype=np.int64)
    n = there[:-1].astype(np.float64)
    steps = np.log((labels - n) * (batch_size - n)) - np.log((n + 1) * (others - batch_size + n + 1))
    height = np.concatenate([[0.0], np.cumsum(steps)])
    weight = np.exp(height - height.max())
    return there, weight / weight.sum()
