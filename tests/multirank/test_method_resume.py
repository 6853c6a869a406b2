"""A run that is stopped again and again ends as if nothing had happened, whatever its method's stages are."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from jomold_dist.config import (
    CheckpointConfig,
    Config,
    DataConfig,
    DenoiseConfig,
    LossConfig,
    TrainConfig,
)
from jomold_dist.config_methods import EstimatorConfig, LargeLossConfig, RefineConfig, SmallLossConfig, StaticLabels
from jomold_dist.data.manifest import Manifest
from jomold_dist.data.truth import truth_name, write_truth
from jomold_dist.distributed.world import open_world
from jomold_dist.errors import StoppedError
from jomold_dist.methods.registry import method_class
from jomold_dist.training.run import Run
from jomold_dist.training.run_folder import RunFolder
from jomold_dist.training.run_reading import read_removals
from jomold_dist.training.stages import run_stages
from tests.shard_fixtures import CATEGORIES, write_dataset

RATIOS = {"ratios": "constant", "ratio_constant": 0.4, "static_labels": StaticLabels((), ("Speech",))}
CASES: dict[str, dict[str, Any]] = {
    "han": {"loss": LossConfig(contrastive=0.0, visual_smoothing=0.9)},
    "static": {},
    "jomold": {"denoise": DenoiseConfig(audio_threshold=0.95, visual_threshold=1.0, warmup_epochs=None)},
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
    "large-loss": {"large_loss": LargeLossConfig(0.3, 0.3, 0.3)},
}


def config_of(method: str, data: Path) -> Config:
    """Two epochs of four steps."""
    plain = Config(
        method=method,
        data=DataConfig(shards=str(data), streams=12),
        estimator=EstimatorConfig(epochs=2),
        train=TrainConfig(epochs=2, batch_size=7),
        checkpoint=CheckpointConfig(every_minutes=None),
    )
    return replace(plain, **{"denoise": replace(plain.denoise, **RATIOS), **CASES[method]})


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


def run_until_done(config: Config, manifest: Manifest, folder: Path, patience: int) -> list[str]:
    """A whole run, which is stopped after so many looks at whether it should, and begun again with patience for one
    more in the same stage: some have no checkpoint inside. In which stages it was stopped."""
    stopped: list[str] = []
    with open_world("cpu") as world:
        while True:
            looks = iter([False] * (patience + stopped.count(stopped[-1] if stopped else "")))

            def asked(looks: Iterator[bool] = looks) -> bool:
                return next(looks, True)

            run = Run(config, manifest, world, RunFolder(folder), stop_asked=asked)
            try:
                with run.folder.claimed(config, manifest.digest):
                    run_stages(run)
                return stopped
            except StoppedError:
                stopped.append(run.folder.status.read_text().split('"stage": "')[1].split('"')[0])


@pytest.mark.parametrize("method", list(CASES))
def test_a_run_that_is_stopped_again_and_again_ends_the_same(
    method: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = simulated_dataset(tmp_path / "data")
    config = config_of(method, tmp_path / "data")
    with caplog.at_level(logging.INFO, "jomold_dist"):
        run_until_done(config, manifest, tmp_path / "calm", 10_000)
    assert ("(kept " in caplog.text) == (method in ("ma", "mixture"))  # the last epoch's weights, whatever its score
    assert ("(best " in caplog.text) == (method != "ma")
    stopped = run_until_done(config, manifest, tmp_path / "shaken", 3)
    names = {stage.name for stage in method_class(method).stages(config)}
    if config.denoise.ratios == "constant":
        names -= {"noise_ratios"}  # which takes no time
    if method == "true":
        names -= {"labels"}  # which rank 0 reads from a file
    assert set(stopped) >= names
    removed = read_removals(RunFolder(tmp_path / "calm"))["total"]
    assert any(entry["removed"] for entry in removed.values()) == method_class(method).removes
    for file in (tmp_path / "calm").rglob("*"):
        other = tmp_path / "shaken" / file.relative_to(tmp_path / "calm")
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
