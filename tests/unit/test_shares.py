"""Passes in the order of the manifest: a slice a rank, and each node fetches its own share of the shards."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jomold_dist.config import DataConfig
from jomold_dist.data.format.manifest import SplitInfo
from jomold_dist.data.reading.folds import folds_of
from jomold_dist.data.reading.loader import Loader
from jomold_dist.data.reading.plan import EpochPlan
from jomold_dist.data.reading.shares import DealtShare, SliceShare, rank_slice, steps_of_pass
from jomold_dist.data.reading.source import Url
from tests.servers import serving
from tests.shard_fixtures import write_dataset


def slices(videos: int, batch: int, world: int) -> list[list[list[int]]]:
    """The oracle: by step and rank, the positions that are taken, as the rule says it."""
    a_step = -(-batch // world)
    left = [list(range(videos * rank // world, videos * (rank + 1) // world)) for rank in range(world)]
    steps = []
    while any(left):
        steps.append([own[:a_step] for own in left])
        left = [own[a_step:] for own in left]
    return steps


def assert_as_written_out(videos: int, batch: int, world: int) -> None:
    expected = slices(videos, batch, world)
    shares = [SliceShare(videos, batch, rank, world) for rank in range(world)]
    assert {share.steps for share in shares} == {len(expected)} == {steps_of_pass(videos, batch, world)}
    for step, parts in enumerate(expected):
        assert [share.positions(step).tolist() for share in shares] == parts
        assert [place for share in shares for place in share.places(step).tolist()] == list(range(sum(map(len, parts))))
        assert {share.total(step) for share in shares} == {sum(map(len, parts))}
    together = [p for share in shares for step in range(share.steps) for p in share.positions(step).tolist()]
    assert together == list(range(videos))


@pytest.mark.parametrize("videos", [1, 2, 7, 23, 96, 100])
@pytest.mark.parametrize("batch", [1, 5, 16, 200])
@pytest.mark.parametrize("world", [1, 2, 3, 4, 12, 96])
def test_slices_over_a_grid(videos: int, batch: int, world: int) -> None:
    assert_as_written_out(videos, batch, world)


@settings(max_examples=150)
@given(videos=st.integers(1, 500), batch=st.integers(1, 300), world=st.integers(1, 60))
def test_every_video_is_in_one_slice(videos: int, batch: int, world: int) -> None:
    assert_as_written_out(videos, batch, world)


@pytest.mark.parametrize(("videos", "batch"), [(1, 1), (100, 7), (128, 128), (129, 128)])
def test_one_rank_takes_the_same_batches_dealt_or_sliced(videos: int, batch: int) -> None:
    dealt, sliced = DealtShare(videos, batch, 0, 1), SliceShare(videos, batch, 0, 1)
    assert dealt.steps == sliced.steps
    for step in range(dealt.steps):
        assert dealt.positions(step).tolist() == sliced.positions(step).tolist()
        assert dealt.places(step).tolist() == sliced.places(step).tolist()
        assert (dealt.begin(step), dealt.total(step)) == (sliced.begin(step), sliced.total(step))


@settings(max_examples=150)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=20),
    world=st.integers(1, 30),
    batch=st.integers(1, 60),
    folded=st.booleans(),
    data=st.data(),
)
def test_a_rank_needs_the_shards_of_its_own_slice(
    sizes: list[int], world: int, batch: int, folded: bool, data: st.DataObject
) -> None:
    fold = folds_of(sum(sizes), 3)[data.draw(st.integers(0, 2))] if folded else None
    plan = EpochPlan(np.array(sizes), 12, 4, 5, 1, shuffle=False, fold=fold)
    for rank in range(world):
        share = SliceShare(plan.videos, batch, rank, world)
        start = data.draw(st.integers(0, share.steps))
        first: dict[int, int] = {}  # shard -> the position at which it is first needed
        for step in range(start, share.steps):
            for position in share.positions(step).tolist():
                first.setdefault(int(plan.locate(np.array([position]))[0][0]), position)
        needs, order = plan.shards_by_need(rank, world, share.begin(start))
        assert dict(zip(order.tolist(), needs.tolist(), strict=True)) == first
        assert (np.diff(needs) > 0).all()


def test_no_node_needs_more_than_its_share_and_two_shards() -> None:
    plan = EpochPlan(np.full(20_000, 500), 2048, 32, 0, 0, shuffle=False)
    for rank in (0, 1, 517, 999):
        assert len(plan.shards_by_need(rank, 1000)[1]) == 20
    for world in (7, 48, 999):
        for rank in range(0, world, 5):
            assert len(plan.shards_by_need(rank, world)[1]) <= 20_000 // world + 2


def shared_bytes(split: SplitInfo, nodes: int) -> int:
    """Bytes of the shards that lie in more than one node's slice, once for each further node."""
    ends = np.cumsum(split.shard_sizes)
    own: Counter[int] = Counter()
    for node in range(nodes):
        first, end = rank_slice(split.videos, node, nodes)
        own.update(s for s in range(len(ends)) if max(first, ends[s] - split.shard_sizes[s]) < min(end, ends[s]))
    return sum((times - 1) * split.shards[shard].bytes for shard, times in own.items())


@pytest.mark.parametrize(
    ("nodes", "ranks", "videos", "more"),
    [(12, 1, 288, 0), (4, 1, 288, 0), (4, 2, 288, 0), (3, 2, 288, 0), (12, 1, 283, 11), (4, 2, 283, 3)],
)
def test_a_pass_fetches_the_set_once(tmp_path: Path, nodes: int, ranks: int, videos: int, more: int) -> None:
    """... over nodes with a cache each; where slices end inside a shard, two nodes fetch that one."""
    manifest, _ = write_dataset(tmp_path / "set", {"train": videos}, videos_per_shard=6)
    split, world, served = manifest.split("train"), nodes * ranks, []
    assert len(split.shards) == 48
    with serving(tmp_path / "set") as server:
        for rank in range(world):
            cache = tmp_path / f"node-{rank // ranks}"
            source = Url(server.url, DataConfig(shards=server.url, cache=str(cache), attempts=1))
            with Loader(
                source, manifest, "train", batch_size=32, rank=rank, world=world, seed=0, streams=48, block=4,
                threads=1, shuffle=False, prefetch=2,
            ) as loader:  # fmt: skip
                served += [i for batch in loader.epoch(0) for i in batch.index.tolist()]
    assert served == list(range(videos))
    whole = sum(shard.bytes for shard in split.shards)
    fetched = sum(server.gets[shard.name] * shard.bytes for shard in split.shards)
    assert fetched == whole + shared_bytes(split, nodes)
    assert server.gets.total() == 48 + more
