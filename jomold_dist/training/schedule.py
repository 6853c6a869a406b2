"""PURE: the learning rate."""

from __future__ import annotations

from jomold_dist.config import TrainConfig


def learning_rate(train: TrainConfig, epoch: int) -> float:
    """The learning rate of an epoch (from 0): `lr_decay` is applied every `lr_decay_epochs` epochs."""
    return train.learning_rate * train.lr_decay ** (epoch // train.lr_decay_epochs)
