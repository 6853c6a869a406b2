"""PURE: which positions of an epoch each rank takes at each step.

Legend: N videos of the epoch, B of an optimizer batch, W ranks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np


class Share(Protocol):
    """What one rank takes of an epoch."""

    @property
    def steps(self) -> int:
        """How many steps the epoch has, the same on every rank; at some a rank may take nothing."""
        ...

    def begin(self, step: int) -> int:
        """The position from which on this rank needs videos at a step; all that it has taken before lie below."""
        ...

    def positions(self, step: int) -> np.ndarray:
        """Its positions of the epoch at a step, int64, ascending."""
        ...

    def places(self, step: int) -> np.ndarray:
        """The places of these videos among those of all ranks at this step, int64, ascending."""
        ...

    def total(self, step: int) -> int:
        """How many videos all ranks take at a step."""
        ...


@dataclass(frozen=True)
class DealtShare:
    """Of a shuffled epoch: step t is the positions [t·B, (t+1)·B), and rank r takes those p with p % W == r."""

    videos: int
    batch_size: int
    rank: int
    world: int

    @property
    def steps(self) -> int:
        return steps_per_epoch(self.videos, self.batch_size)

    def begin(self, step: int) -> int:
        return step * self.batch_size

    def positions(self, step: int) -> np.ndarray:
        return rank_positions(step, self.batch_size, self.videos, self.rank, self.world)

    def places(self, step: int) -> np.ndarray:
        return self.positions(step) - self.begin(step)

    def total(self, step: int) -> int:
        return min(self.batch_size, self.videos - self.begin(step))


@dataclass(frozen=True)
class SliceShare:
    """Of a pass in the order of the manifest: rank r takes the slice [N·r//W, N·(r+1)//W), ⌈B/W⌉ videos a step.

    So each rank reads shards that lie side by side, and a node brings near what its ranks read and not the whole split.
    """

    videos: int
    batch_size: int
    rank: int
    world: int

    @property
    def steps(self) -> int:
        return steps_of_pass(self.videos, self.batch_size, self.world)

    @property
    def _a_step(self) -> int:
        return -(-self.batch_size // self.world)

    def begin(self, step: int) -> int:
        first, end = rank_slice(self.videos, self.rank, self.world)
        return min(first + step * self._a_step, end)

    def positions(self, step: int) -> np.ndarray:
        return np.arange(self.begin(step), self.begin(step + 1), dtype=np.int64)

    def places(self, step: int) -> np.ndarray:
        before = self._taken(self.rank, step + 1) - self._taken(self.rank, step)
        return before + np.arange(self.begin(step + 1) - self.begin(step), dtype=np.int64)

    def total(self, step: int) -> int:
        return self._taken(self.world, step + 1) - self._taken(self.world, step)

    def _taken(self, ranks: int, steps: int) -> int:
        """How many videos the first ranks take in the first steps together. Slices differ by one video at most."""
        each = steps * self._a_step
        return ranks * each if each <= self.videos // self.world else rank_slice(self.videos, ranks, self.world)[0]


def rank_slice(videos: int, rank: int, world: int) -> tuple[int, int]:
    """The positions [first, end) of a pass in the order of the manifest that are a rank's."""
    return videos * rank // world, videos * (rank + 1) // world


def steps_per_epoch(videos: int, batch_size: int) -> int:
    """Optimizer steps of an epoch; the last batch may be smaller."""
    return -(-videos // batch_size)


def steps_of_pass(videos: int, batch_size: int, world: int) -> int:
    """Steps of a pass in the order of the manifest: as many as the longest slice takes."""
    return steps_per_epoch(-(-videos // world), -(-batch_size // world))


def rank_positions(step: int, batch_size: int, videos: int, rank: int, world: int) -> np.ndarray:
    """The positions of a shuffled epoch that a rank takes at a step, int64, ascending; there may be none."""
    start, end = step * batch_size, min((step + 1) * batch_size, videos)
    return np.arange(start + (rank - start) % world, end, world, dtype=np.int64)
