"""The data set of a run, as its config tells it: joined of several sets, and with a share of the training videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from jomold_dist.config import DataConfig
from jomold_dist.config_files import load_config
from jomold_dist.data.format.manifest import Manifest, TruthFile
from jomold_dist.data.format.records import RecordView
from jomold_dist.data.format.truth_file import truth_name
from jomold_dist.data.reading.joined import join_manifests
from jomold_dist.data.reading.shards import ShardReader
from jomold_dist.data.reading.source import Folder, Joined, Source, Url, read_manifest, source_of
from jomold_dist.errors import ConfigError

PART = "train"  # the split that `data.fraction` cuts
_CHUNK = 64  # videos that are read at once to count their labels


def open_data(data: DataConfig) -> tuple[Source, Manifest]:
    """Where a run's data set lies, and the manifest that all of the run goes by. DataError or ConfigError.

    With `data.fraction`, the labels of the shard in which the cut falls are read.
    """
    source, whole = open_whole(data)
    return source, cut_training(source, whole, data.fraction, data.on_bad_video == "mask")


def open_whole(data: DataConfig) -> tuple[Source, Manifest]:
    """As `open_data`, with all training videos."""
    source = source_of(data)
    if not isinstance(source, Joined):
        return source, read_manifest(source)
    return source, join_manifests([read_manifest(one) for one in source.sources], [str(one) for one in source.sources])


def source_at(place: str, settings: Sequence[str]) -> Folder | Url:
    """One data set in a folder or behind a URL, reached as settings `data.KEY=VALUE` say. ConfigError for others."""
    for setting in settings:
        if not setting.startswith("data.") or setting.partition("=")[0] == "data.shards":
            raise ConfigError(
                f"{setting!r} does not say how {place} is to be reached, as data.storage='{{anon: true}}' would"
            )
    source = source_of(replace(load_config(None, settings).data, shards=place))
    assert isinstance(source, Folder | Url)  # a list alone is joined
    return source


def cut_training(source: Source, whole: Manifest, fraction: float, mask: bool) -> Manifest:
    """The manifest with the first share of the training videos, but at least one; files stay as they are.

    DataError if the labels of the shard in which the cut falls cannot be read; with `mask`, damaged videos there have
    no positives.
    """
    info = whole.splits.get(PART)
    if info is None or (videos := max(1, round(fraction * info.videos))) == info.videos:
        return whole
    ends = np.cumsum(info.shard_sizes)
    last = int(np.searchsorted(ends, videos))
    shards = list(info.shards[: last + 1])
    left = videos - int(ends[last] - info.shard_sizes[last])
    if left < shards[last].videos:
        shards[last] = replace(shards[last], videos=left, positives=_positives(source, whole, last, left, mask))
    truth_files = info.truth_files or (TruthFile(truth_name(PART), info.videos),)
    part = replace(info, shards=tuple(shards), truth_files=truth_files)
    return replace(whole, splits={**whole.splits, PART: part}, part_of=whole.digest)


def _positives(source: Source, manifest: Manifest, shard: int, videos: int, mask: bool) -> np.ndarray:
    """Labels per category of a training shard's first videos, int32 (C,)."""
    info, total = manifest.split(PART), np.zeros(len(manifest.categories), dtype=np.int32)
    with ShardReader(source, manifest, PART, mask=mask) as reader:
        for first in range(0, videos, _CHUNK):
            records = np.empty((min(_CHUNK, videos - first), reader.record_bytes), dtype=np.uint8)
            bad = reader.read_into(shard, first, records)
            sound = np.delete(records, list(bad), axis=0)
            total += RecordView(sound, manifest, info).labels().sum(0, dtype=np.int32)
    return total
