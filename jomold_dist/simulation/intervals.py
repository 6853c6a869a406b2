"""When an event is heard or seen: a distribution over the 1023 ways to be on in some of ten segments.

Per modality the base distribution has the real numbers of intervals and lengths of intervals; per category it is tilted
to the category's own mean segments and mean intervals. Where a category is both heard and seen, the two masks are
coupled: each keeps its distribution, and masks that agree in more segments come together more often.

Legend: M masks, T segments, C categories, G groups of categories with equal statistics, n events.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from jomold_dist.simulation import maximum_entropy
from jomold_dist.simulation.statistics import SEGMENTS, EventStatistics, IntervalHistograms

# How strongly segments of an event's sound and sight agree: set so that their overlap has LLP's mean of 7.2 segments.
AGREEMENT = 1.0
_SINKHORN_STEPS = 60
_RARE = 1e-7  # a mask's least probability: keeps the coupling finite


@cache
def masks() -> np.ndarray:
    """Every non-empty mask, bool (M, T), M = 2^T - 1."""
    codes = np.arange(1, 2**SEGMENTS)
    return (codes[:, None] >> np.arange(SEGMENTS)[::-1] & 1).astype(bool)


@cache
def _interval_lengths() -> np.ndarray:
    """How many intervals of each length (columns 1…T) a mask has, int64 (M, T)."""
    counts = np.zeros((len(masks()), SEGMENTS), dtype=np.int64)
    for row, mask in zip(counts, masks(), strict=True):
        for run in "".join("x" if on else " " for on in mask).split():
            row[len(run) - 1] += 1
    return counts


def _base(figures: IntervalHistograms) -> np.ndarray:
    """Masks (M,) with the histograms of intervals per event and of interval lengths."""
    lengths = _interval_lengths()
    intervals = lengths.sum(axis=1)
    counted = [intervals == k for k in figures.per_event]
    expected = [*figures.per_event.values(), *figures.length.values()]
    features = np.column_stack([*counted, lengths[:, [k - 1 for k in figures.length]]]).astype(np.float64)
    return maximum_entropy.fit(features, np.array(expected) / figures.events)[0]


def _mask_probabilities(means: np.ndarray, figures: IntervalHistograms) -> np.ndarray:
    """Masks (G, M) of one modality for each pair of mean segments and mean intervals, (G, 2)."""
    features = np.column_stack([masks().sum(axis=1), _interval_lengths().sum(axis=1)]).astype(np.float64)
    base = np.log(_base(figures))
    result = np.empty((len(means), len(masks())))
    for row, (segments, intervals) in zip(result, means, strict=True):
        # A mean of exactly one interval has no finite tilt.
        tilted, _ = maximum_entropy.fit(features, np.array([segments, max(intervals, 1.005)]), base)
        row[:] = np.maximum(tilted, _RARE) / np.maximum(tilted, _RARE).sum()
    return result


@cache
def _kernel() -> np.ndarray:
    """How well two masks go together, float64 (M, M)."""
    on = masks().astype(np.float64)
    return np.exp(AGREEMENT * (on @ on.T + (1 - on) @ (1 - on).T - SEGMENTS))


class IntervalWorld:
    """Draws masks with the statistics of `events`. What categories of equal statistics share is computed once."""

    def __init__(self, events: EventStatistics) -> None:
        groups = []
        self._probabilities = []  # (G, M) for each modality
        for modality, figures in enumerate(events.histograms):
            means = np.stack([events.segments[modality], events.intervals[modality]], axis=1)
            distinct, group = np.unique(means, axis=0, return_inverse=True)
            self._probabilities.append(_mask_probabilities(distinct, figures))
            groups.append(group.reshape(-1))
        self._groups = np.stack(groups)  # (2, C)
        self._couplings: dict[tuple[int, int], np.ndarray] = {}

    def draw_alone(self, modality: int, categories: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """Indices of masks (n,) for events of `categories` (n,) in one modality, from numbers in [0, 1) (n,)."""
        return _invert(self._probabilities[modality][self._groups[modality, categories]], uniform)

    def draw_visual_with(self, audio: np.ndarray, categories: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """Indices of visual masks (n,) for events that sound in the masks `audio` (n,)."""
        if len(audio) == 0:
            return audio
        weights = [self._coupling(*pair) for pair in self._groups[:, categories].T.tolist()]
        return _invert(_kernel()[audio] * np.stack(weights), uniform)

    def _coupling(self, audio_group: int, visual_group: int) -> np.ndarray:
        """Weights (M,) such that P(visual mask | audio mask) ∝ kernel·weights keeps both distributions (Sinkhorn)."""
        known = self._couplings.get((audio_group, visual_group))
        if known is not None:
            return known
        audio, visual = self._probabilities[0][audio_group], self._probabilities[1][visual_group]
        weights = np.ones(len(visual))
        for _ in range(_SINKHORN_STEPS):
            rows = audio / (_kernel() @ weights)
            weights = visual / (_kernel().T @ rows)
        self._couplings[audio_group, visual_group] = weights
        return weights


def _invert(weights: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """The index (n,) at which the running share of `weights` (n, M) passes `uniform` (n,)."""
    running = np.cumsum(weights, axis=1)
    return np.minimum((running < uniform[:, None] * running[:, -1:]).sum(axis=1), weights.shape[1] - 1)
