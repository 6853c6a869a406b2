"""JoCoR (Wei et al., 2020) in a multi-label form: two networks with one loss, of which a part is their agreement."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from jomold_dist.config import Config
from jomold_dist.config_methods import SmallLossConfig
from jomold_dist.data.reading.loader import Batch
from jomold_dist.denoising.ranking import ByCategory
from jomold_dist.denoising.removal import Rows
from jomold_dist.denoising.small_loss import forget_jointly, joint_loss
from jomold_dist.methods.base import Choice, Moment, Targets
from jomold_dist.methods.two_networks import TwoNetworks, forgetting_targets
from jomold_dist.models.network import Network
from jomold_dist.models.pair import Pair


class Jocor(TwoNetworks):
    """Of each category's labels those with the largest joint loss are forgotten, by both networks alike."""

    columns = 2  # joint loss: audio, visual

    @classmethod
    def essential(cls, config: Config) -> Config:
        config = super().essential(config)
        return replace(config, small_loss=replace(config.small_loss, agreeing=SmallLossConfig().agreeing))

    def columns_of(self, *scored: Tensor) -> Tensor:
        agreement = self.config.small_loss.agreement
        modalities = zip(scored[:2], scored[2:], self.positive_targets(), strict=True)
        return torch.stack([joint_loss(one, other, target, agreement) for one, other, target in modalities], dim=1)

    def choose(self, rows: Rows, moment: Moment) -> Choice:
        rates = self.rates(moment)
        pairs = zip(rows.columns.unbind(1), rates, strict=True)
        forgotten = [forget_jointly(rows.category, rows.valid, loss, rate) for loss, rate in pairs]
        counts = ByCategory.of(rows.category, rows.valid, rates.shape[1])
        return Choice(torch.stack(forgotten), torch.stack([counts.share(rate) for rate in rates]))

    def targets(self, batch: Batch, labels: Tensor, removed: Tensor, moment: Moment) -> tuple[Targets, ...]:
        """The same for both networks. What is forgotten keeps its target and weighs nothing."""
        return (forgetting_targets(labels, removed, self.config.loss.visual_smoothing),)

    def losses(self, network: Network, outputs: Any, targets: tuple[Targets, ...]) -> dict[str, Tensor]:
        (own,) = targets
        first, second = cast(Pair, network).parsings(outputs)
        terms = {}
        for name in (*network.modalities, "video"):
            one, other = (getattr(parsing, f"{name}_prob") for parsing in (first, second))
            loss = joint_loss(one, other, getattr(own, name), self.config.small_loss.agreement)
            weight = getattr(own, f"{name}_weight")
            terms[name] = (loss if weight is None else loss * weight).mean(1)
        return terms | network.terms(outputs, self.config.loss)
