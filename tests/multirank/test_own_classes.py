"""What fails in the constructors of somebody's own classes on one rank ends the training of all, with one message."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ranks import run_ranks
from test_method_resume import config_of

from jomold_dist.config import Config
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.distributed.world import World
from jomold_dist.errors import DataError
from jomold_dist.methods.han import Han
from jomold_dist.models.network import Network
from jomold_dist.training.run import Run
from jomold_dist.training.run_folder import RunFolder
from jomold_dist.training.trained import Trained
from tests.shard_fixtures import write_dataset


def fail_on_rank_1() -> None:
    if os.environ["RANK"] == "1":
        raise DataError("the file of mine is not on this node")


class Choosy(Han):
    def __init__(self, *arguments: Any) -> None:
        fail_on_rank_1()
        super().__init__(*arguments)


class Building(Han):
    @classmethod
    def network(cls, config: Config, manifest: Manifest) -> Network:
        fail_on_rank_1()
        return super().network(config, manifest)


def message(world: World, method: type[Han], data: Path, manifest: Manifest, folder: Path) -> str:
    run = Run(config_of("han", data), manifest, world, RunFolder(folder))
    try:
        Trained("train", method).do(run, {})
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


@pytest.mark.parametrize("method", [Choosy, Building])
def test_the_others_are_told(method: type[Han], tmp_path: Path) -> None:
    manifest, _ = write_dataset(tmp_path / "data", {"train": 8, "val": 4, "test": 4})
    found = run_ranks(message, 2, tmp_path, method, tmp_path / "data", manifest, tmp_path / "run", patience=60)
    assert found == ["DataError: the file of mine is not on this node"] * 2
