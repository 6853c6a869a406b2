"""Every label is a target of every modality: JoMoLD's baseline with the network `han`, and what trains the others."""

from __future__ import annotations

from jomold_dist.config import Config
from jomold_dist.methods.base import Method
from jomold_dist.methods.essential import without_denoising
from jomold_dist.training.stage import Stage
from jomold_dist.training.trained import Trained


class Han(Method):
    """Nothing is removed. The baseline."""

    @classmethod
    def stages(cls, config: Config) -> tuple[Stage, ...]:
        return (Trained("train", cls),)

    @classmethod
    def essential(cls, config: Config) -> Config:
        return without_denoising(config)
