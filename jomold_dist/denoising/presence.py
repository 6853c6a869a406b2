"""The mixture alone: whose event is there in which modality, from anybody's logits."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from jomold_dist.denoising.evidence import LINEAR_FROM, AbsentCounts, probits
from jomold_dist.denoising.given import check_given
from jomold_dist.denoising.mixture import MixtureParameters, count_cells, fit_mixture, pattern_probabilities
from jomold_dist.labels import MODALITIES

_FARTHEST = 1e300  # differences of such numbers are finite


class Presence(NamedTuple):
    """How likely each label's event is there: float32, 0 where there is no label."""

    audio: Tensor  # (N, C): audible
    visual: Tensor  # (N, C): visible
    patterns: Tensor  # (N, C, 3): both, audio only, visual only; they sum to 1
    parameters: MixtureParameters


def fit_presence(audio_logit: Tensor, visual_logit: Tensor, labels: Tensor) -> Presence:
    """Posteriors of labels (N, C), multi-hot, from the logits (N, C) of any model: on the device of `labels`.

    The model should not have trained on these videos with these labels, or it will have learnt the noise, too. Give
    logits, and of probabilities torch.logit: within a category and modality the distances between the numbers matter,
    up to a factor and a shift, and those of probabilities say much less, so that more labels are judged wrongly. ±inf
    does no harm. Of a category that every video has, or all but a few, less is known, as there are no videos without it
    to compare with.

    ValueError for shapes that do not fit, NaN, and labels that are not 0 or 1; TypeError for what is no dense tensor of
    real numbers. Warns where the logits of a modality seem to be probabilities.
    """
    check_given(labels, audio_logit=audio_logit, visual_logit=visual_logit)
    given = labels.detach().cpu().bool().numpy()
    video, category = np.nonzero(given)
    audio, visual = (
        _evidence(logit, given, video, category, modality)
        for logit, modality in zip((audio_logit, visual_logit), MODALITIES, strict=True)
    )
    mixture = fit_mixture(count_cells(category, audio, visual, given.shape[1]))
    patterns = torch.zeros(*given.shape, 3)
    patterns[video, category] = torch.from_numpy(pattern_probabilities(mixture, category, audio, visual)).float()
    both, audio_only, visual_only = patterns.to(labels.device).unbind(2)
    return Presence(both + audio_only, both + visual_only, patterns.to(labels.device), mixture)


def _evidence(logit: Tensor, labels: np.ndarray, video: np.ndarray, category: np.ndarray, modality: str) -> np.ndarray:
    """The probits (n,) of the labels at (video, category), each (n,), among all logits (N, C) of a modality."""
    values = logit.detach().cpu().to(torch.float64).numpy()
    values = np.where(np.isinf(values), values, np.clip(values, -_FARTHEST, _FARTHEST))
    if np.isnan(values).any():
        row, column = np.argwhere(np.isnan(values))[0].tolist()
        raise ValueError(f"the {modality} logit of video {row} in category {column} is NaN")
    if values.size and values.min() >= 0 and values.max() <= 1 and values.min() < values.max():
        warnings.warn(
            f"all {modality} logits lie in [0, 1], as probabilities do; fit_presence wants logits: give torch.logit of "
            "probabilities",
            stacklevel=4,
        )
    by_category = np.ascontiguousarray(values.T)
    for column, row in enumerate(by_category):
        row[:] = _in_units(row, labels[:, column])
    scaled = by_category.T
    counts = AbsentCounts(values.shape[1], torch.device("cpu"))
    counts.add(torch.from_numpy(scaled), torch.from_numpy(labels))
    return probits(counts.counts.numpy(), scaled[video, category], category)


def _in_units(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Logits (N,) of a category, such that the bins of `AbsentCounts` fit the absents and no outlier ruins them: from
    their median, in units of a standard deviation as their 98th percentile tells it. What is infinite lies one unit
    beyond what is finite."""
    finite = np.isfinite(values)
    if not finite.any():
        return np.sign(values)
    center, unit = values[finite][0], 1.0
    for some in (values[finite & ~labels], values[finite]):  # absents that are all alike show no unit
        if len(some):
            low, center, high = np.quantile(some, [1 - LINEAR_FROM, 0.5, LINEAR_FROM])
            if high > low:
                unit = max(high - center, center - low) / 2
                break
    lowest, highest = values[finite].min() - unit, values[finite].max() + unit
    with np.errstate(over="ignore"):  # far beyond the last bin anyway
        return (np.clip(values, lowest, highest) - center) / unit
