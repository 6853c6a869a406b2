"""Which categories a video is labelled with: a distribution over label sets.

Legend: S label sets, C categories, n videos.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LabelSets:
    """The label sets of a split, bool (S, C), and their running probability (S,)."""

    members: np.ndarray
    cumulative: np.ndarray

    @classmethod
    def counted(cls, sets: Iterable[tuple[int, Sequence[int]]], categories: int) -> LabelSets:
        """The sets that videos were seen to carry, each as (videos, its columns), as often as they were seen."""
        counts, columns = zip(*sets, strict=True)
        return cls(membership(columns, categories), np.cumsum(counts) / sum(counts))

    @property
    def max_labels(self) -> int:
        return int(self.members.sum(axis=1).max())

    def draw(self, uniform: np.ndarray) -> np.ndarray:
        """Labels bool (n, C) from one number in [0, 1) a video (n,)."""
        index = np.searchsorted(self.cumulative, uniform, side="right")
        return self.members[np.minimum(index, len(self.members) - 1)]


def membership(sets: Sequence[Sequence[int]], categories: int) -> np.ndarray:
    """Sets of columns as rows, bool (S, C)."""
    members = np.zeros((len(sets), categories), dtype=bool)
    for row, columns in zip(members, sets, strict=True):
        row[list(columns)] = True
    return members
