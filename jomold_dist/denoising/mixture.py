"""PURE: how likely a label's event is there in each modality, from its evidence in both.

The labelled videos of a category are a mixture of three patterns: the event is there in *both* modalities, in *audio
only*, or in *visual only*. In each modality, probits (`evidence.py`) of present events are one Gaussian, and of absent
ones another. Where an event is there in both, its two probits are correlated: a faint video is faint in both.

Absents lie near N(0, 1), the scale of videos without the label, but a little higher: that is found from all categories
and both modalities together. Rare categories have a few dozen labels, so every category's parameters are drawn towards
what all share, as if it had some more labels of that kind. Expectation and maximisation are closed forms.

The sums are over cells, counts of labels by the bins of their two probits: exact, whoever had which labels.

Legend: n labels, C categories, S bins of a probit, K cells that hold labels. Modality 0 is audio, 1 is visual; state 0
is absent, 1 is present; pattern 0 is both, 1 is audio only, 2 is visual only.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from jomold_dist.denoising.evidence import HIGHEST, LOWEST

BINS_PER_UNIT = 4
STEPS = round((HIGHEST - LOWEST) * BINS_PER_UNIT)  # S
_MIDDLES = LOWEST + (np.arange(STEPS) + 0.5) / BINS_PER_UNIT

# How many labels of the common kind each category has beside its own.
ABSENT_COUNT, PRESENT_COUNT, PRESENT_SD_COUNT, PATTERN_COUNT = 200.0, 20.0, 30.0, 10.0
ANCHOR_COUNT = 200.0  # how many labels at N(0, 1) all absents have beside their own, and uncorrelated ones all present
MOST_VOTES = 50.0  # how many labels of a category count at most in what all share

SMALLEST_GAP = 0.1  # by which present events lie above absent ones at least
SMALLEST_SD, SMALLEST_WIDENING = 0.3, 0.1
STRONGEST = 5.0  # logarithm of how much likelier low evidence makes absence at most: events may be faint
LARGEST_CORRELATION, FARTHEST = 0.6, 3.0  # standard deviations: what lies farther is not coupled more

START_QUANTILE = 0.75  # of a category's probits, where present events are looked for
START_WEIGHTS = (0.6, 0.3, 0.1)
ITERATIONS, TOLERANCE = 150, 1e-3
_LEAST = 1e-9  # instead of 0 where something is divided by a number of labels
_TINY = 1e-300  # and where a logarithm is taken


@dataclass(frozen=True)
class MixtureParameters:
    """The parameters, float64. A category without labels has what all share."""

    weights: np.ndarray  # (C, 3): shares of the patterns
    mean: np.ndarray  # (2, 2, C): by modality and state
    sd: np.ndarray  # (2, 2, C); present is at least as wide as absent
    correlation: np.ndarray  # (): of the probits of events that are there in both


def count_cells(category: np.ndarray, audio: np.ndarray, visual: np.ndarray, categories: int) -> np.ndarray:
    """Labels by category (n,) and bins of their audio and visual probits (n,): int64 (C, S, S).

    Counts of parts of a split add up to those of the whole, exactly.
    """
    cell = np.asarray(category, dtype=np.int64)
    for probit in (audio, visual):
        place = np.clip(np.floor((probit - LOWEST) * BINS_PER_UNIT), 0, STEPS - 1)
        cell = cell * STEPS + place.astype(np.int64)
    return np.bincount(cell, minlength=categories * STEPS**2).reshape(categories, STEPS, STEPS)


def fit_mixture(cells: np.ndarray) -> MixtureParameters:
    """The parameters that explain the cells int64 (C, S, S) of all labels. A function of the counts alone."""
    mixture = _start(cells)
    filled = _Cells.of(cells)
    for _ in range(ITERATIONS if len(filled.count) else 0):
        before, mixture = mixture, _improved(filled, mixture)
        pairs = ((getattr(before, field.name), getattr(mixture, field.name)) for field in fields(MixtureParameters))
        if max(np.abs(a - b).max() for a, b in pairs) < TOLERANCE:
            break
    return mixture


def pattern_probabilities(
    mixture: MixtureParameters, category: np.ndarray, audio: np.ndarray, visual: np.ndarray
) -> np.ndarray:
    """How likely each pattern is for labels of a category (n,) with these probits (n,): float64 (n, 3), sums of 1."""
    mean, sd = mixture.mean[:, :, category], mixture.sd[:, :, category]
    heard, seen = (_evidence(mean[m], sd[m], probit) for m, probit in enumerate((audio, visual)))
    return _probabilities(_logarithm(mixture.weights)[:, category], heard, seen, mixture.correlation).T


@dataclass(frozen=True)
class _Evidence:
    """What one modality says of labels, or of bins; any shape."""

    ratio: np.ndarray  # log p(probit | present) − log p(probit | absent)
    score: np.ndarray  # the probit's distance from the mean of present events, in standard deviations


def _evidence(mean: np.ndarray, sd: np.ndarray, probit: np.ndarray) -> _Evidence:
    """Of probits (…) under means and sds (2, …) by state.

    Of two Gaussians the wider one wins on both sides, and so very low evidence would speak for presence. Evidence below
    the point where the ratio turns, or where it is −STRONGEST, counts as if it were there.
    """
    gap, wide = mean[1] - mean[0], sd[1] ** 2
    square = (1 / sd[0] ** 2 - 1 / wide) / 2  # the ratio is square·x² + slope·x + level, x from absent's mean
    slope, level = gap / wide, np.log(sd[0] / sd[1]) - gap**2 / wide / 2
    root = np.sqrt(np.maximum(slope**2 - 4 * square * (level + STRONGEST), 0))
    with np.errstate(divide="ignore"):
        lowest = np.maximum(-2 * (level + STRONGEST) / (slope + root), -slope / (2 * square))
    x = np.maximum(probit - mean[0], lowest)
    return _Evidence((square * x + slope) * x + level, np.clip((x - gap) / sd[1], -FARTHEST, FARTHEST))


def _logarithm(weights: np.ndarray) -> np.ndarray:
    """Of the patterns' weights (C, 3), by pattern: (3, C)."""
    return np.log(np.maximum(weights.T, _TINY))


def _probabilities(prior: np.ndarray, audio: _Evidence, visual: _Evidence, correlation: np.ndarray) -> np.ndarray:
    """How likely each pattern is, (3, K), by the logarithm of its weight (3, K) and both modalities' evidence (K,)."""
    coupling = correlation / (1 - correlation**2)
    apart = (audio.score**2 + visual.score**2) * (correlation / 2)
    both = (
        audio.ratio + visual.ratio + coupling * (audio.score * visual.score - apart) - np.log1p(-(correlation**2)) / 2
    )
    joint = prior + np.stack([both, audio.ratio, visual.ratio])
    joint -= np.maximum(np.maximum(joint[0], joint[1]), joint[2])
    np.exp(joint, out=joint)
    return joint / (joint[0] + joint[1] + joint[2])


@dataclass(frozen=True)
class _Cells:
    """The cells that hold labels: how many, and the place of their rows and columns among those of all categories."""

    count: np.ndarray  # float64 (K,)
    category: np.ndarray  # (K,)
    row: np.ndarray  # (K,): of the audio bin, in (C, S)
    column: np.ndarray  # (K,): of the visual bin, in (C, S)
    labels: np.ndarray  # float64 (2, C, S): by modality and bin

    @classmethod
    def of(cls, cells: np.ndarray) -> _Cells:
        row, visual = np.divmod(np.flatnonzero(cells), STEPS)
        category = row // STEPS
        labels = np.stack([cells.sum(2), cells.sum(1)]).astype(np.float64)
        return cls(cells[cells > 0].astype(np.float64), category, row, category * STEPS + visual, labels)


def _start(cells: np.ndarray) -> MixtureParameters:
    categories = len(cells)
    mean, sd = np.zeros((2, 2, categories)), np.ones((2, 2, categories))
    for modality in range(2):
        reached = cells.sum(2 - modality).cumsum(1) >= START_QUANTILE * cells.sum((1, 2))[:, None]
        mean[modality, 1] = np.maximum(_MIDDLES[reached.argmax(1)], SMALLEST_GAP)
        sd[modality, 1] = np.maximum(mean[modality, 1] / 2, 1)
    return MixtureParameters(np.tile(START_WEIGHTS, (categories, 1)), mean, sd, np.zeros(()))


def _improved(cells: _Cells, mixture: MixtureParameters) -> MixtureParameters:
    """One step of expectation and maximisation."""
    tables = [_evidence(mixture.mean[m][:, :, None], mixture.sd[m][:, :, None], _MIDDLES) for m in range(2)]  # (C, S)
    audio, visual = (
        _Evidence(table.ratio.ravel()[place], table.score.ravel()[place])
        for table, place in zip(tables, (cells.row, cells.column), strict=True)
    )  # (K,)
    prior = _logarithm(mixture.weights)[:, cells.category]
    both, audio_only, visual_only = cells.count * _probabilities(prior, audio, visual, mixture.correlation)

    shape = cells.labels.shape[1:]
    heard, seen = (
        np.bincount(place, both + part, cells.labels[0].size).reshape(shape)
        for place, part in ((cells.row, audio_only), (cells.column, visual_only))
    )
    in_both = np.bincount(cells.category, both, shape[0])
    patterns = np.stack([in_both, heard.sum(1) - in_both, seen.sum(1) - in_both], axis=1)
    # Sums, not products of matrices, whose bits may depend on the number of threads.
    squares = (both * (audio.score**2 + visual.score**2)).sum() / 2
    correlation = (both * audio.score * visual.score).sum() / (squares + ANCHOR_COUNT)

    labels = patterns.sum(1, keepdims=True)
    votes = patterns * (np.minimum(labels, MOST_VOTES) / np.maximum(labels, _LEAST))
    shared = votes.sum(0) / votes.sum()
    weights = (patterns + PATTERN_COUNT * shared) / (labels + PATTERN_COUNT)
    mean, sd = _gaussians(np.stack([heard, seen]), cells.labels, 1 - shared[[2, 1]])
    return MixtureParameters(weights, mean, sd, np.clip(correlation, 0, LARGEST_CORRELATION))


def _gaussians(present: np.ndarray, labels: np.ndarray, presence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means and sds (2, 2, C), from the labels (2, C, S) by modality and bin, and so many of them present. `presence`
    (2,) are the shares of all labels that are present.

    An estimator learns some categories well and others hardly at all. So the present events of a category are drawn to
    where all categories' lie, and to where they must lie if its labels were as noisy as all: half way between the two.
    They are the wider the farther they are from absent ones, and where they do not differ, evidence tells nothing.
    """
    absent = np.maximum(labels - present, 0)
    counts, sums = (np.stack([part(absent), part(present)]) for part in (_count, _sum))  # by state
    votes = np.minimum(counts, MOST_VOTES)
    own = votes / np.maximum(counts, _LEAST)  # what a label counts in what all share
    absent_votes, present_votes = votes[0].sum() + ANCHOR_COUNT, votes[1].sum(1, keepdims=True) + _LEAST

    absent_mean = (sums[0] + ABSENT_COUNT * (own[0] * sums[0]).sum() / absent_votes) / (counts[0] + ABSENT_COUNT)
    shared = (own[1] * sums[1]).sum(1, keepdims=True) / present_votes
    labelled = sums.sum(0) / np.maximum(counts.sum(0), _LEAST)
    apart = absent_mean + (labelled - absent_mean) / np.maximum(presence[:, None], _LEAST)
    common = np.where(counts.sum(0) > 0, (shared + apart) / 2, shared)
    present_mean = (sums[1] + PRESENT_COUNT * common) / (counts[1] + PRESENT_COUNT)
    mean = np.stack([absent_mean, np.maximum(present_mean, absent_mean + SMALLEST_GAP)])

    squares = np.stack([_squares(absent, mean[0]), _squares(present, mean[1])])
    anchored = ((own[0] * squares[0]).sum() + ANCHOR_COUNT) / absent_votes
    narrow = (squares[0] + ABSENT_COUNT * anchored) / (counts[0] + ABSENT_COUNT)
    narrow = np.maximum(narrow, SMALLEST_SD**2)
    distance = (mean[1] - mean[0]) ** 2
    widening = (own[1] * squares[1] - votes[1] * narrow).sum(1, keepdims=True)
    widening /= (votes[1] * distance).sum(1, keepdims=True) + _LEAST
    common = narrow + np.maximum(widening, SMALLEST_WIDENING**2) * distance
    wide = np.maximum((squares[1] + PRESENT_SD_COUNT * common) / (counts[1] + PRESENT_SD_COUNT), narrow)
    return mean.swapaxes(0, 1), np.sqrt(np.stack([narrow, wide])).swapaxes(0, 1)


def _count(labels: np.ndarray) -> np.ndarray:
    """How many labels (2, C, S) there are: (2, C)."""
    return labels.sum(2)


def _sum(labels: np.ndarray) -> np.ndarray:
    """The sums of their probits: (2, C)."""
    return (labels * _MIDDLES).sum(2)


def _squares(labels: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """The sums of their squared distances from a mean (2, C): (2, C)."""
    return (labels * (_MIDDLES - mean[:, :, None]) ** 2).sum(2)
