"""Noise ratios do not depend on how many ranks share the videos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from batches import CATEGORIES, STEPS, own_batch
from ranks import run_ranks

from jomold_dist.data.format.manifest import RecordLayout, ShardInfo, SplitInfo
from jomold_dist.denoising.noise_ratio import NoiseRatios, estimate_noise_ratios, ratios_of
from jomold_dist.distributed.world import World, open_world, sum_over_ranks
from jomold_dist.models.network import Parsing
from jomold_dist.training.evaluate import predict_labels

VIDEOS = STEPS[-1][1]
THRESHOLDS = (0.6, 1.2, 0.95)
MEAN_BATCHES = (None, 16)  # 16: four whole batches, and one of three videos


class Repeat(torch.nn.Module):
    """Says of a video what stands in its features: the same bits, whatever batch it is in."""

    def parse(self, audio: torch.Tensor, frames: torch.Tensor, **features: torch.Tensor) -> Parsing:
        return Parsing(audio, audio, frames, audio, audio)


def split_of(labels: torch.Tensor) -> SplitInfo:
    shard = ShardInfo("shard", VIDEOS, 0, "", labels.sum(0).numpy().astype(np.int32))
    return SplitInfo("train", CATEGORIES, False, RecordLayout(0, {}), (shard,))


def estimate(
    world: World, mean_batch_size: int | None, broken: tuple[int, ...] = (), skip: bool = False
) -> tuple[torch.Tensor, ...]:
    """Collective: ratios and means. Predictions for the `broken` videos are not finite."""
    features, labels = probabilities()
    features["frames"][list(broken), 2] = float("nan")
    batches = [own_batch(world, number, features, labels) for number in range(len(STEPS))]
    network: Any = Repeat()
    found = predict_labels(network, batches, split_of(labels), world, mean_batch_size, skip)
    ratios = ratios_of(sum_over_ranks(found.noise_counts(*THRESHOLDS), world))
    return (*ratios, found.audio_mean, found.visual_mean)


def probabilities() -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    random = np.random.default_rng(2)
    features = {name: torch.from_numpy(random.random((VIDEOS, CATEGORIES))) for name in ("audio", "frames")}
    return features, torch.from_numpy(random.random((VIDEOS, CATEGORIES)) < 0.4)


def every_case(world: World) -> dict[str, Any]:
    found: dict[str, Any] = {f"{size}": estimate(world, size) for size in MEAN_BATCHES}
    found |= {f"{size}, without 3": estimate(world, size, (7, 30, 66), skip=True) for size in MEAN_BATCHES}
    found["some"] = refusal(world, (7, 30, 66), skip=False)
    found["all"] = refusal(world, tuple(range(VIDEOS)), skip=True)
    return found


def refusal(world: World, broken: tuple[int, ...], skip: bool) -> str:
    try:
        estimate(world, None, broken, skip)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


@pytest.fixture(scope="module")
def one_rank() -> dict[str, Any]:
    with open_world("cpu") as world:
        return every_case(world)


@pytest.mark.parametrize("size", [2, 4])
def test_every_number_of_ranks_gives_the_same_bits(size: int, one_rank: dict[str, Any], tmp_path: Path) -> None:
    for rank in run_ranks(every_case, size, tmp_path):
        for case, expected in one_rank.items():
            if isinstance(expected, tuple):
                assert all(torch.equal(mine, alone) for mine, alone in zip(rank[case], expected, strict=True)), case
        assert rank["some"].startswith("NonFiniteError: the estimator's prediction for 3 videos is not finite")
        assert all(f"video{number}" in rank["some"] for number in (7, 30, 66))
        assert rank["all"] == one_rank["all"]


def test_they_are_those_of_the_dense_function(one_rank: dict[str, Any]) -> None:
    features, labels = probabilities()
    for without, case in (((), ""), ((7, 30, 66), ", without 3")):
        kept = np.delete(np.arange(VIDEOS), without)
        dense = estimate_noise_ratios(features["audio"][kept], features["frames"][kept], labels[kept], *THRESHOLDS)
        for mine, expected in zip(NoiseRatios(*one_rank[f"None{case}"][:2]), dense, strict=True):
            assert torch.equal(mine, expected)
            assert 0 < float(expected.min()) <= float(expected.max()) < 1
    batches = estimate_noise_ratios(features["audio"], features["frames"], labels, *THRESHOLDS, mean_batch_size=16)
    assert all(torch.equal(mine, expected) for mine, expected in zip(one_rank["16"][:2], batches, strict=True))
    assert one_rank["all"].startswith("DataError: there is no video to estimate noise ratios from")
