"""Targets for segments: a method of somebody's that has them trains on them, however the batch is split."""

from __future__ import annotations

from dataclasses import replace

import torch
from batches import CATEGORIES, manifest, own_batch, plain_config, videos
from torch import Tensor

from jomold_dist.config import Config
from jomold_dist.data.reading.loader import Batch
from jomold_dist.distributed.world import open_world
from jomold_dist.methods.base import Moment, Targets
from jomold_dist.methods.han import Han
from jomold_dist.training.step import TrainStep
from jomold_dist.training.stopwatch import Stopwatch


class Pseudo(Han):
    """Every second segment of a labelled category has the event, in both modalities; the first one is not judged."""

    segment_targets = True

    def targets(self, batch: Batch, labels: Tensor, removed: Tensor, moment: Moment) -> tuple[Targets, ...]:
        (targets,) = super().targets(batch, labels, removed, moment)
        every_second = torch.arange(self.manifest.segments) % 2 == 1
        segments = (labels[:, None, None] & every_second[:, None, None]).expand(-1, -1, 2, -1).double()
        weight = torch.ones_like(segments)
        weight[:, 0] = 0
        return (replace(targets, segments=segments, segments_weight=weight),)


def trained(config: Config, steps: int = 1) -> tuple[Tensor, Tensor, TrainStep]:
    """Loss sums, and parameters, after some steps on the first batch."""
    torch.manual_seed(3)
    features, labels = videos("plain")
    with open_world("cpu") as world:
        method = Pseudo(config, manifest(), {}, world.device)
        step = TrainStep(method, Pseudo.network(config, manifest()), world, 0, Stopwatch(world.device), 24 * CATEGORIES)
        for _ in range(steps):
            step(own_batch(world, 0, features, labels), Moment(0, 1), 0.001)
        return step.take_sums(), torch.cat([p.detach().flatten() for p in step.network.parameters()]), step


def test_micro_batches_learn_the_same_and_the_weight_is_the_configs() -> None:
    whole, part = (plain_config(precision="float64", optimizer="sgd", micro_batch_size=size) for size in (24, 5))
    sums, parameters, step = trained(whole)
    again, same, _ = trained(part)
    assert list(step.sums.weights) == ["audio", "visual", "video", "segment", "contrastive"]
    assert step.sums.weights["segment"] == 1.0
    torch.testing.assert_close(again, sums, atol=1e-12, rtol=0)
    torch.testing.assert_close(same, parameters, atol=1e-12, rtol=0)
    unweighted = replace(whole, loss=replace(whole.loss, segment=0.0))
    sums_without, without, _ = trained(unweighted)
    assert float((without - parameters).abs().max()) > 1e-7
    torch.testing.assert_close(sums_without, sums)  # of the same parameters: a term is summed without its weight


def test_it_learns_what_they_say() -> None:
    config = plain_config(precision="float64", optimizer="adam")
    features, labels = videos("plain")

    def contrast(weight: float) -> float:
        """How much more probable labelled events are in segments 1 and 3 than in segment 2."""
        _, _, step = trained(replace(config, loss=replace(config.loss, segment=weight)), steps=60)
        with torch.no_grad():
            parsing = step.network.eval().parse(**{name: value[:24] for name, value in features.items()})
        found = parsing.segment_prob.permute(0, 2, 3, 1)[labels[:24][:, None].expand(-1, 2, -1)]  # (n, T)
        return float((found[:, [1, 3]].mean(1) - found[:, 2]).mean())

    assert contrast(1.0) > contrast(0.0) + 0.3
