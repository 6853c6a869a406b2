"""PURE: what a step adds up for those who want to know how training goes, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class StepSums:
    """The places in a vector of sums (S,) over steps: of each term of the loss over videos, how many videos these are,
    and how many labels were taken out, mask by mask."""

    weights: Mapping[str, float]
    """The terms of the loss and their factors."""
    masks: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.weights) + 1 + len(self.masks)

    @property
    def videos(self) -> int:
        """The place of the number of videos; those of the terms lie before it, those of the masks behind it."""
        return len(self.weights)

    def losses(self, sums: Sequence[float]) -> dict[str, float]:
        """The mean `loss` of a video, and each term of it as `loss_TERM`, without its factor."""
        each = [total / max(sums[self.videos], 1) for total in sums[: self.videos]]
        whole = sum(weight * value for weight, value in zip(self.weights.values(), each, strict=True))
        return {"loss": whole, **{f"loss_{name}": value for name, value in zip(self.weights, each, strict=True)}}

    def removed(self, sums: Sequence[float]) -> dict[str, float]:
        """The labels that were taken out, as `removed_MASK`."""
        return {f"removed_{name}": count for name, count in zip(self.masks, sums[self.videos + 1 :], strict=True)}


class Since:
    """What was added to running sums since they were looked at last, although they start anew with every epoch."""

    def __init__(self, size: int) -> None:
        self._seen = np.zeros(size)

    def take(self, running: np.ndarray) -> np.ndarray:
        """What came since the last call; `running` are the sums (S,) of the epoch so far."""
        new, self._seen = running - self._seen, running.copy()
        return new

    def end_epoch(self, whole: np.ndarray) -> None:
        """The running sums start anew, after they were these."""
        self._seen = self._seen - whole  # so that what was not taken yet is added to the next epoch's

    def state(self) -> list[float]:
        return [float(value) for value in self._seen]

    def load_state(self, state: Sequence[float]) -> None:
        self._seen = np.array(state, dtype=np.float64)
