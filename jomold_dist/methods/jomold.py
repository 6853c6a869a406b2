"""Joint-modal label denoising: Algorithm 1 at every step, with noise ratios that grow during the warm-up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from jomold_dist.config import Config, StaticLabels
from jomold_dist.denoising.removal import Rows, count_candidates, remove_rows
from jomold_dist.denoising.warmup import warmup_factor
from jomold_dist.methods.base import Choice, Moment
from jomold_dist.methods.essential import essential_ratios, without_sections
from jomold_dist.methods.estimator import RatioMethod
from jomold_dist.models.network import Network


class Jomold(RatioMethod):
    """The paper."""

    columns = 2
    han_without_removals = True

    @classmethod
    def essential(cls, config: Config) -> Config:
        denoise = replace(config.denoise, static_labels=StaticLabels())
        return essential_ratios(replace(without_sections(config), denoise=denoise))

    def score(self, network: Network, begun: Any, outputs: Any | None) -> tuple[Tensor, ...]:
        """The ranking pass's probabilities, audio and visual."""
        return network.rank(begun, self.config.denoise.ranking_dropout)

    def columns_of(self, *scored: Tensor) -> Tensor:
        return self.positive_losses(*scored)

    def choose(self, rows: Rows, moment: Moment) -> Choice:
        audio_ratio, visual_ratio = self.ratios(moment)
        removal = remove_rows(rows, audio_ratio, visual_ratio, self.config.denoise.rule)
        return Choice(torch.stack(removal), count_candidates(rows, audio_ratio, visual_ratio))

    def ratios(self, moment: Moment) -> tuple[Tensor, Tensor]:
        """The noise ratios of a moment of the warm-up, float64 (C,): audio, visual."""
        denoise = self.config.denoise
        factor = warmup_factor(moment.step, moment.steps_per_epoch, denoise.warmup_epochs, denoise.warmup)
        audio, visual = self._ratios * factor
        return audio, visual
