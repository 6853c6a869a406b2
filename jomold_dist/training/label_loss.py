"""The mean loss of videos against their weak labels, exact over ranks: what is left to validate by without dense
labels."""

from __future__ import annotations

import math

import torch

from jomold_dist.data.reading.loader import Batch
from jomold_dist.distributed.world import World
from jomold_dist.errors import DataError
from jomold_dist.models.losses import label_loss
from jomold_dist.models.network import Parsing
from jomold_dist.training.columns import ColumnBuffer
from jomold_dist.training.evaluate import gather_videos, refuse_non_finite


class LabelLoss:
    """Collects binary cross-entropies of what a network says of whole videos: of both modalities' together, or, of a
    network of one, of that alone."""

    def __init__(self) -> None:
        self._rows = ColumnBuffer()
        self._strange: list[str] = []

    def add(self, batch: Batch, parsing: Parsing) -> None:
        """The videos of a batch: the mean over the categories of each. One whose prediction is not finite is left
        out."""
        prob = parsing.video_prob.double()
        loss = label_loss(prob, batch.labels.to(prob.device, prob.dtype))
        finite = torch.isfinite(prob).all(1)
        self._strange += [key for key, good in zip(batch.keys, finite.tolist(), strict=True) if not good]
        self._rows.add(loss[finite, None])

    def mean(self, videos: int, world: World, skip_non_finite: bool) -> float:
        """Collective: the mean over all ranks' videos, at most so many, whichever rank has which.

        Raises on every rank: NonFiniteError, which names videos whose prediction is NaN or infinity, unless they are
        to be skipped; DataError if no video is left.
        """
        refuse_non_finite("the network's prediction on val", self._strange, world, skip_non_finite)
        (own,) = self._rows.columns()
        rows = gather_videos(own, videos, world)
        if not len(rows):
            error = DataError("there is no video to validate on: none of the split can be used")
            error.agreed = True
            raise error
        return math.fsum(rows[:, 0].tolist()) / len(rows)  # rounded once, after the exact sum: the same in every order
