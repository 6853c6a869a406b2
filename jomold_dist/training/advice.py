"""What noise ratios lead to, told before a model is trained with them: how much of the noise the ranking can reach, and
whether the estimator that they come from is good enough for its threshold."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from jomold_dist.config import Config
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.denoising.noise_ratio import NoiseRatios, Predictions, given_ratios
from jomold_dist.denoising.reach import Reach, reach
from jomold_dist.denoising.separation import lift
from jomold_dist.labels import MODALITIES
from jomold_dist.methods.registry import method_class
from jomold_dist.training.recorder import Cell

COMPARED_BATCHES = (128, 512)  # beside the run's own: the paper's, and one in which most categories of LLP are reached
WEAK_SHARE = 0.2  # of the categories with labels: a well-trained estimator is weak in none, a poor one in most


class Advice(NamedTuple):
    """Lines for the log with their level, and the figures behind them as a table's columns."""

    level: int
    text: str
    table: Mapping[str, Sequence[Cell]]


def reach_advice(ratios: NoiseRatios, config: Config, manifest: Manifest) -> Advice:
    """How many categories of each modality the run's ranking can reach, and, in a line of its own, one over batches of
    other sizes; a warning if that is not all of them. Ratios of a modality that is not denoised count as 0."""
    split, batch = manifest.split("train"), config.train.batch_size
    own = method_class(config.method).ranked_videos(config, manifest)
    chosen = [m for m in MODALITIES if config.denoise.modalities in (m, "both")]
    values = np.stack([getattr(ratios, m).numpy() * (m in chosen) for m in MODALITIES])  # (2, C)
    sizes = dict.fromkeys((own, batch, *COMPARED_BATCHES))
    found = {size: reach(values, split.positives, split.videos, size) for size in sizes}
    table: dict[str, Sequence[Cell]] = {
        "category": [name for name in manifest.categories.names for _ in MODALITIES],
        "modality": [*MODALITIES] * len(manifest.categories),
        "labels": np.repeat(split.positives, len(MODALITIES)).tolist(),
        "ratio": values.T.ravel().tolist(),
        "intended": found[own].intended.T.ravel().tolist(),
    } | {f"candidates_batch_{size}": reached.candidates.T.ravel().tolist() for size, reached in found.items()}
    if not found[own].noisy.any():
        return Advice(logging.WARNING, "the noise ratios call no label noise: nothing will be removed", table)
    missed = bool((found[own].noisy & ~found[own].reached).any())
    level = logging.WARNING if missed else logging.INFO
    names = {size: f"batch {size}" for size in sizes}
    if own > batch:  # only the method that `denoise.scope` is for ranks more than a batch
        names[own] = f"{config.denoise.scope} of {own:,} videos"
    here, *others = [f"{names[size]}: {_counts(each, chosen)}" for size, each in found.items()]
    whose = f"the {config.denoise.scope}" if own > batch else "a batch"
    rest = [f"in the others ratio × labels of {whose} stays below 1, and next to nothing is removed"] if missed else []
    lines = [f"noisy categories that the ranking reaches, and share of their labels: {here}", *rest, "; ".join(others)]
    return Advice(level, "\n".join(lines), table)


def _counts(found: Reach, chosen: Sequence[str]) -> str:
    """How many of the noisy categories are reached, by modality, and what share of the labels meant."""
    counts = []
    for number in (MODALITIES.index(m) for m in chosen):
        noisy, reached = int(found.noisy[number].sum()), int(found.reached[number].sum())
        share = f" ({found.shares[number]:.0%})" if noisy else ""
        counts.append(f"{MODALITIES[number]} {reached} of {noisy}{share}")
    return ", ".join(counts)


def forecast_advice(config: Config, manifest: Manifest) -> str:
    """The same for a run that has not begun, as far as it is known. DataError for a ratio file that cannot be used."""
    ratios = given_ratios(config.denoise, manifest.categories.names)
    if ratios is not None:
        return reach_advice(ratios, config, manifest).text
    return (
        "noisy categories that the ranking reaches: the log tells once the estimator is trained, for a "
        f"batch of {config.train.batch_size} and others"
    )


def estimator_advice(
    found: Predictions, sums: Tensor, ratios: NoiseRatios, config: Config, manifest: Manifest
) -> list[str]:
    """A warning for each modality in which the estimator is too weak for its threshold.

    `sums` are those of `probability_sums` over all ranks. In a category whose labelled videos have, on the average,
    less than θ times the probability of the others, equation 1 tells nothing of the labels. With a θ below 1 a weak
    estimator calls no label noise, which `reach_advice` tells.
    """
    denoise, split = config.denoise, manifest.split("train")
    labels = torch.from_numpy(split.positives)
    lifts = lift(sums, labels, torch.stack([found.audio_mean, found.visual_mean]), split.videos)
    scaled = lifts * torch.tensor([[1.0], [denoise.visual_scale]], dtype=torch.float64)
    known = int(lifts[0].isfinite().sum())
    warnings = []
    for number, modality in enumerate(MODALITIES):
        threshold = float(getattr(denoise, f"{modality}_threshold"))
        weak = scaled[number] < threshold  # False for NaN
        if denoise.modalities not in (modality, "both") or not weak.any() or weak.sum() < WEAK_SHARE * known:
            continue
        ratio = getattr(ratios, modality)
        warnings.append(
            f"the estimator is too weak for denoise.{modality}_threshold = {threshold:g}: in {int(weak.sum())} of "
            f"{known} categories, videos with the label have on the average less than {threshold:g} times the "
            f"{modality} probability of the others, so that equation 1 calls most of these labels noise, whatever is "
            f"there (mean noise ratio {ratio[weak].mean():.2f}, of all {ratio.mean():.2f}). Training may end below "
            f"han. Train the estimator longer (estimator.epochs = {config.estimator.epochs}) or in smaller batches "
            f"(estimator.batch_size = {config.estimator_batch_size}), lower the threshold, give the ratios "
            "(denoise.ratios=constant or file), or find them without one (denoise.ratios=mixture)"
        )
    return warnings
