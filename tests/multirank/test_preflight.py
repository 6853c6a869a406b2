"""What ranks find out together before a run starts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from ranks import run_ranks

from jomold_dist.config import Config, DataConfig, DenoiseConfig
from jomold_dist.data.packing.dataset_writer import DatasetWriter
from jomold_dist.distributed.world import World
from jomold_dist.errors import DataError
from jomold_dist.files import write_json
from jomold_dist.training.preflight import prepare_run
from jomold_dist.training.ratio_stage import FoundRatios
from jomold_dist.training.run import Run
from jomold_dist.training.run_folder import RunFolder
from tests.shard_fixtures import CATEGORIES, FEATURES, SEGMENTS, make_videos, write_dataset


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


def test_a_split_without_truth_is_refused_on_every_rank(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    with DatasetWriter(folder, name="x", categories=CATEGORIES, segments=SEGMENTS, features=FEATURES) as writer:
        for split in ("train", "val", "test"):
            videos = make_videos(12, prefix=split, dense=split != "train")
            if split == "test":
                videos = [replace(video, dense=np.zeros_like(video.dense)) for video in videos]
            writer.write_split(split, videos, max_labels=5, dense=split != "train")
        writer.finish()
    config = Config(method="han", data=DataConfig(shards=str(folder), streams=12))
    said = run_ranks(prepare, 2, tmp_path / "ranks", [config, config])
    assert said == [said[0]] * 2
    assert said[0].startswith(f"{folder}: split 'test': no video has a dense label in audio or in visual, ")


def find_ratios(world: World, configs: list[Config], folder: Path) -> list[float]:
    """Collective: each rank with a config of its own; what rank 0 has left."""
    config = configs[world.rank]
    run = Run(config, prepare_run(config, world), world, RunFolder(folder))
    stage = FoundRatios()
    stage.do(run, {})
    return stage.read(run).audio.tolist() if world.is_main else []


def test_a_file_of_noise_ratios_is_read_where_rank_0_is(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", {"train": 30, "val": 10, "test": 10})
    ratios = [0.25] * len(CATEGORIES)
    write_json(tmp_path / "ratios.json", {"audio": ratios, "visual": ratios})
    configs = [
        Config(
            data=DataConfig(shards=str(tmp_path / "data"), streams=12),
            denoise=DenoiseConfig(ratios="file", ratio_file=str(tmp_path / name)),
        )
        for name in ("ratios.json", "only-on-another-node.json")
    ]
    (tmp_path / "run").mkdir()
    assert run_ranks(find_ratios, 2, tmp_path / "ranks", configs, tmp_path / "run") == [ratios, []]
