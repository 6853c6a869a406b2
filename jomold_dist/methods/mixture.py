"""Labels are judged once, unseen, and a network is trained on what they are likely to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from jomold_dist.config import Config, DenoiseConfig
from jomold_dist.data.loader import Batch
from jomold_dist.data.manifest import Manifest
from jomold_dist.labels import MODALITIES
from jomold_dist.methods.base import Method, Moment, Targets
from jomold_dist.methods.essential import without_sections
from jomold_dist.methods.estimator import presence_stages
from jomold_dist.models.losses import smooth_targets
from jomold_dist.training.presence_stage import PRESENCE
from jomold_dist.training.stage import Stage
from jomold_dist.training.trained import Trained


class MixtureTaught(Method):
    """Cross-fitted estimators judge every label in each modality, a mixture turns what they say into the probability P
    that it is there, and the model learns that: as `mixture.targets` says. A label with P below one half counts as
    removed. The whole video's labels stay."""

    removes = True
    both_modalities = True

    def __init__(self, config: Config, manifest: Manifest, found: Mapping[str, Any], device: torch.device) -> None:
        super().__init__(config, manifest, found, device)
        self._presence = found[PRESENCE].labels
        chosen = config.denoise.modalities
        self._kept = [number for number, name in enumerate(MODALITIES) if chosen not in (name, "both")]

    @classmethod
    def stages(cls, config: Config) -> tuple[Stage, ...]:
        return (*presence_stages(config), Trained("train", cls))

    @classmethod
    def essential(cls, config: Config) -> Config:
        plain = replace(without_sections(config), mixture=config.mixture)
        return replace(plain, denoise=DenoiseConfig(modalities=config.denoise.modalities))

    def probabilities(self, batch: Batch, labels: Tensor) -> Tensor:
        """That labels are really there, float32 (2, b, C); 0 where there is none, 1 in a modality that keeps all."""
        found = self._presence.of(batch.index.numpy(), batch.labels.numpy())
        found[self._kept] = batch.labels.numpy()
        return torch.from_numpy(found).to(labels.device, non_blocking=True)

    def masks_of(self, batch: Batch, labels: Tensor, moment: Moment) -> Tensor:
        return labels & (self.probabilities(batch, labels) < 0.5)

    def targets(self, batch: Batch, labels: Tensor, removed: Tensor, moment: Moment) -> tuple[Targets, ...]:
        (targets,) = super().targets(batch, labels, removed, moment)
        if self.config.mixture.targets == "hard":
            return (targets,)
        probability = self.probabilities(batch, labels)
        if self.config.mixture.targets == "soft":
            smoothing = self.config.loss.visual_smoothing
            audio, visual = probability
            return (replace(targets, audio=audio, visual=smooth_targets(visual, smoothing)),)
        audio_weight, visual_weight = torch.where(labels, (2 * probability - 1).abs(), 1.0)
        return (replace(targets, audio_weight=audio_weight, visual_weight=visual_weight),)
