"""The placebo: as many labels as the noise ratios say are removed, but any."""

from __future__ import annotations

from jomold_dist.config import Config
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.methods.essential import only_ratios
from jomold_dist.methods.marked import Marked
from jomold_dist.methods.ratios import ratio_problems, ratio_stages
from jomold_dist.training.marked_labels import RandomLabels
from jomold_dist.training.stage import Stage
from jomold_dist.training.trained import Trained


class Random(Marked):
    """A denoiser that gains no more than this one gains by removing labels, whichever they are."""

    han_without_removals = True

    @classmethod
    def stages(cls, config: Config) -> tuple[Stage, ...]:
        return (*ratio_stages(config), RandomLabels(), Trained("train", cls))

    @classmethod
    def problems(cls, config: Config, manifest: Manifest) -> list[str]:
        return ratio_problems(config, manifest)

    @classmethod
    def essential(cls, config: Config) -> Config:
        return only_ratios(config)
