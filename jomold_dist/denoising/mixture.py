"""PURE: how likely a label's event is there in each modality, from its evidence in both.

The labelled videos of a category are a mixture of three patterns: the event is there in *both* modalities, in *audio
only*, or in *visual only*. In each modality, probits (`evidence.py`) of present events are one Gaussian, and of absent
ones another, which lies near N(0, 1), the scale of videos without the label. It may shift: labelled videos that lack
the event are unlike the others. Expectation and maximisation are closed forms.

Rare categories have a few dozen labels. So every category's parameters are drawn towards what all share, as if it had
a few more labels of that kind.

The sums are over cells, counts of labels by the bins of their two probits: exact, whoever had which labels.

Legend: n labels, C categories, S bins of a probit. Modality 0 is audio, 1 is visual; state 0 is absent, 1 is present;
pattern 0 is both, 1 is audio only, 2 is visual only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jomold_dist.denoising.evidence import HIGHEST, LOWEST

BINS_PER_UNIT = 8
STEPS = round((HIGHEST - LOWEST) * BINS_PER_UNIT)  # S
_MIDDLES = LOWEST + (np.arange(STEPS) + 0.5) / BINS_PER_UNIT

ABSENT_COUNT = 200.0
PRESENT_COUNT = 2.0
PATTERN_COUNT = 10.0
"""How many labels of the common kind each category has beside its own."""

GAP = 0.7  # by which present events lie above absent ones at least
SMALLEST_SD = 0.3
FEWEST_VOTES, MOST_VOTES = 1e-9, 50.0  # labels beyond these do not weigh more in what all categories share
ITERATIONS, TOLERANCE = 300, 1e-5
FARTHEST = 250.0  # logarithm of a ratio of densities: products of two do not vanish in float64

START_WEIGHTS = (0.6, 0.3, 0.1)
START_QUANTILE = 0.75  # of a category's probits, where present events are looked for


@dataclass(frozen=True)
class Mixture:
    """The parameters of each category, float64. Without labels, a category has those that all share."""

    weights: np.ndarray  # (C, 3): shares of the patterns
    mean: np.ndarray  # (2, 2, C): by modality and state
    sd: np.ndarray  # (2, 2, C)

    def noise_ratios(self) -> np.ndarray:
        """Shares of labels whose event is not there, float64 (2, C), audio first."""
        return np.stack([self.weights[:, 2], self.weights[:, 1]])


def count_cells(category: np.ndarray, audio: np.ndarray, visual: np.ndarray, categories: int) -> np.ndarray:
    """Labels by category (n,) and bins of their audio and visual probits (n,): int64 (C, S, S).

    Counts of parts of a split add up to those of the whole, exactly.
    """
    cell = np.asarray(category, dtype=np.int64)
    for probit in (audio, visual):
        place = np.clip(np.floor((probit - LOWEST) * BINS_PER_UNIT), 0, STEPS - 1)
        cell = cell * STEPS + place.astype(np.int64)
    return np.bincount(cell, minlength=categories * STEPS**2).reshape(categories, STEPS, STEPS)


def fit_mixture(cells: np.ndarray) -> Mixture:
    """The parameters that explain the cells int64 (C, S, S) of all labels. A function of the counts alone."""
    counts = cells.astype(np.float64)
    mixture = _start(counts)
    if not counts.any():
        return mixture
    for _ in range(ITERATIONS):
        before, mixture = mixture, _improved(counts, mixture)
        if _change(before, mixture) < TOLERANCE:
            break
    return mixture


def pattern_probabilities(mixture: Mixture, category: np.ndarray, audio: np.ndarray, visual: np.ndarray) -> np.ndarray:
    """How likely each pattern is for labels of a category (n,) with these probits (n,): float64 (n, 3), sums of 1."""
    audio_ratio = np.exp(_log_ratio(mixture.mean[0][:, category], mixture.sd[0][:, category], audio))
    visual_ratio = np.exp(_log_ratio(mixture.mean[1][:, category], mixture.sd[1][:, category], visual))
    joint = np.stack([audio_ratio * visual_ratio, audio_ratio, visual_ratio], axis=1) * mixture.weights[category]
    return joint / joint.sum(1, keepdims=True)


def _log_ratio(mean: np.ndarray, sd: np.ndarray, probit: np.ndarray) -> np.ndarray:
    """log p(probit | present) − log p(probit | absent); means and sds (2, …) by state.

    Of two Gaussians of unequal width, the wider one wins on both sides. But higher evidence never speaks against
    presence: beyond the probit where the ratio turns, it stays what it is there.
    """
    (absent, present), (narrow, wide) = mean, sd**2
    with np.errstate(divide="ignore", invalid="ignore"):
        turn = (absent / narrow - present / wide) / (1 / narrow - 1 / wide)
    probit = np.where(
        wide > narrow, np.maximum(probit, turn), np.where(wide < narrow, np.minimum(probit, turn), probit)
    )
    ratio = (probit - absent) ** 2 / narrow / 2 - (probit - present) ** 2 / wide / 2 + np.log(narrow / wide) / 2
    return np.clip(ratio, -FARTHEST, FARTHEST)


def _start(counts: np.ndarray) -> Mixture:
    categories = len(counts)
    mean, sd = np.zeros((2, 2, categories)), np.ones((2, 2, categories))
    for modality in range(2):
        labels = counts.sum(2 - modality)  # (C, S)
        reached = labels.cumsum(1) >= START_QUANTILE * labels.sum(1, keepdims=True)
        mean[modality, 1] = np.maximum(_MIDDLES[reached.argmax(1)], GAP)
    return Mixture(np.tile(START_WEIGHTS, (categories, 1)), mean, sd)


def _improved(counts: np.ndarray, mixture: Mixture) -> Mixture:
    """One step of expectation and maximisation."""
    labels = counts.sum((1, 2))  # (C,)
    audio, visual = (
        np.exp(_log_ratio(mixture.mean[m][:, :, None], mixture.sd[m][:, :, None], _MIDDLES)) for m in range(2)
    )  # (C, S): how much likelier a bin is if present
    both, audio_only, visual_only = mixture.weights.T[:, :, None]  # (C, 1)
    if_audio, if_silent = both * visual + audio_only, visual_only * visual  # (C, S) of visual bins
    share = counts / (audio[:, :, None] * if_audio[:, None] + if_silent[:, None])  # (C, S, S)
    # Not by products of matrices, whose bits may depend on the number of threads.
    heard = audio * np.einsum("cij,cj->ci", share, if_audio)
    on_audio, on_silence = np.einsum("cij,ci->cj", share, audio), share.sum(1)
    in_both, only_heard, only_seen = both * visual * on_audio, audio_only * on_audio, visual_only * visual * on_silence
    patterns = np.stack([part.sum(1) for part in (in_both, only_heard, only_seen)], axis=1)  # (C, 3)

    shared = patterns.sum(0) / labels.sum()
    weights = (patterns + PATTERN_COUNT * shared) / (labels[:, None] + PATTERN_COUNT)
    present = (heard, in_both + only_seen)
    gaussians = [_gaussians(there, counts.sum(2 - m) - there, mixture.mean[m]) for m, there in enumerate(present)]
    mean, sd = (np.stack(part) for part in zip(*gaussians, strict=True))
    return Mixture(weights, mean, sd)


def _gaussians(present: np.ndarray, absent: np.ndarray, before: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means and sds (2, C) of one modality, from so many present and absent labels (C, S) in its bins. Deviations are
    from the means `before` (2, C)."""
    absent_count, present_count = np.maximum(absent.sum(1), 0), present.sum(1)
    absent_mean = _first(absent) / (absent_count + ABSENT_COUNT)
    absent_variance = (_second(absent, before[0]) + ABSENT_COUNT) / (absent_count + ABSENT_COUNT)

    votes = np.minimum(present_count, MOST_VOTES)
    own_mean = _first(present) / np.maximum(present_count, FEWEST_VOTES)
    shared_mean = (votes * own_mean).sum() / max(votes.sum(), FEWEST_VOTES)
    squares = _second(present, before[1])
    shared_variance = squares.sum() / max(present_count.sum(), FEWEST_VOTES)
    present_mean = (_first(present) + PRESENT_COUNT * shared_mean) / (present_count + PRESENT_COUNT)
    present_mean = np.maximum(present_mean, absent_mean + GAP)
    present_variance = (squares + PRESENT_COUNT * shared_variance) / (present_count + PRESENT_COUNT)

    variance = np.stack([absent_variance, present_variance])
    return np.stack([absent_mean, present_mean]), np.maximum(np.sqrt(variance), SMALLEST_SD)


def _first(labels: np.ndarray) -> np.ndarray:
    """Sums of the probits of labels (C, S): (C,)."""
    return (labels * _MIDDLES).sum(1)


def _second(labels: np.ndarray, around: np.ndarray) -> np.ndarray:
    """Sums of their squared deviations from a probit (C,): (C,)."""
    return (labels * (_MIDDLES - around[:, None]) ** 2).sum(1)


def _change(before: Mixture, after: Mixture) -> float:
    """The largest difference of two mixtures' parameters."""
    return max(float(np.abs(getattr(before, n) - getattr(after, n)).max()) for n in ("weights", "mean", "sd"))
