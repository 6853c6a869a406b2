"""What a data set holds: its splits, its categories with their counts, and its features with statistics of a sample.

All but the sample comes from the manifest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jomold_dist.data.format.manifest import Manifest, SplitInfo
from jomold_dist.data.format.records import RecordView
from jomold_dist.data.looking.statistics import Statistics, Sums
from jomold_dist.data.reading.shards import ShardReader
from jomold_dist.data.reading.source import Source

SAMPLE = 256  # videos of which values are looked at
RUN = 16  # neighbours that are read at once
MOST_BYTES = 64 << 20  # of records with very large features, fewer videos are read


@dataclass(frozen=True)
class SplitOverview:
    """A split's numbers. `truth` says whether it is known which labels are really heard and seen; `shuffled` is the
    seed by which the packer has shuffled the videos, None if it has not."""

    videos: int
    shards: int
    bytes: int
    labels: int
    dense: bool
    truth: bool
    shuffled: int | None


@dataclass(frozen=True)
class FeatureOverview:
    """A feature's form, how it came out of video files if that is known, and statistics of its values in the sample;
    None where no video of it can be read."""

    shape: tuple[int, int]
    dtype: str
    pooled: str
    extraction: Mapping[str, Any]
    values: Statistics | None


@dataclass(frozen=True)
class Sample:
    """So many videos of a split were looked at, of so many of its shards; `damaged` more could not be used."""

    split: str
    videos: int
    shards: int
    damaged: int


@dataclass(frozen=True)
class Overview:
    """A whole data set; `categories` has the labels of each by split."""

    place: str
    name: str
    simulated: dict[str, Any] | None
    origin: dict[str, Any]
    segments: int
    segment_seconds: float
    splits: dict[str, SplitOverview]
    categories: dict[str, dict[str, int]]
    features: dict[str, FeatureOverview]
    sample: Sample
    digest: str


def overview(source: Source, manifest: Manifest) -> Overview:
    """Looks at a data set. Behind a URL, one shard is fetched for the sample. DataError if none can be had."""
    split = manifest.splits.get("train", next(iter(manifest.splits.values())))
    sample, values = _sample(source, manifest, split)
    counts = {name: info.positives.tolist() for name, info in manifest.splits.items()}
    return Overview(
        place=str(source),
        name=manifest.name,
        simulated=manifest.simulated,
        origin=manifest.origin,
        segments=manifest.segments,
        segment_seconds=manifest.segment_seconds,
        splits={name: _split(manifest, info) for name, info in manifest.splits.items()},
        categories={
            category: {name: column[number] for name, column in counts.items()}
            for number, category in enumerate(manifest.categories.names)
        },
        features={
            name: FeatureOverview(spec.shape, spec.dtype, spec.pooled, spec.extraction, values[name].statistics())
            for name, spec in manifest.features.items()
        },
        sample=sample,
        digest=manifest.digest,
    )


def sample_runs(sizes: Sequence[int], videos: int, run: int) -> list[tuple[int, int, int]]:
    """About `videos` videos, in runs of neighbours that are spread evenly over shards of these sizes, or all that there
    are: (shard, first, count), each once."""
    total = sum(sizes)
    if total <= videos:
        return [(n, first, min(run, size - first)) for n, size in enumerate(sizes) for first in range(0, size, run)]
    ends = np.cumsum(sizes)
    runs = videos // run
    found = []
    for start in (number * total // runs for number in range(runs)):  # at least `run` lie between two of them
        shard = int(np.searchsorted(ends, start, side="right"))
        left = int(ends[shard]) - start
        found.append((shard, sizes[shard] - left, min(run, left)))
    return found


def _split(manifest: Manifest, info: SplitInfo) -> SplitOverview:
    return SplitOverview(
        videos=info.videos,
        shards=len(info.shards),
        bytes=sum(shard.bytes for shard in info.shards),
        labels=int(info.positives.sum()),
        dense=info.dense,
        truth=info.truth or manifest.simulated is not None,
        shuffled=info.shuffled,
    )


def _sample(source: Source, manifest: Manifest, split: SplitInfo) -> tuple[Sample, dict[str, Sums]]:
    sums = {name: Sums() for name in manifest.features}
    sizes = split.shard_sizes.tolist()[: 1 if source.is_remote else None]
    videos = max(1, min(SAMPLE, MOST_BYTES // split.record.bytes))
    read, damaged, shards = 0, 0, set()
    with ShardReader(source, manifest, split.name, mask=True) as reader:
        for shard, first, count in sample_runs(sizes, videos, min(RUN, videos)):
            records = np.empty((count, split.record.bytes), dtype=np.uint8)
            bad = reader.read_into(shard, first, records)
            good = RecordView(np.delete(records, list(bad), axis=0), manifest, split)
            for name, values in sums.items():
                values.add(good.feature(name))
            read, damaged = read + count - len(bad), damaged + len(bad)
            shards |= {shard} if len(bad) < count else set()
    return Sample(split.name, read, len(shards), damaged), sums
