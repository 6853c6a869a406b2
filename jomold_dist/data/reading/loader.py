"""Plan and shards to batches: one Batch an optimizer step, read ahead by a few threads, in the order of the plan.

Legend: B this rank's videos of an optimizer batch, C categories, T segments, F feature size.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from jomold_dist.data.format.damage import BadVideo
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.data.format.records import RecordView
from jomold_dist.data.reading.blocks import BlockReader, Piece, RunReader
from jomold_dist.data.reading.folds import Fold
from jomold_dist.data.reading.plan import EpochPlan, check_world_size
from jomold_dist.data.reading.prefetch import Prefetcher
from jomold_dist.data.reading.resident import ResidentSplit
from jomold_dist.data.reading.shards import ShardReader
from jomold_dist.data.reading.shares import DealtShare, Share, SliceShare
from jomold_dist.data.reading.source import Place, as_source


@dataclass(frozen=True)
class Batch:
    """This rank's videos of one optimizer batch, or of one step of a pass in the manifest's order; there may be
    none."""

    features: dict[str, Tensor]
    """By name, in the stored dtype: audio (B, T, F), frames (B, T, F) or (B, 8T, F), motion (B, T, F)."""
    labels: Tensor
    """Weak labels, bool (B, C)."""
    position: Tensor
    """Places among the videos of all ranks at this step, int64 (B,), ascending."""
    index: Tensor
    """Numbers of the videos in their split, in the order of the manifest, int64 (B,)."""
    keys: tuple[str, ...]
    """The videos' keys."""
    dense: Tensor | None
    """Dense labels, uint8 (B, 2, C, T), audio first; None in a split without them."""
    total: int
    """Videos of this step over all ranks, bad ones included."""
    bad: tuple[BadVideo, ...] = ()
    """This rank's videos that cannot be used. They are in none of the fields above; the others keep their places."""


class Records(Protocol):
    """What a batch is made of, whether it comes from shards or from the resident file."""

    def feature(self, name: str) -> np.ndarray: ...
    def keys(self) -> list[str]: ...
    def labels(self) -> np.ndarray: ...
    def dense(self) -> np.ndarray: ...


class Taken(NamedTuple):
    """A batch's videos without those that cannot be used, which are told by their place among its positions."""

    rows: Records
    bad: Mapping[int, BadVideo]


class Loader:
    """Serves one split to one rank. A context manager; close() ends its threads, also in the middle of an epoch.

    Training (`shuffle=True`) takes the canonical order of `plan.py`, and the world's size must divide `streams`
    (ConfigError). Evaluation (`shuffle=False`) takes a slice of the split in the order of the manifest, with any number
    of ranks. With `resident`, batches come from a decoded file in `cache` (see `resident.py`), not the shards, and are
    the same. `wait_seconds` counts the time that the consumer has waited for batches. With a `fold`, its videos are
    all that there are; with `most_steps`, an epoch has no more steps than that.

    A video that cannot be used is a DataError, which a reading thread's consumer gets; with `mask` the batch is served
    without it, and names it.
    """

    def __init__(
        self,
        place: Place,
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
        mask: bool = False,
        prefetch: int = 0,
        fold: Fold | None = None,
        most_steps: int | None = None,
    ) -> None:
        if shuffle:
            check_world_size(streams, world)
        self.split = split
        self._manifest, self._info = manifest, manifest.split(split)
        self._rank, self._world = rank, world
        self._seed, self._streams, self._block, self._shuffle = seed, streams, block, shuffle
        self._first = np.concatenate([[0], np.cumsum(self._info.shard_sizes)])  # number of each shard's first video
        self._ahead = batches_ahead(threads)
        self._source, self._prefetch = as_source(place), prefetch
        self._prefetcher: Prefetcher | None = None
        self._reader = ShardReader(place, manifest, split, mask=mask)
        self._resident = ResidentSplit(place, manifest, split, cache, mask=mask) if resident else None
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"loader-{split}")
        self._fold = fold
        self.videos = self._plan(0).videos
        share = DealtShare if shuffle else SliceShare
        self._share: Share = share(self.videos, batch_size, rank, world)
        self.steps = min(self._share.steps, most_steps or self._share.steps)
        self.wait_seconds = 0.0

    def __enter__(self) -> Loader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends and joins the threads and closes the files."""
        self._reader.stop()
        self._end_prefetching()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._reader.close()
        if self._resident is not None:
            self._resident.close()

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from `start_step` on: `steps - start_step` of them on every rank."""
        plan = self._plan(epoch)
        fetch = self._choose_source(plan)
        self._begin_prefetching(plan, start_step)
        steps = iter(range(start_step, self.steps))
        pending: deque[Future[Batch]] = deque()

        def read_ahead() -> None:
            started = time.perf_counter()
            while len(pending) < self._ahead and (step := next(steps, None)) is not None:
                if self._prefetcher is not None:
                    self._prefetcher.reached(self._share.begin(step + 1) - 1)
                positions = self._share.positions(step)
                pending.append(self._pool.submit(self._batch_of_step, plan, step, positions, fetch(positions)))
            self.wait_seconds += time.perf_counter() - started

        try:
            read_ahead()
            while pending:
                started = time.perf_counter()
                batch = pending.popleft().result()
                self.wait_seconds += time.perf_counter() - started
                read_ahead()
                yield batch
        finally:
            self._end_prefetching()
            for future in pending:
                future.cancel()

    def empty_batch(self, step: int) -> Batch:
        """The batch of a step for a rank that has none of its videos."""
        piece, none = Piece(np.empty((0, self._info.record.bytes), dtype=np.uint8), {}), np.zeros(0, dtype=np.int64)
        return self._batch(none, none, self._share.total(step), lambda index: self._without_bad(piece))

    def take(self, index: np.ndarray) -> Batch:
        """The videos with these numbers int64 (B,), in any order and also more than once, of a split that is read in
        the manifest's order. Those that cannot be used are missing from it."""
        if self._shuffle or self._fold is not None:
            raise ValueError("only a whole split in the manifest's order can be read by the videos' numbers")
        places = np.arange(len(index), dtype=np.int64)
        return self._batch(index, places, len(index), self._choose_source(self._plan(0))(index))

    def _begin_prefetching(self, plan: EpochPlan, start_step: int) -> None:
        self._end_prefetching()
        if self._prefetch and self._source.is_remote and self._resident is None:
            needs, order = plan.shards_by_need(self._rank, self._world, self._share.begin(start_step))
            name = f"prefetch-{self._info.name}"
            self._prefetcher = Prefetcher(self._source, self._info.shards, needs, order, self._prefetch, name)

    def _end_prefetching(self) -> None:
        if self._prefetcher is not None:
            self._prefetcher.close()
            self._prefetcher = None

    def _plan(self, epoch: int) -> EpochPlan:
        sizes = self._info.shard_sizes
        return EpochPlan(sizes, self._streams, self._block, self._seed, epoch, self._shuffle, self._fold)

    def _choose_source(self, plan: EpochPlan) -> Callable[[np.ndarray], Callable[[np.ndarray], Taken]]:
        """What takes a batch's positions, in order and in the consumer's thread, and gives the job to get its rows,
        which is told the videos' numbers."""
        if self._resident is not None:
            resident = self._resident
            return lambda positions: partial(_resident_rows, resident)
        source: BlockReader | RunReader = (
            BlockReader(plan, self._reader, self._pool) if plan.shuffle else RunReader(plan, self._reader)
        )

        def fetch(positions: np.ndarray) -> Callable[[np.ndarray], Taken]:
            job = source.queue(positions)
            return lambda index: self._without_bad(job())

        return fetch

    def _without_bad(self, piece: Piece) -> Taken:
        records = np.delete(piece.records, list(piece.bad), axis=0) if piece.bad else piece.records
        return Taken(RecordView(records, self._manifest, self._info), piece.bad)

    def _batch_of_step(
        self, plan: EpochPlan, step: int, positions: np.ndarray, job: Callable[[np.ndarray], Taken]
    ) -> Batch:
        shard, row = plan.locate(positions)
        index = self._first[shard] + row
        return self._batch(index, self._share.places(step), self._share.total(step), job)

    def _batch(self, index: np.ndarray, places: np.ndarray, total: int, job: Callable[[np.ndarray], Taken]) -> Batch:
        rows, bad = job(index)
        if bad:
            places, index = (np.delete(numbers, list(bad)) for numbers in (places, index))
        return Batch(
            features={name: torch.from_numpy(rows.feature(name)) for name in self._manifest.features},
            labels=torch.from_numpy(rows.labels()),
            position=torch.from_numpy(places),
            index=torch.from_numpy(index),
            keys=tuple(rows.keys()),
            dense=torch.from_numpy(rows.dense()) if self._info.dense else None,
            total=total,
            bad=tuple(bad.values()),
        )


def _resident_rows(resident: ResidentSplit, index: np.ndarray) -> Taken:
    """The videos with these numbers in the split."""
    if not resident.bad:
        return Taken(resident.rows(index), {})
    bad = {place: resident.bad[i] for place, i in enumerate(index.tolist()) if i in resident.bad}
    return Taken(resident.rows(np.delete(index, list(bad))), bad)


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
