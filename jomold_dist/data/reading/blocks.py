"""Positions of an epoch to the records of their videos: read where they lie, or block by block and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from jomold_dist.data.format.damage import BadVideo
from jomold_dist.data.reading.plan import EpochPlan, group_blocks, runs
from jomold_dist.data.reading.shards import ShardReader


class Piece(NamedTuple):
    """Videos as they were read: uint8 (n, record.bytes), and by row those that cannot be used."""

    records: np.ndarray
    bad: Mapping[int, BadVideo]


class RunReader:
    """Reads the videos of a batch where they lie: for the order of the manifest."""

    def __init__(self, plan: EpochPlan, reader: ShardReader) -> None:
        self._plan, self._reader = plan, reader

    def queue(self, positions: np.ndarray) -> Callable[[], Piece]:
        """The job that reads these positions' videos."""
        return lambda: read_runs(self._reader, runs(*self._plan.locate(positions)))


class BlockReader:
    """Reads the blocks of this rank's streams whole, and keeps each until its last video is in a batch.

    Batches are asked for in order and by one thread. A block's read is queued before the first job that needs it, so a
    job only ever waits for reads that already run: one thread is enough.
    """

    def __init__(self, plan: EpochPlan, reader: ShardReader, pool: ThreadPoolExecutor) -> None:
        self._plan, self._reader, self._pool = plan, reader, pool
        self._held: dict[tuple[int, int], tuple[Future[Piece], np.ndarray]] = {}

    def queue(self, positions: np.ndarray) -> Callable[[], Piece]:
        """The job that puts these positions' videos together; reads of blocks that it needs are under way."""
        stream, number, offset = self._plan.blocks(positions)
        parts = []
        for s, b, members in group_blocks(stream, number):
            if (s, b) not in self._held:
                block = self._plan.read_block(s, b)
                self._held[s, b] = self._pool.submit(read_runs, self._reader, block.runs), block.order
            records, order = self._held[s, b]
            parts.append((records, order[offset[members]], members))
            if offset[members].max() + 1 == len(order):  # a stream's videos come in order: this was the last
                del self._held[s, b]
        return lambda: self._gather(len(positions), parts)

    def _gather(self, count: int, parts: list[tuple[Future[Piece], np.ndarray, np.ndarray]]) -> Piece:
        batch = np.empty((count, self._reader.record_bytes), dtype=np.uint8)
        bad: dict[int, BadVideo] = {}
        for piece, rows, members in parts:
            block, bad_rows = piece.result()
            for place, row in zip(members.tolist(), rows.tolist(), strict=True):
                batch[place] = block[row]  # one copy; indexing with arrays on both sides would make two
                if row in bad_rows:
                    bad[place] = bad_rows[row]
        return Piece(batch, bad)


def read_runs(reader: ShardReader, parts: tuple[tuple[int, int, int], ...]) -> Piece:
    """The records of runs (shard, first, count), end to end: (sum of counts, record.bytes)."""
    records = np.empty((sum(count for _, _, count in parts), reader.record_bytes), dtype=np.uint8)
    bad: dict[int, BadVideo] = {}
    at = 0
    for shard, first, count in parts:
        found = reader.read_into(shard, first, records[at : at + count])
        bad |= {at + row: video for row, video in found.items()}
        at += count
    return Piece(records, bad)
