"""A smoke run goes through every stage with one batch, on any number of ranks, and leaves nothing."""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from ranks import run_ranks

from jomold_dist.config import Config, DataConfig, RunConfig, TrainConfig
from jomold_dist.config_methods import EstimatorConfig
from jomold_dist.config_reporting import ProfileConfig
from jomold_dist.data.reading.loader import Loader
from jomold_dist.distributed.world import World, open_world
from jomold_dist.errors import RunFolderError, StoppedError, UserError
from jomold_dist.training import smoke
from jomold_dist.training.smoke import closing_text, smoke_run
from jomold_dist.training.stages import run_stages
from jomold_dist.watching import Watch
from tests.shard_fixtures import write_dataset


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("smoke") / "data"
    write_dataset(folder, {"train": 60, "val": 26, "test": 25})
    return folder


def tried(
    world: World, data: Path, method: str, scratch: Path, asked: Callable[[], bool] = lambda: False
) -> tuple[str, list[str], list[str]]:
    """What the smoke run says, what it has read of which split, and where it might have written."""
    scratch.mkdir(exist_ok=True)
    config = Config(
        method=method,
        run=RunConfig(dir=str(scratch / "run")),
        data=DataConfig(shards=str(data), streams=12),
        estimator=EstimatorConfig(epochs=7),
        train=TrainConfig(epochs=9, batch_size=12, validate_every_steps=1),
    )
    read, folders = list[str](), list[str]()
    epoch = Loader.epoch

    def noted(self: Loader, number: int, start_step: int = 0) -> object:
        for batch in epoch(self, number, start_step):
            read.append(self.split)
            yield batch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(scratch))
        patch.setattr(Loader, "epoch", noted)
        patch.setattr(smoke, "run_stages", lambda run: (folders.append(str(run.folder.path)), run_stages(run)))
        return smoke_run(replace(config), world, Watch(None), asked), read, folders


def held(said: str) -> list[str]:
    found = re.fullmatch(r"smoke run held, one batch a stage: (.*); nothing is left of it\. Shards .*", said)
    assert found, said
    return [part.rpartition(" ")[0].rpartition(" ")[0] for part in found[1].split(", ")]


def left(scratch: Path) -> list[str]:
    """What lies there, but for a folder that torch makes."""
    return [path.name for path in scratch.iterdir() if not path.name.startswith("torch")]


@pytest.mark.parametrize("size", [1, 2])
def test_every_stage_is_tried_with_one_batch_and_nothing_is_left(
    data: Path, size: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scratch = tmp_path / "scratch"
    if size == 1:
        with open_world("cpu") as world, caplog.at_level(logging.WARNING):
            found = [tried(world, data, "jomold", scratch)]
        assert not caplog.messages  # of noise ratios that one batch has led to
    else:
        found = run_ranks(tried, size, tmp_path / "ranks", data, "mixture", scratch, timeout=200)
    stages = held(found[0][0])
    assert stages[0] == "data set"
    assert stages[-2:] == ["train", "evaluation"]
    assert all(folders == found[0][2] != [str(scratch / "run")] for _, _, folders in found)  # no rank has the user's
    for _, read, _ in found:
        if size == 1:  # estimator, noise ratios, train; after both trainings val; test
            assert read == ["train", "val", "train", "train", "val", "test"]
        assert read.count("test") == 1
    assert left(scratch) == []


def test_nothing_is_left_of_one_that_fails_or_is_stopped(data: Path, tmp_path: Path) -> None:
    with open_world("cpu") as world:
        with pytest.raises(StoppedError):
            tried(world, data, "han", tmp_path / "scratch", lambda: True)
        with pytest.raises(UserError, match="does not exist"):
            tried(world, tmp_path / "gone", "han", tmp_path / "scratch")
    assert left(tmp_path / "scratch") == []


def test_it_tells_that_shards_were_not_read() -> None:
    config = Config(data=DataConfig(shards="my data"))
    assert closing_text(config, {"train": 1.0}) == (
        "smoke run held, one batch a stage: train 1.0 s; nothing is left of it. Shards were compared by size alone: "
        "jomold verify 'my data' reads them"
    )
    remote = replace(config, data=replace(config.data, shards="s3://bucket/data"))
    assert closing_text(remote, {}).endswith("nothing is left of it")


def test_nothing_is_profiled() -> None:
    assert smoke.shortened(Config(profile=ProfileConfig(steps=2)), "folder").profile.steps is None


def test_where_no_temporary_folder_can_be_made_it_is_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with open_world("cpu") as world, pytest.raises(RunFolderError, match="TMPDIR"):
        smoke_run(Config(), world, Watch(None), lambda: False)
