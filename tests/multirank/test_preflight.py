"""What ranks find out together before a run starts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ranks import run_ranks

from jomold_dist.config import Config, DataConfig
from jomold_dist.distributed.world import World
from jomold_dist.errors import DataError
from jomold_dist.training.preflight import prepare_run
from tests.shard_fixtures import write_dataset


def prepare(world: World, configs: list[Config]) -> str:
    """Collective: each rank with a config of its own; what it says."""
    try:
        prepare_run(configs[world.rank], world)
    except DataError as error:
        return str(error)
    return "fine"


def test_ranks_with_different_copies_of_a_data_set(tmp_path: Path) -> None:
    sizes = {"train": 30, "val": 10, "test": 10}
    write_dataset(tmp_path / "one", sizes)
    write_dataset(tmp_path / "other", sizes | {"train": 31})
    config = Config(method="han", data=DataConfig(shards=str(tmp_path / "one"), streams=12))
    changed = replace(config, data=replace(config.data, shards=str(tmp_path / "other")))
    assert run_ranks(prepare, 2, tmp_path / "same", [config, config]) == ["fine"] * 2
    said = run_ranks(prepare, 2, tmp_path / "changed", [config, changed])
    assert all(text.startswith("rank 1 finds another manifest in") for text in said), said
