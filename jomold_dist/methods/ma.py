"""MA (Wu and Yang, 2021): labels are refined once, by exchanging the audio of videos without a common label."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from jomold_dist.config import Config, TrainConfig
from jomold_dist.data.reading.loader import Batch
from jomold_dist.methods.base import Moment, Targets
from jomold_dist.methods.han import Han
from jomold_dist.methods.marked import Marked
from jomold_dist.training.refined_labels import RefinedLabels
from jomold_dist.training.stage import Stage
from jomold_dist.training.trained import Trained

BASE = "base"


def base_settings(config: Config) -> Config:
    """The config of the training of the network that refines the labels."""
    return replace(config, train=replace(config.train, epochs=config.refine.epochs))


class Ma(Marked):
    """A base network is trained on all labels, judges exchanged videos, and a second one is trained on what is left.

    Of both trainings the last epoch counts, as in the authors' program.
    """

    both_modalities = True

    @classmethod
    def stages(cls, config: Config) -> tuple[Stage, ...]:
        base = Trained(BASE, Han, BASE, base_settings, keep="last")
        return (base, RefinedLabels(BASE), Trained("train", cls, keep="last"))

    @classmethod
    def essential(cls, config: Config) -> Config:
        last = replace(config.train, selection=TrainConfig().selection, selection_ties=TrainConfig().selection_ties)
        return replace(Han.essential(config), refine=config.refine, train=last)

    def targets(self, batch: Batch, labels: Tensor, removed: Tensor, moment: Moment) -> tuple[Targets, ...]:
        (targets,) = super().targets(batch, labels, removed, moment)
        return (replace(targets, video=targets.audio) if self.config.refine.video_target == "audio" else targets,)
