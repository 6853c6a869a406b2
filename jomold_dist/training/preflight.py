"""Everything that can be wrong before a run starts, found before anything is written."""

from __future__ import annotations

from pathlib import Path

from jomold_dist.config import Config
from jomold_dist.data.manifest import Manifest, read_manifest
from jomold_dist.data.plan import check_world_size
from jomold_dist.data.resident import ResidentSplit
from jomold_dist.data.shards import verify_shards
from jomold_dist.denoising.methods import METHODS
from jomold_dist.distributed.world import World, agree_on_errors, gather_objects
from jomold_dist.errors import DataError, UserError, join_problems
from jomold_dist.models.weights import WeightsInfo, feature_sizes
from jomold_dist.training.run_folder import RunFolder

SPLITS = ("train", "val", "test")


def prepare_run(config: Config, world: World) -> Manifest:
    """Collective: the manifest of the run's data set, once config, data and world are found to fit together.

    Each rank compares its share of the shards with the manifest. DataError or ConfigError, on every rank, tells all
    problems found.
    """
    folder = Path(config.data.shards)
    with agree_on_errors(world):
        manifest = read_manifest(folder)
        problems = _problems(config, manifest, world.size)
        if problems:
            raise DataError(join_problems(problems))
    with agree_on_errors(world):
        problems = verify_shards(
            folder, manifest, SPLITS, level=config.data.verify, shards=slice(world.rank, None, world.size)
        )
    found = [problem for share in gather_objects(problems, world) for problem in share]
    with agree_on_errors(world):
        if found:
            raise DataError(join_problems(found))
        if config.data.resident:  # decoded here, where a cache that cannot be written is found before anything else
            cache = None if config.data.cache is None else Path(config.data.cache)
            for split in SPLITS:
                ResidentSplit(folder, manifest, split, cache)
    return manifest


def inspect_run(config: Config, ranks: int) -> Manifest:
    """What `prepare_run` and the run's folder would find on so many ranks, found by this process alone. Nothing is
    written; files of resident splits are not made.

    DataError, ConfigError or RunFolderError as in a real start.
    """
    folder = Path(config.data.shards)
    manifest = read_manifest(folder)
    problems = _problems(config, manifest, ranks) or verify_shards(folder, manifest, SPLITS, level=config.data.verify)
    if problems:
        raise DataError(join_problems(problems))
    RunFolder(Path(config.run.dir)).check(config, manifest.digest)
    return manifest


def _problems(config: Config, manifest: Manifest, ranks: int) -> list[str]:
    problems = []
    try:
        check_world_size(config.data.streams, ranks)
    except UserError as error:
        problems.append(str(error))
    for name in SPLITS:
        if name not in manifest.splits:
            problems.append(f"{config.data.shards} has no split {name!r}, which training needs")
        elif name != "train" and not manifest.splits[name].dense:
            problems.append(f"{config.data.shards}: split {name!r} has no dense labels to score against")
    return problems + METHODS[config.method].problems(config, manifest)


def read_matching_manifest(folder: Path, info: WeightsInfo) -> Manifest:
    """The manifest of a data set, which must have the categories, features and segments that a model was trained on."""
    manifest = read_manifest(folder)
    problems = []
    if manifest.categories.names != info.categories:
        problems.append(f"{folder} has other categories than the model was trained on")
    if manifest.segments != info.segments:
        problems.append(f"{folder} has {manifest.segments} segments a video, the model was trained on {info.segments}")
    if feature_sizes(manifest) != info.feature_sizes:
        problems.append(
            f"{folder} has features {feature_sizes(manifest)}, the model was built for {info.feature_sizes}"
        )
    if problems:
        raise DataError(join_problems(problems))
    return manifest
