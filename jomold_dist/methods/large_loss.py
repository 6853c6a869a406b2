"""A denoiser of one modality: the labels with the largest losses are dropped, without a look at the other modality."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from jomold_dist.config import Config
from jomold_dist.denoising.controls import drop_large_losses, large_loss_share
from jomold_dist.denoising.removal import Rows
from jomold_dist.methods.base import Choice, Moment
from jomold_dist.methods.han import Han
from jomold_dist.models.network import Network


class LargeLoss(Han):
    """The share that is dropped grows by epoch. A dropped label's target is 0, as with every other denoiser here, so
    that the choice is all that differs."""

    columns = 2  # losses: audio, visual
    removes = True
    both_modalities = True
    han_without_removals = True

    @classmethod
    def essential(cls, config: Config) -> Config:
        return replace(super().essential(config), large_loss=config.large_loss)

    def score(self, network: Network, begun: Any, outputs: Any | None) -> tuple[Tensor, ...]:
        """The probabilities of the ranking pass, audio and visual."""
        return network.rank(begun, False)

    def columns_of(self, *scored: Tensor) -> Tensor:
        return self.positive_losses(*scored)

    def choose(self, rows: Rows, moment: Moment) -> Choice:
        settings = self.config.large_loss
        masks = []
        for loss, most in zip(rows.columns.unbind(1), (settings.audio_most, settings.visual_most), strict=True):
            share = large_loss_share(moment.epoch, settings.growth, most)
            masks.append(drop_large_losses(rows.position, rows.category, rows.valid, loss, share))
        chosen = torch.stack(masks)
        counts = chosen.new_zeros((2, len(self.manifest.categories)), dtype=torch.int64)
        category = rows.category.masked_fill(~rows.valid, 0).expand(2, -1)
        return Choice(chosen, counts.scatter_add(1, category, chosen.to(torch.int64)))
