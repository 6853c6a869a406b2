"""Noise ratios: the share of a modality's positive labels that is noise, per category (equation 1), and their files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from jomold_dist.config import DenoiseConfig
from jomold_dist.denoising.given import check_given
from jomold_dist.errors import DataError, raise_together
from jomold_dist.files import writing
from jomold_dist.reading import ABSENT, read_arrays, read_json

ROUNDING = 1e-3  # a sum of weighted probabilities may exceed 1 by so much at most
NAMED_AT_MOST = 8


class NoiseRatios(NamedTuple):
    """float64 (C,) each, in [0, 1]."""

    audio: Tensor
    visual: Tensor


def denoised(ratios: NoiseRatios, modalities: str) -> NoiseRatios:
    """The ratios, 0 in a modality from which nothing is to be removed: `modalities` is audio, visual or both."""
    kept = {name: getattr(ratios, name) for name in ratios._fields if modalities in (name, "both")}
    return NoiseRatios(*(kept.get(name, torch.zeros_like(ratios.audio)) for name in ratios._fields))


class ProbabilitySums:
    """Sums of a split's probabilities in fixed point: the same for any order of the videos and any shares of them.

    `videos` is how many the split holds. With `mean_batch_size`, videos are told apart by whether the consecutive batch
    of this size that they are in, by their number in the split, is a whole one or the shorter last one.
    """

    def __init__(self, videos: int, categories: int, mean_batch_size: int | None, device: torch.device) -> None:
        size = mean_batch_size or max(videos, 1)
        self._whole = videos // size * size  # the first video of the last, shorter batch
        self._batches = torch.tensor([videos // size, 1 if videos % size else 0], dtype=torch.float64)
        self._bits = min(52, 62 - videos.bit_length())  # no sum can overflow
        self.sums = torch.zeros(2, 2, categories, dtype=torch.int64, device=device)
        """Group, modality (audio first), category: in units of 2^-bits."""
        self.counts = torch.zeros(2, dtype=torch.int64, device=device)
        """Videos of each group."""

    def add(self, index: Tensor, audio_prob: Tensor, visual_prob: Tensor) -> None:
        """Videos by their numbers int64 (B,) with their probabilities (B, C). ValueError names one that is none."""
        probs = torch.stack([audio_prob, visual_prob], dim=1).to(torch.float64)
        good = (probs >= 0) & (probs <= 1 + ROUNDING)  # false for NaN, whose value as an integer could be any
        if not good.all():
            video, modality, category = (~good).nonzero()[0].tolist()
            raise ValueError(
                f"the {('audio', 'visual')[modality]} probability of video {int(index[video])} in category {category} "
                f"is {float(probs[video, modality, category]):g}; probabilities must lie in [0, 1]"
            )
        units = probs * 2.0**self._bits
        group = (index >= self._whole).to(torch.int64)
        self.sums.index_add_(0, group, units.round().to(torch.int64))
        self.counts += torch.bincount(group, minlength=2)

    def means(self) -> tuple[Tensor, Tensor]:
        """Mean probabilities, audio and visual, float64 (C,): over all videos, or over the means of the batches.

        The mean of the means of n whole batches and a shorter last one is (n · mean of all videos in whole batches +
        mean of those in the last) / (n + 1). Where videos are missing because they cannot be used, means are over
        those that came, as if all whole batches missed equally many; a group of which none came does not count.
        Without any video, means are NaN.
        """
        there = self.counts.cpu() > 0
        weight = self._batches[there]
        per_group = self.sums.cpu()[there].to(torch.float64) / self.counts.cpu()[there].view(-1, 1, 1)
        audio, visual = (per_group * weight.view(-1, 1, 1)).sum(0) / weight.sum() / 2.0**self._bits
        return audio, visual


@dataclass(frozen=True)
class Predictions:
    """What equation 1 takes of an estimator's predictions: probabilities of n positive labels, and the mean
    probability of each category over the whole split."""

    category: Tensor  # int32 or int64 (n,)
    audio: Tensor  # (n,)
    visual: Tensor  # (n,)
    audio_mean: Tensor  # float64 (C,)
    visual_mean: Tensor  # float64 (C,)

    def noise_counts(self, audio_threshold: float, visual_threshold: float, visual_scale: float = 1.0) -> Tensor:
        """How many of these labels are noise in audio, are noise in visual, and are there: int64 (3, C)."""

        def noisy(prob: Tensor, mean: Tensor, threshold: float, scale: float) -> Tensor:
            return scale * prob.to(torch.float64) / mean[self.category] < threshold

        rows = [
            noisy(self.audio, self.audio_mean, audio_threshold, 1.0),
            noisy(self.visual, self.visual_mean, visual_threshold, visual_scale),
            torch.ones_like(self.category, dtype=torch.bool),
        ]
        categories = len(self.audio_mean)
        return torch.stack([torch.bincount(self.category[row], minlength=categories) for row in rows])

    def noise_ratios(self, audio_threshold: float, visual_threshold: float, visual_scale: float = 1.0) -> NoiseRatios:
        """Equation 1, where these are all positive labels of the split."""
        return ratios_of(self.noise_counts(audio_threshold, visual_threshold, visual_scale))


def ratios_of(counts: Tensor) -> NoiseRatios:
    """Noise ratios from counts as `noise_counts` gives them. A category without positives gets 0."""
    audio, visual, positives = counts
    labels = positives.clamp(min=1).to(torch.float64)
    return NoiseRatios(audio / labels, visual / labels)


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
    positives gets 0. Probabilities are brought to the labels' device.

    ValueError for what is no probability, shapes that do not fit, and labels that are not 0 or 1; TypeError for what is
    no dense tensor of real numbers.
    """
    check_given(labels, audio_prob=audio_prob, visual_prob=visual_prob)
    audio_prob, visual_prob = audio_prob.to(labels.device), visual_prob.to(labels.device)
    sums = ProbabilitySums(len(labels), labels.shape[1], mean_batch_size, labels.device)
    sums.add(torch.arange(len(labels), device=labels.device), audio_prob, visual_prob)
    video, category = labels.bool().nonzero(as_tuple=True)
    means = (mean.to(labels.device) for mean in sums.means())  # which are on the CPU
    positives = Predictions(category, audio_prob[video, category], visual_prob[video, category], *means)
    return positives.noise_ratios(audio_threshold, visual_threshold, visual_scale)


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Keep predictions as an .npz with the fields' names. Atomic."""
    with writing(path) as aside, aside.open("wb") as file:
        np.savez(file, **{name: column.numpy() for name, column in vars(predictions).items()})


def read_predictions(path: Path) -> Predictions:
    """The inverse of `write_predictions`. DataError if the file is missing or damaged; UnreadableError."""
    try:
        arrays = read_arrays(path)
        return Predictions(**{item.name: torch.from_numpy(arrays[item.name]) for item in fields(Predictions)})
    except (*ABSENT, KeyError, TypeError, ValueError) as error:
        raise DataError(f"the estimator's predictions {path} cannot be used: {error}; remove the file") from None


def given_ratios(denoise: DenoiseConfig, names: Sequence[str]) -> NoiseRatios | None:
    """The ratios that the config gives, as a constant or as a file; None where estimators are to find them. Raises
    what `read_noise_ratios` does."""
    if denoise.ratios == "file":
        return read_noise_ratios(Path(str(denoise.ratio_file)), names)
    if denoise.ratios == "constant":
        constant = torch.full((len(names),), float(denoise.ratio_constant or 0.0), dtype=torch.float64)
        return NoiseRatios(constant, constant)
    return None


def read_noise_ratios(path: Path, names: Sequence[str]) -> NoiseRatios:
    """Noise ratios of a file for categories of these names, in their order: .npz with arrays `audio` and `visual`, or
    JSON with lists of these names. Where there is a third one, `categories`, it tells which ratio is whose; without it
    they stand in the order of `names`.

    DataError names the file and everything wrong with it: damage, a wrong length, values outside [0, 1], other
    categories. UnreadableError.
    """
    try:
        data = read_json(path) if path.suffix == ".json" else read_arrays(path)
        arrays = {k: np.asarray(data[k], dtype=np.float64) for k in ("audio", "visual")}
        own = [str(name) for name in data["categories"]] if "categories" in data else list(names)
    except ABSENT as error:
        what = "does not exist" if isinstance(error, FileNotFoundError) else "is no file"
        raise DataError(f"noise-ratio file {path} {what}") from None
    except TypeError:
        raise DataError(f"noise-ratio file {path} must hold lists of numbers named 'audio' and 'visual'") from None
    except KeyError as error:
        raise DataError(f"noise-ratio file {path} must hold 'audio' and 'visual': {error} is missing") from None
    except ValueError as error:
        raise DataError(f"noise-ratio file {path} is damaged: {error}") from None
    raise_together(list(_ratio_problems(path, arrays, own, names)))
    order = [own.index(name) for name in names]
    return NoiseRatios(*(torch.from_numpy(arrays[modality][order]) for modality in ("audio", "visual")))


def _ratio_problems(
    path: Path, arrays: Mapping[str, np.ndarray], own: Sequence[str], names: Sequence[str]
) -> Iterator[str]:
    if sorted(own) != sorted(names):
        lacking, strange = sorted(set(names) - set(own)), sorted(set(own) - set(names))
        differences = [
            f"{what} {', '.join(some[:NAMED_AT_MOST])}"
            for what, some in (("without", lacking), ("with", strange))
            if some
        ]
        yield (
            f"noise-ratio file {path} is for other categories than the data set's: "
            f"{' and '.join(differences) or 'some are in it twice'}"
        )
    for name, array in arrays.items():
        if array.shape != (len(own),):
            yield f"noise-ratio file {path}: {name} has shape {array.shape}, expected ({len(own)},)"
        elif not np.all((array >= 0) & (array <= 1)):  # also catches NaN
            wrong = np.flatnonzero(~((array >= 0) & (array <= 1)))
            yield f"noise-ratio file {path}: {name} must lie in [0, 1], but category {wrong[0]} has {array[wrong[0]]:g}"
