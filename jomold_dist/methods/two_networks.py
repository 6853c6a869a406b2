"""What methods of two networks share: both learn from the same videos, and forget labels whose losses are large."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from jomold_dist.config import Config
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.denoising.warmup import warmup_factor
from jomold_dist.methods.base import Moment, Targets
from jomold_dist.methods.essential import only_ratios
from jomold_dist.methods.ratios import RatioMethod
from jomold_dist.models.losses import smooth_targets
from jomold_dist.models.network import Network
from jomold_dist.models.pair import Pair


class TwoNetworks(RatioMethod):
    """Two networks of one form that begin with different parameters; the first one is the model.

    Their losses, by which labels are forgotten, are those of the gradient pass itself, dropout included, as in the
    programs of JoCoR and Co-teaching. Where a rank takes its share in several micro-batches, the labels of all of them
    must be ranked before the first gradient: then the losses are those of a pass of its own, which draws dropout anew.
    Noise ratios, from wherever `denoise.ratios` says, are what is forgotten in the end.
    """

    @classmethod
    def essential(cls, config: Config) -> Config:
        return replace(only_ratios(config), small_loss=config.small_loss)

    @classmethod
    def network(cls, config: Config, manifest: Manifest) -> Network:
        return Pair.of(partial(super().network, config, manifest))

    def score(self, network: Network, begun: Any, outputs: Any | None) -> tuple[Tensor, ...]:
        """The probabilities of network 1, audio and visual, and then those of network 2."""
        parsings = cast(Pair, network).parsings(network.finish(begun) if outputs is None else outputs)
        probs = [p for parsing in parsings for p in (parsing.audio_prob, parsing.visual_prob)]
        return tuple(p.detach() for p in probs if p is not None)

    def rates(self, moment: Moment) -> Tensor:
        """The shares R that are forgotten, float64 (2, C)."""
        epochs = self.config.small_loss.gradual_epochs
        return self._ratios * warmup_factor(moment.step, moment.steps_per_epoch, epochs)


def forgetting_targets(labels: Tensor, forgotten: Tensor, visual_smoothing: float) -> Targets:
    """Targets of labels (b, C) of which the `forgotten` (2, b, C) weigh nothing; the whole video's labels all count."""
    audio_weight, visual_weight = (~forgotten).to(torch.float32)
    return Targets(
        audio=smooth_targets(labels, 1.0),
        visual=smooth_targets(labels, visual_smoothing),
        video=smooth_targets(labels, 1.0),
        audio_weight=audio_weight,
        visual_weight=visual_weight,
    )
