"""Which settings a method looks at, so that runs whose other settings differ are known to be alike."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TypeVar

from jomold_dist.config import Config, DenoiseConfig, ModelConfig
from jomold_dist.config_methods import EstimatorConfig, LargeLossConfig, MixtureConfig, RefineConfig, SmallLossConfig
from jomold_dist.errors import ConfigError
from jomold_dist.models.registry import network_class

T = TypeVar("T")

ESTIMATION = ("audio_threshold", "visual_threshold", "visual_scale", "mean_batch_size")
RATIOS = ("modalities", "ratios", "ratio_constant", "ratio_file", *ESTIMATION)


OF_NETWORKS = (
    *(f"model.{item.name}" for item in fields(ModelConfig) if item.name != "network"),
    "loss.contrastive", "loss.contrastive_smoothing", "loss.contrastive_form", "loss.sparsity", "loss.diversity",
    "loss.norm", "estimator.loss.contrastive", "estimator.cross_modal",
)  # fmt: skip
"""The settings that are for some networks only."""


def without_sections(config: Config) -> Config:
    """The config with every section of a single method, what is for other networks, and the recipe, set to the
    defaults."""
    plain = replace(
        config,
        recipe="paper",
        small_loss=SmallLossConfig(),
        refine=RefineConfig(),
        large_loss=LargeLossConfig(),
        mixture=_of_ratios(config.mixture) if config.denoise.ratios == "mixture" else MixtureConfig(),
    )
    try:
        reads = vars(network_class(config.model.network)).get("reads", OF_NETWORKS)
    except ConfigError:  # a class of somebody's that cannot be imported here
        return plain
    for name in OF_NETWORKS:
        if name not in reads:
            plain = _as_by_default(plain, Config(), name)
    return plain


def _of_ratios(mixture: MixtureConfig) -> MixtureConfig:
    """What decides the noise ratios that a mixture leaves: `targets` are those of the second round's estimators."""
    return mixture if mixture.rounds == 2 else replace(mixture, targets=MixtureConfig.targets)


def _as_by_default(here: T, default: T, name: str) -> T:
    """A config or section of one, with the setting of a dotted name as by default."""
    first, _, rest = name.partition(".")
    value = getattr(default, first)
    return replace(here, **{first: _as_by_default(getattr(here, first), value, rest) if rest else value})  # type: ignore[type-var]


def without_denoising(config: Config) -> Config:
    """The config of a method that looks at no noise ratios either."""
    return without_sections(replace(config, denoise=DenoiseConfig(), estimator=EstimatorConfig()))


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
    estimator = config.estimator if config.denoise.ratios == "mixture" else EstimatorConfig()
    return replace(config, denoise=denoise, estimator=estimator)
