from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from jomold_dist.config import Config, TrainConfig
from jomold_dist.distributed.engine import make_engine
from jomold_dist.distributed.world import World

WORLD = World(0, 1, 0, 1, torch.device("cpu"))


def one_step(engine, module: nn.Module, rate: float) -> None:  # type: ignore[no-untyped-def]
    with engine.part(last=True):
        engine.backward(engine.forward(torch.ones(2, 3)).square().sum())
    engine.clip_gradient()
    engine.step(rate)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_the_full_state_brings_training_back(optimizer: str) -> None:
    train = replace(TrainConfig(), optimizer=optimizer, weight_decay=0.01)  # type: ignore[arg-type]
    torch.manual_seed(0)
    module = nn.Linear(3, 2)
    engine = make_engine(module, WORLD, Config(train=train))
    one_step(engine, module, 0.1)
    state = engine.full_state()
    weights = engine.weights()
    one_step(engine, module, 0.1)
    other = nn.Linear(3, 2)
    resumed = make_engine(other, WORLD, Config(train=train))
    resumed.load_full_state(state)
    one_step(resumed, other, 0.1)
    assert torch.equal(module.weight, other.weight)
    assert all(torch.equal(weights[name], value) for name, value in state["weights"].items())
    assert not torch.equal(module.weight, weights["weight"])  # they are copies


def test_clipping_bounds_the_step() -> None:
    module = nn.Linear(3, 2, bias=False)
    before = module.weight.detach().clone()
    engine = make_engine(module, WORLD, Config(train=TrainConfig(optimizer="sgd", clip_grad_norm=0.5)))
    one_step(engine, module, 1.0)
    assert float((module.weight - before).norm().detach()) == pytest.approx(0.5, rel=1e-4)


def test_a_step_can_be_skipped() -> None:
    module = nn.Linear(3, 2)
    engine = make_engine(module, WORLD, Config())
    before = engine.full_state()
    with engine.part(last=True):
        engine.backward(engine.forward(torch.ones(2, 3)).sum() * float("inf"))
    assert not engine.clip_gradient().isfinite()
    engine.skip()
    after = engine.full_state()
    assert after["optimizer"] == before["optimizer"] == {}
    assert all(torch.equal(after["weights"][name], value) for name, value in before["weights"].items())
    assert all(p.grad is None for p in module.parameters())
