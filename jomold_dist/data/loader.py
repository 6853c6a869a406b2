"""Plan and shards to batches: one Batch an optimizer step, read ahead by a few threads, in the order of the plan.

Legend: B this rank's videos of an optimizer batch, C categories, T segments, F feature size.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from jomold_dist.data.manifest import Manifest
from jomold_dist.data.plan import (
    EpochPlan,
    check_world_size,
    group_blocks,
    rank_positions,
    runs,
    steps_per_epoch,
)
from jomold_dist.data.records import RecordView
from jomold_dist.data.resident import ResidentSplit
from jomold_dist.data.shards import ShardReader


@dataclass(frozen=True)
class Batch:
    """This rank's videos of one optimizer batch; there may be none."""

    features: dict[str, Tensor]
    """By name, in the stored dtype: audio (B, T, F), frames (B, T, F) or (B, 8T, F), motion (B, T, F)."""
    labels: Tensor
    """Weak labels, bool (B, C)."""
    position: Tensor
    """Places in the optimizer batch, int64 (B,), ascending."""
    index: Tensor
    """Numbers of the videos in their split, in the order of the manifest, int64 (B,)."""
    keys: tuple[str, ...]
    """The videos' keys."""
    dense: Tensor | None
    """Dense labels, uint8 (B, 2, C, T), audio first; None in a split without them."""
    total: int
    """Videos of the whole optimizer batch, over all ranks."""


class Records(Protocol):
    """What a batch is made of, whether it comes from shards or from the resident file."""

    def feature(self, name: str) -> np.ndarray: ...
    def keys(self) -> list[str]: ...
    def labels(self) -> np.ndarray: ...
    def dense(self) -> np.ndarray: ...


class Loader:
    """Serves one split to one rank. A context manager; close() ends its threads, also in the middle of an epoch.

    Training (`shuffle=True`) takes the canonical order of `plan.py`, and the world's size must divide `streams`
    (ConfigError). Evaluation (`shuffle=False`) takes the order of the manifest, with any number of ranks. With
    `resident`, batches come from a decoded file in `cache` (see `resident.py`) instead of the shards, and are the
    same. `wait_seconds` counts the time that the consumer has waited for batches.

    A DataError of a reading thread is raised to the consumer.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        split: str,
        *,
        batch_size: int,
        rank: int,
        world: int,
        seed: int,
        streams: int,
        block: int,
        threads: int,
        shuffle: bool = True,
        resident: bool = False,
        cache: Path | None = None,
    ) -> None:
        if shuffle:
            check_world_size(streams, world)
        self._manifest, self._split = manifest, manifest.split(split)
        self._batch_size, self._rank, self._world = batch_size, rank, world
        self._seed, self._streams, self._block, self._shuffle = seed, streams, block, shuffle
        self._first = np.concatenate([[0], np.cumsum(self._split.shard_sizes)])  # number of each shard's first video
        self._ahead = batches_ahead(threads)
        self._reader = ShardReader(folder, manifest, split)
        self._resident = ResidentSplit(folder, manifest, split, cache) if resident else None
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"loader-{split}")
        self.videos = self._split.videos
        self.steps = steps_per_epoch(self.videos, batch_size)
        self.wait_seconds = 0.0

    def __enter__(self) -> Loader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends and joins the threads and closes the files."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._reader.close()
        if self._resident is not None:
            self._resident.close()

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from `start_step` on: `steps - start_step` of them on every rank."""
        plan = EpochPlan(self._split.shard_sizes, self._streams, self._block, self._seed, epoch, self._shuffle)
        fetch = self._choose_source(plan)
        steps = iter(range(start_step, self.steps))
        pending: deque[Future[Batch]] = deque()

        def read_ahead() -> None:
            while len(pending) < self._ahead and (step := next(steps, None)) is not None:
                positions = rank_positions(step, self._batch_size, self._split.videos, self._rank, self._world)
                pending.append(self._pool.submit(self._batch, plan, step, positions, fetch(positions)))

        try:
            read_ahead()
            while pending:
                started = time.perf_counter()
                batch = pending.popleft().result()
                self.wait_seconds += time.perf_counter() - started
                read_ahead()
                yield batch
        finally:
            for future in pending:
                future.cancel()

    def _choose_source(self, plan: EpochPlan) -> Callable[[np.ndarray], Callable[[np.ndarray], Records]]:
        """What takes a batch's positions, in order and in the consumer's thread, and gives the job to get its rows,
        which is told the videos' numbers."""
        if self._resident is not None:
            resident = self._resident
            return lambda positions: resident.rows
        source: _Blocks | _Runs = _Blocks(plan, self._reader, self._pool) if plan.shuffle else _Runs(plan, self._reader)

        def fetch(positions: np.ndarray) -> Callable[[np.ndarray], Records]:
            job = source.fetch(positions)
            return lambda index: RecordView(job(), self._manifest, self._split)

        return fetch

    def _index(self, plan: EpochPlan, positions: np.ndarray) -> np.ndarray:
        shard, row = plan.locate(positions)
        return self._first[shard] + row

    def _batch(self, plan: EpochPlan, step: int, positions: np.ndarray, job: Callable[[np.ndarray], Records]) -> Batch:
        index = self._index(plan, positions)
        rows = job(index)
        start = step * self._batch_size
        return Batch(
            features={name: torch.from_numpy(rows.feature(name)) for name in self._manifest.features},
            labels=torch.from_numpy(rows.labels()),
            position=torch.from_numpy(positions - start),
            index=torch.from_numpy(index),
            keys=tuple(rows.keys()),
            dense=torch.from_numpy(rows.dense()) if self._split.dense else None,
            total=min(self._batch_size, self._split.videos - start),
        )


def batches_ahead(threads: int) -> int:
    """Batches that are on their way while the consumer holds one."""
    return threads + 1


def read_ahead_videos(
    videos: int, batch_size: int, world: int, streams: int, block: int, threads: int
) -> tuple[int, int]:
    """The most videos that a rank's loader holds in a shuffled epoch: in blocks, and in batches."""
    batches = batches_ahead(threads) + 1  # and the consumer's
    items = -(-batches * batch_size // streams)  # of a stream within these batches
    blocks = -(-items // block) + 1
    own = -(-videos // world)
    return min(streams // world * blocks * block, own), min(batches * -(-batch_size // world), own)


class _Runs:
    """Reads the videos of a batch where they lie: for the order of the manifest."""

    def __init__(self, plan: EpochPlan, reader: ShardReader) -> None:
        self._plan, self._reader = plan, reader

    def fetch(self, positions: np.ndarray) -> Callable[[], np.ndarray]:
        return lambda: _read(self._reader, runs(*self._plan.locate(positions)))


class _Blocks:
    """Reads the blocks of this rank's streams whole, and keeps each until its last video is in a batch.

    Batches are asked for in order and by one thread. A block's read is queued before the first job that needs it, so a
    job only ever waits for reads that already run: one thread is enough.
    """

    def __init__(self, plan: EpochPlan, reader: ShardReader, pool: ThreadPoolExecutor) -> None:
        self._plan, self._reader, self._pool = plan, reader, pool
        self._held: dict[tuple[int, int], tuple[Future[np.ndarray], np.ndarray]] = {}

    def fetch(self, positions: np.ndarray) -> Callable[[], np.ndarray]:
        stream, number, offset = self._plan.blocks(positions)
        parts = []
        for s, b, members in group_blocks(stream, number):
            if (s, b) not in self._held:
                block = self._plan.read_block(s, b)
                self._held[s, b] = self._pool.submit(_read, self._reader, block.runs), block.order
            records, order = self._held[s, b]
            parts.append((records, order[offset[members]], members))
            if offset[members].max() + 1 == len(order):  # a stream's videos come in order: this was the last
                del self._held[s, b]
        return lambda: self._gather(len(positions), parts)

    def _gather(self, count: int, parts: list[tuple[Future[np.ndarray], np.ndarray, np.ndarray]]) -> np.ndarray:
        batch = np.empty((count, self._reader.record_bytes), dtype=np.uint8)
        for records, rows, members in parts:
            block = records.result()
            for place, row in zip(members.tolist(), rows.tolist(), strict=True):
                batch[place] = block[row]  # one copy; indexing with arrays on both sides would make two
        return batch


def _read(reader: ShardReader, parts: tuple[tuple[int, int, int], ...]) -> np.ndarray:
    """The records of runs (shard, first, count), end to end: uint8 (sum of counts, record.bytes)."""
    records = np.empty((sum(count for _, _, count in parts), reader.record_bytes), dtype=np.uint8)
    at = 0
    for shard, first, count in parts:
        reader.read_into(shard, first, records[at : at + count])
        at += count
    return records
