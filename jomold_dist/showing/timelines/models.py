"""The models of runs, ready to parse videos, and what they are called beside each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from jomold_dist.comparing.rows import row_names
from jomold_dist.config import Config
from jomold_dist.config_roles import decides
from jomold_dist.distributed.world import World
from jomold_dist.errors import UserError, raise_together
from jomold_dist.methods.registry import essential
from jomold_dist.models.network import Network
from jomold_dist.models.weights import WeightsInfo
from jomold_dist.showing.timelines.parsed import Videos
from jomold_dist.tables import system_name
from jomold_dist.training.loading import load_found
from jomold_dist.training.preflight import find_data, open_matching, with_shards
from jomold_dist.training.run_folder import RunFolder
from jomold_dist.training.run_reading import read_owner
from jomold_dist.training.stage import ready_to_compute

EPOCHS = "train.epochs"  # may grow, and so decides nothing of a folder, but does of a result


@dataclass(frozen=True)
class RunModel:
    """A run's model, finished or the best so far, on the device on which it is to parse."""

    name: str
    folder: RunFolder
    config: Config
    network: Network
    info: WeightsInfo


def open_models(folders: Sequence[RunFolder], configs: Sequence[Config], world: World) -> list[RunModel]:
    """The models of runs, by their folders and settings. DataError tells of all that have none, or that do not parse
    the same: other categories, or other segments than the first."""
    found, problems = [], []
    for folder, config, name in zip(folders, configs, run_names(folders, configs), strict=True):
        try:
            network, info, _ = load_found(folder.path)
        except UserError as error:
            problems.append(str(error))
            continue
        found.append(RunModel(name, folder, config, ready_to_compute(network, config, world), info))
    raise_together(problems)
    first, *others = found
    raise_together([problem for other in others for problem in _differences(first, other)])
    return found


def open_videos(
    models: Sequence[RunModel], places: Sequence[str] | None, world: World, other_features: bool = False
) -> Videos:
    """The data set of the first run, or another one in these places. DataError unless all models can parse it."""
    first, *others = models
    config = first.config if places is None else with_shards(first.config, places)
    digest = read_owner(first.folder, first.config).manifest
    source, manifest = find_data(
        config, first.info, digest, any_other=places is not None, other_features=other_features
    )
    problems = []
    for model in others:
        try:
            open_matching(config.data, model.info, other_features=other_features)
        except UserError as error:
            problems.append(f"{model.folder.path}: {error}")
    raise_together(problems)
    return Videos(config, source, manifest, world)


def run_names(folders: Sequence[RunFolder], configs: Sequence[Config]) -> list[str]:
    """What runs are called: by their method, and by what else sets them apart; by their folder where nothing does."""
    if len(configs) == 1:
        return [system_name(configs[0])]
    flat = [essential(config).flat() for config in configs]
    names = row_names([{k: v for k, v in values.items() if decides(k) or k == EPOCHS} for values in flat])
    alike = Counter(names)
    return [
        f"{name} ({folder.path.name})" if alike[name] > 1 else name for name, folder in zip(names, folders, strict=True)
    ]


def _differences(first: RunModel, other: RunModel) -> list[str]:
    """Why two models cannot be shown side by side."""
    beside = f"{other.folder.path} cannot be shown beside {first.folder.path}"
    problems = []
    if other.info.categories != first.info.categories:
        counts = f"{len(other.info.categories)} and {len(first.info.categories)}"
        problems.append(f"{beside}: they have different categories ({counts})")
    if (other.info.segments, other.info.segment_seconds) != (first.info.segments, first.info.segment_seconds):
        lengths = [f"{info.segments} segments of {info.segment_seconds:g} s" for info in (other.info, first.info)]
        problems.append(f"{beside}: one parses {lengths[0]}, the other {lengths[1]}")
    return problems
