"""A run that is stopped again and again ends as if nothing had happened, whatever its method's stages are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ranks import run_ranks
from safetensors.torch import load_file

from jomold_dist.config import (
    CheckpointConfig,
    Config,
    DataConfig,
    DenoiseConfig,
    LossConfig,
    TrainConfig,
)
from jomold_dist.config_methods import (
    EstimatorConfig,
    LargeLossConfig,
    MixtureConfig,
    RefineConfig,
    SmallLossConfig,
    StaticLabels,
)
from jomold_dist.config_reporting import MetricsConfig
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.data.format.truth_file import truth_name
from jomold_dist.data.packing.truth_writer import write_truth
from jomold_dist.distributed.world import World, open_world
from jomold_dist.errors import StoppedError
from jomold_dist.methods.registry import method_class
from jomold_dist.training.recorder import NullRecorder
from jomold_dist.training.run import Run
from jomold_dist.training.run_folder import RunFolder
from jomold_dist.training.run_reading import read_removals
from jomold_dist.training.stages import run_stages
from tests.shard_fixtures import CATEGORIES, write_dataset

RATIOS = {"ratios": "constant", "ratio_constant": 0.4, "static_labels": StaticLabels((), ("Speech",))}


def over(**scope: Any) -> dict[str, Any]:
    """jomold beyond the batch, with an epoch more than one."""
    denoise = DenoiseConfig(ratios="constant", ratio_constant=0.6, rule="intra", warmup_epochs=None, **scope)
    return {"method": "jomold", "denoise": denoise, "train": TrainConfig(epochs=3, batch_size=7)}


CASES: dict[str, dict[str, Any]] = {
    "han": {"loss": LossConfig(contrastive=0.0, visual_smoothing=0.9)},
    "static": {},
    "static-within": {
        "method": "static",
        "train": TrainConfig(
            epochs=6, batch_size=7, validate_every_steps=1, patience=2, schedule="cosine", lr_warmup_epochs=1.5
        ),
    },
    "jomold": {"denoise": DenoiseConfig(audio_threshold=0.95, visual_threshold=1.0, warmup_epochs=None)},
    "jomold-window": over(scope="window", window_steps=3),
    "jomold-dataset": over(scope="dataset"),
    "true": {},
    "coteaching-plus": {"small_loss": SmallLossConfig(gradual_epochs=1.0)},
    "jocor": {"small_loss": SmallLossConfig(gradual_epochs=1.0)},
    "ma": {
        "loss": LossConfig(contrastive_form="sum_of_logs"),
        "refine": RefineConfig(epochs=2),
        "train": TrainConfig(epochs=4, batch_size=7),  # more looks than the stage before needed
    },
    "random": {},
    "mixture": {},
    "random-mixture": {
        "method": "random",
        "denoise": DenoiseConfig(ratios="mixture"),
        "mixture": MixtureConfig(rounds=1),
    },
    "large-loss": {"large_loss": LargeLossConfig(0.3, 0.3, 0.3)},
}


def config_of(case: str, data: Path) -> Config:
    """Two epochs of four steps, or as the case says."""
    plain = Config(
        method=case,
        data=DataConfig(shards=str(data), streams=12),
        estimator=EstimatorConfig(epochs=2),
        train=TrainConfig(epochs=2, batch_size=7),
        checkpoint=CheckpointConfig(every_minutes=None),
        metrics=MetricsConfig(every_steps=2),
    )
    return replace(plain, **{"denoise": replace(plain.denoise, **RATIOS), **CASES[case]})


def simulated_dataset(folder: Path) -> Manifest:
    """A data set with a hidden truth: every second label is there, in the one modality or the other."""
    manifest, videos = write_dataset(folder, {"train": 25, "val": 6, "test": 6})
    present = np.zeros((25, 2, len(CATEGORIES)), dtype=bool)
    for number, video in enumerate(videos["train"]):
        for category in video.labels[::2]:
            present[number, category % 2, category] = True
    truth = folder / truth_name("train")
    truth.parent.mkdir()
    write_truth(truth, [video.key for video in videos["train"]], present)
    return replace(manifest, simulated={"seed": 0})


class LastStage(NullRecorder):
    """Knows which stage was begun last."""

    name = ""

    def stage(self, name: str, of_model: bool = False) -> AbstractContextManager[None]:
        self.name = name
        return super().stage(name)


def run_until_done(config: Config, manifest: Manifest, folder: Path, patience: int) -> list[str]:
    """A whole run, which is stopped after so many looks at whether it should, and begun again with patience for one
    more in the same stage: some have no checkpoint inside. In which stages it was stopped."""
    stopped, stage = list[str](), LastStage()
    with open_world("cpu") as world:
        while True:
            looks = iter([False] * (patience + stopped.count(stopped[-1] if stopped else "")))

            def asked(looks: Iterator[bool] = looks) -> bool:
                return next(looks, True)

            run = Run(config, manifest, world, RunFolder(folder), stage, stop_asked=asked)
            try:
                with run.folder.claimed(config, manifest.digest):
                    run_stages(run)
                return stopped
            except StoppedError:
                stopped.append(stage.name)


@pytest.mark.parametrize("case", list(CASES))
def test_a_run_that_is_stopped_again_and_again_ends_the_same(case: str, tmp_path: Path) -> None:
    manifest = simulated_dataset(tmp_path / "data")
    config = config_of(case, tmp_path / "data")
    method = config.method
    run_until_done(config, manifest, tmp_path / "calm", 10_000)
    stopped = run_until_done(config, manifest, tmp_path / "shaken", 3)
    names = {stage.name for stage in method_class(method).stages(config)}
    if config.denoise.ratios != "estimated":
        names -= {"noise_ratios"}  # which takes no time
    if method == "true":
        names -= {"labels"}  # which rank 0 reads from a file
    assert set(stopped) >= names
    removed = read_removals(RunFolder(tmp_path / "calm"))["total"]
    assert any(entry["removed"] for entry in removed.values()) == method_class(method).removes
    same_runs(tmp_path / "calm", tmp_path / "shaken")
    assert (tmp_path / "calm" / "steps.jsonl").exists()


CLOCKED = ("time", "seconds", "perf/", "videos_per_second", "memory_gigabytes")


def lines(file: Path) -> list[dict[str, Any]]:
    """What does not hang on the clock or the process."""
    found = [json.loads(line) for line in file.read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.startswith(CLOCKED)} for line in found]


def same_runs(calm: Path, shaken: Path) -> None:
    """Bit for bit the same weights, and the same results."""
    for file in calm.rglob("*"):
        other = shaken / file.relative_to(calm)
        if file.suffix == ".safetensors" and file.parent.name == "checkpoints":
            mine, theirs = load_file(file), load_file(other)
            assert mine.keys() == theirs.keys()
            assert all(torch.equal(mine[name], theirs[name]) for name in mine), file.name
        elif file.name == "refined_labels.npz":
            np.testing.assert_array_equal(np.load(file)["marked"], np.load(other)["marked"])
        elif file.name in (
            "labels.parquet",
            "mixture.json",
            "removals.json",
            "removed_labels.csv",
            "scores.json",
            "noise_ratios.json",
        ):
            assert file.read_bytes() == other.read_bytes()
        elif file.suffix == ".jsonl":
            assert lines(file) == lines(other)


BEYOND = ("jomold-window", "jomold-dataset")


def takes(world: World, manifest: Manifest, data: Path, folders: dict[str, tuple[int, ...]]) -> list[str]:
    """Collective: a run for each of these names of folders and each case, stopped after so many looks, again and
    again; how the last start ended. Every rank draws its dropout alone, so there is none."""
    said = []
    for name, stops in folders.items():
        for case in BEYOND:
            config = config_of(case, data)
            model = replace(config.model, attention_dropout=0.0, classifier_dropout=0.0)
            config = replace(config, model=model, train=replace(config.train, precision="float64"))
            folder = data.parent / f"{name}-{case}"
            folder.mkdir(exist_ok=True)
            for looks in stops:
                left = iter([False] * looks)
                asked = partial(next, left, True)
                run = Run(config, manifest, world, RunFolder(folder), stop_asked=asked)
                try:
                    run_stages(run)
                    said.append("done")
                except StoppedError as error:
                    said.append(str(error))
    return said


def test_what_is_kept_across_steps_goes_to_another_number_of_ranks(tmp_path: Path) -> None:
    """Stopped in the middle of the second epoch on two ranks, and finished there, or by one."""
    manifest = simulated_dataset(tmp_path / "data")
    never = (10_000,)
    folders = {"calm": never, "shaken": (9, *never), "moved": (9,)}
    said = run_ranks(takes, 2, tmp_path / "two", manifest, tmp_path / "data", folders)[0]
    assert [text.partition(" of ")[0] for text in said if text != "done"] == [
        "model: stopped in epoch 2 after step 3"
    ] * 4
    with open_world("cpu") as world:
        assert takes(world, manifest, tmp_path / "data", {"alone": never, "moved": never}) == ["done"] * 4
    for case in BEYOND:
        calm, shaken, alone, moved = (tmp_path / f"{name}-{case}" for name in ("calm", "shaken", "alone", "moved"))
        same_runs(calm, shaken)
        removed = (alone / "removed_labels.csv").read_text()
        assert removed.count("\n") > 20
        weights = load_file(alone / "checkpoints" / "model.safetensors")
        for other in (calm, moved):
            assert (other / "removed_labels.csv").read_text() == removed
            for name, tensor in load_file(other / "checkpoints" / "model.safetensors").items():
                torch.testing.assert_close(tensor, weights[name], atol=1e-6, rtol=0)
