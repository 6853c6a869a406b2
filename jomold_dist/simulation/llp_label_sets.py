"""LLP's label sets, from their margins.

How many videos carry k labels, how many carry each category, and, in training, how many carry each of the frequent
pairs: that is all the table tells. The distribution is the most even one with these margins. Pairs are counted in
training alone; val and test take over its affinities and keep their own sizes and categories.

Legend: S label sets, C categories.
"""

from __future__ import annotations

from functools import cache
from itertools import combinations

import numpy as np

from jomold_dist.simulation import maximum_entropy
from jomold_dist.simulation.label_sets import LabelSets, membership
from jomold_dist.simulation.llp_statistics import SplitStatistics, llp_statistics

MAX_LABELS = 4  # four of LLP's 1200 test videos carry more; they count as carrying four


@cache
def llp_label_sets(split: str) -> LabelSets:
    """The label sets of the split `split` ("train", "val" or "test")."""
    statistics = llp_statistics()
    figures = statistics.splits[split]
    members = _all_sets(len(figures.counts), min(max(figures.sizes), MAX_LABELS))
    if split == "train":
        probability, _ = _fit_train(figures, members)
    else:
        affinity = _pair_columns(members) @ _pair_affinities()
        features, expected = _size_and_category(figures, members)
        probability, _ = maximum_entropy.fit(features, expected, base=affinity)
    return LabelSets(members, np.cumsum(probability))


@cache
def _pair_affinities() -> np.ndarray:
    """How much more often than by chance the frequent pairs of training occur: logarithms (pairs,)."""
    figures = llp_statistics().splits["train"]
    _, theta = _fit_train(figures, _all_sets(len(figures.counts), max(figures.sizes)))
    return theta[-len(llp_statistics().pairs) :]


def _fit_train(figures: SplitStatistics, members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    features, expected = _size_and_category(figures, members)
    pairs = np.array(list(llp_statistics().pairs.values())) / figures.videos
    return maximum_entropy.fit(np.hstack([features, _pair_columns(members)]), np.concatenate([expected, pairs]))


def _all_sets(categories: int, largest: int) -> np.ndarray:
    """Every set of 1 to `largest` categories, bool (S, C)."""
    return membership([s for n in range(1, largest + 1) for s in combinations(range(categories), n)], categories)


def _size_and_category(figures: SplitStatistics, members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indicators of the set's size (but the first, which follows) and of its categories, with their expectations."""
    size = members.sum(axis=1)
    largest = int(size.max())
    shares = np.zeros(largest + 1)
    for labels, videos in figures.sizes.items():
        shares[min(labels, largest)] += videos / figures.videos
    counts = figures.counts / figures.videos
    # Sets are cut at MAX_LABELS, so the categories' counts shrink by the few labels above it.
    counts = counts * (shares @ np.arange(largest + 1)) / counts.sum()
    columns = [size == k for k in range(2, largest + 1)]
    return np.column_stack([*columns, members]).astype(np.float64), np.concatenate([shares[2:], counts])


def _pair_columns(members: np.ndarray) -> np.ndarray:
    """Whether a set holds each frequent pair, float64 (S, pairs)."""
    pairs = list(llp_statistics().pairs)
    return np.stack([members[:, a] & members[:, b] for a, b in pairs], axis=1).astype(np.float64)
