"""Distributed training with joint-modal label denoising for audio-visual video parsing."""

from jomold_dist.denoising.mixture import MixtureParameters
from jomold_dist.denoising.noise_ratio import NoiseRatios, estimate_noise_ratios
from jomold_dist.denoising.presence import Presence, fit_presence
from jomold_dist.denoising.removal import Removal, select_noisy_labels
from jomold_dist.denoising.warmup import warmup_factor
from jomold_dist.evaluation.metrics import parsing_scores
from jomold_dist.evaluation.parsing import threshold_parsing
from jomold_dist.models.han import FeatureSizes, HybridAttentionNetwork, Parsing
from jomold_dist.models.losses import contrastive_loss
from jomold_dist.training.loading import load_network

__all__ = [
    "FeatureSizes",
    "HybridAttentionNetwork",
    "MixtureParameters",
    "NoiseRatios",
    "Parsing",
    "Presence",
    "Removal",
    "contrastive_loss",
    "estimate_noise_ratios",
    "fit_presence",
    "load_network",
    "parsing_scores",
    "select_noisy_labels",
    "threshold_parsing",
    "warmup_factor",
]
