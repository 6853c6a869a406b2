"""PURE: how the noise ratios grow at the beginning of training."""

from __future__ import annotations

from typing import Literal

import numpy as np


def warmup_factor(
    step: int, steps_per_epoch: int, warmup_epochs: float | None, schedule: Literal["linear", "released"] = "linear"
) -> float:
    """The factor on the noise ratios at optimizer step `step` (from 0, over the whole training), in [0, 1].

    linear: the ramp of the paper, from 0 at the first step to 1 after `warmup_epochs`. released: what the released
    code does: the ratio starts anew each epoch and is multiplied at every step by min(1, step / warm-up steps). With a
    warm-up of at most one epoch that is nothing in the first epoch and everything from the second on: a step, not a
    ramp. `warmup_epochs` None: 1.
    """
    if schedule not in ("linear", "released"):
        raise ValueError(f"schedule must be 'linear' or 'released', not {schedule!r}")
    if warmup_epochs is None:
        return 1.0
    length = warmup_epochs * steps_per_epoch
    if schedule == "linear":
        return min(1.0, step / length)
    epoch_start = step - step % steps_per_epoch
    if epoch_start >= length:
        return 1.0
    return float(np.minimum(1.0, np.arange(epoch_start, step + 1) / length).prod())
