"""From the arrays of feature sources to the rows that are stored: T of every feature, or k·T of frames.

Rows of a source may be more than that. Frames are k a segment, and their mean is exact: the network averages a
segment's frames after its first linear layer, and both are linear. Audio and motion may have any number R ≥ T of rows;
segment t is then the mean of the rows ⌊tR/T⌋ … ⌈(t+1)R/T⌉ - 1, as adaptive average pooling takes it. Means are taken
in float32 and rounded to the stored dtype afterwards.

Legend: N videos, T segments, F a feature's width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jomold_dist.data.format.manifest import FEATURE_NAMES, FeatureSpec
from jomold_dist.data.packing.feature_sources import FeatureSource
from jomold_dist.errors import DataError, raise_together


@dataclass(frozen=True)
class FeaturePlan:
    """How features are stored, by name, and what is to be told of how their rows are made."""

    specs: dict[str, FeatureSpec]
    notes: tuple[str, ...]


def plan_features(
    sources: Mapping[str, FeatureSource], keys: Sequence[str], segments: int, keep_frames: bool, dtype: str
) -> FeaturePlan:
    """How the features of these videos are stored, after a look at the header of every array.

    A width, and how many frames a segment has, is that of most videos, so that one odd array is named as the odd one.
    DataError names every array that is missing, unreadable, of another type, or whose rows do not fit the segments.
    """
    problems = [problem for source in sources.values() for problem in source.problems(keys)]
    raise_together(problems)
    specs, notes = {}, []
    for name in (name for name in FEATURE_NAMES if name in sources):
        shapes, unread = _shapes(sources[name], keys)
        problems += unread
        sound = shapes[:, 0] > 0
        if not sound.any():
            continue
        width = _most_frequent(shapes[sound, 1])
        rows = _most_frequent(shapes[sound, 0])
        for number in np.flatnonzero(sound).tolist():
            if problem := _misfit(name, *shapes[number].tolist(), rows, width, segments):
                problems.append(f"{sources[name].where(keys[number])}: {problem}")
        kept = keep_frames and name == "frames"
        few, many = int(shapes[sound, 0].min()), int(shapes[sound, 0].max())
        pooled = "" if kept or few == many == segments else pooling_text(few, many, segments)
        specs[name] = FeatureSpec((rows if kept else segments, width), dtype, pooled)
        if pooled:
            notes.append(f"{name}: {pooled}")
    raise_together(problems)
    return FeaturePlan(specs, tuple(notes))


def video_features(
    sources: Mapping[str, FeatureSource], key: str, specs: Mapping[str, FeatureSpec], segments: int
) -> dict[str, np.ndarray]:
    """One video's features with the rows of `specs`, not yet of their dtype, nor looked at for what is not finite.

    DataError names every array of the video that is missing, unreadable, or no longer of a shape that fits.
    """
    features = {}
    problems: list[str] = []
    for name, spec in specs.items():
        source = sources[name]
        try:
            array = source.read(key)
            rows, width = array.shape
            kept = rows == spec.shape[0]
            if width != spec.shape[1] or not (kept or _is_poolable(name, rows, segments)):
                raise DataError(f"{source.where(key)}: is {array.shape} by now; start again when it is whole")
            features[name] = array if kept else pool_rows(array, segments)
        except DataError as error:
            problems += error.problems
    raise_together(problems)
    return features


def pool_rows(array: np.ndarray, segments: int) -> np.ndarray:
    """The means of the rows of every segment, (R, F) -> float32 (T, F), R ≥ T."""
    rows, width = array.shape
    with np.errstate(over="ignore", invalid="ignore"):  # who stores the means looks for what is not finite
        if rows % segments == 0:
            return array.reshape(segments, -1, width).mean(axis=1, dtype=np.float32)
        pooled = np.empty((segments, width), np.float32)
        for t in range(segments):
            pooled[t] = array[t * rows // segments : -(-(t + 1) * rows // segments)].mean(axis=0, dtype=np.float32)
        return pooled


def pooling_text(few: int, many: int, segments: int) -> str:
    """How rows, from `few` to `many` a video, become the segments, for the manifest."""
    if few == many and few % segments == 0:
        return f"the mean of the {few // segments} rows of each segment"
    rows = f"{few}" if few == many else f"R = {few} to {many}"
    return (
        f"of {rows} rows to {segments}: segment t is the mean of the rows from floor(t R / {segments}) to before "
        f"ceil((t + 1) R / {segments})"
    )


def _shapes(source: FeatureSource, keys: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Rows and width of every array, int64 (N, 2), 0 where it cannot be had, and why it cannot."""
    shapes = np.zeros((len(keys), 2), dtype=np.int64)
    problems: list[str] = []
    for number, key in enumerate(keys):
        try:
            shapes[number] = source.shape(key)
        except DataError as error:
            problems += error.problems
    return shapes, problems


def _misfit(name: str, rows: int, width: int, most_rows: int, most_width: int, segments: int) -> str:
    """What is wrong with an array of this shape; most videos have `most_rows` and `most_width`."""
    if rows < segments:
        return f"has {rows} rows, which are fewer than the {segments} segments; extract more, or pack with --segments"
    if not _is_poolable(name, rows, segments):
        return f"has {rows} rows, which is no multiple of the {segments} segments, as frames need it"
    if name == "frames" and rows != most_rows and most_rows % segments == 0:
        return f"has {rows} rows, but most videos have {most_rows}"
    if width != most_width:
        return f"is {width} wide, but most videos are {most_width} wide"
    return ""


def _is_poolable(name: str, rows: int, segments: int) -> bool:
    return rows >= segments and (name != "frames" or rows % segments == 0)


def _most_frequent(values: np.ndarray) -> int:
    found, counts = np.unique(values, return_counts=True)
    return int(found[counts.argmax()])
