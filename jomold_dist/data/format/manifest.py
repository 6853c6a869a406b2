"""What a folder of shards holds: schema, features, splits, shards, and where each video lies.

All videos of a split take the same number of bytes in its shards (features have fixed shapes, and the label text is
padded to one slot), so "where each video lies" is a number: video i of a shard starts at byte `i * record.bytes`, and
the arrays lie at the same offsets inside every record. The manifest therefore stays small at ten million videos.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from jomold_dist.data.format.extraction import fingerprint_of
from jomold_dist.data.format.positives import positives_texts
from jomold_dist.errors import DataError
from jomold_dist.labels import CategorySet

SCHEMA = 2  # 2: with seconds a segment, the shuffle's seed, and how the set was made
MANIFEST_NAME = "manifest.json"
FEATURE_NAMES = ("audio", "frames", "motion")
DTYPES = ("float16", "float32")


@dataclass(frozen=True)
class FeatureSpec:
    """Shape of one video's feature, e.g. (10, 2048), and its stored dtype. `pooled` tells how its rows were made where
    they are not those of the feature's source, and `extraction`, as JSON values, how they came out of video files, if
    that is known; two specs may be equal without these."""

    shape: tuple[int, int]
    dtype: str
    pooled: str = field(default="", compare=False)
    extraction: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def fingerprint(self) -> str:
        """64 digits that tell every choice of the extraction; "" if it is not known."""
        return fingerprint_of(self.extraction)

    def beside(self, other: FeatureSpec) -> FeatureSpec:
        """This one in a set that also holds videos of another: its extraction is known where that of both is."""
        return self if self.fingerprint == other.fingerprint else replace(self, extraction={})


@dataclass(frozen=True)
class Member:
    """Where one array's raw bytes (or the label text) lie inside a record."""

    offset: int
    bytes: int


@dataclass(frozen=True)
class RecordLayout:
    """One video's bytes in a shard; the same for every video of a split. `members` is keyed by the file ending."""

    bytes: int
    members: dict[str, Member]


@dataclass(frozen=True)
class ShardInfo:
    """One shard: its path under the data set's folder, its size and digest, and its positives per category, int32 (C,).

    Two are equal if their digests are: positives are not compared. Where a split is cut inside a shard, `videos` and
    `positives` are those of its first videos, and the file is larger.
    """

    name: str
    videos: int
    bytes: int
    sha256: str
    positives: np.ndarray = field(compare=False, repr=False)


class TruthFile(NamedTuple):
    """A file with the truth of a split, by its name below the set's folder, and of how many videos."""

    name: str
    videos: int


@dataclass(frozen=True)
class SplitInfo:
    """One split. `max_labels` is the most labels that a video has; `dense` tells whether it holds dense labels, `truth`
    whether a file beside the shards of real data tells which labels are really heard and seen; that of simulated data
    goes without saying. `shuffled` is the seed by which the packer has shuffled its videos; None if they lie in the
    order in which they came. `truth_files` are those of the sets of which it is joined or cut; where it is neither,
    there is at most the one of its own name."""

    name: str
    max_labels: int
    dense: bool
    record: RecordLayout
    shards: tuple[ShardInfo, ...]
    truth: bool = False
    shuffled: int | None = None
    truth_files: tuple[TruthFile, ...] = ()

    @cached_property
    def shard_sizes(self) -> np.ndarray:
        """Videos per shard, int64 (shards,)."""
        return np.array([s.videos for s in self.shards], dtype=np.int64)

    @cached_property
    def videos(self) -> int:
        return int(self.shard_sizes.sum())

    def first_of(self, shard: int) -> int:
        """The number in the split of a shard's first video."""
        return int(self.shard_sizes[:shard].sum())

    @cached_property
    def positives(self) -> np.ndarray:
        """Labels per category over the split, int64 (C,)."""
        total = np.zeros(len(self.shards[0].positives) if self.shards else 0, dtype=np.int64)
        for shard in self.shards:  # 20,000 shards of 500 categories would be 80 MB side by side
            total += shard.positives
        return total


@dataclass(frozen=True)
class Manifest:
    """The whole data set. A video has so many `segments` of `segment_seconds` each.

    `simulated` tells the world and seed of a simulated set and is None for real data; `origin` tells what made the set,
    by which version, and with which settings, as JSON values. `part_of` is the digest of the set of whose training
    split this one has a share only.
    """

    name: str
    segments: int
    categories: CategorySet
    features: dict[str, FeatureSpec]
    splits: dict[str, SplitInfo]
    simulated: dict[str, Any] | None = None
    segment_seconds: float = 1.0
    origin: dict[str, Any] = field(default_factory=dict)
    part_of: str | None = None

    @property
    def world(self) -> str | None:
        """What the world is called that the data are of, where they are known to be simulated."""
        return None if self.simulated is None else str(self.simulated.get("scenario", self.name))

    def split(self, name: str) -> SplitInfo:
        try:
            return self.splits[name]
        except KeyError:
            raise DataError(f"the data set has no split {name!r}; it has: {', '.join(self.splits)}") from None

    @property
    def extraction(self) -> dict[str, Mapping[str, Any]]:
        """How features were extracted, by their names; those of which it is not known are left out."""
        return {name: spec.extraction for name, spec in self.features.items() if spec.extraction}

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the manifest's canonical text, JSON with sorted keys: equal digests mean equal data. That of a
        part tells of what it is a part, and of how many videos: its positives may have been counted without damaged
        ones."""
        if self.part_of is not None:
            return hashlib.sha256(f"{self.split('train').videos} of {self.part_of}".encode()).hexdigest()
        digest = hashlib.sha256()
        for piece in self._text(sorted(self.splits)):
            digest.update(piece.encode())
        return digest.hexdigest()

    def lines(self) -> Iterator[str]:
        """The manifest's file: JSON, a shard a line. It holds its digest, as a network may alter what is read."""
        digest = f', "digest": {_json(self.digest)}'
        return (f"{piece}\n" for piece in self._text(list(self.splits), digest))

    def _text(self, splits: list[str], tail: str = "") -> Iterator[str]:
        """The manifest as JSON with the splits in this order and other keys sorted, in pieces, a shard a piece."""
        features = {
            name: {"shape": list(spec.shape), "dtype": spec.dtype}
            | {key: getattr(spec, key) for key in ("pooled", "extraction") if getattr(spec, key)}
            for name, spec in self.features.items()
        }
        head = {
            "schema": SCHEMA,
            "name": self.name,
            "simulated": self.simulated,
            "segments": self.segments,
            "segment_seconds": self.segment_seconds,
            "origin": self.origin,
            "categories": self.categories.names,
            "features": features,
        }
        yield f'{_json(head)[:-1]}, "splits": {{'
        for number, name in enumerate(splits):
            split = self.splits[name]
            members = {k: [m.offset, m.bytes] for k, m in split.record.members.items()}
            record = {"bytes": split.record.bytes, "members": members}
            form = {
                "max_labels": split.max_labels,
                "dense": split.dense,
                "record": record,
            }
            yield f'{", " if number else ""}{_json(name)}: {_json(form)[:-1]}, "shards": ['
            positives = positives_texts([s.positives for s in split.shards])
            for place, (shard, counts) in enumerate(zip(split.shards, positives, strict=True)):
                yield (
                    f'{", " if place else ""}{{"bytes": {shard.bytes}, "name": {_json(shard.name)}, '
                    f'"positives": {counts}, "sha256": {_json(shard.sha256)}, "videos": {shard.videos}}}'
                )
            truth = '"truth": true, ' if split.truth else ""
            yield f'], "shuffled": {_json(split.shuffled)}, {truth}"videos": {split.videos}}}'
        yield f"}}{tail}}}"


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
