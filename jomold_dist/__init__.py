"""Distributed training with joint-modal label denoising for audio-visual video parsing.

The names below are imported when they are first used, and torch with those that need it: all but what packs data.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jomold_dist.data.format.manifest import FeatureSpec
    from jomold_dist.data.packing.dataset_writer import DatasetWriter
    from jomold_dist.data.packing.shard_writer import Video
    from jomold_dist.denoising.mixture import MixtureParameters
    from jomold_dist.denoising.noise_ratio import NoiseRatios, estimate_noise_ratios
    from jomold_dist.denoising.presence import Presence, fit_presence
    from jomold_dist.denoising.removal import Removal, select_noisy_labels
    from jomold_dist.denoising.warmup import warmup_factor
    from jomold_dist.evaluation.metrics import parsing_scores
    from jomold_dist.evaluation.parsing import threshold_parsing
    from jomold_dist.labels import CategorySet
    from jomold_dist.models.han import FeatureSizes, HybridAttentionNetwork, Parsing
    from jomold_dist.models.losses import contrastive_loss
    from jomold_dist.training.loading import load_network

    __version__: str

__all__ = [
    "CategorySet",
    "DatasetWriter",
    "FeatureSizes",
    "FeatureSpec",
    "HybridAttentionNetwork",
    "MixtureParameters",
    "NoiseRatios",
    "Parsing",
    "Presence",
    "Removal",
    "Video",
    "contrastive_loss",
    "estimate_noise_ratios",
    "fit_presence",
    "load_network",
    "parsing_scores",
    "select_noisy_labels",
    "threshold_parsing",
    "warmup_factor",
]

_HOMES = {
    "data.format.manifest": ("FeatureSpec",),
    "data.packing.dataset_writer": ("DatasetWriter",),
    "data.packing.shard_writer": ("Video",),
    "denoising.mixture": ("MixtureParameters",),
    "denoising.noise_ratio": ("NoiseRatios", "estimate_noise_ratios"),
    "denoising.presence": ("Presence", "fit_presence"),
    "denoising.removal": ("Removal", "select_noisy_labels"),
    "denoising.warmup": ("warmup_factor",),
    "evaluation.metrics": ("parsing_scores",),
    "evaluation.parsing": ("threshold_parsing",),
    "labels": ("CategorySet",),
    "models.han": ("FeatureSizes", "HybridAttentionNetwork", "Parsing"),
    "models.losses": ("contrastive_loss",),
    "training.loading": ("load_network",),
}


def __getattr__(name: str) -> Any:
    """PEP 562: called once for each name, and for those that there are not."""
    if name == "__version__":
        value: Any = importlib.import_module("jomold_dist.versions").version(__name__)
    else:
        home = next((module for module, names in _HOMES.items() if name in names), None)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
