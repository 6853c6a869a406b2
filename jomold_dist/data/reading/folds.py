"""PURE: the folds of a split, by which a network can be kept from videos that it is to judge unseen.

Fold k of K holds every K-th run of neighbouring videos. Neighbours stay together, because clips of one recording often
lie side by side; and every stretch of the split is in all folds alike, also where it is sorted. Nothing is listed: the
n-th video of a fold, or of the others, follows from n.

Legend: N videos of the split, numbered in the order of the manifest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RUN = 8  # neighbouring videos
LEAST_RUNS = 4  # of each fold, before runs get shorter


@dataclass(frozen=True)
class Fold:
    """The videos of fold `number` of `folds`, or, with `others`, all but these. `run`: see `run_length`."""

    number: int
    folds: int
    run: int
    others: bool = False

    @property
    def complement(self) -> Fold:
        """The videos that are not in it."""
        return Fold(self.number, self.folds, self.run, not self.others)

    def count(self, end: np.ndarray) -> np.ndarray:
        """How many of the split's first `end` videos are in it; int64 of any shape."""
        rounds, rest = np.divmod(end, self.folds * self.run)
        inside = rounds * self.run + np.clip(rest - self.number * self.run, 0, self.run)
        return end - inside if self.others else inside

    def video(self, order: np.ndarray) -> np.ndarray:
        """The number of its videos by their order in it, int64 of any shape: the inverse of `count`."""
        if not self.others:
            rounds, rest = np.divmod(order, self.run)
            return (rounds * self.folds + self.number) * self.run + rest
        rounds, rest = np.divmod(order, (self.folds - 1) * self.run)
        return rounds * self.folds * self.run + rest + np.where(rest >= self.number * self.run, self.run, 0)


def folds_of(videos: int, folds: int) -> list[Fold]:
    """The folds of a split of N videos: shorter runs where there are few, so that each fold has some videos if there
    are so many."""
    run = min(RUN, max(1, videos // (folds * LEAST_RUNS)))
    return [Fold(number, folds, run) for number in range(folds)]
