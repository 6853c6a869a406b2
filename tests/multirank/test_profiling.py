"""The profiler looks at some steps and changes none."""

from __future__ import annotations

import gzip
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from batches import STEPS, make_step, manifest, own_batch, plain_config, videos

from jomold_dist.config_reporting import ProfileConfig
from jomold_dist.distributed.world import World, open_world
from jomold_dist.methods.base import Moment
from jomold_dist.training.listeners import StepDone
from jomold_dist.training.profiling import StepProfiler
from jomold_dist.training.run import Run
from jomold_dist.training.run_folder import RunFolder

TAKEN = 6


def train(folder: Path, world: World, profile: ProfileConfig) -> dict[str, Any]:
    """Six steps; the weights after them."""
    config = replace(plain_config(), profile=profile)
    step = make_step(world, config)
    features, labels = videos("plain")
    with StepProfiler(Run(config, manifest(), world, RunFolder(folder)), "model") as profiler:
        for number in range(TAKEN):
            batch = own_batch(world, number, {k: v.float() for k, v in features.items()}, labels)
            profiler.before_step(number + 1)
            report = step(batch, Moment(number, len(STEPS)), 1e-3)
            profiler.after_step(StepDone(number + 1, TAKEN, 1e-3, 0.1, report))
    return step.weights()


def events(folder: Path) -> list[dict[str, Any]]:
    return json.loads(gzip.decompress((folder / "profile" / "model-rank-0.json.gz").read_bytes()))["traceEvents"]


def test_the_steps_asked_for_are_recorded_and_change_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with open_world("cpu") as world:
        plain = train(tmp_path / "plain", world, ProfileConfig())
        looked_at = train(tmp_path / "looked at", world, ProfileConfig(steps=2, after=3))
    assert all(torch.equal(tensor, looked_at[name]) for name, tensor in plain.items())
    assert "profiler_start" not in capfd.readouterr().err  # torch's own lines
    assert not (tmp_path / "plain").exists()
    steps = [event["name"] for event in events(tmp_path / "looked at") if event["name"].startswith("ProfilerStep#")]
    assert sorted(set(steps)) == ["ProfilerStep#3", "ProfilerStep#4"]
    names = {event["name"] for event in events(tmp_path / "looked at")}
    assert "Optimizer.step#Adam.step" in names
    table = (tmp_path / "looked at" / "profile" / "model-rank-0.txt").read_text()
    assert "aten::addmm" in table
    assert "Self CPU Mem" in table
    assert not list((tmp_path / "looked at" / "profile").glob(".*"))


def test_a_training_that_ends_early_leaves_what_there_was(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with open_world("cpu") as world, caplog.at_level(logging.INFO):
        train(tmp_path / "some", world, ProfileConfig(steps=10, after=4))
        train(tmp_path / "none", world, ProfileConfig(steps=10, after=6))
    assert {e["name"] for e in events(tmp_path / "some") if e["name"].startswith("ProfilerStep#")} >= {
        "ProfilerStep#4",
        "ProfilerStep#5",
    }
    assert not (tmp_path / "none").exists()
    assert "no steps after the first 6: lower profile.after" in caplog.text


def test_trouble_ends_no_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "profile").write_text("no folder")
    with open_world("cpu") as world:
        train(tmp_path, world, ProfileConfig(steps=1, after=1))
        with torch.profiler.profile():  # another one is at work
            train(tmp_path, world, ProfileConfig(steps=1, after=1))
    assert caplog.text.count("no profile: ") == 2
    assert (tmp_path / "profile").read_text() == "no folder"


def test_a_few_ranks_stand_for_all(tmp_path: Path) -> None:
    with open_world("cpu") as world:
        run = Run(replace(plain_config(), profile=ProfileConfig(steps=1)), manifest(), world, RunFolder(tmp_path))
        first, other = replace(world, rank=7), replace(world, rank=8)
        assert StepProfiler(replace(run, world=first), "model")._profiler is not None
        assert StepProfiler(replace(run, world=other), "model")._profiler is None
