"""An estimator's predictions over a split, as equation 1 takes them."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from jomold_dist.config import ModelConfig
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.data.reading.loader import Loader
from jomold_dist.data.reading.source import read_manifest
from jomold_dist.denoising.noise_ratio import Predictions, estimate_noise_ratios
from jomold_dist.distributed.world import World
from jomold_dist.errors import NonFiniteError
from jomold_dist.models.network import Network, Parsing
from jomold_dist.models.registry import build_network
from jomold_dist.training.evaluate import parse_videos, predict_labels
from tests.shard_fixtures import write_dataset

ALONE = World(0, 1, 0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predict") / "set"
    write_dataset(folder, {"train": 31})
    return folder


@pytest.fixture
def network(place: Path) -> Network:
    torch.manual_seed(3)
    return build_network(ModelConfig(), read_manifest(place))


def loader(place: Path, manifest: Manifest) -> Loader:
    return Loader(
        place, manifest, "train", batch_size=8, rank=0, world=1, seed=1, streams=4, block=2, threads=1, shuffle=False
    )


def predict(network: Network, place: Path, skip: bool = False) -> Predictions:
    manifest = read_manifest(place)
    with loader(place, manifest) as batches:
        return predict_labels(network, batches.epoch(0), manifest.split("train"), ALONE, None, skip)


def test_the_ratios_are_those_of_all_probabilities(place: Path, network: Network) -> None:
    manifest = read_manifest(place)
    with loader(place, manifest) as batches:
        parsed = list(parse_videos(network, batches.epoch(0), ALONE.device))
    audio, visual = (
        torch.cat([getattr(parsing, name) for _, parsing in parsed]) for name in ("audio_prob", "visual_prob")
    )
    labels = torch.cat([batch.labels for batch, _ in parsed])
    dense = estimate_noise_ratios(audio, visual, labels, 1.0, 1.0, 0.99)
    found = predict(network, place)
    assert sum(tensor.nbytes for tensor in (found.category, found.audio, found.visual)) == 12 * len(found.category)
    assert len(found.category) == manifest.split("train").positives.sum()
    for one, other in zip(found.noise_ratios(1.0, 1.0, 0.99), dense, strict=True):
        assert torch.equal(one, other)
        assert 0 < one.sum() < len(one)


def test_videos_that_cannot_be_predicted_are_named_or_left_out(
    place: Path, network: Network, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    forward = network.forward

    def broken(**features: torch.Tensor) -> Parsing:
        parsing: Parsing = forward(**features)
        parsing.visual_prob[-1, 2] = float("nan")
        return parsing

    whole = predict(network, place)
    monkeypatch.setattr(network, "forward", broken)
    with pytest.raises(
        NonFiniteError, match=r"prediction for 4 videos is not finite .*, for instance \S+, \S+, \S+, \S+;"
    ):
        predict(network, place)
    caplog.set_level(logging.WARNING)
    found = predict(network, place, skip=True)
    assert "4 videos is not finite" in caplog.text
    assert len(found.category) < len(whole.category)
    assert torch.isfinite(found.visual_mean).all()
