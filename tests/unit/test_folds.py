"""Folds share a split out, and a plan or a loader of a fold serves its videos and no others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jomold_dist.data.reading.folds import Fold, folds_of
from jomold_dist.data.reading.loader import Loader
from jomold_dist.data.reading.plan import EpochPlan
from jomold_dist.data.reading.shares import DealtShare, SliceShare
from tests.shard_fixtures import write_dataset


def members(fold: Fold, videos: int) -> list[int]:
    return fold.video(np.arange(fold.count(np.array(videos)))).tolist()


@settings(max_examples=200)
@given(videos=st.integers(0, 400), folds=st.integers(2, 7))
def test_folds_share_the_videos_out(videos: int, folds: int) -> None:
    found = folds_of(videos, folds)
    shares = [members(fold, videos) for fold in found]
    assert sorted(video for share in shares for video in share) == list(range(videos))
    assert all(shares) or videos < folds
    for fold, share in zip(found, shares, strict=True):
        assert members(fold.complement, videos) == sorted(set(range(videos)) - set(share))
        assert share == [v for v in range(videos) if v // fold.run % folds == fold.number]
        before = [sum(v < end for v in share) for end in range(videos + 1)]
        assert fold.count(np.arange(videos + 1)).tolist() == before


@settings(max_examples=100)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=8),
    folds=st.integers(2, 4),
    data=st.data(),
    others=st.booleans(),
    shuffle=st.booleans(),
)
def test_the_plan_of_a_fold_serves_each_of_its_videos_once(
    sizes: list[int], folds: int, data: st.DataObject, others: bool, shuffle: bool
) -> None:
    fold = folds_of(sum(sizes), folds)[data.draw(st.integers(0, folds - 1))]
    fold = fold.complement if others else fold
    plan = EpochPlan(np.array(sizes), 12, 5, 3, 1, shuffle, fold)
    shard, row = plan.locate(np.arange(plan.videos))
    assert (row < np.array(sizes)[shard]).all()
    numbers = (np.cumsum([0, *sizes])[shard] + row).tolist()
    expected = members(fold, sum(sizes))
    assert sorted(numbers) == expected
    assert shuffle or numbers == expected
    if shuffle:  # blocks read what positions need, and shards are known before they are
        stream, number, offset = plan.blocks(np.arange(plan.videos))
        for p in range(plan.videos):
            block = plan.read_block(int(stream[p]), int(number[p]))
            rows = [(s, first + i) for s, first, count in block.runs for i in range(count)]
            assert rows[block.order[offset[p]]] == (shard[p], row[p])
        assert {s for rank in range(3) for s in plan.shards_by_need(rank, 3)[1].tolist()} >= set(shard.tolist())


@pytest.mark.parametrize("resident", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_loader_of_a_fold(tmp_path: Path, resident: bool, shuffle: bool) -> None:
    manifest, videos = write_dataset(tmp_path, {"train": 53, "val": 5, "test": 5})
    fold = folds_of(53, 3)[1].complement
    served: list[int] = []
    for rank in range(2):
        with Loader(
            tmp_path, manifest, "train", batch_size=8, rank=rank, world=2, seed=4, streams=12, block=4, threads=2,
            shuffle=shuffle, resident=resident, fold=fold,
        ) as loader:  # fmt: skip
            assert loader.videos == len(members(fold, 53))
            batches = list(loader.epoch(0))
            assert len(batches) == loader.steps
        for step, batch in enumerate(batches):
            share = (DealtShare if shuffle else SliceShare)(loader.videos, 8, rank, 2)
            assert batch.total == share.total(step)
            assert len(batch.index) == len(share.positions(step))
            assert batch.keys == tuple(videos["train"][i].key for i in batch.index.tolist())
            served += batch.index.tolist()
    assert sorted(served) == members(fold, 53)
