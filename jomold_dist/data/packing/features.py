"""From the arrays of feature sources to the rows that are stored: T of every feature, or k·T of frames.

Rows of a source may be more than that. Frames are k a segment, and their mean is exact: the network averages a
segment's frames after its first linear layer, and both are linear. Audio and motion may have any number R ≥ T of rows;
segment t is then the mean of the rows ⌊tR/T⌋ … ⌈(t+1)R/T⌉ - 1, as adaptive average pooling takes it. Means are taken
in float32 and rounded to the stored dtype afterwards.

Legend: N videos, T segments, F a feature's width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from jomold_dist.data.format.feature_rows import pool_rows
from jomold_dist.data.format.manifest import FEATURE_NAMES, FeatureSpec
from jomold_dist.data.packing.feature_sources import FeatureSource
from jomold_dist.errors import DataError, raise_together


def plan_features(
    sources: Mapping[str, FeatureSource], keys: Sequence[str], segments: int, keep_frames: bool, dtype: str
) -> dict[str, FeatureSpec]:
    """How the features of these videos are stored, after a look at the header of every array.

    A width, and how many frames a segment has, is that of most videos, so that one odd array is named as the odd one.
    DataError names every array that is missing, unreadable, of another type, or whose rows do not fit the segments.
    """
    problems = [problem for source in sources.values() for problem in source.problems(keys)]
    raise_together(problems)
    specs = {}
    for name in (name for name in FEATURE_NAMES if name in sources):
        shapes, unread = _shapes(sources[name], keys)
        sound = shapes[shapes[:, 0] > 0]
        problems += unread
        if not len(sound):
            continue
        most = (_most_frequent(sound[:, 0]), _most_frequent(sound[:, 1]))
        problems += _misfits(name, sources[name], keys, shapes, most, segments)
        rows = most[0] if keep_frames and name == "frames" else segments
        few, many = int(sound[:, 0].min()), int(sound[:, 0].max())
        pooled = "" if few == many == rows else pooling_text(few, many, segments)
        specs[name] = FeatureSpec((rows, most[1]), dtype, pooled, sources[name].extraction)
    raise_together(problems)
    return specs


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
    """Rows and width of every array, int32 (N, 2), 0 where it cannot be had, and why it cannot."""
    shapes = np.zeros((len(keys), 2), dtype=np.int32)
    problems: list[str] = []
    for number, key in enumerate(keys):
        try:
            shapes[number] = source.shape(key)
        except DataError as error:
            problems += error.problems
    return shapes, problems


def _misfits(
    name: str, source: FeatureSource, keys: Sequence[str], shapes: np.ndarray, most: tuple[int, int], segments: int
) -> list[str]:
    """A problem for every array of a shape that cannot be; `most` are the rows and the width that most videos have."""
    found = []
    other = np.flatnonzero((shapes != most).any(axis=1))  # most are alike, and need be looked at once
    for shape in dict.fromkeys([most, *map(tuple, shapes[other].tolist())]):
        if shape[0] and (problem := _misfit(name, shape, most, segments)):
            odd = np.flatnonzero((shapes == shape).all(axis=1)).tolist()
            found += [f"{source.where(keys[video])}: {problem}" for video in odd]
    return found


def _misfit(name: str, shape: tuple[int, int], most: tuple[int, int], segments: int) -> str:
    if shape[0] < segments:
        return f"shape {shape}, fewer rows than the {segments} segments; extract more rows, or choose --segments"
    if not _is_poolable(name, shape[0], segments):
        return f"shape {shape}, no multiple of {segments} rows, and frames are as many in every segment"
    if name == "frames" and shape[0] != most[0] and most[0] % segments == 0:
        return f"shape {shape}, but most videos have {most[0]} rows of frames"
    if shape[1] != most[1]:
        return f"is {shape[1]} wide, but most videos are {most[1]} wide"
    return ""


def _is_poolable(name: str, rows: int, segments: int) -> bool:
    return rows >= segments and (name != "frames" or rows % segments == 0)


def _most_frequent(values: np.ndarray) -> int:
    found, counts = np.unique(values, return_counts=True)
    return int(found[counts.argmax()])
