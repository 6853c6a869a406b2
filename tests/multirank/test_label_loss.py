"""The loss on weak labels is the same bits for any number of ranks, and a prediction that is not finite is named."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from ranks import run_ranks

from jomold_dist.data.reading.loader import Batch
from jomold_dist.distributed.world import World
from jomold_dist.errors import DataError, NonFiniteError
from jomold_dist.models.network import Parsing
from jomold_dist.training.label_loss import LabelLoss

VIDEOS, CATEGORIES, BATCH = 23, 28, 2
GENERATOR = np.random.default_rng(5)
PROB = GENERATOR.random((VIDEOS, CATEGORIES)).astype(np.float32) * 1.2  # of whole videos, which may exceed 1
LABELS = GENERATOR.random((VIDEOS, CATEGORIES)) < 0.1


def batch_of(videos: list[int], prob: np.ndarray) -> tuple[Batch, Parsing]:
    """These videos, as a loader and a network would give them."""
    index = torch.tensor(videos, dtype=torch.int64)
    keys = tuple(f"video{number}" for number in videos)
    labels = torch.from_numpy(LABELS[videos])
    batch = Batch({}, labels, index, index, keys, None, len(videos))
    return batch, Parsing(torch.from_numpy(prob[videos]), None, None, torch.empty(0))


def mean_loss(world: World, prob: np.ndarray, skip: bool) -> float | str:
    """Collective: the mean of all ranks' videos, or the error."""
    loss, own = LabelLoss(), list(range(world.rank, VIDEOS, world.size))
    for first in range(0, len(own), BATCH):
        loss.add(*batch_of(own[first : first + BATCH], prob))
    try:
        return loss.mean(VIDEOS, world, skip)
    except (NonFiniteError, DataError) as error:
        return f"{type(error).__name__}: {error}"


def every_case(world: World) -> list[float | str]:
    """Collective: predictions as they are, one that is not finite, the same left out, and none that is."""
    strange, none = PROB.copy(), np.full_like(PROB, np.nan)
    strange[4, 3] = np.nan
    return [mean_loss(world, *case) for case in ((PROB, False), (strange, False), (strange, True), (none, True))]


def plain(videos: list[int]) -> float:
    """The oracle, label by label."""
    total = []
    for video in videos:
        for prob, label in zip(PROB[video].tolist(), LABELS[video].tolist(), strict=True):
            p = min(max(prob, 1e-7), 1 - 1e-7)
            total.append(-math.log(p) if label else -math.log(1 - p))
    return math.fsum(total) / len(total)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[float | str]:
    return run_ranks(every_case, 1, tmp_path_factory.mktemp("alone"))[0]


def test_it_is_the_mean_over_videos_and_labels(alone: list[float | str]) -> None:
    whole, strange, without, none = alone
    assert whole == pytest.approx(plain(list(range(VIDEOS))), rel=1e-12)
    assert without == pytest.approx(plain([v for v in range(VIDEOS) if v != 4]), rel=1e-12)
    assert isinstance(strange, str)
    assert strange.startswith("NonFiniteError: the network's prediction on val for 1 videos is not finite")
    assert "video4;" in strange
    assert none == "DataError: there is no video to validate on: none of the split can be used"


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_change_no_bit(size: int, alone: list[float | str], tmp_path: Path) -> None:
    assert run_ranks(every_case, size, tmp_path) == [alone] * size
