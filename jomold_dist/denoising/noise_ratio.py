"""Noise ratios: the share of a modality's positive labels that is noise, per category (equation 1), and their files."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from jomold_dist.errors import DataError, raise_together


class NoiseRatios(NamedTuple):
    """float64 (C,) each, in [0, 1]."""

    audio: Tensor
    visual: Tensor


def estimate_noise_ratios(
    audio_prob: Tensor,
    visual_prob: Tensor,
    labels: Tensor,
    audio_threshold: float,
    visual_threshold: float,
    visual_scale: float = 1.0,
    mean_batch_size: int | None = None,
) -> NoiseRatios:
    """Equation 1 over a training split: probabilities (N, C) of the estimator, labels (N, C).

    A label counts as noise if its probability over the category's mean probability (over all N videos) is below the
    threshold. `visual_scale` multiplies the visual probability but not its mean. `mean_batch_size` replaces the exact
    mean by the unweighted mean of the means of consecutive batches, as the released code has it. A category without
    positives gets 0.
    """

    def ratio(prob: Tensor, threshold: float, scale: float) -> Tensor:
        prob = prob.to(torch.float64)
        if mean_batch_size is None:
            mean = prob.mean(0)
        else:
            mean = torch.stack([part.mean(0) for part in prob.split(mean_batch_size)]).mean(0)
        noisy = (scale * prob / mean < threshold) & labels.bool()
        positives = labels.bool().sum(0)
        return noisy.sum(0) / positives.clamp(min=1).to(torch.float64)

    return NoiseRatios(
        ratio(audio_prob, audio_threshold, 1.0),
        ratio(visual_prob, visual_threshold, visual_scale),
    )


def read_noise_ratios(path: Path, categories: int) -> NoiseRatios:
    """Noise ratios of a file: .npz with arrays `audio` and `visual`, or JSON with lists of these names.

    DataError names the file and everything wrong with it: unreadable, a wrong length, values outside [0, 1].
    """
    try:
        if path.suffix == ".json":
            data = json.loads(path.read_text(encoding="utf-8"))
            arrays = {k: np.asarray(data[k], dtype=np.float64) for k in ("audio", "visual")}
        else:
            with np.load(path, allow_pickle=False) as file:
                arrays = {k: np.asarray(file[k], dtype=np.float64) for k in ("audio", "visual")}
    except FileNotFoundError:
        raise DataError(f"noise-ratio file {path} does not exist") from None
    except TypeError:
        raise DataError(f"noise-ratio file {path} must hold lists of numbers named 'audio' and 'visual'") from None
    except KeyError as error:
        raise DataError(f"noise-ratio file {path} must hold 'audio' and 'visual': {error} is missing") from None
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"noise-ratio file {path} cannot be read: {error}") from None
    problems = []
    for name, array in arrays.items():
        if array.shape != (categories,):
            problems.append(f"noise-ratio file {path}: {name} has shape {array.shape}, expected ({categories},)")
        elif not np.all((array >= 0) & (array <= 1)):  # also catches NaN
            wrong = np.flatnonzero(~((array >= 0) & (array <= 1)))
            problems.append(
                f"noise-ratio file {path}: {name} must lie in [0, 1], but category {wrong[0]} has {array[wrong[0]]:g}"
            )
    raise_together(problems)
    return NoiseRatios(torch.from_numpy(arrays["audio"]), torch.from_numpy(arrays["visual"]))
