"""PURE: what logits say of labels, on one scale for all categories, modalities and estimators.

Videos *without* a label are clean: its event is there in neither modality. So a logit's place among theirs tells the
same of every category, however well an estimator has learnt it. The place is given as a probit, by which absents are
N(0, 1). Beyond the 98th percentile, where few absents are and most present events, it goes on as a line through the
median and that percentile; below the 2nd as its mirror image.

All that is summed over batches, folds and ranks are counts of absents in the bins of a fixed grid, so that sums are
exact. The place between the middles of two bins is interpolated.

Legend: n videos or labels, C categories.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor

LIMIT = 17.0  # logits of probabilities clamped to [1e-7, 1 − 1e-7] are within ±16.2
BINS_PER_UNIT = 64
BINS = round(2 * LIMIT * BINS_PER_UNIT)

LINEAR_FROM = 0.98
FEWEST_ABSENTS = 20  # fewer do not show where their 98th percentile is; all categories' absents stand in for them
LOWEST, HIGHEST = -4.0, 16.0
"""Between these all probits lie. What is farther from the absents' median tells nothing more."""

_MIDDLES = (np.arange(BINS) + 0.5) / BINS_PER_UNIT - LIMIT


class AbsentCounts:
    """Where the logits of the videos without each label lie, of one estimator and modality: `counts` int64 (C, BINS).

    Counts of parts of a split add up to those of the whole, exactly.
    """

    def __init__(self, categories: int, device: torch.device) -> None:
        self.counts = torch.zeros(categories, BINS, dtype=torch.int64, device=device)

    def add(self, logit: Tensor, labels: Tensor) -> None:
        """Logits (n, C) of videos with the labels bool (n, C). Beyond ±LIMIT they fall into the last bins. They must
        not be NaN."""
        categories = len(self.counts)
        place = ((logit.to(self.counts.device) + LIMIT) * BINS_PER_UNIT).clamp(0, BINS - 1).to(torch.int64)
        place += torch.arange(categories, device=place.device) * BINS
        absent = (~labels.to(self.counts.device).bool()).to(torch.int64)
        self.counts.view(-1).index_add_(0, place.reshape(-1), absent.reshape(-1))


def probits(counts: np.ndarray, logit: np.ndarray, category: np.ndarray) -> np.ndarray:
    """Places of logits (n,) of labels of a `category` (n,) among the absents int64 (C, BINS): float64 (n,), from LOWEST
    to HIGHEST.

    A category with fewer than FEWEST_ABSENTS is compared with the absents of all. Where there are too few of these,
    too, nothing is known: 0.
    """
    scale = _probits_of_bins(counts)
    at = np.clip((np.asarray(logit, dtype=np.float64) + LIMIT) * BINS_PER_UNIT - 0.5, 0, BINS - 1)
    below = np.minimum(at.astype(np.int64), BINS - 2)
    low, high = scale[category, below], scale[category, below + 1]
    return low + (at - below) * (high - low)


def _probits_of_bins(counts: np.ndarray) -> np.ndarray:
    """The probit of each bin's middle, float64 (C, BINS): non-decreasing along a row."""
    few = counts.sum(1) < FEWEST_ABSENTS
    counts = np.where(few[:, None], counts.sum(0), counts)
    scale = np.zeros(counts.shape)
    for category in np.flatnonzero(counts.sum(1) >= FEWEST_ABSENTS):
        scale[category] = _scale(counts[category])
    return np.clip(scale, LOWEST, HIGHEST)


def _scale(counts: np.ndarray) -> np.ndarray:
    """The same of one category (BINS,) that has absents."""
    bins = np.flatnonzero(counts)  # between them it is a line
    place = (np.cumsum(counts[bins]) - counts[bins] / 2) / counts.sum()  # of a bin's absents half are below its middle
    middles = _MIDDLES[bins]
    low, median, high = np.interp([1 - LINEAR_FROM, 0.5, LINEAR_FROM], place, middles)
    edge = NormalDist().inv_cdf(LINEAR_FROM)
    inside = (place > 1 - LINEAR_FROM) & (place < LINEAR_FROM)  # at least the median's bin
    knots, probit = middles[inside], torch.special.ndtri(torch.from_numpy(place[inside])).numpy()
    if low < knots[0]:
        knots, probit = np.append(low, knots), np.append(-edge, probit)
    if high > knots[-1]:
        knots, probit = np.append(knots, high), np.append(probit, edge)
    least = 1 / BINS_PER_UNIT  # where absents are all alike
    scale = np.interp(_MIDDLES, knots, probit)
    scale += np.maximum(_MIDDLES - high, 0) * edge / max(high - median, least)
    scale += np.minimum(_MIDDLES - low, 0) * edge / max(median - low, least)
    return scale
