"""Every system trains under DeepSpeed as it does under DDP, or is refused beforehand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from batches import make_step, manifest, own_batch, plain_config, videos
from ranks import run_ranks

from jomold_dist.config import Config, DeepSpeedConfig
from jomold_dist.distributed.world import World
from jomold_dist.methods.base import Moment
from jomold_dist.methods.registry import METHODS
from jomold_dist.models.registry import NETWORKS
from jomold_dist.training.preflight import problems_of_method
from tests.margins import WEIGHTS_APART

STEPS, RATE = 3, 0.01
SYSTEMS = {
    **{f"network {name}": {"method": "han", "network": name} for name in NETWORKS},
    **{f"method {name}": {"method": name, "network": "han"} for name in METHODS if name != "han"},
}


def config_of(system: str, stage: int | None) -> Config:
    """Without dropout, SGD in float32; with DDP if there is no stage of ZeRO."""
    config = plain_config(engine="ddp" if stage is None else "deepspeed", optimizer="sgd")
    model = replace(config.model, network=SYSTEMS[system]["network"])
    train = config.train
    if model.network in ("talnet", "stpn", "cmcs"):
        train = replace(train, selection="segment_audio" if model.network == "talnet" else "segment_visual")
    zero = DeepSpeedConfig(zero_stage=stage or 0)  # type: ignore[arg-type]
    return replace(config, method=SYSTEMS[system]["method"], model=model, train=train, deepspeed=zero)


def train(world: World, system: str, stage: int | None) -> dict[str, torch.Tensor]:
    """Collective: the weights after a few steps."""
    torch.manual_seed(1)
    features, labels = videos("plain")
    step = make_step(world, config_of(system, stage), labels=labels)
    step.network.apply(without_dropout)
    for number in range(STEPS):
        batch = own_batch(world, number, {k: v.float() for k, v in features.items()}, labels)
        step(batch, Moment(number, STEPS), RATE)
    return step.weights()


def without_dropout(module: torch.nn.Module) -> None:
    if hasattr(module, "dropout") and isinstance(module.dropout, float):
        module.dropout = 0.0
    if hasattr(module, "p"):
        module.p = 0.0


def apart(world: World, stages: tuple[int, ...]) -> dict[tuple[str, int], float]:
    """By system and stage, how far the weights are from DDP's, over how far those have come."""
    found: dict[tuple[str, int], float] = {}
    for system in SYSTEMS:
        allowed = [stage for stage in stages if not refused(system, stage)]
        plain: dict[str, Any] = train(world, system, None) if allowed else {}
        for stage in allowed:
            weights = train(world, system, stage)
            found[system, stage] = max(float((weights[name] - w).abs().max()) for name, w in plain.items())
    return found


def refused(system: str, stage: int) -> list[str]:
    return [text for text in problems_of_method(config_of(system, stage), manifest()) if "zero_stage" in text]


def test_recurrent_networks_are_refused_under_stage_3_with_the_reason() -> None:
    named = {system for system in SYSTEMS if refused(system, 3)}
    assert named == {"network talnet", "network ave", "network avsdn"}
    (text,) = refused("network ave", 3)
    assert "deepspeed.zero_stage = 3 cannot train model.network = 'ave'" in text
    assert "take 0, 1 or 2" in text
    assert not any(refused(system, stage) for system in SYSTEMS for stage in (0, 1, 2))


@pytest.mark.parametrize("stages", [(2,), pytest.param((0, 1, 3), marks=pytest.mark.slow)])
def test_zero_gives_the_weights_of_ddp(stages: tuple[int, ...], tmp_path: Path) -> None:
    (found, _) = run_ranks(apart, 2, tmp_path, stages, timeout=600)
    assert {system for system, _ in found} == set(SYSTEMS)
    assert {key: distance for key, distance in found.items() if not distance < WEIGHTS_APART} == {}
