"""The canonical order: every video once, the same batches for every number of ranks, any position found at once."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jomold_dist.data.reading.plan import (
    EpochPlan,
    check_world_size,
    rank_shards,
    runs,
)
from jomold_dist.data.reading.shares import rank_positions, steps_per_epoch
from jomold_dist.errors import ConfigError

WORLDS = (1, 2, 3, 4, 8, 16, 48)
PINNED = [(2, 1), (1, 2), (0, 0), (2, 2), (1, 1), (0, 2), (2, 0), (1, 3), (0, 1), (1, 0), (1, 4), (0, 3)]
SIZES = ([1], [5], [1, 1, 1], [7, 1, 30, 2], [50] * 4, [3, 97, 11, 40, 1, 48], [500, 499, 3])


def draw(count: int, *key: int) -> list[int]:
    """A permutation: numbers in the order of their random draws."""
    draws = np.random.PCG64(np.random.SeedSequence(key)).random_raw(count).tolist()
    return sorted(range(count), key=lambda number: draws[number])


def written_out(sizes: list[int], streams: int, block: int, seed: int, epoch: int) -> list[tuple[int, int]]:
    """The oracle: the whole epoch laid out, as DESIGN's paragraph says it."""
    line = [(shard, row) for shard in draw(len(sizes), seed, epoch, 1) for row in range(sizes[shard])]
    lanes, start = [], 0
    for stream in range(streams):
        length = len(line) // streams + (1 if stream < len(line) % streams else 0)
        lane, start = line[start : start + length], start + length
        shuffled: list[tuple[int, int]] = []
        size, number = block - stream * block // streams, 0  # only the first block is shorter
        while lane:
            piece, lane = lane[:size], lane[size:]
            shuffled += [piece[i] for i in draw(len(piece), seed, epoch, 2, stream, number)]
            size, number = block, number + 1
        lanes.append(shuffled)
    return [lanes[p % streams][p // streams] for p in range(len(line))]


def order_of(plan: EpochPlan, positions: np.ndarray | None = None) -> list[tuple[int, int]]:
    shard, row = plan.locate(np.arange(plan.videos) if positions is None else positions)
    return list(zip(shard.tolist(), row.tolist(), strict=True))


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize(("streams", "block"), [(48, 32), (1, 4), (6, 1), (4, 1000), (5, 7)])
def test_order_is_the_written_out_one(sizes: list[int], streams: int, block: int) -> None:
    plan = EpochPlan(np.array(sizes), streams, block, seed=3, epoch=2)
    assert order_of(plan) == written_out(sizes, streams, block, 3, 2)


@settings(max_examples=80)
@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=12),
    streams=st.integers(1, 60),
    block=st.integers(1, 40),
    seed=st.integers(0, 2**40),
    epoch=st.integers(0, 50),
)
def test_every_video_once_and_as_written_out(sizes: list[int], streams: int, block: int, seed: int, epoch: int) -> None:
    plan = EpochPlan(np.array(sizes), streams, block, seed, epoch)
    order = order_of(plan)
    assert sorted(order) == [(shard, row) for shard, size in enumerate(sizes) for row in range(size)]
    assert order == written_out(sizes, streams, block, seed, epoch)


@settings(max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 80), min_size=1, max_size=8),
    batch=st.integers(1, 70),
    world=st.sampled_from(WORLDS),
)
def test_ranks_share_each_batch_and_own_whole_streams(sizes: list[int], batch: int, world: int) -> None:
    streams, videos = 48, sum(sizes)
    plan = EpochPlan(np.array(sizes), streams, 8, 0, 0)
    for step in range(steps_per_epoch(videos, batch)):
        shares = [rank_positions(step, batch, videos, rank, world) for rank in range(world)]
        for rank, share in enumerate(shares):
            assert (np.diff(share) > 0).all()
            assert (plan.blocks(share)[0] % world == rank).all()
        together = np.sort(np.concatenate(shares))
        assert together.tolist() == list(range(step * batch, min((step + 1) * batch, videos)))


@settings(max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 80), min_size=1, max_size=8),
    batch=st.integers(1, 70),
    before=st.sampled_from(WORLDS),
    after=st.sampled_from(WORLDS),
    block=st.integers(1, 20),
    shuffle=st.booleans(),
    data=st.data(),
)
def test_resumed_with_other_ranks_every_video_comes_once_and_in_its_batch(
    sizes: list[int], batch: int, before: int, after: int, block: int, shuffle: bool, data: st.DataObject
) -> None:
    make = lambda: EpochPlan(np.array(sizes), 48, block, 5, 3, shuffle)  # noqa: E731
    whole, steps = order_of(make()), steps_per_epoch(sum(sizes), batch)
    stop, seen = data.draw(st.integers(0, steps)), []
    for step in range(steps):
        world, plan = (before if step < stop else after), make()  # nothing is kept from one step to the next
        shares = [order_of(plan, rank_positions(step, batch, sum(sizes), rank, world)) for rank in range(world)]
        together = [video for share in shares for video in share]
        assert sorted(together) == sorted(whole[step * batch : (step + 1) * batch])
        seen += together
    assert sorted(seen) == [(shard, row) for shard, size in enumerate(sizes) for row in range(size)]


@pytest.mark.parametrize("shuffle", [True, False])
def test_the_tail_of_an_epoch_is_found_from_any_position(shuffle: bool) -> None:
    make = lambda: EpochPlan(np.array([7, 1, 30, 2, 11]), 6, 4, 9, 1, shuffle)  # noqa: E731
    whole = order_of(make())
    for start in range(51):
        assert order_of(make(), np.arange(start, 51)) == whole[start:]


def test_blocks_read_exactly_what_positions_need() -> None:
    plan = EpochPlan(np.array([7, 1, 30, 2, 11]), 6, 4, 9, 1)
    positions = np.arange(plan.videos)
    stream, number, offset = plan.blocks(positions)
    located = order_of(plan)
    for p in positions.tolist():
        block = plan.read_block(int(stream[p]), int(number[p]))
        rows = [(shard, first + i) for shard, first, count in block.runs for i in range(count)]
        assert len(rows) == len(block.order) <= 4
        assert rows[block.order[offset[p]]] == located[p]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("world", [1, 3, 48])
def test_the_shards_that_a_rank_reads(sizes: list[int], world: int) -> None:
    plan = EpochPlan(np.array(sizes), 48, 4, 9, 1)
    for rank in range(world):
        shard, _ = plan.locate(np.arange(rank, plan.videos, world))
        assert rank_shards(plan, rank, world).tolist() == sorted(set(shard.tolist()))


def test_streams_do_not_end_their_blocks_together() -> None:
    plan = EpochPlan(np.array([48 * 64]), 48, 32, 0, 0)
    _, number, offset = plan.blocks(np.arange(plan.videos))
    fresh = (offset == 0) & (number > 0)  # blocks to be read on the way
    per_batch = np.add.reduceat(fresh, np.arange(0, plan.videos, 128))
    assert per_batch.max() <= 8  # 4 on the average; 48 if the streams marched in step


def test_epochs_and_seeds_differ() -> None:
    orders = {tuple(order_of(EpochPlan(np.array([20, 30, 50]), 8, 8, s, e))) for s in range(3) for e in range(3)}
    assert len(orders) == 9


def test_natural_order() -> None:
    plan = EpochPlan(np.array([2, 1, 3]), 48, 32, 0, 0, shuffle=False)
    assert order_of(plan) == [(0, 0), (0, 1), (1, 0), (2, 0), (2, 1), (2, 2)]


def test_order_of_this_plan_version_never_changes() -> None:
    plan = EpochPlan(np.array([4, 5, 3]), 3, 3, seed=7, epoch=1)
    assert order_of(plan) == PINNED


def test_positions_outside_the_epoch_are_refused() -> None:
    plan = EpochPlan(np.array([4]), 2, 2, 0, 0)
    for bad in (-1, 4):
        with pytest.raises(IndexError):
            plan.locate(np.array([bad]))


def test_world_size_that_does_not_divide_the_streams() -> None:
    for world in WORLDS:
        check_world_size(48, world)
    with pytest.raises(ConfigError, match=r"5 ranks.*data\.streams = 48.*1, 2, 3, 4, 6, 8, 12, 16, 24, 48 ranks"):
        check_world_size(48, 5)
    with pytest.raises(ConfigError):
        check_world_size(48, 96)


def test_runs_join_neighbours_only() -> None:
    shard, row = np.array([3, 3, 3, 1, 1, 1]), np.array([4, 5, 7, 0, 1, 0])
    assert runs(shard, row) == ((3, 4, 2), (3, 7, 1), (1, 0, 2), (1, 0, 1))
    assert runs(shard[:0], row[:0]) == ()


def test_ten_million_videos_are_never_laid_out() -> None:
    tracemalloc.start()
    plan = EpochPlan(np.full(20_000, 500), 2048, 32, 0, 0)
    for rank in (0, 1023):
        step = steps_per_epoch(plan.videos, 65_536) - 1
        plan.locate(rank_positions(step, 65_536, plan.videos, rank, 1024))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000  # an epoch's order would be 80 MB
