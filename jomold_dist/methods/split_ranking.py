"""Algorithm 1 over all labels of the training split, by their losses averaged over the epochs so far.

An epoch deals the videos to the ranks anew, so no rank could sum up the losses of a label on its own. Each keeps the
losses of its share of an epoch. At the epoch's end and before a checkpoint rank 0 gathers them into the one table of
sums; at the epoch's end it ranks, and the others are given the numbers of the removed labels, which hold for the next
epoch. A label has one loss an epoch, none in a skipped step, so that no sum depends on who had it or when it was
gathered, and rank 0 decides for all.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from jomold_dist.data.reading.loader import Batch
from jomold_dist.denoising.memory import LabelLosses, are_among
from jomold_dist.denoising.removal import Rule
from jomold_dist.distributed.world import World, broadcast_object, gather_to_main
from jomold_dist.labels import MODALITIES


class SplitRanking:
    """What is removed from a split of so many videos, and the losses that decide it. In the first epoch nothing is."""

    def __init__(self, videos: int) -> None:
        self._videos = videos
        self._table = LabelLosses()  # on rank 0
        self._own: list[tuple[np.ndarray, np.ndarray]] = []  # numbers and losses of this rank's labels, by step
        self._removed = [np.zeros(0, dtype=np.int64) for _ in MODALITIES]  # numbers of labels, ascending

    @staticmethod
    def most_bytes(labels: int) -> int:
        """The memory that it takes on rank 0 at most, for so many labels: 20 bytes each in the table, 16 for number and
        losses of an epoch, 8 in each modality for the numbers of removed labels, and some 70 while the losses are
        added. The others hold their share of an epoch and the removed labels."""
        return labels * (20 + 16 + 16 + 70)

    def masks_of(self, batch: Batch) -> Tensor:
        """This rank's labels that are removed, bool (2, b, C), audio first."""
        video, category = batch.labels.numpy().nonzero()
        masks = np.zeros((len(MODALITIES), *batch.labels.shape), dtype=bool)
        masks[:, video, category] = [are_among(self._numbers(batch), removed) for removed in self._removed]
        return torch.from_numpy(masks)

    def add(self, batch: Batch, losses: Tensor) -> None:
        """A step's losses (n, 2) of this rank's labels, in the order of `batch.labels.nonzero()`."""
        self._own.append((self._numbers(batch), losses.to(torch.float32).cpu().numpy()))

    def rank(self, audio_ratio: Tensor, visual_ratio: Tensor, rule: Rule, world: World) -> None:
        """Collective, at an epoch's end: what is removed from now on."""
        self._collect(world)
        removed = None
        if world.is_main:
            removed = self._table.remove(self._videos, audio_ratio.cpu(), visual_ratio.cpu(), rule)
        self._removed = broadcast_object(removed, world)

    def state(self, world: World) -> dict[str, np.ndarray]:
        """Collective: what brings it back, on rank 0."""
        self._collect(world)
        return self._table.state() | {f"removed_{m}": r for m, r in zip(MODALITIES, self._removed, strict=True)}

    def load_state(self, state: Mapping[str, np.ndarray], world: World) -> None:
        """Collective: the inverse of `state`, which rank 0 passes."""
        if world.is_main:
            self._table.load_state(state)
            self._removed = [state[f"removed_{modality}"] for modality in MODALITIES]
        self._removed = broadcast_object(self._removed, world)

    def _collect(self, world: World) -> None:
        """Collective: brings the losses of this rank's labels to rank 0."""
        gathered = gather_to_main(tuple(np.concatenate(part) for part in zip(*self._own, strict=True)), world)
        self._own = []
        for part in gathered:
            if part:  # not of a rank that has taken no step
                self._table.add(*part)

    def _numbers(self, batch: Batch) -> np.ndarray:
        """The numbers of this rank's labels, as `LabelLosses` has them: int64 (n,)."""
        video, category = batch.labels.numpy().nonzero()
        numbers: np.ndarray = category * self._videos + batch.index.numpy()[video]
        return numbers
