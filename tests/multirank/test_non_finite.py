"""Values that are not finite, and float16, whose gradients overflow now and then."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from batches import STEPS, make_step, own_batch, plain_config, videos
from ranks import run_ranks

from jomold_dist.distributed.world import World, open_world
from jomold_dist.errors import NonFiniteError
from jomold_dist.methods.base import Moment
from jomold_dist.training import finite, loss_scale

ENGINES = ("ddp", "deepspeed")


def train(
    world: World, leave_out: int | None, poison: str | None, engine: str = "ddp", **settings: Any
) -> dict[str, Any]:
    """Six steps of which number 1 is poisoned, or left out; parameters, loss sums, and which steps were skipped."""
    config = plain_config(precision="float32", micro_batch_size=5, engine=engine, **settings)
    step = make_step(world, replace(config, deepspeed=replace(config.deepspeed, zero_stage=2)))
    features, labels = videos("plain")
    skipped = []
    for number in range(2 * len(STEPS)):
        if number == leave_out:
            continue
        batch = own_batch(world, number, {k: v.float() for k, v in features.items()}, labels)
        if number == 1 and poison == "feature" and world.rank == world.size - 1:
            batch.features["motion"][0, 1, 2] = float("nan")
        moment = Moment(number, len(STEPS))
        if number == 1 and poison == "gradient":
            hook = step.network.event_head.weight.register_hook(lambda g: g / 0)
            skipped.append(step(batch, moment, 1e-3).skipped)
            hook.remove()
        else:
            skipped.append(step(batch, moment, 1e-3).skipped)
    return {"weights": step.weights(), "sums": step.take_sums(), "skipped": skipped}


def skipping(world: World) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for engine in ENGINES:
        found[engine] = train(world, 1, None, engine)
        for poison in ("feature", "gradient"):
            found[engine, poison] = train(world, None, poison, engine, non_finite="skip")
    return found


def test_a_skipped_step_is_as_if_it_had_not_been(tmp_path: Path) -> None:
    for found in run_ranks(skipping, 2, tmp_path, timeout=200):
        for engine in ENGINES:
            for poison in ("feature", "gradient"):
                poisoned, without = found[engine, poison], found[engine]
                assert poisoned["skipped"] == [number == 1 for number in range(6)]
                for name, tensor in poisoned["weights"].items():
                    assert torch.equal(tensor, without["weights"][name]), (engine, poison, name)
                assert torch.equal(poisoned["sums"], without["sums"])


def test_predictions_that_are_not_finite_are_named() -> None:
    with open_world("cpu") as world:
        step = make_step(world, plain_config(precision="float32"))
        features, labels = videos("plain")
        batch = own_batch(world, 0, {k: v.float() for k, v in features.items()}, labels)
        batch.features["audio"][7, 0, 0] = 3e38  # finite, until it is multiplied
        with pytest.raises(NonFiniteError, match=r"step 0: what is predicted for video video7 is not finite"):
            step(batch, Moment(0, 3), 1e-3)


def test_float16_names_what_no_scale_can_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_scale, "LEAST", loss_scale.FIRST / 2)
    with open_world("cpu") as world:
        step = make_step(world, plain_config(precision="float16"))
        features, labels = videos("plain")
        batch = own_batch(world, 0, {k: v.float() for k, v in features.items()}, labels)
        batch.features["audio"][7] = 1e6  # beyond float16
        assert step(batch, Moment(0, 3), 1e-3).skipped
        with pytest.raises(NonFiniteError, match=r"step 1: what is predicted for video video7 is not finite.*bf16"):
            step(batch, Moment(1, 3), 1e-3)


def test_skipping_comes_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finite, "MOST_SKIPPED", 2)
    with open_world("cpu") as world:
        step = make_step(world, plain_config(precision="float32", non_finite="skip"))
        features, labels = videos("plain")
        batch = own_batch(world, 0, {k: v.float() for k, v in features.items()}, labels)
        batch.features["audio"][0, 0, 0] = float("inf")
        assert all(step(batch, Moment(n, 3), 1e-3).skipped for n in range(2))
        with pytest.raises(NonFiniteError, match=r"video0 are not finite.*2 steps before it were skipped"):
            step(batch, Moment(2, 3), 1e-3)


def float16(world: World) -> dict[str, Any]:
    found = {}
    for engine in ENGINES:
        for precision in ("float32", "float16"):
            config = plain_config(precision=precision, engine=engine, optimizer="sgd")
            step = make_step(world, replace(config, deepspeed=replace(config.deepspeed, zero_stage=1)))
            start = step.weights()
            features, labels = videos("plain")
            skipped = 0
            for number in range(4):
                batch = own_batch(world, number, {k: v.half() for k, v in features.items()}, labels)
                skipped += step(batch, Moment(number, len(STEPS)), 1e-2).skipped
            moved = torch.cat([(w - start[name]).flatten() for name, w in step.weights().items()])
            found[engine, precision] = {"moved": moved, "skipped": skipped, "state": step.state()["loss_scale"]}
    return found


def test_float16_learns_what_float32_learns(tmp_path: Path) -> None:
    """The scale of the loss begins so high that first steps overflow; those are skipped and it is halved."""
    for found in run_ranks(float16, 2, tmp_path, timeout=200):
        for engine in ENGINES:
            full, half = found[engine, "float32"], found[engine, "float16"]
            assert full["state"] is None
            assert full["skipped"] == 0
            assert half["state"]["value"] == loss_scale.FIRST / 2 ** half["skipped"]
            likeness = torch.nn.functional.cosine_similarity(full["moved"], half["moved"], dim=0)
            assert float(likeness) > 0.99
        assert torch.allclose(found["ddp", "float16"]["moved"], found["deepspeed", "float16"]["moved"], atol=1e-4)


def test_the_scale_of_the_loss() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    scale = loss_scale.LossScale([weight])
    scale.scale(weight.sum()).backward()
    assert weight.grad is not None
    assert torch.equal(weight.grad, torch.ones(3))
    for _ in range(loss_scale.GROW_AFTER):
        scale.good_step()
    assert scale.value == 2 * loss_scale.FIRST
    assert scale.overflow()
    other = loss_scale.LossScale([])
    scale.good_step()
    other.load_state(scale.state())
    assert other.state() == scale.state() == {"value": loss_scale.FIRST, "good": 1}
    scale.value = 2 * loss_scale.LEAST
    assert scale.overflow()
    assert not scale.overflow()
