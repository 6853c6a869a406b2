"""Checking shards: the file, its digest, and every video in it.

One pass over each, in pieces, so memory does not grow with the shards. A shard from a URL is copied for it, and no copy
is kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Literal

import numpy as np

from jomold_dist.data.format.damage import MissingError
from jomold_dist.data.format.dense_truth import has_positives
from jomold_dist.data.format.manifest import Manifest, ShardInfo, SplitInfo
from jomold_dist.data.format.records import TAR_BLOCK, RecordView
from jomold_dist.data.format.video_check import VideoCheck
from jomold_dist.data.reading.source import REMEDY, Folder, Url
from jomold_dist.errors import DataError

FileLevel = Literal["size", "digest"]
Level = Literal["size", "digest", "full"]

PIECE = 4 << 20  # bytes that are read at once


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong. What is None is not what it is about: a video has all, a shard no video and key."""

    problem: str
    split: str | None = None
    shard: str | None = None
    video: int | None = None
    key: str | None = None

    def __str__(self) -> str:
        if self.video is not None:
            return f"video {self.video} of {self.shard} ({self.key or 'no readable key'}): {self.problem}"
        return f"{self.shard or self.split or 'the data set'}: {self.problem}"


@dataclass
class ShardReport:
    """What was found in one shard. `keys` (n,) are bytes, `numbers` (n,) the videos in the shard that have them."""

    split: str
    shard: str
    videos: int
    problems: list[Problem] = field(default_factory=list)
    keys: np.ndarray = field(default_factory=lambda: np.zeros(0, "S1"))
    numbers: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    labels: np.ndarray | None = None
    """Their labels, uint8 (n, ⌈C / 8⌉), eight in a byte; None where there is no truth to compare them with."""
    without_checksum: int = 0
    unreadable: bool = False
    """Whether it could not be read to its end. It may be sound."""
    max_labels: int | None = None
    """The most labels that a video has; None if that is not known of every video."""
    positives: np.ndarray | None = None
    """Whether a dense label is positive, by modality, bool (2,); None likewise, and in a split without them."""


def verify_shards(source: Folder | Url, shards: Iterable[ShardInfo], level: FileLevel) -> list[str]:
    """Compares shards with their size in the manifest, at `digest` with their SHA-256 too: one line a problem."""
    lines = []
    for shard in shards:
        report = ShardReport("", shard.name, shard.videos)
        _compare(source, shard, level, report)
        remedy = "make it readable, or look after the disk or the file system" if report.unreadable else REMEDY
        lines += [f"shard {source}/{problem}; {remedy}" for problem in report.problems]
    return lines


def verify_videos(
    source: Folder | Url, manifest: Manifest, split: SplitInfo, shard: ShardInfo, level: Level, check: VideoCheck
) -> ShardReport:
    """As `verify_shards` for one shard, and at `full` looks at its videos too. `check` is of the split."""
    report = ShardReport(split.name, shard.name, shard.videos)

    def look(file: BinaryIO, update: Callable[[Any], None]) -> None:
        _verify_videos(file, update, report, manifest, split, shard, check)

    if level == "full":
        _compare(source, shard, "digest", report, look)
    else:
        _compare(source, shard, level, report)
    return report


def _compare(
    source: Folder | Url,
    shard: ShardInfo,
    level: FileLevel,
    report: ShardReport,
    look: Callable[[BinaryIO, Callable[[Any], None]], None] | None = None,
) -> None:
    """Notes what is wrong with a shard's file. `look` reads as much of it as it wants, and hands on what it reads."""
    try:
        size = source.size(shard)
        if size is not None and size != shard.bytes:
            how = "truncated" if size < shard.bytes else "longer than it should be"
            _note(report, f"{how}: {size} bytes, the manifest says {shard.bytes}")
        if level == "size":
            return
        digest = hashlib.sha256()
        with source.open_as_it_is(shard) as file:
            if look is not None:
                look(file, digest.update)
            clean_end = _hash_rest(file, digest.update)
    except (FileNotFoundError, MissingError):
        _note(report, f"missing ({shard.videos} videos, {shard.bytes} bytes)")
    except OSError as error:
        report.unreadable = True
        _note(report, f"cannot be read ({error.strerror or error})")
    except DataError as error:
        report.unreadable = True
        _note(report, f"cannot be read ({error})")
    else:
        seen = digest.hexdigest()
        if seen != shard.sha256 and size in (None, shard.bytes):
            damage = "" if look is None else _where(report, clean_end)
            altered = f"altered: SHA-256 {seen[:16]}…, the manifest says {shard.sha256[:16]}…{damage}"
            report.problems.insert(0, Problem(altered, report.split, shard.name))


def _where(report: ShardReport, clean_end: bool) -> str:
    """What to add about a shard of another digest, if it is not some of its videos that tell."""
    if report.problems:
        return ""
    if not clean_end:
        return "; the end of the tar is not zero"
    reason = ", and they have no checksums" if report.without_checksum else ""
    return f"; none of its videos shows damage{reason}"


def _verify_videos(
    file: BinaryIO,
    update: Callable[[Any], None],
    report: ShardReport,
    manifest: Manifest,
    split: SplitInfo,
    shard: ShardInfo,
    check: VideoCheck,
) -> None:
    """Reads the shard's records, a piece at a time, and notes what is wrong with them."""
    size = split.record.bytes
    piece = np.empty((max(1, PIECE // size), size), dtype=np.uint8)
    keys, numbers, packed, max_labels = [], [], [], 0
    positives = np.zeros(len(manifest.categories), dtype=np.int64)
    dense_positives = np.zeros(2, dtype=bool)
    for first in range(0, shard.videos, len(piece)):
        wanted = piece[: min(len(piece), shard.videos - first)]
        got = _fill(file, memoryview(wanted.reshape(-1)))  # type: ignore[arg-type]
        update(wanted.reshape(-1)[:got])
        whole = got // size
        records = wanted[:whole]
        bad = check.problems(records)
        for row, problem in bad.items():
            _note(report, problem, first + row, check.key(records[row]))
        for row in range(whole, len(wanted)):
            key = check.key(wanted[row]) if row == whole and got % size >= TAR_BLOCK else ""
            _note(report, "the shard ends before it", first + row, key)
        rows = np.array([row for row in range(whole) if row not in bad], dtype=np.int64)
        sound = records if len(rows) == whole else records[rows]
        view = RecordView(sound, manifest, split)
        labels = view.labels()
        positives += labels.sum(axis=0)
        if split.truth or manifest.simulated is not None:
            packed.append(np.packbits(labels, axis=1))
        max_labels = max(max_labels, int(labels.sum(axis=1).max(initial=0)))
        if split.dense:
            dense_positives |= has_positives(view.dense())
        keys.append(np.array([key.encode() for key in view.keys()], dtype="S"))  # noqa: SIM118 - a method of its own
        numbers.append(first + rows)
        report.without_checksum += int((~check.has_checksum(records)).sum())
    report.keys, report.numbers = np.concatenate(keys), np.concatenate(numbers)
    report.labels = np.concatenate(packed) if packed else None
    if len(report.numbers) == shard.videos:
        report.max_labels = max_labels
        report.positives = dense_positives if split.dense else None
        if not np.array_equal(positives, shard.positives):
            _note(report, _other_positives(manifest, shard.positives, positives))


def _other_positives(manifest: Manifest, stated: np.ndarray, counted: np.ndarray) -> str:
    differ = np.flatnonzero(stated != counted)
    name = manifest.categories.names[differ[0]]
    return (
        f"the manifest counts other positives in {len(differ)} categories, the first is {name!r}: "
        f"{stated[differ[0]]} instead of {counted[differ[0]]}"
    )


def _fill(file: BinaryIO, target: memoryview) -> int:
    """Reads until the target is full or the file ends; the bytes read. What is left of the target is zeroed."""
    done = 0
    while done < len(target) and (got := file.readinto(target[done:])):  # type: ignore[attr-defined]
        done += got
    target[done:] = bytes(len(target) - done)
    return done


def _hash_rest(file: BinaryIO, update: Callable[[Any], None]) -> bool:
    """Hashes what is left of the file; whether all of it is zero, as at the end of a tar."""
    clean = True
    while piece := file.read(PIECE):
        update(piece)
        clean = clean and piece.count(0) == len(piece)
    return clean


def _note(report: ShardReport, problem: str, video: int | None = None, key: str | None = None) -> None:
    report.problems.append(Problem(problem, report.split, report.shard, video, key))
