"""Methods with noise ratios: where these come from, and what such methods share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from jomold_dist.config import Config
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.denoising.noise_ratio import NoiseRatios, denoised, read_noise_ratios
from jomold_dist.errors import UserError
from jomold_dist.methods.base import Method
from jomold_dist.methods.estimator import ESTIMATOR, Estimator, estimator_settings
from jomold_dist.methods.mixture import presence_problems, presence_stages
from jomold_dist.training.ratio_stage import NOISE_RATIOS, EstimatedRatios, FoundRatios
from jomold_dist.training.stage import Stage
from jomold_dist.training.trained import Trained


def ratio_stages(config: Config) -> tuple[Stage, ...]:
    """What leaves noise ratios, as `denoise.ratios` says."""
    if config.denoise.ratios == "estimated":
        return (Trained(ESTIMATOR, Estimator, ESTIMATOR, estimator_settings), EstimatedRatios(ESTIMATOR))
    if config.denoise.ratios == "mixture":
        return presence_stages(config, last_reader=NOISE_RATIOS)
    return (FoundRatios(),)


def ratios_found(config: Config, found: Mapping[str, Any]) -> NoiseRatios:
    """What those stages have left; 0 in a modality from which `denoise.modalities` lets nothing be removed."""
    ratios: NoiseRatios = found[NOISE_RATIOS]
    return denoised(ratios, config.denoise.modalities)


class RatioMethod(Method):
    """What methods with noise ratios share: they estimate or read them, train one model, and need both modalities."""

    removes = True
    both_modalities = True
    truncates = True

    def __init__(self, config: Config, manifest: Manifest, found: Mapping[str, Any], device: torch.device) -> None:
        super().__init__(config, manifest, found, device)
        self._ratios = torch.stack(list(ratios_found(config, found))).to(device)  # float64 (2, C), audio first

    @classmethod
    def stages(cls, config: Config) -> tuple[Stage, ...]:
        return (*ratio_stages(config), Trained("train", cls))

    @classmethod
    def problems(cls, config: Config, manifest: Manifest) -> list[str]:
        return ratio_problems(config, manifest)


def ratio_problems(config: Config, manifest: Manifest) -> list[str]:
    """What is wrong with the file that noise ratios come from, or keeps them from being found."""
    if config.denoise.ratios == "mixture":
        return presence_problems(config, manifest)
    if config.denoise.ratio_file is not None:
        try:
            read_noise_ratios(Path(config.denoise.ratio_file), manifest.categories.names)
        except UserError as error:
            return [str(error)]
    return []
