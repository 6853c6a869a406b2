"""Weights and optimizer state go from engine to engine, and from world to world, bit for bit; a step can be skipped."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import run_ranks
from torch import nn

from jomold_dist.config import Config, DeepSpeedConfig, TrainConfig
from jomold_dist.distributed.engine import Engine, make_engine
from jomold_dist.distributed.world import World

CHAINS: dict[str, tuple[str | int, ...]] = {
    "adam": ("ddp", 2, 3, 1, 0, "ddp"),
    "adamw": ("ddp", 3, 2, "ddp"),
    "sgd": ("ddp", 1, 3, "ddp"),
}
State = dict[str, Any]
Found = dict[str, Any]


def engine_of(world: World, kind: str | int, optimizer: str = "adam", seed: int = 0) -> Engine:
    """Around a network whose sizes no number of ranks divides, with a frozen parameter; two buckets of DDP's."""
    torch.manual_seed(seed + world.rank)  # rank 0's parameters count
    module = nn.Sequential(nn.Linear(7, 333), nn.Tanh(), nn.Linear(333, 999), nn.Tanh(), nn.Linear(999, 3))
    module[2].bias.requires_grad_(False)
    train = replace(TrainConfig(), optimizer=optimizer, weight_decay=0.01, clip_grad_norm=1.0)  # type: ignore[arg-type]
    if kind == "ddp":
        return make_engine(module, world, Config(train=train))
    zero = DeepSpeedConfig(zero_stage=kind)  # type: ignore[arg-type]
    return make_engine(module, world, Config(train=replace(train, engine="deepspeed"), deepspeed=zero))


def steps(world: World, engine: Engine, start: int, stop: int, poison: int | None = None) -> list[float]:
    """Collective: steps of two micro-batches each; those with a value that is not finite on rank 0 are skipped."""
    norms = []
    for number in range(start, stop):
        x = torch.randn(12, 7, generator=torch.Generator().manual_seed(number))[world.rank :: world.size]
        if number == poison and world.is_main:
            x[0, 0] = float("nan")
        with torch.no_grad():
            engine.forward(x)
        for last in (False, True):
            with engine.part(last):
                engine.backward(engine.forward(x[int(last) :: 2]).square().sum() / 12)
        norms.append(float(engine.clip_gradient()))
        if math.isfinite(norms[-1]):
            engine.step(0.01)
        else:
            engine.skip()
    return norms


def same(a: State, b: State) -> bool:
    """Whether two states are equal bit for bit."""
    if a["weights"].keys() != b["weights"].keys() or a["optimizer"].keys() != b["optimizer"].keys():
        return False
    pairs = [(a["weights"][n], b["weights"][n]) for n in a["weights"]]
    for name, entry in a["optimizer"].items():
        if entry.keys() != b["optimizer"][name].keys():
            return False
        pairs += [(entry[key], b["optimizer"][name][key]) for key in entry]
    return all(x.dtype == y.dtype and x.device == y.device and torch.equal(x, y) for x, y in pairs)


def through_every_engine(world: World) -> dict[str, list[State]]:
    """Collective: by optimizer, the state that each engine of the chain gives back when it was given the last one's."""
    states: dict[str, list[State]] = {}
    for optimizer, chain in CHAINS.items():
        first = engine_of(world, chain[0], optimizer)
        steps(world, first, 0, 3)
        states[optimizer] = [first.full_state()]
        for number, kind in enumerate(chain[1:]):
            engine = engine_of(world, kind, optimizer, seed=5)
            if number % 2:  # a state of its own is overwritten
                steps(world, engine, 0, 1)
            engine.load_full_state(states[optimizer][-1])
            states[optimizer].append(engine.full_state())
    return states


def given_back(world: World, given: list[State]) -> list[bool]:
    """Collective: whether each engine gives back each state as it got it."""
    answers = []
    for kind in ("ddp", 1, 3):
        for state in given:
            engine = engine_of(world, kind, seed=9)
            engine.load_full_state(state)
            answers.append(same(engine.full_state(), state))
    return answers


def resumed_and_undisturbed(world: World) -> dict[Any, tuple[State, State]]:
    """Collective: the state after six steps, and after three and three more in a new engine."""
    found = {}
    for kind in ("ddp", 0, 1, 2, 3):
        whole = engine_of(world, kind)
        steps(world, whole, 0, 3)
        half = whole.full_state()
        steps(world, whole, 3, 6)
        rest = engine_of(world, kind, seed=7)
        rest.load_full_state(half)
        steps(world, rest, 3, 6)
        found[kind] = whole.full_state(), rest.full_state()
    return found


def skipped_or_not(world: World) -> dict[Any, tuple[State, State, list[float]]]:
    """Collective: the state where step 2 was skipped, and where it was left out."""
    found = {}
    for kind in ("ddp", 0, 1, 2, 3):
        torch.manual_seed(3)
        engine = engine_of(world, kind)
        norms = steps(world, engine, 0, 5, poison=2)
        other = engine_of(world, kind)
        steps(world, other, 0, 2)
        steps(world, other, 3, 5)
        found[kind] = engine.full_state(), other.full_state(), norms
    return found


def everything(world: World, given: list[State]) -> Found:
    """Collective: what the tests below look at, in one world for the sake of time."""
    return {
        "chain": through_every_engine(world),
        "given back": given_back(world, given),
        "resumed": resumed_and_undisturbed(world),
        "skipped": skipped_or_not(world),
    }


@pytest.fixture(scope="module", params=[3, pytest.param(2, marks=pytest.mark.slow)])
def worlds(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Found]:
    """What the ranks of a world found, and then one rank that was given their states. Three ranks, because two have
    only one order to add in."""
    folder = tmp_path_factory.mktemp("worlds")
    many = run_ranks(everything, request.param, folder / "many", [], timeout=300)
    states = [many[0]["chain"]["adam"][0], many[0]["resumed"][3][0], many[0]["skipped"][2][1]]
    one = run_ranks(everything, 1, folder / "one", states, timeout=300)
    assert len(one[0]["given back"]) == 9
    return [*many, *one]


def test_a_state_goes_through_every_engine_unchanged(worlds: list[Found]) -> None:
    for found in worlds:
        for optimizer, chain in found["chain"].items():
            assert all(same(chain[0], state) for state in chain[1:]), optimizer
    chain = worlds[0]["chain"]
    assert set(chain["adam"][0]["optimizer"]) == {f"{n}.{k}" for n in "024" for k in ("weight", "bias")} - {"2.bias"}
    bias = chain["adam"][0]["optimizer"]["4.bias"]
    assert {key: tuple(value.shape) for key, value in bias.items()} == {
        "step": (),
        "exp_avg": (3,),
        "exp_avg_sq": (3,),
    }
    assert float(bias["step"]) == 3
    assert chain["sgd"][0]["optimizer"] == {}


def test_a_state_goes_to_another_number_of_ranks_unchanged(worlds: list[Found]) -> None:
    assert all(worlds[-1]["given back"])


def test_a_resumed_training_is_the_undisturbed_one_bit_for_bit(worlds: list[Found]) -> None:
    for found in worlds:
        for kind, (whole, resumed) in found["resumed"].items():
            assert same(whole, resumed), kind


def test_a_skipped_step_leaves_no_trace(worlds: list[Found]) -> None:
    wanted = worlds[0]["skipped"]["ddp"][2]
    for found in worlds:
        for kind, (skipped, left_out, norms) in found["skipped"].items():
            assert same(skipped, left_out), kind
            assert [math.isfinite(norm) for norm in norms] == [True, True, False, True, True], kind
            assert norms[:2] + norms[3:] == pytest.approx(wanted[:2] + wanted[3:], rel=1e-5)


QUIET = """
import torch
from torch import nn
from jomold_dist.config import Config, DeepSpeedConfig, TrainConfig
from jomold_dist.distributed.engine import make_engine
from jomold_dist.distributed.world import open_world
with open_world("cpu") as world:
    for stage in range(4):
        config = Config(train=TrainConfig(engine="deepspeed"), deepspeed=DeepSpeedConfig(zero_stage=stage))
        module, before = nn.Linear(3, 2), torch.get_rng_state()
        engine = make_engine(module, world, config)
        for _ in range(2):
            with engine.part(last=True):
                engine.backward(engine.forward(torch.ones(4, 3)).sum())
            engine.clip_gradient()
            engine.step(0.1)
        engine.load_full_state(engine.full_state())
        assert torch.equal(torch.get_rng_state(), before)
"""


def test_plain_python_runs_deepspeed_without_a_word_a_compiler_or_a_change_of_the_seed(tmp_path: Path) -> None:
    extensions = tmp_path / "extensions"
    kept = ("HOME", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
    env = {name: os.environ[name] for name in kept if name in os.environ} | {
        "PATH": str(tmp_path),  # no compiler, no ninja
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "TORCH_EXTENSIONS_DIR": str(extensions),
        "OMP_NUM_THREADS": os.environ["OMP_NUM_THREADS"],
    }
    command = [sys.executable, "-c", QUIET]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=200, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not extensions.exists()
