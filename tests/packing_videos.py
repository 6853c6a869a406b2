"""Videos that other processes can make, and a program that packs them: `python -m tests.packing_videos OUT JOBS
SECONDS`, with so many seconds a video. No torch, as in all that packs."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jomold_dist.commands.packing import stopped_by_signals
from jomold_dist.data.format.manifest import FeatureSpec, Manifest
from jomold_dist.data.packing import workers
from jomold_dist.data.packing.dataset_writer import DatasetWriter
from jomold_dist.data.packing.shard_writer import BadVideosError, Video
from jomold_dist.data.packing.splits import SplitSource
from jomold_dist.errors import DataError
from jomold_dist.labels import CategorySet

SIZES = {"train": 41, "val": 9}
VIDEOS_PER_SHARD = 4
CATEGORIES = CategorySet(("Speech", "Car", "Dog"))
SEGMENTS = 4
FEATURES = {"audio": FeatureSpec((SEGMENTS, 3), "float16"), "frames": FeatureSpec((SEGMENTS, 5), "float16")}


class MadeVideos:
    """Videos that each process makes for itself, some of them bad, one perhaps of another's key."""

    def __init__(self, split: str, seconds: float = 0.0, bad: tuple[int, ...] = (), keys: dict[int, str] | None = None):
        self.split, self.seconds, self.bad = split, seconds, bad
        self.keys = {} if keys is None else keys
        self.numbers = np.arange(SIZES[split])  # an array, as those that processes share
        self.first = os.getpid()

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, part: slice) -> Iterator[Video]:
        if os.getpid() != self.first and "torch" in sys.modules:
            raise DataError("a process that packs has imported torch")
        for number in self.numbers[part].tolist():
            time.sleep(self.seconds)
            yield self.video(number)

    def video(self, number: int) -> Video:
        rng = np.random.default_rng([len(self), number])
        features = {name: rng.standard_normal(spec.shape).astype(spec.dtype) for name, spec in FEATURES.items()}
        if number in self.bad:
            features["audio"][1, 2] = np.nan
        labels = tuple(np.flatnonzero(rng.random(len(CATEGORIES)) < 0.5).tolist())
        dense = rng.integers(0, 2, (2, len(CATEGORIES), SEGMENTS)).astype(np.uint8) if self.split == "val" else None
        return Video(self.keys.get(number, f"{self.split}-{number:04d}"), features, labels, dense)

    def origin(self, part: slice) -> str:
        return f"videos from {part.start}"


def sources(seconds: float = 0.0) -> list[SplitSource]:
    made = {split: MadeVideos(split, seconds) for split in SIZES}
    return [SplitSource(split, videos, split == "val", origin=videos.origin) for split, videos in made.items()]


def pack(out: Path | str, splits: list[SplitSource], **options: Any) -> Manifest:
    """Packs as the commands do: with a recipe, and the bad videos of all splits in one error."""
    problems: list[str] = []
    arguments: dict[str, Any] = {
        "name": "made",
        "categories": CATEGORIES,
        "segments": SEGMENTS,
        "features": FEATURES,
        "videos_per_shard": VIDEOS_PER_SHARD,
        "recipe": {},
    }
    with DatasetWriter(out, **(arguments | options)) as writer:
        for split in splits:
            try:
                writer.write_split(split.name, split.videos, dense=split.dense, origin=split.origin)
            except BadVideosError as error:
                problems += error.problems
        if problems:
            raise BadVideosError(*problems)
        return writer.finish()


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


if __name__ == "__main__":
    out, jobs, seconds = sys.argv[1:]
    workers.PAYS_SECONDS = 0.0
    with stopped_by_signals():
        pack(out, sources(float(seconds)), jobs=int(jobs))
