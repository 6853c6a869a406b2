"""One optimizer batch gives the same removals, gradients and parameters however it is split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from batches import take_steps
from ranks import run_ranks

from jomold_dist.distributed.world import World, open_world

KINDS = ("plain", "lonely", "ties")
SPLITS = {1: (24,), 2: (12, 4), 4: (3,), 3: (8,)}  # ranks -> micro-batches: 1×24×1, 2×12×1, 2×4×3, 4×3×2, 3×8×1


def every_kind(world: World, micro_batches: tuple[int, ...]) -> dict[tuple[int, str], dict[str, Any]]:
    return {(micro, kind): take_steps(world, micro, kind) for micro in micro_batches for kind in KINDS}


@pytest.fixture(scope="module")
def one_rank() -> dict[str, dict[str, Any]]:
    with open_world("cpu") as world:
        return {kind: take_steps(world, 24, kind) for kind in KINDS}


def all_removed(ranks: list[dict[str, Any]], step: int) -> list[tuple[int, bool, int]]:
    return sorted(label for rank in ranks for label in rank["removed"][step])


@pytest.mark.parametrize("size", [2, 3, 4])
def test_every_split_of_a_batch_gives_the_same_step(
    size: int, one_rank: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    results = run_ranks(every_kind, size, tmp_path, SPLITS[size])
    for micro, kind in results[0]:
        whole, ranks = one_rank[kind], [r[micro, kind] for r in results]
        for step in range(3):
            assert all_removed(ranks, step) == all_removed([whole], step), (micro, kind, step)
            for rank in ranks:
                error = (rank["gradients"][step] - whole["gradients"][step]).norm() / whole["gradients"][step].norm()
                assert float(error) < 1e-12, (micro, kind, step)
        for rank in ranks:
            torch.testing.assert_close(rank["parameters"], whole["parameters"], atol=1e-11, rtol=1e-11)


def test_something_is_removed_from_both_modalities(one_rank: dict[str, dict[str, Any]]) -> None:
    for kind, whole in one_rank.items():
        modalities = {visual for step in range(3) for _, visual, _ in whole["removed"][step]}
        assert modalities == {False, True}, kind


def poisoned(world: World) -> str:
    try:
        take_steps(world, 12, poison=30)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def test_a_value_that_is_not_finite_stops_every_rank_with_the_video_named(tmp_path: Path) -> None:
    messages = run_ranks(poisoned, 2, tmp_path)
    assert messages[0] == messages[1]
    assert messages[0].startswith("NonFiniteError: step 1: features of video video30 are not finite")
