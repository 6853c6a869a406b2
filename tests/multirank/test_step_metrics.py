"""Metrics of steps: exact over ranks and micro-batches; no collective and no result depends on them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from batches import STEPS, make_step, own_batch, plain_config, videos
from ranks import run_ranks
from safetensors.torch import load_file

from jomold_dist.config import CheckpointConfig, Config, DataConfig, DenoiseConfig, ModelConfig, TrainConfig
from jomold_dist.config_reporting import MetricsConfig
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.distributed.world import World, open_world
from jomold_dist.methods.base import Moment
from jomold_dist.training.recorder import NullRecorder
from jomold_dist.training.run import Run
from jomold_dist.training.run_folder import RunFolder
from jomold_dist.training.stages import run_stages
from tests.shard_fixtures import write_dataset

KINDS = ("ddp", "deepspeed")
COLLECTIVES = ("all_gather", "all_reduce", "gather_object", "broadcast_object_list", "all_gather_object")


def told(world: World, engine: str, micro_batch: int) -> dict[str, Any]:
    """Six steps, of which number 1 is skipped for a bad feature: what each tells of those before it."""
    config = plain_config(micro_batch_size=micro_batch, engine=engine, non_finite="skip")
    step = make_step(world, replace(config, deepspeed=replace(config.deepspeed, zero_stage=2)))
    features, labels = videos("plain")
    sums, norms, removed, after = [], [], [], []
    for number in range(2 * len(STEPS)):
        batch = own_batch(world, number, {k: v.float() for k, v in features.items()}, labels)
        if number == 1 and world.rank == world.size - 1:
            batch.features["motion"][0, 1, 2] = float("nan")
        report = step(batch, Moment(number, len(STEPS)), 1e-3)
        sums.append(report.sums)
        norms.append(report.gradient_norm)
        removed.append(np.bincount(report.mask, minlength=2))
        after.append(step.state()["sums"].sum(0).numpy())  # as a checkpoint has it
    return {"sums": sums, "norms": norms, "removed": removed, "after": after, "at": step.sums.videos}


def all_told(world: World) -> dict[str, Any]:
    return {engine: told(world, engine, 5) for engine in KINDS}


def test_a_step_tells_what_those_before_it_have_added_up_over_all_ranks(tmp_path: Path) -> None:
    ranks = run_ranks(all_told, 2, tmp_path, timeout=200)
    with open_world("cpu") as world:
        whole = told(world, "ddp", 24)
    for engine in KINDS:
        here, other = (rank[engine] for rank in ranks)
        removed = np.cumsum(here["removed"], 0) + np.cumsum(other["removed"], 0)
        for number in range(2 * len(STEPS)):
            before = here["after"][number - 1] if number else np.zeros_like(here["after"][0])
            np.testing.assert_array_equal(here["sums"][number], before)
            np.testing.assert_array_equal(here["sums"][number], other["sums"][number])
            np.testing.assert_allclose(here["sums"][number], whole["sums"][number], rtol=1e-4)
            assert here["norms"][number] == other["norms"][number] or number == 1
            np.testing.assert_array_equal(here["after"][number][here["at"] + 1 :], removed[number])
        np.testing.assert_array_equal(here["after"][1], here["after"][0])  # skipped
        np.testing.assert_allclose(np.delete(here["norms"], 1), np.delete(whole["norms"], 1), rtol=1e-3)
        assert here["sums"][-1][here["at"]] == 24 + 19 + 24 + 24


class Noted(NullRecorder):
    """Notes what it is told of steps."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, dict[str, float]]] = []

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        if any(name.startswith("step/") for name in values):
            self.steps.append((step, dict(values)))


def trained(world: World, manifest: Manifest, data: Path, every: dict[str, int | None]) -> dict[str, Any]:
    """A run a name, with metrics every so many steps: what rank 0's recorder was told, and how many collectives ran."""
    found: dict[str, Any] = {}
    for name, steps in every.items():
        config = Config(
            data=DataConfig(shards=str(data), streams=12),
            model=ModelConfig(attention_dropout=0.0, classifier_dropout=0.0),
            denoise=DenoiseConfig(ratios="constant", ratio_constant=0.6, rule="intra", warmup_epochs=None),
            train=TrainConfig(epochs=2, batch_size=7, micro_batch_size=2),
            checkpoint=CheckpointConfig(every_minutes=None),
            metrics=MetricsConfig(every_steps=steps),
        )
        counted: Counter[str] = Counter()
        with pytest.MonkeyPatch.context() as patch:
            for collective in COLLECTIVES:
                patch.setattr(dist, collective, counting(counted, collective, getattr(dist, collective)))
            recorder, folder = Noted(), RunFolder(data.parent / name)
            folder.checkpoints.mkdir(parents=True, exist_ok=True)
            run_stages(Run(config, manifest, world, folder, recorder))
        found[name] = {"told": recorder.steps, "collectives": dict(counted)}
    return found


def counting(counted: Counter[str], name: str, call: Any) -> Any:
    def wrapped(*arguments: Any, **options: Any) -> Any:
        counted[name] += 1
        return call(*arguments, **options)

    return wrapped


def test_metrics_change_neither_the_result_nor_what_the_ranks_exchange(tmp_path: Path) -> None:
    manifest, _ = write_dataset(tmp_path / "data", {"train": 25, "val": 6, "test": 6})
    every = {"none": None, "each": 1, "some": 3}
    here, other = run_ranks(trained, 2, tmp_path / "ranks", manifest, tmp_path / "data", every, timeout=200)
    weights = {name: load_file(RunFolder(tmp_path / name).weights("model")) for name in every}
    for name in every:
        assert not other[name]["told"]  # rank 0 alone records
        assert here[name]["collectives"] == here["none"]["collectives"] != {}
        assert all(torch.equal(tensor, weights["none"][key]) for key, tensor in weights[name].items())
    assert not here["none"]["told"]
    assert not (tmp_path / "none" / "steps.jsonl").exists()
    assert [step for step, _ in here["each"]["told"]] == list(range(1, 9))
    assert [step for step, _ in here["some"]["told"]] == [3, 6]
    names = {"loss", "loss_audio", "grad_norm", "learning_rate", "videos_per_second", "memory_gigabytes"}
    for _, values in here["each"]["told"]:
        assert values.keys() >= {f"step/{name}" for name in (*names, "removed_audio", "removed_visual")}
    history = [json.loads(line) for line in (tmp_path / "each" / "history.jsonl").read_text().splitlines()]
    for epoch, line in enumerate(history):
        steps = [values for step, values in here["each"]["told"] if (step - 1) // 4 == epoch]
        sizes = [7, 7, 7, 4]
        mean = sum(size * values["step/loss"] for size, values in zip(sizes, steps, strict=True)) / sum(sizes)
        assert mean == pytest.approx(line["train/loss"], rel=1e-12)
        for mask in ("audio", "visual"):
            assert sum(values[f"step/removed_{mask}"] for values in steps) == line[f"denoise/removed_{mask}"] > 0
    file = [json.loads(line) for line in (tmp_path / "some" / "steps.jsonl").read_text().splitlines()]
    assert [line["step"] for line in file] == [3, 6]
    window = [values["step/loss"] for _, values in here["each"]["told"]][3:6]
    assert file[1]["loss"] == pytest.approx((4 * window[0] + 7 * window[1] + 7 * window[2]) / 18, rel=1e-12)
