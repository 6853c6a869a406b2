"""Which settings a method looks at."""

from __future__ import annotations

from dataclasses import replace

from jomold_dist.config import Config, DenoiseConfig, EstimatorConfig, StaticLabels

_ESTIMATION = {
    name: getattr(DenoiseConfig(), name)
    for name in ("audio_threshold", "visual_threshold", "visual_scale", "mean_batch_size")
}


def essential(config: Config) -> Config:
    """The config with what its method does not look at set to the defaults. Methods of others keep everything."""
    denoise, estimator = config.denoise, config.estimator
    if config.method == "han":
        denoise, estimator = DenoiseConfig(), EstimatorConfig()
    elif config.method == "static":
        denoise, estimator = DenoiseConfig(static_labels=denoise.static_labels), EstimatorConfig()
    elif config.method == "jomold":
        denoise = replace(denoise, static_labels=StaticLabels())
        if denoise.ratios != "estimated":
            denoise, estimator = replace(denoise, **_ESTIMATION), EstimatorConfig()
    return replace(config, recipe="paper", denoise=denoise, estimator=estimator)
