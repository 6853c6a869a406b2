"""Labels judged by anybody's probabilities: an .npz, and label files or a data set's published ones.

The .npz holds `filename` (N,), `categories` (C,) and, of the whole videos, `audio` and `visual` (N, C), which are
probabilities, or logits where any lies outside [0, 1]. `jomold predict --out FILE.npz` writes such files.

Legend: N videos, C categories, n labels; modality 0 is audio, 1 is visual.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from jomold_dist.cleaning.judged import JudgedLabels
from jomold_dist.data.packing.label_files import some_of
from jomold_dist.data.packing.video_labels import VideoLabels
from jomold_dist.denoising.presence import fit_presence
from jomold_dist.errors import DataError, raise_together
from jomold_dist.labels import MODALITIES, CategorySet
from jomold_dist.models.losses import CLAMP
from jomold_dist.reading import ABSENT, read_arrays
from jomold_dist.video_names import Names


@dataclass(frozen=True)
class Probabilities:
    """What a model says of whole videos: names (N,), and logits float32 (2, N, C)."""

    names: np.ndarray
    categories: CategorySet
    logits: np.ndarray


def read_probabilities(path: Path) -> Probabilities:
    """The file's content. DataError with everything that is wrong with it; UnreadableError."""
    wanted = ("filename", "categories", *MODALITIES)
    try:
        arrays = read_arrays(path)
    except ABSENT:
        raise DataError(f"--probabilities {path} is no file") from None
    except ValueError as error:
        raise DataError(f"--probabilities {path} is damaged, or no .npz: {error}") from None
    if missing := [name for name in wanted if name not in arrays]:
        raise DataError(
            f"--probabilities {path} has no {', '.join(missing)}; it needs filename (N), categories (C), and the "
            f"probabilities of whole videos, audio and visual (N, C); it has {', '.join(arrays)}"
        )
    names, categories = (arrays[name].astype(str) for name in wanted[:2])
    problems = [f"{path}: {name} is not one row of texts" for name in wanted[:2] if arrays[name].ndim != 1]
    shape = (len(names), len(categories))
    for modality in MODALITIES:
        array = arrays[modality]
        if array.shape != shape or array.dtype.kind != "f":
            problems.append(f"{path}: {modality} is {array.dtype} of shape {array.shape}, expected fractions {shape}")
        elif not (finite := np.isfinite(array)).all():
            problems.append(f"{path}: {modality} holds NaN or infinity, for instance of {names[~finite.all(1)][0]}")
    for what, texts in (("videos", names), ("categories", categories)):
        values, counts = np.unique(texts, return_counts=True)
        if len(values) < texts.size:
            problems.append(f"{path}: it names {what} twice: {some_of(values[counts > 1])}")
    raise_together(problems)
    return Probabilities(
        names, CategorySet(tuple(categories.tolist())), np.stack([_logits(arrays[m]) for m in MODALITIES])
    )


def _logits(values: np.ndarray) -> np.ndarray:
    """Logits float32 of what are probabilities, if all lie in [0, 1], or logits already."""
    if not values.size or values.min() < 0 or values.max() > 1:
        return values.astype(np.float32)
    clipped = np.clip(values.astype(np.float64), CLAMP, 1 - CLAMP)
    return np.log(clipped / (1 - clipped)).astype(np.float32)


def judge(given: Probabilities, labels: VideoLabels, names: CategorySet) -> tuple[JudgedLabels, list[str]]:
    """The labels of these videos, whose categories have these names, and what is to be told beside.

    DataError if a category is not in the file, or hardly a video is."""
    if lacking := [name for name in names.names if name not in given.categories]:
        raise DataError(
            f"the labels have categories that --probabilities has not: {some_of(lacking)}; it has "
            f"{some_of(given.categories.names)}"
        )
    column = np.array([given.categories.index(name) for name in names.names])
    row_of = {name: row for row, name in enumerate(given.names.tolist())}
    keys, known = [labels.key(video) for video in range(len(labels))], Names(row_of)
    found = [known.find(key) for key in keys]
    rows = np.array([-1 if name is None else row_of[name] for name in found], dtype=np.int64)
    videos = np.flatnonzero(rows >= 0)
    if 2 * len(videos) < len(keys):
        raise DataError(
            f"of {len(keys)} labelled videos, --probabilities has {len(videos)}; its names: "
            f"{some_of(given.names[:2]) or 'none'}; those of the labels: {some_of(keys[:2])}"
        )
    logits = given.logits[:, rows[videos]][:, :, column]
    there = torch.from_numpy(labels.labels.multi_hot(videos, len(names)))
    presence = fit_presence(torch.from_numpy(logits[0]), torch.from_numpy(logits[1]), there)
    video, category = np.nonzero(there.numpy())
    told = np.stack([presence.audio[video, category].numpy(), presence.visual[video, category].numpy()])
    truth = None
    if labels.present is not None:
        present = labels.present.multi_hot(videos, 2 * len(names)).reshape(len(videos), 2, len(names))
        truth = present[video, :, category].T
    chosen = np.array(keys)[videos]
    evidence = {"logit": logits[:, video, category]}
    judged = JudgedLabels(names, chosen[video], category, told.clip(0, 1), evidence, there=truth)
    if not (left := len(keys) - len(videos)):
        return judged, []
    return judged, [f"--probabilities does not have {left} labelled videos: their labels stay as they are"]
