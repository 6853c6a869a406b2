"""Who is told of each step of a training, beside the training itself."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np

from jomold_dist.training.step import StepReport


@dataclass(frozen=True)
class StepDone:
    """An optimizer step that was taken, or skipped."""

    step: int
    """Optimizer steps since the stage's beginning, this one included."""
    steps_per_epoch: int
    learning_rate: float
    seconds: float
    """What it took, with waiting for its batch."""
    report: StepReport


class StepListener:
    """Is told of one stage's steps, on every rank. A context manager, entered before the stage's first step.

    No method may be a collective or wait for the GPU. What they raise ends the run.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def before_step(self, step: int) -> None:
        """A step begins, whose batch is there; its number, as in StepDone."""

    def after_step(self, done: StepDone) -> None:
        """A step was taken."""

    def after_epoch(self, step: int, sums: np.ndarray) -> None:
        """An epoch's last step was this one; `sums` (S,) are what its steps have added up over all ranks (see
        `TrainStep.sums`)."""
