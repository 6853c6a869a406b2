"""Videos that estimators cannot judge: some in one round, or all of them."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from ranks import run_ranks

from jomold_dist.config import Config, DataConfig, TrainConfig
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.distributed.world import World, open_world
from jomold_dist.errors import DataError
from jomold_dist.models.network import Parsing
from jomold_dist.training import presence_stage
from jomold_dist.training.presence_stage import FoundPresence
from jomold_dist.training.run import Run
from jomold_dist.training.run_folder import RunFolder
from tests.multirank.test_found_presence import Made
from tests.shard_fixtures import write_dataset

VIDEOS, BLIND = 40, 9


class Blind(Made):
    """Says nothing of videos that are loud, and, as number 9, of none."""

    def parse(self, audio: torch.Tensor, frames: torch.Tensor, motion: torch.Tensor) -> Parsing:
        parsing = super().parse(audio, frames, motion)
        if self.turn < 2 or self.turn == BLIND:
            assert parsing.audio_prob is not None
            parsing.audio_prob[is_loud(audio) | (self.turn == BLIND)] = torch.nan
        return parsing


def is_loud(audio: torch.Tensor) -> torch.Tensor:
    """Which of the videos (b, T, D), bool (b,): about half of them, and each by itself."""
    return audio.double().flatten(1).sum(1) > 0


def judged(
    world: World, data: Path, manifest: Manifest, folder: Path, estimators: tuple[str, ...], most: int | None = None
) -> Any:
    """Collective: the tables of two rounds, or the error, as this rank sees them."""
    presence_stage.load_trained = lambda run, weights: Blind(int(weights.stem))  # type: ignore[assignment,return-value]
    train = TrainConfig(batch_size=8, non_finite="skip")
    run = Run(Config(data=replace(DataConfig(), shards=str(data), streams=12), train=train), manifest, world,
              RunFolder(folder), most_steps=most)  # fmt: skip
    folder.mkdir(exist_ok=True)
    first, second = estimators[:2], estimators[2:]
    try:
        FoundPresence(first, "presence-1").do(run, {})
        stage = FoundPresence(second, "presence", earlier="presence-1")
        stage.do(run, {})
    except DataError as error:
        return str(error)
    return [pq.read_table(run.folder.labels(name)).to_pydict() for name in ("-1", "")] if world.is_main else None


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Manifest, list[Any]]:
    monkeypatch.setattr(presence_stage, "load_trained", None)  # which is put back in the end
    manifest, videos = write_dataset(tmp_path / "data", {"train": VIDEOS, "val": 3, "test": 3})
    return tmp_path / "data", manifest, videos["train"]


def test_what_one_round_alone_has_judged_goes_by_that_round(
    data: tuple[Path, Manifest, list[Any]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place, manifest, videos = data
    with open_world("cpu") as world, caplog.at_level(logging.WARNING):
        first, both = judged(world, place, manifest, tmp_path / "run", ("0", "1", "2", "3"))
    loud = {n for n, v in enumerate(videos) if is_loud(torch.from_numpy(v.features["audio"])[None])[0]}
    labels = [len(video.labels) for video in videos]
    lost = sum(labels[number] for number in loud)
    assert 0 < lost < sum(labels)
    assert set(first["video"]).isdisjoint(loud)
    assert len(first["video"]) == sum(labels) - lost
    assert len(both["video"]) == sum(labels)
    assert f"{lost} of {sum(labels)} training labels could not be judged" in caplog.text
    caplog.clear()
    with open_world("cpu") as world, caplog.at_level(logging.WARNING):
        some, _ = judged(world, place, manifest, tmp_path / "some", ("0", "1", "2", "3"), 1)
    assert 0 < len(some["video"]) < sum(labels) - lost
    assert "could not be judged" not in caplog.text  # most were not looked at
    with open_world("cpu") as world:
        _, alone = judged(world, place, manifest, tmp_path / "alone", ("2", "3", "2", "3"))
    for name in ("audio_probit", "visual_probit"):
        before = dict(zip(zip(first["video"], first["category"], strict=True), first[name], strict=True))
        for video, category, mine, own in zip(both["video"], both["category"], both[name], alone[name], strict=True):
            earlier = np.float32(before.get((video, category), own))
            assert mine == (earlier + np.float32(own)) / np.float32(2)


@pytest.mark.parametrize("estimators", [(str(BLIND), "2"), ("2", "2", str(BLIND), "3")])
def test_a_fold_that_nobody_can_judge_ends_the_run_on_every_rank(
    estimators: tuple[str, ...], data: tuple[Path, Manifest, list[Any]], tmp_path: Path
) -> None:
    place, manifest, _ = data
    for said in run_ranks(judged, 2, tmp_path, place, manifest, tmp_path / "run", estimators):
        assert said.startswith("there is no video to judge labels by in 1 of 2 folds of the training split"), said
