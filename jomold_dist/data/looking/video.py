"""One video as it lies in its shard: labels, truth, events, and statistics of its features' rows.

Shapes: C categories, T segments.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jomold_dist.data.format.manifest import Manifest
from jomold_dist.data.format.records import RecordView
from jomold_dist.data.format.truth_file import truth_bytes, truth_name
from jomold_dist.data.looking.lookup import Place
from jomold_dist.data.looking.statistics import Statistics, statistics_of
from jomold_dist.data.reading.shards import ShardReader
from jomold_dist.data.reading.source import Source
from jomold_dist.data.reading.truth import read_truth
from jomold_dist.errors import DataError
from jomold_dist.labels import MODALITIES

MOST_TRUTH_BYTES = 1 << 30  # of a whole split's truth, which is read for one video


@dataclass(frozen=True)
class Event:
    """A category that is heard (audio) or seen (visual) from one second to another."""

    category: str
    modality: str
    onset: float
    offset: float


@dataclass(frozen=True)
class Rows:
    """Statistics of some neighbouring rows of a feature, those of one segment where it has several a segment."""

    first: int
    count: int
    values: Statistics


@dataclass(frozen=True)
class FeatureRows:
    """A video's feature: its form, and statistics of each segment's rows."""

    shape: tuple[int, int]
    dtype: str
    rows: tuple[Rows, ...]


@dataclass(frozen=True)
class VideoView:
    """A video. `truth` tells by modality which categories are really there, None where nobody knows; `events` come
    from dense labels, None where it has none."""

    key: str
    split: str
    shard: str
    number: int
    number_in_split: int
    seconds: float
    labels: tuple[str, ...]
    truth: dict[str, tuple[str, ...]] | None
    events: tuple[Event, ...] | None
    features: dict[str, FeatureRows]


def view_video(source: Source, manifest: Manifest, place: Place) -> VideoView:
    """Reads a video. DataError with what is wrong with it if it is damaged."""
    split = manifest.split(place.split)
    shard = split.shards[place.shard]
    records = np.empty((1, split.record.bytes), dtype=np.uint8)
    with ShardReader(source, manifest, split.name, mask=True) as reader:
        bad = reader.read_into(place.shard, place.number, records)
    if bad:
        raise DataError(f"{source}: {bad[0]}; run jomold verify to see what else is damaged")
    view = RecordView(records, manifest, split)
    (key,) = view.keys()
    number = split.first_of(place.shard) + place.number
    dense = view.dense()[0] if split.dense else None
    present = dense.any(axis=-1) if dense is not None else _truth(source, manifest, split.name, number, key)
    names = manifest.categories.names
    return VideoView(
        key=key,
        split=split.name,
        shard=shard.name,
        number=place.number,
        number_in_split=number,
        seconds=manifest.segments * manifest.segment_seconds,
        labels=_named(view.labels()[0], names),
        truth=None if present is None else {m: _named(present[n], names) for n, m in enumerate(MODALITIES)},
        events=None if dense is None else events_of(dense, names, manifest.segment_seconds),
        features={
            name: FeatureRows(spec.shape, spec.dtype, _rows(view.feature(name)[0], manifest.segments))
            for name, spec in manifest.features.items()
        },
    )


def events_of(dense: np.ndarray, names: tuple[str, ...], segment_seconds: float) -> tuple[Event, ...]:
    """The events of dense labels (2, C, T), audio first: runs of segments, by their onset, in seconds."""
    steps = np.diff(dense.astype(np.int8), prepend=0, append=0, axis=-1)
    onsets, offsets = np.argwhere(steps == 1), np.argwhere(steps == -1)  # both by modality, category and time
    events = [
        Event(names[category], MODALITIES[modality], onset * segment_seconds, offset * segment_seconds)
        for (modality, category, onset), offset in zip(onsets.tolist(), offsets[:, 2].tolist(), strict=True)
    ]
    return tuple(sorted(events, key=lambda event: (event.onset, event.offset)))


def _named(there: np.ndarray, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(names[number] for number in np.flatnonzero(there).tolist())


def _rows(feature: np.ndarray, segments: int) -> tuple[Rows, ...]:
    """Statistics of a feature (R, F), a segment's rows together."""
    count = max(1, len(feature) // segments)
    return tuple(
        Rows(first, count, statistics_of(feature[first : first + count])) for first in range(0, len(feature), count)
    )


def _truth(source: Source, manifest: Manifest, split: str, number: int, key: str) -> np.ndarray | None:
    """What is really heard and seen in a video of a split without dense labels, bool (2, C)."""
    if truth_bytes(manifest.split(split).videos, len(manifest.categories)) > MOST_TRUTH_BYTES:
        return None
    truth = read_truth(source, manifest, split)
    if truth is None:
        return None
    if truth.keys[number].decode() != key:
        raise DataError(f"{source}/{truth_name(split)} tells of {truth.keys[number].decode()} in the place of {key}")
    return np.asarray(truth.present[number])
