"""A split's videos on their way into shards: labels from arrays, features from their sources.

Legend: N videos, C categories, T segments.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from jomold_dist.data.format.manifest import FeatureSpec
from jomold_dist.data.packing.feature_sources import FeatureSource
from jomold_dist.data.packing.features import video_features
from jomold_dist.data.packing.shard_writer import Video
from jomold_dist.data.packing.video_labels import VideoLabels
from jomold_dist.errors import DataError, raise_together


@dataclass(frozen=True)
class PackedVideos:
    """A split's videos in the given `order`, int64 (N,), with features as `specs` say, and `categories` in number."""

    labels: VideoLabels
    order: np.ndarray
    sources: Mapping[str, FeatureSource]
    specs: Mapping[str, FeatureSpec]
    categories: int
    segments: int

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, part: slice) -> Iterator[Video]:
        """After a bad video the rest is still read, so that all are named together."""
        problems: list[str] = []
        for number in self.order[part].tolist():
            key = self.labels.key(number)
            try:
                features = video_features(self.sources, key, self.specs, self.segments)
            except DataError as error:
                problems += error.problems
                continue
            places = {name: self.sources[name].where(key) for name in features}
            yield Video(key, features, tuple(self.labels.labels[number].tolist()), self._dense(number), places)
        raise_together(problems)

    def origin(self, part: slice) -> str:
        """Stands for what the features of a part are made from, not for its content. DataError if some of it is there
        and not to be reached."""
        digest = hashlib.sha256()
        for number in self.order[part].tolist():
            key = self.labels.key(number)
            for name in self.specs:
                source = self.sources[name]
                digest.update(f"{key} {name} {source.where(key)} {source.stamp(key)}\n".encode())
        return digest.hexdigest()

    def truth(self) -> tuple[list[str], np.ndarray]:
        """Keys, and which labels are really heard and seen, bool (N, 2, C), in the order of the shards."""
        if self.labels.present is None:
            raise ValueError("these labels tell no truth")
        present = self.labels.present.multi_hot(self.order, 2 * self.categories)
        keys = [self.labels.key(number) for number in self.order.tolist()]
        return keys, present.reshape(len(keys), 2, self.categories)

    def _dense(self, number: int) -> np.ndarray | None:
        """A video's dense labels, uint8 (2, C, T)."""
        if self.labels.dense is None:
            return None
        dense = np.zeros(2 * self.categories * self.segments, np.uint8)
        dense[self.labels.dense[number]] = 1
        return dense.reshape(2, self.categories, self.segments)
