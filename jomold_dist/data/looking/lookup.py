"""Finding a video by its key: keys are read by their offsets, a few bytes a video, and not whole shards."""

from __future__ import annotations

import difflib
import os
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from jomold_dist.data.format.damage import DamagedError, unreadable
from jomold_dist.data.format.manifest import Manifest, ShardInfo, SplitInfo
from jomold_dist.data.format.records import NAME_FIELD, record_keys
from jomold_dist.data.reading.source import Source
from jomold_dist.errors import DataError

SHORTLIST = 16  # keys that are compared in full, of those that begin and end most alike
SHOWN = 3


class Place(NamedTuple):
    """Where a video lies: its split, the shard's number in it, and the video's number in the shard."""

    split: str
    shard: int
    number: int


def find_video(
    source: Source, manifest: Manifest, key: str, progress: Callable[[int], object] = lambda shards: None
) -> Place:
    """Where the video `key` lies; as `find_videos`."""
    return find_videos(source, manifest, [key], progress)[key]


def find_videos(
    source: Source, manifest: Manifest, keys: Sequence[str], progress: Callable[[int], object] = lambda shards: None
) -> dict[str, Place]:
    """Where the videos `keys` lie, in their order. Behind a URL, shards are fetched one after another until all are
    found. `progress` is called with the number of shards that are done.

    DataError with the nearest keys for those that are not there, and with the shards that cannot be read.
    """
    found: dict[str, Place] = {}
    near: dict[str, list[str]] = {key: [] for key in keys}
    damaged: list[str] = []
    for split in manifest.splits.values():
        for number, shard in enumerate(split.shards):
            try:
                own = _keys(source, shard, split)
            except DamagedError as error:
                damaged += error.problems
                own = []
            rows = {key: row for row, key in enumerate(own) if key in near}
            found |= {key: Place(split.name, number, row) for key, row in rows.items()}
            near = {key: nearest_keys(key, some + own) for key, some in near.items() if key not in found}
            if not near:
                return {key: found[key] for key in dict.fromkeys(keys)}
            progress(1)
    videos = sum(split.videos for split in manifest.splits.values())
    among = f"among {videos:,}" if not damaged else f"in the shards that can be read, of {videos:,} videos"
    where = f"{among} in {', '.join(manifest.splits)}"
    raise DataError(*(f"{source} holds no video {key!r} {where}{_meant(some)}" for key, some in near.items()), *damaged)


def _meant(near: list[str]) -> str:
    return f"; the nearest keys: {', '.join(near[:SHOWN])}" if near else ""


def nearest_keys(key: str, keys: list[str]) -> list[str]:
    """Some keys that are most like `key`, the nearest first."""
    if len(keys) > SHORTLIST:
        texts = np.array([text.lower().encode("ascii", "replace") for text in keys])
        wanted = key.lower().encode("ascii", "replace")
        likeness = _common(texts, wanted) + _common(_reversed(texts), wanted[::-1])
        keys = [keys[n] for n in np.argsort(-likeness, kind="stable")[:SHORTLIST].tolist()]
    ratio = {text: difflib.SequenceMatcher(None, key.lower(), text.lower()).ratio() for text in keys}
    return sorted(ratio, key=lambda text: -ratio[text])


def _common(texts: np.ndarray, wanted: bytes) -> np.ndarray:
    """How many bytes each of the texts S(n,) begins with as `wanted` does: int64 (n,)."""
    width = texts.dtype.itemsize
    letters = np.ascontiguousarray(texts).view(np.uint8).reshape(len(texts), width)
    same = letters == np.frombuffer(wanted[:width].ljust(width, b"\xff"), np.uint8)
    return np.asarray(same.cumprod(axis=1).sum(axis=1))


def _reversed(texts: np.ndarray) -> np.ndarray:
    return np.array([text[::-1] for text in texts.tolist()], dtype=texts.dtype)


def _keys(source: Source, shard: ShardInfo, split: SplitInfo) -> list[str]:
    """All keys of a shard. DamagedError if it is not what the manifest says, DataError if it cannot be read."""
    file = source.open(shard, threading.Event())
    try:
        names = b"".join(
            os.pread(file, NAME_FIELD, number * split.record.bytes).ljust(NAME_FIELD, b"\0")
            for number in range(shard.videos)
        )
    except OSError as error:
        raise unreadable(f"shard {source}/{shard.name}", error) from None
    finally:
        os.close(file)
    return record_keys(np.frombuffer(names, np.uint8).reshape(shard.videos, NAME_FIELD), split.record)
