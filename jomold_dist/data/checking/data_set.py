"""Checking a whole data set: every shard against the manifest, every video for itself, keys over all splits.

What stays in memory is a key a video, to find those that come twice, and its labels, where there is a truth of them.
Hashing, checksums and most of numpy run outside Python's lock, so threads are enough.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jomold_dist.data.checking.shard import Level, Problem, ShardReport, verify_videos
from jomold_dist.data.format.dense_truth import truth_problem
from jomold_dist.data.format.manifest import MANIFEST_NAME, Manifest, ShardInfo, SplitInfo
from jomold_dist.data.format.truth_file import truth_name
from jomold_dist.data.format.video_check import VideoCheck
from jomold_dist.data.reading.source import Folder, Url
from jomold_dist.data.reading.truth import read_truth
from jomold_dist.errors import DataError

CACHE_FOLDER = ".resident"  # decoded splits, see resident.py
DATA_ENDINGS = (".tar", ".npz", ".partial")  # of files that are part of a set, or of one that was being written


@dataclass(frozen=True)
class Verification:
    """All problems, in the order of the manifest, and totals a split."""

    level: Level
    problems: tuple[Problem, ...]
    splits: dict[str, dict[str, int]]
    notes: tuple[str, ...] = ()
    """What is worth to be known, and no problem."""

    @property
    def sound(self) -> bool:
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        return {
            "sound": self.sound,
            "level": self.level,
            "splits": self.splits,
            "notes": list(self.notes),
            "problems": [asdict(problem) for problem in self.problems],
        }


def verify_data_set(
    source: Folder | Url,
    manifest: Manifest,
    level: Level = "full",
    jobs: int | None = None,
    progress: Callable[[int], object] = lambda videos: None,
) -> Verification:
    """Checks a data set in `jobs` threads (None: one a core), each of which has a copy of a shard that lies behind a
    URL.

    `size` compares files and their sizes with the manifest, `digest` their SHA-256 too, and `full` looks at everything
    that a video holds. `progress` is called with the videos of every shard that is done. What else there is beside the
    set is looked for in folders only.
    """
    checks = {name: VideoCheck(manifest, split) for name, split in manifest.splits.items()}

    def report(split: SplitInfo, shard: ShardInfo) -> ShardReport:
        return verify_videos(source, manifest, split, shard, level, checks[split.name])

    reports: list[ShardReport] = []
    with ThreadPoolExecutor(jobs or len(os.sched_getaffinity(0)), thread_name_prefix="verify") as pool:
        work = [(split, shard) for split in manifest.splits.values() for shard in split.shards]
        try:
            for done in pool.map(report, *zip(*work, strict=True)):
                reports.append(done)
                progress(done.videos)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    problems = [problem for report in reports for problem in report.problems]
    if level == "full":
        problems += _label_problems(manifest, reports)
        problems += _repeated_keys(reports)
        problems += _dense_problems(manifest, reports)
        problems += _truth_problems(source, manifest, reports)
    strange: list[str] = []
    if isinstance(source, Folder):
        strange, unread = _unknown_files(Path(str(source)), manifest)
        problems += [Problem(f"the file {path} is not in the manifest") for path in strange if _may_be_data(path)]
        problems += [Problem(f"the folder {error.filename} cannot be read ({error.strerror})") for error in unread]
    return Verification(
        level,
        tuple(problems),
        {name: _totals(split, reports) for name, split in manifest.splits.items()},
        tuple(
            f"the file {path} is not in the manifest, and nobody reads it" for path in strange if not _may_be_data(path)
        ),
    )


def _label_problems(manifest: Manifest, reports: list[ShardReport]) -> Iterator[Problem]:
    for name, split in manifest.splits.items():
        found = [report.max_labels for report in reports if report.split == name]
        known = [value for value in found if value is not None]
        if len(known) == len(found) and max(known) != split.max_labels:
            problem = (
                f"the manifest says that a video has up to {split.max_labels} labels, but the most is {max(known)}"
            )
            yield Problem(problem, name)


def _repeated_keys(reports: list[ShardReport]) -> Iterator[Problem]:
    """A problem for every video whose key an earlier one has, in whichever split."""
    keys = np.concatenate([report.keys for report in reports]) if reports else np.zeros(0, "S1")
    order = np.argsort(keys, kind="stable")
    again = np.flatnonzero(keys[order][1:] == keys[order][:-1]) + 1
    if not len(again):
        return
    starts = np.cumsum([0] + [len(report.keys) for report in reports])

    def place(at: int) -> tuple[ShardReport, int]:
        number = int(np.searchsorted(starts, at, side="right")) - 1
        return reports[number], int(reports[number].numbers[at - starts[number]])

    for position in sorted(again.tolist(), key=lambda position: int(order[position])):
        report, video = place(int(order[position]))
        earlier, other = place(int(order[position - 1]))
        key = keys[order[position]].decode()
        yield Problem(
            f"its key is also that of video {other} of {earlier.shard}", report.split, report.shard, video, key
        )


def _dense_problems(manifest: Manifest, reports: list[ShardReport]) -> Iterator[Problem]:
    """Dense labels that nothing can be scored against, where those of all videos are known."""
    for name in (name for name, split in manifest.splits.items() if split.dense):
        found = [report.positives for report in reports if report.split == name]
        known = [positives for positives in found if positives is not None]
        if len(known) == len(found) and (problem := truth_problem(np.any(known, axis=0))):
            yield Problem(problem, name)


def _truth_problems(source: Folder | Url, manifest: Manifest, reports: list[ShardReport]) -> Iterator[Problem]:
    """The truth beside the shards, where it is there: about the videos of its split, in their order, and of nothing but
    their labels."""
    for name, split in manifest.splits.items():
        try:
            truth = read_truth(source, manifest, name)
        except DataError as error:
            yield Problem(str(error), name)
            continue
        if truth is None:
            if split.truth:
                yield Problem(f"{truth_name(name)} is missing, and the manifest says that it is there", name)
            continue
        own = [report for report in reports if report.split == name]
        stored = np.concatenate([report.keys for report in own])
        if len(stored) != split.videos:
            continue
        if not np.array_equal(stored, truth.keys):
            yield Problem(f"{truth_name(name)} is not about the videos of its split in their order", name)
            continue
        labels = np.concatenate([report.labels for report in own if report.labels is not None])
        beyond = np.packbits(truth.present.any(axis=1), axis=1) & ~labels
        if len(videos := np.flatnonzero(beyond.any(axis=1))):
            first = stored[videos[0]].decode()
            yield Problem(
                f"{truth_name(name)} tells of events that are no labels of their video, in {len(videos)} videos; the "
                f"first is {first}",
                name,
            )


def _unknown_files(folder: Path, manifest: Manifest) -> tuple[list[str], list[OSError]]:
    """The files that the manifest does not know of, and what happened to folders that cannot be read."""
    known = {MANIFEST_NAME, *(shard.name for split in manifest.splits.values() for shard in split.shards)}
    known |= {truth_name(name) for name, split in manifest.splits.items() if split.truth or manifest.simulated}
    found: list[str] = []
    unread: list[OSError] = []
    for root, folders, files in os.walk(folder, onerror=unread.append):
        folders[:] = sorted(name for name in folders if name != CACHE_FOLDER)
        for name in sorted(files):
            path = (Path(root) / name).relative_to(folder).as_posix()
            if path not in known:
                found.append(path)
    return found, unread


def _may_be_data(path: str) -> bool:
    """Whether a file looks like part of a set, and not like what people lay beside one."""
    return path.endswith(DATA_ENDINGS)


def _totals(split: SplitInfo, reports: list[ShardReport]) -> dict[str, int]:
    mine = [report for report in reports if report.split == split.name]
    return {
        "videos": split.videos,
        "shards": len(split.shards),
        "bytes": sum(shard.bytes for shard in split.shards),
        "damaged_videos": len({(p.shard, p.video) for r in mine for p in r.problems if p.video is not None}),
        "damaged_shards": sum(bool(report.problems) and not report.unreadable for report in mine),
        "unreadable_shards": sum(report.unreadable for report in mine),
        "videos_without_checksum": sum(report.without_checksum for report in mine),
    }
