"""What a folder of shards holds: schema, features, splits, shards, and where each video lies.

All videos of a split take the same number of bytes in its shards (features have fixed shapes, and the label text is
padded to one slot), so "where each video lies" is a number: video i of a shard starts at byte `i * record.bytes`, and
the arrays lie at the same offsets inside every record. The manifest therefore stays small at ten million videos.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from jomold_dist.data.positives import cut_out_positives, positives_texts
from jomold_dist.errors import DataError
from jomold_dist.labels import CategorySet

SCHEMA = 1
MANIFEST_NAME = "manifest.json"
FEATURE_NAMES = ("audio", "frames", "motion")
DTYPES = ("float16", "float32")


@dataclass(frozen=True)
class FeatureSpec:
    """Shape of one video's feature, e.g. (10, 2048), and its stored dtype."""

    shape: tuple[int, int]
    dtype: str

    @property
    def bytes(self) -> int:
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize


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

    Two are equal if their digests are: positives are not compared.
    """

    name: str
    videos: int
    bytes: int
    sha256: str
    positives: np.ndarray = field(compare=False, repr=False)


@dataclass(frozen=True)
class SplitInfo:
    """One split. `max_labels` is the most labels that a video has; `dense` tells whether it holds dense labels."""

    name: str
    max_labels: int
    dense: bool
    record: RecordLayout
    shards: tuple[ShardInfo, ...]

    @cached_property
    def shard_sizes(self) -> np.ndarray:
        """Videos per shard, int64 (shards,)."""
        return np.array([s.videos for s in self.shards], dtype=np.int64)

    @cached_property
    def videos(self) -> int:
        return int(self.shard_sizes.sum())

    @cached_property
    def positives(self) -> np.ndarray:
        """Labels per category over the split, int64 (C,)."""
        total = np.zeros(len(self.shards[0].positives) if self.shards else 0, dtype=np.int64)
        for shard in self.shards:  # 20,000 shards of 500 categories would be 80 MB side by side
            total += shard.positives
        return total


@dataclass(frozen=True)
class Manifest:
    """The whole data set. `simulated` holds scenario and seed of a simulated set and is None for real data."""

    name: str
    segments: int
    categories: CategorySet
    features: dict[str, FeatureSpec]
    splits: dict[str, SplitInfo]
    simulated: dict[str, Any] | None = None

    def split(self, name: str) -> SplitInfo:
        try:
            return self.splits[name]
        except KeyError:
            raise DataError(f"the data set has no split {name!r}; it has: {', '.join(self.splits)}") from None

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the manifest's canonical text, JSON with sorted keys: equal digests mean equal data."""
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
        features = {k: {"shape": list(f.shape), "dtype": f.dtype} for k, f in self.features.items()}
        head = {
            "schema": SCHEMA,
            "name": self.name,
            "simulated": self.simulated,
            "segments": self.segments,
            "categories": self.categories.names,
            "features": features,
        }
        yield f'{_json(head)[:-1]}, "splits": {{'
        for number, name in enumerate(splits):
            split = self.splits[name]
            members = {k: [m.offset, m.bytes] for k, m in split.record.members.items()}
            record = {"bytes": split.record.bytes, "members": members}
            form = {"max_labels": split.max_labels, "dense": split.dense, "record": record}
            yield f'{", " if number else ""}{_json(name)}: {_json(form)[:-1]}, "shards": ['
            positives = positives_texts([s.positives for s in split.shards])
            for place, (shard, counts) in enumerate(zip(split.shards, positives, strict=True)):
                yield (
                    f'{", " if place else ""}{{"bytes": {shard.bytes}, "name": {_json(shard.name)}, '
                    f'"positives": {counts}, "sha256": {_json(shard.sha256)}, "videos": {shard.videos}}}'
                )
            yield f'], "videos": {split.videos}}}'
        yield f"}}{tail}}}"


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


class ManifestError(DataError):
    """The manifest's file is damaged."""


def parse_manifest(content: bytes, path: str, *, from_afar: bool) -> Manifest:
    """A manifest's file, which messages call `path`. DataError if it is damaged or of another schema.

    One that came over a network is compared with the digest that it holds (those of older data sets hold none).
    """
    try:
        text, positives = cut_out_positives(content)
        data = json.loads(text)
    except ValueError as error:
        raise ManifestError(f"{path} is damaged ({error}); pack the data set again") from None
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != SCHEMA:
        raise DataError(f"{path} has schema {schema!r}, this version reads schema {SCHEMA}; pack the data set again")
    try:
        manifest = _parse(data, positives)
        _check(manifest, {name: split["videos"] for name, split in data["splits"].items()})
    except (KeyError, IndexError, AttributeError, TypeError, ValueError, DataError) as error:
        raise ManifestError(f"{path} is damaged ({type(error).__name__}: {error}); pack the data set again") from None
    if from_afar and data.get("digest", manifest.digest) != manifest.digest:
        raise ManifestError(f"{path} is damaged: its digest is not that of its content; pack the data set again")
    return manifest


def _check(manifest: Manifest, videos: dict[str, int]) -> None:
    """ValueError if the parts of a manifest do not fit each other."""
    for feature, spec in manifest.features.items():
        if feature not in FEATURE_NAMES or spec.dtype not in DTYPES or min(spec.shape) < 1:
            raise ValueError(f"feature {feature!r} of {spec.shape} {spec.dtype}")
    for split in manifest.splits.values():
        if not split.shards or split.videos != videos[split.name]:
            raise ValueError(f"split {split.name!r} holds {split.videos} videos, not {videos[split.name]}")
        for shard in split.shards:
            if shard.videos < 1 or len(shard.positives) != len(manifest.categories):
                raise ValueError(f"shard {shard.name} of {shard.videos} videos, {len(shard.positives)} categories")
            if shard.positives.max() > shard.videos:
                raise ValueError(f"shard {shard.name} of {shard.videos} videos, {shard.positives.max()} of a category")
            if shard.name.startswith("/") or ".." in shard.name.split("/"):
                raise ValueError(f"shard {shard.name} lies outside the folder")


def _parse(data: dict[str, Any], positives: list[np.ndarray]) -> Manifest:
    """`positives` are the lists whose numbers stand in their place in `data`."""
    if len(positives) != sum(len(split["shards"]) for split in data["splits"].values()):
        raise ValueError("a shard without one list of positives")
    splits = {}
    for name, split in data["splits"].items():
        places = sorted(split["record"]["members"].items(), key=lambda item: int(item[1][0]))  # as they lie
        members = {k: Member(int(v[0]), int(v[1])) for k, v in places}
        shards = tuple(
            ShardInfo(s["name"], int(s["videos"]), int(s["bytes"]), s["sha256"], positives[s["positives"]])
            for s in split["shards"]
        )
        layout = RecordLayout(int(split["record"]["bytes"]), members)
        splits[name] = SplitInfo(name, int(split["max_labels"]), bool(split["dense"]), layout, shards)
    features = {
        k: FeatureSpec((int(f["shape"][0]), int(f["shape"][1])), f["dtype"]) for k, f in data["features"].items()
    }
    return Manifest(
        name=data["name"],
        segments=int(data["segments"]),
        categories=CategorySet(tuple(data["categories"])),
        features=features,
        splits=splits,
        simulated=data["simulated"],
    )
