"""Twelve optimizer steps of denoised training against those of the released code (golden: trajectory.npz).

The released code computed in float32, and we do so in float64: the same on every processor, so that the bounds are of
the released code's own rounding. In float32 losses would be up to 3e-6 from those, and two losses at the border of what
is removed are 1e-5 from each other.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from golden import INPUTS, SEED, figures, parameters, videos

from jomold_dist.config import Config, DenoiseConfig, LossConfig, ModelConfig, TrainConfig
from jomold_dist.data.format.manifest import FeatureSpec, Manifest, RecordLayout, SplitInfo
from jomold_dist.data.reading.loader import Batch
from jomold_dist.denoising.noise_ratio import NoiseRatios
from jomold_dist.distributed.world import World
from jomold_dist.labels import LLP_CATEGORIES
from jomold_dist.methods.base import Moment, Targets
from jomold_dist.methods.jomold import Jomold
from jomold_dist.models.han import HybridAttentionNetwork, released_names
from jomold_dist.training.step import TrainStep
from jomold_dist.training.stopwatch import Stopwatch

VIDEOS, BATCH, EPOCHS = 96, 32, 4
# Their gradient is 0 in exact arithmetic, and Adam makes steps of the rounding.
FREE = ("fc_frame_att.bias", "fc_av_att.bias")


class Counting(Jomold):
    """Remembers how many targets are exactly 0: audio, visual, video."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.zeros: list[list[int]] = []

    def targets(self, batch: Batch, labels: torch.Tensor, removed: torch.Tensor, moment: Moment) -> tuple[Targets, ...]:
        (targets,) = super().targets(batch, labels, removed, moment)
        self.zeros.append([int((t == 0).sum()) for t in (targets.audio, targets.visual, targets.video)])
        return (targets,)


@pytest.fixture(scope="module")
def trained() -> tuple[np.ndarray, list[list[int]], dict[str, float]]:
    features, labels = videos(VIDEOS, SEED + 1000)
    config = Config(
        model=ModelConfig(attention_dropout=0.0, classifier_dropout=0.0),
        denoise=DenoiseConfig(warmup="released", warmup_epochs=0.9),
        loss=replace(LossConfig(), visual_smoothing=0.9),
        train=TrainConfig(precision="float64"),
    )
    sizes = {"audio": (10, 128), "frames": (80, 2048), "motion": (10, 512)}
    specs = {k: FeatureSpec(shape, "float32") for k, shape in sizes.items()}
    split = SplitInfo("train", 25, False, RecordLayout(0, {}), ())
    manifest = Manifest("golden", 10, LLP_CATEGORIES, specs, {"train": split})
    ratios = NoiseRatios(*(torch.full((25,), r, dtype=torch.float64) for r in (0.25, 0.5)))
    world = World(0, 1, 0, 1, torch.device("cpu"))
    method = Counting(config, manifest, {"noise_ratios": ratios}, world.device)
    network = Counting.network(config, manifest)
    assert isinstance(network, HybridAttentionNetwork)
    network.load_released(parameters())
    step = TrainStep(method, network, world, 0, Stopwatch(world.device), capacity=BATCH * 25)
    steps = VIDEOS // BATCH
    losses = []
    for number in range(EPOCHS * steps):
        at = slice(number % steps * BATCH, (number % steps + 1) * BATCH)
        rows = torch.arange(VIDEOS)[at]
        batch = Batch(
            {k: v[at].double() for k, v in features.items()},
            labels[at],
            rows - at.start,
            rows,
            tuple(map(str, rows.tolist())),
            None,
            BATCH,
        )
        step(batch, Moment(number, steps), 5e-4)
        losses.append((step.take_sums()[:3] / BATCH).tolist())
    names = released_names(1)
    norms = {names[k]: float(p.detach().double().norm()) for k, p in network.named_parameters()}
    return np.array(losses), method.zeros, norms


def test_losses_follow_the_released_code(trained: tuple[np.ndarray, list[list[int]], dict[str, float]]) -> None:
    expected = figures("trajectory")
    columns = np.stack([expected[k] for k in ("audio_loss", "visual_loss", "video_loss")], axis=1)
    np.testing.assert_allclose(trained[0], columns, atol=1e-6)


def test_the_same_number_of_targets_is_removed(trained: tuple[np.ndarray, list[list[int]], dict[str, float]]) -> None:
    assert trained[1] == figures("trajectory")["zero_targets"].tolist()


def test_parameters_end_with_the_same_norms(trained: tuple[np.ndarray, list[list[int]], dict[str, float]]) -> None:
    expected = {k: v for k, v in INPUTS["final_parameter_norms"].items() if "hat_encoder.norm" not in k}
    assert set(trained[2]) == set(expected)
    for name in expected.keys() - set(FREE):
        band = 1e-5 if name.endswith("in_proj_bias") else 2e-6
        assert trained[2][name] == pytest.approx(expected[name], rel=band), name
