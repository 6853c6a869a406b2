"""A data set to be: how its features are stored, and its splits in the order in which they are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from jomold_dist.data.format.manifest import FeatureSpec
from jomold_dist.data.packing.event_tables import Length
from jomold_dist.data.packing.feature_sources import FeatureSource
from jomold_dist.data.packing.features import plan_features
from jomold_dist.data.packing.packed_videos import PackedVideos
from jomold_dist.data.packing.splits import SplitSource
from jomold_dist.data.packing.video_labels import Keys, LabelSet
from jomold_dist.errors import raise_together

CLOSE = 1e-6  # two lengths of a video, of which segments are parts
SHUFFLED = "train"  # the split whose order training sees


@dataclass(frozen=True)
class PlannedSet:
    """What is handed to a writer. `truths` makes, by split, which labels are really heard and seen: the keys in the
    order of the shards, and bool (n, 2, C)."""

    features: dict[str, FeatureSpec]
    splits: list[SplitSource]
    truths: dict[str, Callable[[], tuple[list[str], np.ndarray]]]


def plan_set(
    labels: LabelSet,
    sources: Mapping[str, FeatureSource],
    length: Length,
    *,
    keep_frames: bool,
    dtype: str,
    seed: int | None,
) -> PlannedSet:
    """The splits of these labels with these features, after a look at the header of every array. Training videos are
    shuffled by the seed; None leaves them in their order. DataError names every array that does not fit, and
    every feature of other seconds of a video."""
    raise_together(
        [
            f"{name} was extracted from {source.seconds:g} s of each video, and {length.segments} segments of "
            f"{length.seconds:g} s are {length.total:g} s; choose --segments and --segment-seconds by extraction.json"
            for name, source in sources.items()
            if source.seconds is not None and abs(source.seconds - length.total) > CLOSE * length.total
        ]
    )
    specs = plan_features(sources, Keys(labels.splits.values()), length.segments, keep_frames, dtype)
    splits, truths = [], {}
    for name, split in labels.splits.items():
        order, own_seed = np.arange(len(split)), seed if name == SHUFFLED else None
        if own_seed is not None:  # batches are cut from neighbours, and their composition drives the removal
            order = np.random.default_rng(own_seed).permutation(order)
        videos = PackedVideos(split, order, sources, specs, len(labels.categories), length.segments)
        splits.append(
            SplitSource(
                name,
                videos,
                dense=split.dense is not None,
                max_labels=split.max_labels,
                origin=videos.origin,
                shuffled=own_seed,
            )
        )
        if split.present is not None:
            truths[name] = videos.truth
    return PlannedSet(specs, splits, truths)
