"""A training step on a device of choice against the same step on the CPU, for every method.

In float64 without dropout both decide and learn alike. In float32 they differ by rounding, which is told. Plain
functions, so that they also run where pytest is not installed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from bench_train import earlier_results, llp_manifest, random_batch

from jomold_dist.config import Config, ModelConfig, TrainConfig
from jomold_dist.config_methods import StaticLabels
from jomold_dist.distributed.world import World
from jomold_dist.methods.base import Moment
from jomold_dist.methods.registry import method_class
from jomold_dist.training.step import TrainStep
from jomold_dist.training.stopwatch import Stopwatch

VIDEOS, STEPS = 64, 3
WARM = 20  # epochs after which every schedule has come to its end
TOLERANCES = {"float64": 1e-10, "float32": 1e-4}


class Trained(NamedTuple):
    """Labels taken out, a step an entry, and the weights after all steps."""

    removed: list[list[tuple[str, int, int]]]  # (video, mask, category)
    weights: torch.Tensor


def take_steps(method: str, precision: str, device: torch.device) -> Trained:
    """A few steps of SGD, whose weights are no further apart than its gradients."""
    torch.manual_seed(0)
    train = replace(TrainConfig(), precision=precision, optimizer="sgd")  # type: ignore[arg-type]
    config = Config(method=method, model=ModelConfig(attention_dropout=0.0, classifier_dropout=0.0), train=train)
    static = StaticLabels(visual=("Speech",))
    config = replace(config, denoise=replace(config.denoise, warmup_epochs=None, static_labels=static))
    manifest = llp_manifest()
    chosen = method_class(method)(config, manifest, earlier_results(), device)
    network = chosen.network(config, manifest)
    world = World(0, 1, 0, 1, device)
    step = TrainStep(chosen, network, world, 0, Stopwatch(device), capacity=7 * VIDEOS)
    batch = random_batch(VIDEOS)
    batch = replace(batch, features={name: value.double() for name, value in batch.features.items()})
    if precision != "float64":
        batch = replace(batch, features={name: value.float() for name, value in batch.features.items()})
    removed = []
    for number in range(STEPS):
        report = step(batch, Moment(WARM * STEPS + number, STEPS), 0.05)
        removed.append(sorted(zip(report.keys, report.mask.tolist(), report.category.tolist(), strict=True)))
    return Trained(removed, torch.cat([value.cpu().double().flatten() for value in step.weights().values()]))


def compare_steps(method: str, precision: str, device: torch.device) -> str:
    """How near the device comes to the CPU. AssertionError where it takes other labels out or learns otherwise."""
    here, there = (take_steps(method, precision, place) for place in (torch.device("cpu"), device))
    away = float((here.weights - there.weights).abs().max())
    count = sum(map(len, here.removed))
    assert here.removed == there.removed, f"{method}, {precision}: other labels are taken out than on the CPU"
    assert away < TOLERANCES[precision], f"{method}, {precision}: weights are {away:.1e} from the CPU's"
    return f"{count} labels taken out in {STEPS} steps, the same; weights within {away:.0e}"
