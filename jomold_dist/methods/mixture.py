"""Labels are judged unseen, and a network is trained on what they are likely to be.

Estimators that have each not learnt one fold of the videos judge its labels, and a mixture turns what they say into
probabilities (`denoising/mixture.py`). A second round of estimators, taught by these instead of the labels, judges
better than the first, and both together best.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from jomold_dist.config import Config, DenoiseConfig
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.data.reading.loader import Batch
from jomold_dist.denoising.label_probabilities import LabelProbabilities
from jomold_dist.labels import MODALITIES
from jomold_dist.methods.base import Method, Moment, Targets
from jomold_dist.methods.essential import without_sections
from jomold_dist.methods.estimator import ESTIMATOR, Estimator, estimator_settings
from jomold_dist.models.losses import smooth_targets
from jomold_dist.models.network import Network
from jomold_dist.training.presence_stage import PRESENCE, FoundPresence
from jomold_dist.training.ratio_stage import PresenceRatios
from jomold_dist.training.stage import Stage
from jomold_dist.training.trained import Trained

FIRST = f"{PRESENCE}-1"
"""What the first of two rounds leaves."""


class Taught(Method):
    """Learns the probability P that a label is there, as `mixture.targets` says. A label with P below one half counts
    as removed. The whole video's labels stay."""

    removes = True
    both_modalities = True
    taught_by: ClassVar[str] = PRESENCE
    """The stage whose probabilities it learns."""

    def __init__(self, config: Config, manifest: Manifest, found: Mapping[str, Any], device: torch.device) -> None:
        super().__init__(config, manifest, found, device)
        self._presence = found[self.taught_by].labels
        chosen = config.denoise.modalities
        self._kept = [number for number, name in enumerate(MODALITIES) if chosen not in (name, "both")]

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


class UnseenEstimator(Taught):
    """An estimator of the second round."""

    taught_by = FIRST

    @classmethod
    def stages(cls, config: Config) -> tuple[Stage, ...]:
        return ()  # of a run of its own there is none

    @classmethod
    def network(cls, config: Config, manifest: Manifest) -> Network:
        return Estimator.network(config, manifest)


class Mixture(Taught):
    """The model is taught by the last round's probabilities."""

    @classmethod
    def stages(cls, config: Config) -> tuple[Stage, ...]:
        return (*presence_stages(config, last_reader="train"), Trained("train", cls))

    @classmethod
    def kept_bytes(cls, config: Config, manifest: Manifest, ranks: int) -> int:
        split = manifest.split("train")
        return LabelProbabilities.bytes_of(int(split.positives.sum()), split.videos)

    @classmethod
    def problems(cls, config: Config, manifest: Manifest) -> list[str]:
        return presence_problems(config, manifest)

    @classmethod
    def essential(cls, config: Config) -> Config:
        plain = replace(without_sections(config), mixture=config.mixture)
        return replace(plain, denoise=DenoiseConfig(modalities=config.denoise.modalities))


def presence_stages(config: Config, last_reader: str) -> tuple[Stage, ...]:
    """What leaves, without any θ, how likely each label is really there, and noise ratios. `last_reader` is the last
    stage that asks for single labels."""
    ratios = PresenceRatios()
    if config.mixture.rounds == 1:
        return (*_round(config, Estimator, ESTIMATOR, PRESENCE, last_reader), ratios)
    second = _round(config, UnseenEstimator, f"{ESTIMATOR}-2", PRESENCE, last_reader, earlier=FIRST)
    *_, last_estimator, _ = second
    return (*_round(config, Estimator, f"{ESTIMATOR}-1", FIRST, last_estimator.name), *second, ratios)


def presence_problems(config: Config, manifest: Manifest) -> list[str]:
    """What keeps these stages from judging the data set's labels."""
    folds, videos = config.mixture.folds, manifest.split("train").videos
    if folds <= videos:
        return []
    return [
        f"mixture.folds = {folds} cuts the {videos} training videos of {config.data.where} into more parts than there "
        "are videos: take fewer folds"
    ]


def _round(
    config: Config, method: type[Method], name: str, left: str, last_reader: str, earlier: str | None = None
) -> tuple[Stage, ...]:
    """Estimators of this name and of all folds, and what they leave, together with what an earlier round has left."""
    folds = range(config.mixture.folds)
    trained = [
        Trained(f"{name}-{k}", method, f"{name}-{k}", fold_settings, keep="last", unseen=(k, len(folds))) for k in folds
    ]
    return (*trained, FoundPresence([stage.weights for stage in trained], left, earlier, last_reader))


def fold_settings(config: Config) -> Config:
    """The config of the training of one fold's estimator: it learns K − 1 of K folds, in batches that are smaller by as
    much, so that it takes as many steps as an estimator of all videos."""
    own, folds = estimator_settings(config), config.mixture.folds
    return replace(own, train=replace(own.train, batch_size=-(-own.train.batch_size * (folds - 1) // folds)))
