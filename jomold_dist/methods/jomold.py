"""Joint-modal label denoising: Algorithm 1 with noise ratios that grow during the warm-up, in a batch and beyond it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jomold_dist.config import Config, DenoiseConfig
from jomold_dist.config_methods import StaticLabels
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.data.reading.loader import Batch
from jomold_dist.denoising.exchange import row_capacity
from jomold_dist.denoising.memory import Window
from jomold_dist.denoising.removal import Rows, count_candidates
from jomold_dist.denoising.warmup import warmup_factor
from jomold_dist.distributed.world import World, broadcast_object
from jomold_dist.methods.base import Choice, Moment
from jomold_dist.methods.essential import essential_ratios, without_sections
from jomold_dist.methods.ratios import RatioMethod
from jomold_dist.methods.split_ranking import SplitRanking
from jomold_dist.models.network import Network


class Jomold(RatioMethod):
    """The paper, where every label is ranked among those of its optimizer batch; with `denoise.scope`, among those of
    the last steps, or of the training split. All ranks have the rows of all, so that each keeps the same window."""

    columns = 2
    han_without_removals = True

    def __init__(self, config: Config, manifest: Manifest, found: Mapping[str, Any], device: torch.device) -> None:
        super().__init__(config, manifest, found, device)
        denoise = config.denoise
        self._window = Window(denoise.window_steps if denoise.scope == "window" else 1)
        self._split = SplitRanking(manifest.split("train").videos) if denoise.scope == "dataset" else None

    @classmethod
    def chooses(cls, config: Config) -> bool:
        return config.denoise.scope != "dataset"

    @classmethod
    def essential(cls, config: Config) -> Config:
        plain = DenoiseConfig()
        denoise = replace(config.denoise, static_labels=StaticLabels())
        if denoise.scope != "window":
            denoise = replace(denoise, window_steps=plain.window_steps)
        return essential_ratios(replace(without_sections(config), denoise=denoise))

    @classmethod
    def ranked_videos(cls, config: Config, manifest: Manifest) -> int:
        videos = manifest.split("train").videos
        steps = {"batch": 1, "window": config.denoise.window_steps, "dataset": videos}
        return min(videos, steps[config.denoise.scope] * config.train.batch_size)

    @classmethod
    def kept_bytes(cls, config: Config, manifest: Manifest, ranks: int) -> int:
        denoise, split = config.denoise, manifest.split("train")
        if denoise.scope == "dataset":
            return SplitRanking.most_bytes(int(split.positives.sum()))
        steps = denoise.window_steps if denoise.scope == "window" else 1
        rows = ranks * row_capacity(config.train.batch_size, ranks, split.max_labels)
        return Window.most_bytes(steps, rows, cls.columns)

    def score(self, network: Network, begun: Any, outputs: Any | None) -> tuple[Tensor, ...]:
        """The ranking pass's probabilities, audio and visual."""
        return network.rank(begun, self.config.denoise.ranking_dropout)

    def columns_of(self, *scored: Tensor) -> Tensor:
        return self.positive_losses(*scored)

    def choose(self, rows: Rows, moment: Moment) -> Choice:
        extremes = self._window.find_extremes(rows, *self.ratios(moment))
        candidates = count_candidates(rows, extremes, len(self.manifest.categories))
        return Choice(torch.stack(extremes.removal(self.config.denoise.rule)), candidates)

    def masks_of(self, batch: Batch, labels: Tensor, moment: Moment) -> Tensor | None:
        return None if self._split is None else self._split.masks_of(batch).to(labels.device, non_blocking=True)

    def remember(self, batch: Batch, columns: Tensor, rows: Rows, moment: Moment) -> None:
        if self._split is None:
            self._window.add(rows)
        else:
            self._split.add(batch, columns)

    def end_epoch(self, moment: Moment, world: World) -> None:
        if self._split is not None:
            self._split.rank(*self.ratios(moment), self.config.denoise.rule, world)

    def state(self, world: World) -> dict[str, np.ndarray]:
        return self._window.state() if self._split is None else self._split.state(world)

    def load_state(self, state: Mapping[str, np.ndarray], world: World) -> None:
        if self._split is None:
            self._window.load_state(broadcast_object(state, world), self.device)
        else:
            self._split.load_state(state, world)

    def ratios(self, moment: Moment) -> tuple[Tensor, Tensor]:
        """The noise ratios of a moment of the warm-up, float64 (C,): audio, visual."""
        denoise = self.config.denoise
        factor = warmup_factor(moment.step, moment.steps_per_epoch, denoise.warmup_epochs, denoise.warmup)
        audio, visual = self._ratios * factor
        return audio, visual
