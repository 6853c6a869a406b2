"""Co-teaching+ (Yu et al., 2019) in a multi-label form: two networks, each learns what the other one finds easy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from jomold_dist.config import Config
from jomold_dist.config_methods import SmallLossConfig
from jomold_dist.data.reading.loader import Batch
from jomold_dist.denoising.removal import Rows
from jomold_dist.denoising.small_loss import count_forgotten, disagree, forget_crosswise
from jomold_dist.labels import MODALITIES
from jomold_dist.methods.base import Choice, Mask, Moment, Targets, parsing_losses
from jomold_dist.methods.two_networks import TwoNetworks, forgetting_targets
from jomold_dist.models.losses import binary_cross_entropy
from jomold_dist.models.network import Network
from jomold_dist.models.pair import Pair


class CoteachingPlus(TwoNetworks):
    """Of the labels on which the networks disagree, each network forgets those that the other one finds hard."""

    columns = 6  # audio: losses of network 1 and 2, and 1 where they disagree; visual: the same
    masks = (Mask("audio", 0), Mask("visual", 1), Mask("second_audio", 0), Mask("second_visual", 1))

    @classmethod
    def essential(cls, config: Config) -> Config:
        config = super().essential(config)
        return replace(config, small_loss=replace(config.small_loss, agreement=SmallLossConfig().agreement))

    def columns_of(self, *scored: Tensor) -> Tensor:
        columns = []
        for one, other, target in zip(scored[:2], scored[2:], self.positive_targets(), strict=True):
            columns += [binary_cross_entropy(p, target) for p in (one, other)]
            columns.append(disagree(one, other).to(one.dtype))
        return torch.stack(columns, dim=1)

    def choose(self, rows: Rows, moment: Moment) -> Choice:
        labelled, forgotten, counted = (rows.category, rows.valid), [], []
        for name, rate, columns in zip(MODALITIES, self.rates(moment), rows.columns.T.split(3), strict=True):
            is_denoised = self.config.denoise.modalities in (name, "both")
            agreeing = self.config.small_loss.agreeing if is_denoised else "keep"
            losses, apart = columns[:2], columns[2] > 0
            forgotten.append(forget_crosswise(*labelled, losses, apart, rate, agreeing))
            counted.append(count_forgotten(*labelled, apart, rate, agreeing))
        by_network = torch.stack(forgotten, dim=1).flatten(0, 1)  # network 1: audio, visual; network 2
        return Choice(by_network, torch.stack(counted).repeat(2, 1))

    def targets(self, batch: Batch, labels: Tensor, removed: Tensor, moment: Moment) -> tuple[Targets, ...]:
        smoothing = self.config.loss.visual_smoothing
        return tuple(forgetting_targets(labels, forgotten, smoothing) for forgotten in removed.split(2))

    def losses(self, network: Network, outputs: Any, targets: tuple[Targets, ...]) -> dict[str, Tensor]:
        """Sums of both networks' losses: no parameter is in both."""
        parsings = cast(Pair, network).parsings(outputs)
        first, second = (parsing_losses(p, own, network.modalities) for p, own in zip(parsings, targets, strict=True))
        return {name: first[name] + second[name] for name in first} | network.terms(outputs, self.config.loss)
