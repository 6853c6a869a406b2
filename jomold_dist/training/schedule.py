"""PURE: the learning rate of each optimizer step."""

from __future__ import annotations

import math

from jomold_dist.config import TrainConfig


def learning_rate(train: TrainConfig, step: int, steps_per_epoch: int) -> float:
    """The learning rate of an optimizer step (from 0, over all epochs).

    step: `lr_decay` is applied every `lr_decay_epochs` epochs. cosine: from the full rate, after the warm-up, down to
    nearly 0 in the last step of `epochs`. constant: the full rate. While it is warmed up, step k of K has k/K of what
    the schedule says.
    """
    rate = train.learning_rate * _factor(train, step, steps_per_epoch)
    warmup = train.lr_warmup_epochs * steps_per_epoch
    return rate * min(1.0, (step + 1) / warmup) if warmup > 0 else rate


def _factor(train: TrainConfig, step: int, steps_per_epoch: int) -> float:
    if train.schedule == "step":
        return train.lr_decay ** (step // steps_per_epoch // train.lr_decay_epochs)
    if train.schedule == "constant":
        return 1.0
    warmup, total = train.lr_warmup_epochs * steps_per_epoch, train.epochs * steps_per_epoch
    done = (step - warmup) / max(total - warmup, 1)
    return 0.5 * (1 + math.cos(math.pi * min(max(done, 0.0), 1.0)))
