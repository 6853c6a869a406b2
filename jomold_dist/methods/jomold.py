"""Joint-modal label denoising: Algorithm 1 at every step, with noise ratios that grow during the warm-up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from jomold_dist.config import Config, StaticLabels
from jomold_dist.data.manifest import Manifest
from jomold_dist.denoising.removal import Rows, count_candidates, remove_rows
from jomold_dist.denoising.warmup import warmup_factor
from jomold_dist.methods.base import Choice, Method, Moment
from jomold_dist.methods.essential import essential_ratios, without_sections
from jomold_dist.methods.estimator import ratio_problems, ratio_stages, ratios_found
from jomold_dist.models.network import Network
from jomold_dist.training.stage import Stage
from jomold_dist.training.trained import Trained


class Jomold(Method):
    """The paper."""

    columns = 2
    removes = True
    both_modalities = True
    han_without_removals = True
    truncates = True

    def __init__(self, config: Config, manifest: Manifest, found: Mapping[str, Any], device: torch.device) -> None:
        super().__init__(config, manifest, found, device)
        self._ratios = [ratio.to(device) for ratio in ratios_found(config, found)]

    @classmethod
    def stages(cls, config: Config) -> tuple[Stage, ...]:
        return (*ratio_stages(config), Trained("train", cls))

    @classmethod
    def problems(cls, config: Config, manifest: Manifest) -> list[str]:
        return ratio_problems(config, manifest)

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
        audio, visual = self._ratios
        return audio * factor, visual * factor
