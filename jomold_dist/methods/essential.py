"""Which settings a method looks at, so that runs whose other settings differ are known to be alike."""

from __future__ import annotations

from dataclasses import replace

from jomold_dist.config import Config, DenoiseConfig, EstimatorConfig
from jomold_dist.config_methods import LargeLossConfig, RefineConfig, SmallLossConfig

ESTIMATION = ("audio_threshold", "visual_threshold", "visual_scale", "mean_batch_size")
RATIOS = ("modalities", "ratios", "ratio_constant", "ratio_file", *ESTIMATION)


def without_sections(config: Config) -> Config:
    """The config with every section of a single method, and the recipe, set to the defaults."""
    return replace(
        config, recipe="paper", small_loss=SmallLossConfig(), refine=RefineConfig(), large_loss=LargeLossConfig()
    )


def without_denoising(config: Config) -> Config:
    """The config of a method that looks at no noise ratios either."""
    return replace(without_sections(config), denoise=DenoiseConfig(), estimator=EstimatorConfig())


def only_ratios(config: Config) -> Config:
    """The config of a method that looks at noise ratios, and at nothing else in `denoise`."""
    denoise = replace(DenoiseConfig(), **{name: getattr(config.denoise, name) for name in RATIOS})
    return essential_ratios(replace(without_sections(config), denoise=denoise))


def essential_ratios(config: Config) -> Config:
    """The config without what does not decide noise ratios."""
    if config.denoise.ratios == "estimated":
        return config
    plain = DenoiseConfig()
    denoise = replace(config.denoise, **{name: getattr(plain, name) for name in ESTIMATION})
    return replace(config, denoise=denoise, estimator=EstimatorConfig())
