"""Tiny data sets for tests of the store and the loader."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from jomold_dist.data.checking.shard import FileLevel, verify_shards
from jomold_dist.data.format.manifest import FeatureSpec, Manifest
from jomold_dist.data.format.records import RecordView
from jomold_dist.data.packing.dataset_writer import DatasetWriter
from jomold_dist.data.packing.shard_writer import Video
from jomold_dist.data.reading.loader import Batch
from jomold_dist.data.reading.shards import ShardReader
from jomold_dist.data.reading.source import Folder
from jomold_dist.labels import CategorySet

SEGMENTS = 4
CATEGORIES = CategorySet(("Speech", "Car", "Dog", "Cat", "Bell"))
FEATURES = {
    "audio": FeatureSpec((SEGMENTS, 3), "float16"),
    "frames": FeatureSpec((SEGMENTS, 7), "float16"),
    "motion": FeatureSpec((SEGMENTS, 5), "float16"),
}


def make_videos(
    count: int, *, prefix: str = "v", dense: bool = False, seed: int = 0, dtype: str = "float16", frames: int = SEGMENTS
) -> list[Video]:
    """Random videos. All features are of size 1: a large one makes attention scores with its square, and a training
    on them so steep that the last bit of a float decides where it goes."""
    rng = np.random.default_rng([seed, count])
    videos = []
    for number in range(count):
        features = {
            name: rng.standard_normal((frames if name == "frames" else SEGMENTS, spec.shape[1])).astype(dtype)
            for name, spec in FEATURES.items()
        }
        labels = tuple(np.flatnonzero(rng.random(len(CATEGORIES)) < 0.4).tolist())
        truth = rng.integers(0, 2, (2, len(CATEGORIES), SEGMENTS)).astype(np.uint8) if dense else None
        videos.append(Video(f"{prefix}-{'x' * (number % 9)}{number:06d}", features, labels, truth))
    return videos


def write_dataset(
    out: Path,
    sizes: dict[str, int],
    *,
    videos_per_shard: int = 7,
    dense: Sequence[str] = ("val", "test"),
    dtype: str = "float16",
    frames: int = SEGMENTS,
    prefix: str = "",
) -> tuple[Manifest, dict[str, list[Video]]]:
    """Writes splits of the given sizes; the manifest and the videos as they went in. Sets of other `prefix` have other
    keys."""
    specs = {
        name: FeatureSpec((frames if name == "frames" else SEGMENTS, spec.shape[1]), dtype)
        for name, spec in FEATURES.items()
    }
    videos = {
        split: make_videos(count, prefix=prefix + split, dense=split in dense, dtype=dtype, frames=frames)
        for split, count in sizes.items()
    }
    with DatasetWriter(
        out,
        name="tiny",
        categories=CATEGORIES,
        segments=SEGMENTS,
        features=specs,
        videos_per_shard=videos_per_shard,
    ) as writer:
        for split, members in videos.items():
            writer.write_split(split, members, max_labels=len(CATEGORIES), dense=split in dense)
        return writer.finish(), videos


def shard_problems(folder: Path, manifest: Manifest, level: FileLevel = "digest") -> list[str]:
    """What is wrong with the files of all shards."""
    return verify_shards(Folder(folder), [s for split in manifest.splits.values() for s in split.shards], level)


def assert_same_batch(one: Batch, other: Batch) -> None:
    """Two batches are equal bit for bit, in every field."""
    assert (one.keys, one.total) == (other.keys, other.total)
    assert one.features.keys() == other.features.keys()
    pairs = [(one.features[name], other.features[name]) for name in one.features]
    pairs += [(one.labels, other.labels), (one.position, other.position), (one.index, other.index)]
    if one.dense is not None and other.dense is not None:
        pairs.append((one.dense, other.dense))
    assert (one.dense is None) == (other.dense is None)
    for mine, theirs in pairs:
        assert mine.dtype == theirs.dtype
        assert torch.equal(mine, theirs)


def records_of(reader: ShardReader, shard: int, first: int, count: int) -> np.ndarray:
    """The records of videos [first, first + count) of a shard, uint8 (count, record.bytes)."""
    records = np.empty((count, reader.record_bytes), dtype=np.uint8)
    reader.read_into(shard, first, records)
    return records


def read_records(folder: Path, manifest: Manifest, split: str) -> RecordView:
    """All videos of a packed split, in the manifest's order."""
    info = manifest.split(split)
    with ShardReader(folder, manifest, split) as reader:
        parts = [records_of(reader, i, 0, shard.videos) for i, shard in enumerate(info.shards)]
    return RecordView(np.concatenate(parts), manifest, info)
