"""What a run says at its start, and of its epochs."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jomold_dist.config import CheckpointConfig, Config, DataConfig, TrackingConfig, TrainConfig
from jomold_dist.config_reporting import MetricsConfig, ProfileConfig
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.distributed.world import open_world
from jomold_dist.training.banner import banner, batch_text, tell_start
from jomold_dist.training.epoch_report import epoch_text
from jomold_dist.training.progress import Best, Progress
from jomold_dist.training.run import Run
from jomold_dist.training.run_folder import RunFolder
from jomold_dist.training.run_reading import read_scores
from jomold_dist.training.selection import LAST, LOSS, Selection
from jomold_dist.training.stages import run_stages
from jomold_dist.training.step import micro_batches
from tests.shard_fixtures import write_dataset

CUTS = [*itertools.product((1, 7, 24, 128), (1, 2, 3, 8), (None, 1, 5, 64))]


@pytest.mark.parametrize(("videos", "ranks", "most"), CUTS)
def test_micro_batches_cover_the_share_of_every_rank(videos: int, ranks: int, most: int | None) -> None:
    largest, size = micro_batches(videos, ranks, most)
    assert (largest - 1) * ranks < videos <= largest * ranks
    assert size == (largest if most is None else min(most, largest))


def test_how_a_batch_is_cut() -> None:
    assert batch_text(128, 2, 8) == "128 videos = 2 ranks × 8 videos × 8 micro-batches"
    assert batch_text(128, 1, None) == "128 videos = 1 rank × 128 videos × 1 micro-batch"
    assert batch_text(67, 2, 10) == "67 videos in 2 ranks × at most 10 videos × 4 micro-batches"
    assert batch_text(1, 2, None) == "1 video in 2 ranks × at most 1 video × 1 micro-batch"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    folder = tmp_path_factory.mktemp("banner") / "data"
    return folder, write_dataset(folder, {"train": 25, "val": 6, "test": 6})[0]


def config_for(data: Path, **train: object) -> Config:
    return Config(
        method="han",
        data=DataConfig(shards=str(data), streams=12),
        train=TrainConfig(batch_size=7, **train),  # type: ignore[arg-type]
        checkpoint=CheckpointConfig(every_minutes=None, every_steps=3),
        tracking=TrackingConfig(enabled=False),
    )


def lines_of(run: Run) -> dict[str, str]:
    lines = banner(run, "http://there")
    assert len({line.index(line.split("  ", 1)[1].lstrip()) for line in lines}) == 1  # aligned
    assert max(map(len, lines)) <= 120 + len(str(run.folder.path)) + len(run.config.data.shards)
    return {name.strip(): text.strip() for name, text in (line.split("  ", 1) for line in lines)}


def test_a_run_tells_what_it_is_and_with_what_it_goes_on(
    data: tuple[Path, Manifest], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = config_for(data[0], epochs=2)
    with open_world("cpu") as world:
        looks = iter([False] * 6)
        run = Run(config, data[1], world, RunFolder(tmp_path), stop_asked=lambda: next(looks, True))
        found = lines_of(run)
        assert found["data set"] == f"tiny in {data[0]}: 25 train, 6 val, 6 test; 5 categories"
        assert found["method"] == "han: train (2 × 4 steps), evaluation"
        assert found["batch"] == batch_text(7, 1, None)
        assert found["run folder"] == f"{tmp_path}: new"
        assert found["MLflow"] == "http://there"
        some = lines_of(Run(config, data[1], world, RunFolder(tmp_path), most_steps=1))
        changed = {"method": "han: train, evaluation; of each split 1 batch", "run folder": "a temporary one"}
        assert some == found | changed
        assert not caplog.messages
        with caplog.at_level(logging.WARNING):
            profile = ProfileConfig(steps=1, after=8)
            tell_start(replace(run, config=replace(config, profile=profile)), None)
            tell_start(replace(run, config=replace(config, profile=replace(profile, after=7))), None)
        (said,) = [each for each in caplog.messages if "profile" in each]
        assert said.startswith("train: no profile to come, as its steps are 8 and the first profile.after = 8 are")
        network = config.model.network
        assert found["network"].startswith(f"{network}, 3,")
        run.folder.checkpoints.mkdir()
        with pytest.raises(Exception, match="stopped"):
            run_stages(run)
        assert lines_of(run)["run folder"].endswith("train goes on from checkpoint model-e0001-s00000001")
        run_stages(Run(config, data[1], world, RunFolder(tmp_path)))
        assert lines_of(run)["run folder"] == f"{tmp_path}: finished, nothing is left to be done"
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            tell_start(replace(run, config=replace(config, profile=profile)), None)
        assert not any("profile" in each for each in caplog.messages)
        run.folder.scores.unlink()
        assert lines_of(run)["run folder"] == f"{tmp_path}: train done; evaluation is left"


def test_a_set_that_nobody_shuffled_is_told(data: tuple[Path, Manifest], tmp_path: Path) -> None:
    """... unless it is simulated: its videos have no neighbours."""
    folder, manifest = data
    shuffled = manifest.splits | {"train": replace(manifest.split("train"), shuffled=0)}
    sets = [manifest, replace(manifest, splits=shuffled), replace(manifest, simulated={"scenario": "llp", "seed": 0})]
    with open_world("cpu") as world:
        told = [lines_of(Run(config_for(folder), each, world, RunFolder(tmp_path))).get("order") for each in sets]
    assert told == ["nobody has shuffled train: videos packed beside each other meet in batches, in which labels are "
                    "ranked", None, None]  # fmt: skip


@pytest.fixture(scope="module")
def patient(
    data: tuple[Path, Manifest], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Run, Callable[[int], Run]]]:
    """A run whose patience ran out in just the last of its epochs, and the same one with other epochs. With a learning
    rate of nearly nothing no moment is better than the first: the one after its first step."""
    folder = RunFolder(tmp_path_factory.mktemp("patient"))
    folder.checkpoints.mkdir()
    with open_world("cpu") as world:

        def of(epochs: int) -> Run:
            config = config_for(data[0], epochs=epochs, patience=2, learning_rate=1e-30, validate_every_steps=1)
            return Run(replace(config, metrics=MetricsConfig(every_steps=None)), data[1], world, folder)

        run_stages(of(3))
        yield of(3), of


def lines_in(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_scores_within_an_epoch_are_recorded_and_may_be_the_best(
    patient: tuple[Run, Callable[[int], Run]],
) -> None:
    folder = patient[0].folder
    first, *others = lines_in(folder.history)
    at_end = {name.removeprefix("val/"): value for name, value in first.items() if name.startswith("val/")}
    assert first["best_within"] == {"step": 1, "steps": 4, "scores": at_end}  # all moments are alike here
    assert not any("best_within" in line for line in others)
    steps = lines_in(folder.steps)  # also without metrics of steps
    assert [line["step"] for line in steps] == list(range(1, 13))
    assert all(line["val_segment_type"] == at_end["segment_type"] for line in steps)
    assert not any("loss" in line for line in steps)


def test_training_ends_where_patience_does(patient: tuple[Run, Callable[[int], Run]]) -> None:
    before, of = patient
    folder = before.folder
    assert not any("ended_early" in line for line in lines_in(folder.history))  # none of its epochs was spared
    files = {file: file.stat().st_mtime_ns for file in folder.path.rglob("*.safetensors")}
    longer = of(12)
    run_stages(longer)  # its patience is at an end
    history = lines_in(folder.history)
    assert len(history) == 3
    assert [line.get("ended_early") for line in history] == [None, None, True]
    assert read_scores(folder).model.epochs == 12
    assert lines_of(longer)["run folder"].endswith("finished, nothing is left to be done")
    assert {file for file in files if "model-e" in str(file)} <= set(folder.path.rglob("*.safetensors"))


LINE = {
    "train/loss": 1.25, "val/segment_type": 50.0, "perf/videos_per_second": 300.4, "perf/share_data_wait": 0.001,
    "perf/share_ranking": 0.101, "perf/share_exchange": 0.0, "denoise/removed_audio": 3.0,
    "denoise/removed_visual": 0.0,
}  # fmt: skip


def test_an_epoch_says_only_what_applies() -> None:
    progress = Progress(epoch=2, step=4, best=Best(2, 4, 50.0))
    assert epoch_text(LINE, Selection("segment_type"), progress, removes=False) == (
        "loss 1.2500, segment_type 50.0; 300 videos/s (ranking 10 %)"
    )
    progress.best = Best(1, 4, 51.0)
    assert epoch_text(LINE, Selection("segment_type"), progress, removes=True) == (
        "loss 1.2500, segment_type 50.0 (best 51.0 in epoch 2), removed audio 3, visual 0; 300 videos/s (ranking 10 %)"
    )
    progress.best = Best(1, 3, 51.0)
    assert "(best 51.0 after step 3 of epoch 2)" in epoch_text(LINE, Selection("segment_type"), progress, removes=False)
    progress.best = Best(2, 3, 51.0)
    assert "(best 51.0 after step 3)" in epoch_text(LINE, Selection("segment_type"), progress, removes=False)
    by_loss = LINE | {"val/loss": 0.51234}
    progress.best = Best(1, 4, -0.5)
    assert "loss on val 0.5123 (best 0.5000 in epoch 2);" in epoch_text(by_loss, Selection(LOSS), progress, False)
    assert epoch_text(by_loss, Selection(LAST), progress, False).startswith("loss 1.2500; 300 videos/s")
