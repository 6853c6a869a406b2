"""What can be trained: how labels become targets, under which name.

A new method is one small class here and a line in `METHODS`. It says which stages it has, which network it trains,
whether it needs the ranking pass, and turns labels into targets and weights; its loss may be its own, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from jomold_dist.config import Config, EstimatorLossConfig, LossConfig
from jomold_dist.data.manifest import Manifest
from jomold_dist.denoising.noise_ratio import NoiseRatios, read_noise_ratios
from jomold_dist.denoising.removal import Removal, Rows, count_candidates, remove_rows
from jomold_dist.denoising.warmup import warmup_factor
from jomold_dist.errors import UserError, nearest
from jomold_dist.models.han import HybridAttentionNetwork, Parsing
from jomold_dist.models.losses import binary_cross_entropy, contrastive_loss, smooth_targets, weighted_loss
from jomold_dist.models.weights import build_network


@dataclass(frozen=True)
class Targets:
    """What the predictions of b videos are trained towards. Weights None: every label weighs 1.

    A method with pseudo-labels for segments gives `segments`; 0 in a weight leaves a label out of the loss.
    """

    audio: Tensor  # (b, C)
    visual: Tensor  # (b, C)
    video: Tensor  # (b, C)
    audio_weight: Tensor | None = None
    visual_weight: Tensor | None = None
    video_weight: Tensor | None = None
    segments: Tensor | None = None  # (b, T, 2, C), audio first
    segments_weight: Tensor | None = None

    def part(self, rows: slice) -> Targets:
        """The targets of some of the videos."""
        return replace(self, **{k: v[rows] for k, v in vars(self).items() if v is not None})


@dataclass(frozen=True)
class LossWeights:
    """Factor of each loss term."""

    audio: float
    visual: float
    video: float
    contrastive: float

    @classmethod
    def of(cls, loss: LossConfig | EstimatorLossConfig) -> LossWeights:
        """The weights that a section of the config sets."""
        return cls(loss.audio, loss.visual, loss.video, loss.contrastive)


@dataclass(frozen=True)
class Moment:
    """Where in its training a method is: optimizer step from 0 over all epochs."""

    step: int
    steps_per_epoch: int


class Method:
    """The baseline of all methods: every label is a target of both modalities."""

    needs_ranking: ClassVar[bool] = False

    def __init__(self, config: Config, manifest: Manifest, ratios: NoiseRatios | None, device: torch.device) -> None:
        self.config = config
        self.manifest = manifest

    @classmethod
    def stages(cls, config: Config) -> tuple[str, ...]:
        """The stages before evaluation, in their order; see `training/stages.py`."""
        return ("train",)

    @classmethod
    def problems(cls, config: Config, manifest: Manifest) -> list[str]:
        """What in the config does not fit the data set."""
        return []

    def network(self) -> HybridAttentionNetwork:
        """The network that is trained, with fresh parameters from torch's default generator."""
        return build_network(self.config.model, self.manifest)

    def ranking_losses(self, audio_prob: Tensor, visual_prob: Tensor) -> tuple[Tensor, Tensor]:
        """Losses of positive labels (n,) from the ranking pass's probabilities (n,), against the targets they would
        have: 1, and the smoothed 1 of the visual modality."""
        smoothing = self.config.loss.visual_smoothing
        return binary_cross_entropy(audio_prob, 1.0), binary_cross_entropy(visual_prob, (1 + smoothing) / 2)

    def remove(self, rows: Rows, moment: Moment) -> Removal:
        """Which labels are removed, by row. The rows are the whole optimizer batch's if `needs_ranking`, else those
        of this rank (with losses of 0)."""
        nothing = torch.zeros_like(rows.category, dtype=torch.bool)
        return Removal(nothing, nothing)

    def candidates(self, rows: Rows, moment: Moment) -> Tensor:
        """How many labels of a category the method looks at before it removes any: int64 (2, C), for the record."""
        return rows.category.new_zeros(2, len(self.manifest.categories))

    def targets(self, labels: Tensor, removed: Removal) -> Targets:
        """Labels and removed labels, bool (b, C) -> targets. A removed label's target is exactly 0; the whole video's
        labels are never removed."""
        visual = smooth_targets(labels, self.config.loss.visual_smoothing)
        return Targets(
            audio=smooth_targets(labels & ~removed.audio, 1.0),
            visual=visual.masked_fill(removed.visual, 0.0),
            video=smooth_targets(labels, 1.0),
        )

    def losses(self, parsing: Parsing, targets: Targets, weights: LossWeights) -> dict[str, Tensor]:
        """Loss terms of b videos, each a sum over videos (and labels or segments) without its weight."""
        terms = {
            "audio": weighted_loss(parsing.audio_prob, targets.audio, targets.audio_weight),
            "visual": weighted_loss(parsing.visual_prob, targets.visual, targets.visual_weight),
            "video": weighted_loss(parsing.video_prob, targets.video, targets.video_weight),
        }
        if weights.contrastive > 0:
            terms["contrastive"] = contrastive_loss(
                parsing.similarity, self.config.loss.contrastive_smoothing, reduction="sum"
            )
        return terms


class Han(Method):
    """HAN in the JoMoLD form: nothing is removed. The baseline."""


class Static(Method):
    """The labels of `denoise.static_labels` are always removed: the control beside every denoiser's gain."""

    def __init__(self, config: Config, manifest: Manifest, ratios: NoiseRatios | None, device: torch.device) -> None:
        super().__init__(config, manifest, ratios, device)
        named = config.denoise.static_labels
        self._audio = torch.from_numpy(manifest.categories.encode(named.audio)).to(device)
        self._visual = torch.from_numpy(manifest.categories.encode(named.visual)).to(device)

    @classmethod
    def problems(cls, config: Config, manifest: Manifest) -> list[str]:
        known, named = manifest.categories, config.denoise.static_labels
        return [
            f"denoise.static_labels.{modality} names {name!r}, which the data set does not have"
            + nearest(name, known.names)
            for modality, names in (("audio", named.audio), ("visual", named.visual))
            for name in names
            if name not in known
        ]

    def remove(self, rows: Rows, moment: Moment) -> Removal:
        return Removal(self._audio[rows.category], self._visual[rows.category])


class Jomold(Method):
    """Joint-modal label denoising: Algorithm 1 at every step, with noise ratios that grow during the warm-up."""

    needs_ranking = True

    def __init__(self, config: Config, manifest: Manifest, ratios: NoiseRatios | None, device: torch.device) -> None:
        super().__init__(config, manifest, ratios, device)
        if ratios is None:
            raise ValueError("jomold needs noise ratios")
        none = torch.zeros_like(ratios.audio)
        modalities = config.denoise.modalities
        self._audio_ratio = (none if modalities == "visual" else ratios.audio).to(device)
        self._visual_ratio = (none if modalities == "audio" else ratios.visual).to(device)

    @classmethod
    def stages(cls, config: Config) -> tuple[str, ...]:
        estimated = config.denoise.ratios == "estimated"
        return ("estimator", "noise_ratios", "train") if estimated else ("noise_ratios", "train")

    @classmethod
    def problems(cls, config: Config, manifest: Manifest) -> list[str]:
        if config.denoise.ratio_file is not None:
            try:
                read_noise_ratios(Path(config.denoise.ratio_file), manifest.categories.names)
            except UserError as error:
                return [str(error)]
        return []

    def remove(self, rows: Rows, moment: Moment) -> Removal:
        return remove_rows(rows, *self._ratios(moment), self.config.denoise.rule)

    def candidates(self, rows: Rows, moment: Moment) -> Tensor:
        return count_candidates(rows, *self._ratios(moment))

    def _ratios(self, moment: Moment) -> tuple[Tensor, Tensor]:
        """The noise ratios of a moment of the warm-up, float64 (C,): audio, visual."""
        denoise = self.config.denoise
        factor = warmup_factor(moment.step, moment.steps_per_epoch, denoise.warmup_epochs, denoise.warmup)
        return self._audio_ratio * factor, self._visual_ratio * factor


METHODS: dict[str, type[Method]] = {"han": Han, "static": Static, "jomold": Jomold}
