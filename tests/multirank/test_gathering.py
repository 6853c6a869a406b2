"""What rank 0 alone keeps comes to rank 0 alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ranks import run_ranks

from jomold_dist.data.format.manifest import Manifest, RecordLayout, ShardInfo, SplitInfo
from jomold_dist.distributed.signals import Ask
from jomold_dist.distributed.world import World, gather_to_main
from jomold_dist.labels import CategorySet
from jomold_dist.methods.base import Method
from jomold_dist.training.removals import RemovalRecord
from jomold_dist.training.step import StepReport

VIDEOS = 12


def gathered(world: World) -> tuple[list[Any], str]:
    """Collective: values of every length, some empty; then the record of removals over the same ranks."""
    values = gather_to_main({"rank": world.rank, "rows": np.arange(1000 * world.rank)}, world)
    record = removals()
    own = range(world.rank, VIDEOS, world.size)
    keys = tuple(f"video-{i:02d}" for i in own)
    visual, zeros = np.array([i % 3 == 0 for i in own]), np.zeros((2, 1), dtype=np.int64)
    record.add(
        StepReport(
            Ask.NOTHING, VIDEOS, visual.astype(np.int64), np.zeros(len(keys), np.int64), keys, zeros, 1.0, np.zeros(7)
        )
    )
    record.end_epoch(world)
    return [(value["rank"], len(value["rows"])) for value in values], record.ledger()


class Removing(Method):
    removes = True


def removals() -> RemovalRecord:
    shard = ShardInfo("train/shard-000000.tar", VIDEOS, 0, "", np.array([VIDEOS]))
    split = SplitInfo("train", 1, False, RecordLayout(0, {}), (shard,))
    return RemovalRecord(Manifest("m", 1, CategorySet(("a",)), {}, {"train": split}), None, Removing)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_rank_0_alone_gets_what_every_rank_has(size: int, tmp_path: Path) -> None:
    (main, ledger), *others = run_ranks(gathered, size, tmp_path)
    assert main == [(rank, 1000 * rank) for rank in range(size)]
    assert [line.split(",")[0] for line in ledger.splitlines()[1:]] == [f"video-{i:02d}" for i in range(VIDEOS)]
    for values, rows in others:
        assert values == []
        assert len(rows.splitlines()) == 1  # the header
