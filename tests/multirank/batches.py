"""Optimizer batches made in memory, split over ranks as the plan splits them, and steps taken on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from jomold_dist.config import Config, DenoiseConfig, LossConfig, ModelConfig, TrainConfig
from jomold_dist.config_fields import NO_SETTINGS
from jomold_dist.data.format.manifest import FeatureSpec, Manifest, RecordLayout, ShardInfo, SplitInfo
from jomold_dist.data.reading.loader import Batch
from jomold_dist.data.reading.shares import rank_positions
from jomold_dist.denoising.label_probabilities import LabelProbabilities
from jomold_dist.denoising.noise_ratio import NoiseRatios
from jomold_dist.distributed.world import World
from jomold_dist.labels import CategorySet
from jomold_dist.methods.base import Moment
from jomold_dist.methods.registry import method_class
from jomold_dist.models.registry import build_network
from jomold_dist.training.presence_stage import FoundLabels
from jomold_dist.training.step import TrainStep
from jomold_dist.training.stopwatch import Stopwatch

CATEGORIES, SEGMENTS, BATCH = 6, 4, 24
SIZES = {"audio": 12, "frames": 20, "motion": 8}
STEPS = ((0, 24), (24, 48), (48, 67))  # the last optimizer batch is smaller, and no world divides it


def videos(kind: str) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Features and labels of 67 videos. `lonely`: only videos at even positions have labels, so that with two or four
    ranks some have no positive. `ties`: a few videos again and again, so that losses are equal."""
    random = np.random.default_rng(5)
    features = {k: random.standard_normal((67, SEGMENTS, size)) for k, size in SIZES.items()}
    labels = random.random((67, CATEGORIES)) < 0.5
    if kind == "lonely":
        labels[np.arange(67) % 24 % 2 == 1] = False
    if kind == "ties":
        features = {k: v[np.arange(67) % 3] for k, v in features.items()}
    return {k: torch.from_numpy(v) for k, v in features.items()}, torch.from_numpy(labels)


def manifest() -> Manifest:
    shard = ShardInfo("train/shard-000000.tar", 67, 0, "", np.zeros(CATEGORIES, dtype=np.int32))
    split = SplitInfo("train", CATEGORIES, False, RecordLayout(0, {}), (shard,))
    specs = {k: FeatureSpec((SEGMENTS, size), "float32") for k, size in SIZES.items()}
    return Manifest("made up", SEGMENTS, CategorySet(tuple("abcdef")), specs, {"train": split})


def plain_config(**train: Any) -> Config:
    """A jomold config without dropout and with full noise ratios, in which every step removes labels."""
    return Config(
        model=ModelConfig(attention_dropout=0.0, classifier_dropout=0.0),
        denoise=DenoiseConfig(warmup_epochs=None),
        loss=replace(LossConfig(), visual_smoothing=0.9),
        train=TrainConfig(batch_size=BATCH, **train),
    )


def made_presence(labels: torch.Tensor) -> FoundLabels:
    """As if estimators had judged the labels (67, C): any probabilities, and one video that they did not get."""
    judged = labels.numpy().copy()
    judged[3] = False
    first = np.concatenate([[0], np.cumsum(judged.sum(1))])
    probability = np.random.default_rng(7).random((first[-1], 2)).astype(np.float32)
    zeros = torch.zeros(CATEGORIES, dtype=torch.float64)
    return FoundLabels(LabelProbabilities(first, probability), NoiseRatios(zeros, zeros))


def make_step(world: World, config: Config, cross_modal: bool = True, labels: torch.Tensor | None = None) -> TrainStep:
    """Collective: the step of the config's method, with the same parameters on every call. With these, no loss is near
    another one where it is decided what is removed. `labels` of all 67 videos, for a method that knows them."""
    torch.manual_seed(10)
    ratio = torch.linspace(0.2, 1.0, CATEGORIES, dtype=torch.float64)
    marked = np.packbits(np.random.default_rng(6).random((2, 67, CATEGORIES)) < 0.4, axis=2)
    found: dict[str, Any] = {"noise_ratios": NoiseRatios(ratio.flip(0), ratio), "labels": marked}
    if labels is not None:
        found["presence"] = made_presence(labels)
    method = method_class(config.method)(config, manifest(), found, world.device)
    network = method.network(config, manifest()) if cross_modal else build_network(config.model, manifest(), False)
    capacity = -(-BATCH // world.size) * CATEGORIES
    return TrainStep(method, network, world, 0, Stopwatch(world.device), capacity)


def own_batch(world: World, number: int, features: dict[str, torch.Tensor], labels: torch.Tensor) -> Batch:
    """This rank's part of an optimizer batch; the batches of STEPS come again and again."""
    start, stop = STEPS[number % len(STEPS)]
    at = torch.from_numpy(rank_positions(number % len(STEPS), BATCH, stop, world.rank, world.size))
    return Batch(
        features={k: v[at] for k, v in features.items()},
        labels=labels[at],
        position=at - start,
        index=at,
        keys=tuple(f"video{n}" for n in at.tolist()),
        dense=None,
        total=stop - start,
    )


def take_steps(
    world: World,
    micro_batch: int,
    kind: str = "plain",
    optimizer: str = "adam",
    poison: int | None = None,
    settings: Mapping[str, Any] = NO_SETTINGS,
    first: int = 0,
    epochs: int = 1,
) -> dict[str, Any]:
    """Collective: epochs of three optimizer steps, from `first` on, in float64 without dropout, of jomold or what the
    settings say. Per step of the last epoch: removed labels as (video, mask, category) and the gradient; at the end the
    parameters, and what the method keeps (rank 0)."""
    config = plain_config(micro_batch_size=micro_batch, precision="float64", optimizer=optimizer)
    config = replace(config, **settings)
    features, labels = videos(kind)
    step = make_step(world, config, labels=labels)
    removed, gradients = [], []
    update = step.engine.step

    def keep_gradient(learning_rate: float) -> None:
        gradients.append(torch.cat([p.grad.flatten().clone() for p in step.network.parameters() if p.grad is not None]))
        update(learning_rate)

    step.engine.step = keep_gradient  # type: ignore[method-assign]
    if poison is not None:
        features["motion"][poison, 1, 2] = float("nan")
    for number in range(epochs * len(STEPS)):
        report = step(own_batch(world, number, features, labels), Moment(first + number, len(STEPS)), 5e-4)
        removed.append(sorted(zip(report.keys, report.mask.tolist(), report.category.tolist(), strict=True)))
        if (number + 1) % len(STEPS) == 0:
            step.method.end_epoch(Moment(first + number + 1, len(STEPS)), world)
    parameters = torch.cat([p.detach().flatten() for p in step.network.parameters()])
    last = slice(-len(STEPS), None)
    kept = step.method.state(world)
    return {"removed": removed[last], "gradients": gradients[last], "parameters": parameters, "kept": kept}
