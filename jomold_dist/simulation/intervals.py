"""When an event is heard or seen: a distribution over the 1023 ways to be on in some of ten segments.

Per modality the base distribution has LLP's real numbers of intervals and lengths of intervals; per category it is
tilted to the category's own mean segments and mean intervals. Where a category is both heard and seen, the two masks
are coupled: each keeps its distribution, and masks that agree in more segments come together more often.

Legend: M masks, T segments, C categories, n events.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from jomold_dist.simulation import maximum_entropy
from jomold_dist.simulation.statistics import MODALITIES, SEGMENTS, IntervalStatistics, llp_statistics

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


def _base(figures: IntervalStatistics) -> np.ndarray:
    """Masks (M,) with the histograms of intervals per event and of interval lengths."""
    lengths = _interval_lengths()
    intervals = lengths.sum(axis=1)
    counted = [intervals == k for k in figures.per_event]
    expected = [*figures.per_event.values(), *figures.length.values()]
    features = np.column_stack([*counted, lengths[:, [k - 1 for k in figures.length]]]).astype(np.float64)
    return maximum_entropy.fit(features, np.array(expected) / figures.events)[0]


@cache
def mask_probabilities() -> np.ndarray:
    """Probability of each mask per modality and category, float64 (2, C, M)."""
    statistics = llp_statistics()
    features = np.column_stack([masks().sum(axis=1), _interval_lengths().sum(axis=1)]).astype(np.float64)
    result = np.empty((*statistics.segments.shape, len(masks())))
    for modality in range(len(MODALITIES)):
        base = np.log(_base(statistics.histograms[modality]))
        for category in range(result.shape[1]):
            segments = statistics.segments[modality, category]
            # A mean of exactly one interval has no finite tilt.
            intervals = max(statistics.intervals[modality, category], 1.005)
            tilted, _ = maximum_entropy.fit(features, np.array([segments, intervals]), base)
            result[modality, category] = np.maximum(tilted, _RARE) / np.maximum(tilted, _RARE).sum()
    return result


@cache
def _kernel() -> np.ndarray:
    """How well two masks go together, float64 (M, M)."""
    on = masks().astype(np.float64)
    return np.exp(AGREEMENT * (on @ on.T + (1 - on) @ (1 - on).T - SEGMENTS))


@cache
def _coupling(category: int) -> np.ndarray:
    """Weights (M,) such that P(visual mask | audio mask) ∝ kernel·weights keeps both distributions (Sinkhorn)."""
    audio, visual = mask_probabilities()[:, category]
    weights = np.ones(len(visual))
    for _ in range(_SINKHORN_STEPS):
        rows = audio / (_kernel() @ weights)
        weights = visual / (_kernel().T @ rows)
    return weights


def draw_alone(modality: int, categories: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Indices of masks (n,) for events of `categories` (n,) in one modality, from numbers in [0, 1) (n,)."""
    return _invert(mask_probabilities()[modality][categories], uniform)


def draw_visual_with(audio: np.ndarray, categories: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Indices of visual masks (n,) for events that sound in the masks `audio` (n,)."""
    if len(audio) == 0:
        return audio
    return _invert(_kernel()[audio] * np.stack([_coupling(int(c)) for c in categories]), uniform)


def _invert(weights: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """The index (n,) at which the running share of `weights` (n, M) passes `uniform` (n,)."""
    running = np.cumsum(weights, axis=1)
    return np.minimum((running < uniform[:, None] * running[:, -1:]).sum(axis=1), weights.shape[1] - 1)
