"""What becomes of a step with a value that is not finite: the run ends with the videos' names, or it is skipped."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jomold_dist.data.reading.loader import Batch
from jomold_dist.distributed.signals import Ask
from jomold_dist.distributed.world import World, gather_objects
from jomold_dist.errors import NonFiniteError
from jomold_dist.training.loss_scale import LossScale

logger = logging.getLogger(__name__)

NAMED_VIDEOS = 10
MOST_SKIPPED = 20  # steps in a row


@dataclass
class Learned:
    """What the micro-batches of a step leave behind."""

    sums: Tensor  # float64 (S,): the loss sums, one a term, the count of videos, and removed labels, one a mask
    finite: list[Tensor]  # a micro-batch's (b,) bool: whether every term of a video's loss is finite


@dataclass(frozen=True)
class StepSummary:
    """What a step reads back. All but `removed` is the same on every rank."""

    ask: Ask
    bad_position: int  # lowest position in the batch whose features are not finite, or -1
    repeated: bool
    gradient_norm: float
    videos: int
    removed: np.ndarray  # (M, n) bool: this rank's labels that are taken out
    candidates: np.ndarray  # (M, C) int64
    sums: np.ndarray  # (S,) float64: of all ranks, and of the steps before this one


class FiniteGuard:
    """Decides, on every rank alike, whether a step may be taken."""

    def __init__(self, world: World, loss_scale: LossScale | None, skips: bool) -> None:
        self._world, self._loss_scale, self._skips = world, loss_scale, skips
        self.skipped_in_a_row = 0

    def lets_pass(self, batch: Batch, summary: StepSummary, learned: Learned, step: int) -> bool:
        """Collective where something is not finite: whether the step may be taken.

        NonFiniteError, on every rank, unless such steps are skipped, and after too many of them in a row. A gradient
        that overflows in float16 is no error, as long as a smaller scale of the loss can help: the step is skipped.
        """
        if summary.bad_position < 0 and math.isfinite(summary.gradient_norm):
            self.skipped_in_a_row = 0
            if self._loss_scale is not None:
                self._loss_scale.good_step()
            return True
        if summary.bad_position < 0 and self._loss_scale is not None and self._loss_scale.overflow():
            return False
        problem = f"step {step}: {self._name_it(batch, summary, learned)}"
        if not self._skips:
            raise NonFiniteError(f"{problem} (train.non_finite=skip goes on without such steps)")
        self.skipped_in_a_row += 1
        if self.skipped_in_a_row > MOST_SKIPPED:
            raise NonFiniteError(f"{problem}; {MOST_SKIPPED} steps before it were skipped for the like of it")
        if self._world.is_main:
            logger.warning("%s; the step is skipped", problem)
        return False

    def _name_it(self, batch: Batch, summary: StepSummary, learned: Learned) -> str:
        """Collective: what is not finite, with the videos' names."""
        if summary.bad_position >= 0:
            mine = [k for k, p in zip(batch.keys, batch.position.tolist(), strict=True) if p == summary.bad_position]
            names = [k for keys in gather_objects(mine, self._world) for k in keys]
            return (
                f"features of video {', '.join(names)} are not finite (NaN or infinity); "
                "check the shards with jomold verify"
            )
        finite = torch.cat(learned.finite)
        mine = [key for key, sound in zip(batch.keys, finite.tolist(), strict=True) if not sound]
        gathered = gather_objects((mine[:NAMED_VIDEOS], len(mine)), self._world)
        names = [key for keys, _ in gathered for key in keys][:NAMED_VIDEOS]
        more = sum(count for _, count in gathered) - len(names)
        whose = f"what is predicted for video {', '.join(names)}" + (f" and {more} more" if more else "")
        remedy = "a lower train.learning_rate or train.clip_grad_norm may help"
        if self._loss_scale is not None:
            remedy += ", or train.precision=bf16, which has the range of float32"
        return f"{f'{whose} is' if names else 'the gradient is'} not finite (NaN or infinity); {remedy}"
