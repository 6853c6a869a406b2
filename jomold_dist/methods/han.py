"""Every label is a target of every modality: JoMoLD's baseline with the network `han`, and what trains the others."""

from __future__ import annotations

from dataclasses import replace

from jomold_dist.config import Config, DenoiseConfig, EstimatorConfig
from jomold_dist.methods.base import Method
from jomold_dist.training.stage import Stage
from jomold_dist.training.trained import Trained


class Han(Method):
    """Nothing is removed. The baseline."""

    @classmethod
    def stages(cls, config: Config) -> tuple[Stage, ...]:
        return (Trained("train", cls),)

    @classmethod
    def essential(cls, config: Config) -> Config:
        return replace(config, recipe="paper", denoise=DenoiseConfig(), estimator=EstimatorConfig())
