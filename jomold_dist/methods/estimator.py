"""The noise estimator: a network trained on all labels without cross-modal attention, from which noise is known."""

from __future__ import annotations

from dataclasses import replace

from jomold_dist.config import Config
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.methods.han import Han
from jomold_dist.models.network import Network
from jomold_dist.models.registry import build_network

ESTIMATOR = "estimator"
"""Its stage and its weights."""


class Estimator(Han):
    """Trained as `estimator` in the config says. Noise ratios are found in both modalities."""

    both_modalities = True

    @classmethod
    def network(cls, config: Config, manifest: Manifest) -> Network:
        return build_network(config.model, manifest, config.estimator.cross_modal)


def estimator_settings(config: Config) -> Config:
    """The config of the estimator's training."""
    own, weights = config.estimator, config.estimator.loss
    loss = replace(
        config.loss, audio=weights.audio, visual=weights.visual, video=weights.video, contrastive=weights.contrastive
    )
    return replace(
        config, loss=loss, train=replace(config.train, epochs=own.epochs, batch_size=config.estimator_batch_size)
    )
