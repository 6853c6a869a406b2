"""The canonical order of an epoch's videos, and what each rank reads of it. Pure: no files, no process group.

Shuffle the shards, lay their videos end to end on a *line*, cut the line into S streams (the first N mod S hold one
video more), shuffle inside blocks of each stream, and deal: position p of the epoch is item p // S of stream p % S. The
optimizer batch t is the positions [t·B, (t+1)·B); rank r of W takes the positions p with p % W == r (see `shares.py`),
which are the streams s with s % W == r because W divides S. Nothing is ever laid out for a whole epoch: any position is
found from the shards' sizes alone, so resuming at a position costs the same as starting at 0.

Stream s starts with a block that is s·block // S shorter than the others. Otherwise all streams would come to the end
of a block at the same step, and that step would wait for S reads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from jomold_dist.data.reading.folds import Fold
from jomold_dist.data.reading.shares import rank_slice
from jomold_dist.errors import ConfigError

PLAN_VERSION = 1  # of the order: a checkpoint made under another version cannot be resumed
_SHARDS, _BLOCK = 1, 2  # purposes of the random generators


@dataclass(frozen=True)
class Block:
    """A piece of a stream that is read at once."""

    runs: tuple[tuple[int, int, int], ...]
    """(shard, first row, rows) that follow each other on the line."""
    order: np.ndarray
    """The block's i-th video in the order of the epoch is row order[i] of the runs laid end to end; int64 (n,)."""


@dataclass(frozen=True, eq=False)
class EpochPlan:
    """The order of one epoch. `shard_sizes` int64 (shards,); with `shuffle=False` position p is video p. With a `fold`
    there is nothing but its videos: each shard puts those of its own on the line."""

    shard_sizes: np.ndarray
    streams: int
    block: int
    seed: int
    epoch: int
    shuffle: bool = True
    fold: Fold | None = None

    @cached_property
    def videos(self) -> int:
        return int(self._sizes.sum())

    def locate(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where the videos at these positions of the epoch lie: (shard, row in the shard), int64 like `positions`."""
        positions = np.asarray(positions, dtype=np.int64)
        if positions.size and not 0 <= positions.min() <= positions.max() < self.videos:
            raise IndexError(f"positions {positions.min()}..{positions.max()} of an epoch of {self.videos} videos")
        if not self.shuffle:
            return self._on_line(positions)
        stream, block, offset = self.blocks(positions)
        line = np.empty_like(positions)
        for s, b, members in group_blocks(stream, block):
            first, order = self._block_order(s, b)
            line[members] = first + order[offset[members]]
        return self._on_line(line)

    def blocks(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For positions of the epoch: (stream, number of the block in it, place in the block), int64."""
        item, stream = np.divmod(positions, self.streams)
        number = (item + self._shift[stream]) // self.block
        first = np.maximum(number * self.block - self._shift[stream], 0)
        return stream, number, item - first

    def read_block(self, stream: int, number: int) -> Block:
        """What to read for one block of a stream, and its order."""
        first, order = self._block_order(stream, number)
        shard, row = self._on_line(np.arange(first, first + len(order)))
        return Block(runs(shard, row), order)

    def shards_by_need(self, rank: int, world: int, position: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """What a rank reads from a position of the epoch on: where each shard is first needed, ascending, and the
        shard; both int64 (n,). A block is needed as a whole when its first video is; without `shuffle` a rank needs
        the shards of its slice."""
        order, ends = self._line
        if not self.shuffle:
            begin, end = rank_slice(self.videos, rank, world)
            begin = max(begin, position)
            if begin >= end:
                return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
            first, last = np.searchsorted(ends, [begin, end - 1], side="right")
            own = np.arange(first, last + 1)
            own = own[self._sizes[own] > 0]  # a shard may have no video of a fold
            return np.maximum(ends[own] - self._sizes[own], begin), own
        needs, shards = [], []
        for stream in range(rank, self.streams, world):
            item = max(0, -(-(position - stream) // self.streams))  # the stream's first one that is still to come
            start, end = self._stream_start(stream), self._stream_start(stream + 1)
            if start + item >= end:
                continue
            shift = int(self._shift[stream])
            block = max((item + shift) // self.block * self.block - shift, 0)
            first, last = np.searchsorted(ends, [start + block, end - 1], side="right")
            begins = ends[first : last + 1] - self._sizes[order[first : last + 1]]
            blocks = (np.maximum(begins - start, block) + shift) // self.block * self.block - shift
            needs.append(np.maximum(blocks, item) * self.streams + stream)
            shards.append(order[first : last + 1])
        if not needs:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        by_need = np.argsort(np.concatenate(needs), kind="stable")
        return np.concatenate(needs)[by_need], np.concatenate(shards)[by_need]

    def _block_order(self, stream: int, number: int) -> tuple[int, np.ndarray]:
        """The block's first place on the line, and its order."""
        shift = int(self._shift[stream])
        first = max(number * self.block - shift, 0)
        last = min((number + 1) * self.block - shift, self._stream_start(stream + 1) - self._stream_start(stream))
        order = self._orders(last - first, stream, number)
        return self._stream_start(stream) + first, order

    @cached_property
    def _orders(self) -> Callable[[int, int, int], np.ndarray]:
        """Permutations of blocks, by (videos, stream, number).

        A batch takes a few videos of each of many blocks, and comes back to them; so as many are kept as are dealt at a
        time, and no longer than the plan. (Small arrays that stay, between the large ones that come and go with every
        batch, leave memory in pieces that cannot be used again.)
        """
        seed, epoch = self.seed, self.epoch
        return lru_cache(maxsize=4 * self.streams)(
            lambda videos, stream, number: _permutation(videos, seed, epoch, _BLOCK, stream, number)
        )

    @cached_property
    def _shift(self) -> np.ndarray:
        """By how much the first block of each stream is shorter; int64 (streams,)."""
        return np.arange(self.streams, dtype=np.int64) * self.block // self.streams

    def _stream_start(self, stream: int) -> int:
        """The place on the line where a stream starts."""
        share, rest = divmod(self.videos, self.streams)
        return stream * share + min(stream, rest)

    @cached_property
    def _line(self) -> tuple[np.ndarray, np.ndarray]:
        """The shards in the order of the line, and where on it each ends."""
        shards = len(self.shard_sizes)
        order = _permutation(shards, self.seed, self.epoch, _SHARDS) if self.shuffle else np.arange(shards)
        return order, np.cumsum(self._sizes[order])

    @cached_property
    def _firsts(self) -> np.ndarray:
        """Number of each shard's first video in the split, and after the last one; int64 (shards + 1,)."""
        return np.concatenate([[0], np.cumsum(self.shard_sizes)])

    @cached_property
    def _sizes(self) -> np.ndarray:
        """How many videos each shard puts on the line; int64 (shards,)."""
        return self.shard_sizes if self.fold is None else np.diff(self.fold.count(self._firsts))

    def _on_line(self, line: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(shard, row) at places of the line."""
        order, ends = self._line
        place = np.searchsorted(ends, line, side="right")
        shard = order[place]
        row = line - (ends[place] - self._sizes[shard])
        if self.fold is not None:
            first = self._firsts[shard]
            row = self.fold.video(self.fold.count(first) + row) - first
        return shard, row


def _permutation(count: int, *key: int) -> np.ndarray:
    """A permutation of `count` that depends on the key alone, int64 (count,), read-only.

    Sorted raw 64-bit draws: unlike the methods of numpy's Generator, they are the same in every release of numpy.
    """
    order = np.argsort(np.random.PCG64(np.random.SeedSequence(key)).random_raw(count), kind="stable")
    order.flags.writeable = False
    return order


def group_blocks(stream: np.ndarray, block: np.ndarray) -> list[tuple[int, int, np.ndarray]]:
    """The distinct (stream, block) in ascending order of block, each with the indices where it stands."""
    if not stream.size:
        return []
    order = np.lexsort((stream, block))
    pairs = np.stack([stream[order], block[order]])
    starts = np.flatnonzero(np.any(pairs[:, 1:] != pairs[:, :-1], axis=0)) + 1
    firsts = pairs[:, np.concatenate([[0], starts])].T.tolist()
    return [(s, b, members) for (s, b), members in zip(firsts, np.split(order, starts), strict=True)]


def runs(shard: np.ndarray, row: np.ndarray) -> tuple[tuple[int, int, int], ...]:
    """Neighbouring rows of a shard, as they follow each other, joined: (shard, first row, rows)."""
    if not shard.size:
        return ()
    cuts = np.flatnonzero((np.diff(shard) != 0) | (np.diff(row) != 1)) + 1
    starts = np.concatenate([[0], cuts])
    lengths = np.diff(np.concatenate([starts, [len(shard)]]))
    return tuple(zip(shard[starts].tolist(), row[starts].tolist(), lengths.tolist(), strict=True))


def rank_shards(plan: EpochPlan, rank: int, world: int) -> np.ndarray:
    """The different shards that a rank reads in an epoch, ascending; int64."""
    return np.unique(plan.shards_by_need(rank, world)[1])


def check_world_size(streams: int, world: int) -> None:
    """ConfigError if the number of ranks does not divide the streams; it names the numbers that do."""
    if streams % world:
        fitting = ", ".join(str(n) for n in range(1, streams + 1) if streams % n == 0)
        raise ConfigError(
            f"{world} ranks cannot share data.streams = {streams} evenly; start {fitting} ranks, "
            f"or set data.streams to a multiple of {world} (which changes the order of the videos)"
        )
