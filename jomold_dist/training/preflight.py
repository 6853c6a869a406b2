"""Everything that can be wrong before a run starts, found before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from jomold_dist.config import Config, DataConfig
from jomold_dist.config_fields import NO_SETTINGS
from jomold_dist.data.checking.start_check import problems_of_shards
from jomold_dist.data.format.dense_truth import has_positives, truth_problem
from jomold_dist.data.format.extraction import feature_differences
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.data.format.records import RecordView
from jomold_dist.data.reading.plan import check_world_size
from jomold_dist.data.reading.resident import ResidentSplit
from jomold_dist.data.reading.run_data import cut_training, open_data, open_whole
from jomold_dist.data.reading.shards import ShardReader
from jomold_dist.data.reading.source import Source
from jomold_dist.distributed.world import World, agree_on_errors, gather_objects, gather_to_main
from jomold_dist.errors import ConfigError, DataError, UserError, raise_together
from jomold_dist.labels import MODALITIES
from jomold_dist.methods.registry import method_class
from jomold_dist.models.event_network import frames_of, frames_per_segment
from jomold_dist.models.network import Network, feature_sizes
from jomold_dist.models.weights import WeightsInfo
from jomold_dist.score_names import score_names
from jomold_dist.training.removals import read_present
from jomold_dist.training.run_folder import RunFolder
from jomold_dist.training.selection import LAST, LOSS, selection_of, splits_of_run
from jomold_dist.training.trained import MODEL, Trained

LOOK = 64  # videos that are read at once to see whether a split has any truth


def prepare_run(config: Config, world: World) -> Manifest:
    """Collective: the manifest of the run's data set, once config, data and world are found to fit together.

    Each rank compares its share of the shards with the manifest. DataError or ConfigError, on every rank, tells all
    problems found.
    """
    with agree_on_errors(world):
        source, manifest = open_data(config.data)
        # rank 0 alone reads a file of noise ratios; what else is looked at is the same on every rank
        raise_together(_problems(config, manifest, world.size) if world.is_main else [])
    agree_on_manifest(manifest, config.data.where, world)
    with agree_on_errors(world):
        splits = splits_of_run(manifest)
        problems = problems_of_shards(config.data, source, manifest, splits, slice(world.rank, None, world.size))
    found = list(dict.fromkeys(problem for share in gather_to_main(problems, world) for problem in share))
    with agree_on_errors(world):
        raise_together(found)
        raise_together(problems_of_truth(source, manifest) if world.is_main else [])
    with agree_on_errors(world):
        if config.data.resident:  # decoded here, where a cache that cannot be written is found before anything else
            cache = None if config.data.cache is None else Path(config.data.cache)
            for split in splits:
                ResidentSplit(source, manifest, split, cache, mask=config.data.on_bad_video == "mask")
    return manifest


def agree_on_manifest(manifest: Manifest, place: str, world: World) -> None:
    """Collective: DataError on every rank unless all have found the same manifest."""
    digests = gather_objects(manifest.digest, world)
    with agree_on_errors(world):
        if others := [rank for rank, digest in enumerate(digests) if digest != digests[0]]:
            raise DataError(
                f"rank {others[0]} finds another manifest in {place} than rank 0: the nodes have different copies of "
                "the data set, or it was changed just now"
            )


def problems_of_truth(source: Source, manifest: Manifest) -> list[str]:
    """Which of the splits with dense labels cannot be scored. Each is read until both modalities have a positive, which
    is mostly within its first videos; damaged ones are left out."""
    problems = []
    scored = (manifest.splits[name] for name in splits_of_run(manifest) if name != "train")
    for info in (split for split in scored if split.dense):
        found = np.zeros(2, dtype=bool)
        with ShardReader(source, manifest, info.name, mask=True) as reader:
            pieces = ((s, i) for s, videos in enumerate(info.shard_sizes.tolist()) for i in range(0, videos, LOOK))
            for shard, first in pieces:
                records = np.empty((min(LOOK, info.shards[shard].videos - first), reader.record_bytes), dtype=np.uint8)
                bad = reader.read_into(shard, first, records)
                sound = np.delete(records, list(bad), axis=0)
                found |= has_positives(RecordView(sound, manifest, info).dense())
                if found.all():
                    break
        if problem := truth_problem(found):
            problems.append(f"{source}: split {info.name!r}: {problem}")
    return problems


def inspect_run(config: Config, ranks: int) -> Manifest:
    """What `prepare_run` and the run's folder would find on so many ranks, found by this process alone. Nothing is
    written; files of resident splits are not made.

    DataError, ConfigError or RunFolderError as in a real start.
    """
    source, manifest = open_data(config.data)
    splits = splits_of_run(manifest)
    raise_together(_problems(config, manifest, ranks) or problems_of_shards(config.data, source, manifest, splits))
    if not source.is_remote:  # a look would fill the cache
        raise_together(problems_of_truth(source, manifest))
        read_present(source, manifest)
    RunFolder(Path(config.run.dir)).check(config, manifest.digest)
    return manifest


def _problems(config: Config, manifest: Manifest, ranks: int) -> list[str]:
    problems = []
    try:
        check_world_size(config.data.streams, ranks)
    except UserError as error:
        problems.append(str(error))
    if "train" not in manifest.splits:
        problems.append(
            f"{config.data.where} has no split 'train', which training needs; it has: {', '.join(manifest.splits)}"
        )
        return problems
    return problems + problems_of_method(config, manifest)


def problems_of_method(config: Config, manifest: Manifest) -> list[str]:
    """What in the config fits neither the data set nor the networks that its method trains, in whichever stage."""
    method = method_class(config.method)
    found = [problem for stage in trainings(config) for problem in _problems_of_training(stage, config, manifest)]
    return list(dict.fromkeys([*found, *method.problems(config, manifest)]))


def scores_of_model(config: Config, manifest: Manifest) -> tuple[str, ...]:
    """The scores that a run's model has. ConfigError if its network cannot be built."""
    *_, model = (stage for stage in trainings(config) if stage.weights == MODEL)
    return score_names(_network_of(model, config, manifest).modalities)


def trainings(config: Config) -> list[Trained]:
    """The stages of a run that train a network."""
    return [stage for stage in method_class(config.method).stages(config) if isinstance(stage, Trained)]


def _network_of(stage: Trained, config: Config, manifest: Manifest) -> Network:
    """The network that a stage trains, without values."""
    with torch.device("meta"):
        return stage.method.network(stage.settings(config), manifest)


def _problems_of_training(stage: Trained, config: Config, manifest: Manifest) -> list[str]:
    try:
        network = _network_of(stage, config, manifest)
    except ConfigError as error:
        return [str(error)]
    own = stage.settings(config)
    problems, lacking = [], [name for name in MODALITIES if name not in network.modalities]
    if lacking and stage.method.both_modalities:
        problems.append(
            f"method = {config.method!r} compares the two modalities, and model.network = {own.model.network!r} has "
            f"no {lacking[0]} one"
        )
    selection, names = selection_of(own.train.selection, manifest), score_names(network.modalities)
    if selection.by not in (*names, LOSS, LAST):
        problems.append(
            f"train.selection = {own.train.selection!r} is no score of model.network = {own.model.network!r}; it "
            f"has {', '.join(names)}"
        )
    if network.zero3_problem and own.train.engine == "deepspeed" and own.deepspeed.zero_stage == 3:
        problems.append(
            f"deepspeed.zero_stage = 3 cannot train model.network = {own.model.network!r}: {network.zero3_problem}; "
            "take 0, 1 or 2"
        )
    return problems


def with_shards(config: Config, places: Sequence[str]) -> Config:
    """The config for a data set that lies elsewhere, or several that are joined. Nothing is written beside it, and
    storage options are kept only for the same kind of place. ConfigError if a place is named twice."""
    if twice := sorted({place for place in places if places.count(place) > 1}):
        raise ConfigError(f"--shards names {twice[0]} twice; name each set once")
    data = replace(config.data, shards=places[0] if len(places) == 1 else tuple(places), resident=False)
    if {_scheme(place) for place in places} - {_scheme(place) for place in config.data.places}:
        data = replace(data, storage=NO_SETTINGS)
    return replace(config, data=data)


def _scheme(place: str) -> str:
    """What comes before ://, nothing for a folder."""
    return place.partition("://")[0] if "://" in place else ""


def open_matching(data: DataConfig, info: WeightsInfo, *, other_features: bool = False) -> tuple[Source, Manifest]:
    """A whole data set, which must have the categories, features and segments that a model was trained on, and unless
    `other_features`, features that are extracted as those were, as far as that is known of both."""
    source, manifest = open_whole(data)
    problems = []
    if manifest.categories.names != info.categories:
        own, there = set(info.categories), set(manifest.categories.names)
        lacks = [f"{place} lacks {len(some)}, such as {min(some)!r}" for place, some in (
            ("it", own - there), ("the model", there - own)
        ) if some]  # fmt: skip
        how = "; ".join(lacks) or "the same in another order"
        problems.append(f"{source} has other categories than the model was trained on: {how}")
    if manifest.segments != info.segments:
        problems.append(f"{source} has {manifest.segments} segments a video, the model was trained on {info.segments}")
    if manifest.segment_seconds != info.segment_seconds:
        problems.append(
            f"{source} has segments of {manifest.segment_seconds:g} s, the model was trained on segments of "
            f"{info.segment_seconds:g} s; pack it with the model's"
        )
    if feature_sizes(manifest) != info.feature_sizes:
        problems.append(
            f"{source} has features {feature_sizes(manifest)}, the model was built for {info.feature_sizes}"
        )
    elif (asked := frames_of(info.form)) is not None and frames_per_segment(manifest) != asked:
        problems.append(
            f"{source} has {frames_per_segment(manifest)} frames a segment, the model's network was built for {asked}"
        )
    names = ("in the data set", "in the model's training")
    if not other_features and (other := feature_differences(manifest.extraction, info.extraction, names)):
        problems.append(
            f"{source} has features that were extracted in another way than those that the model was trained on: "
            f"{'; '.join(other)}. Extract them as the model's were, or go on all the same with --other-features"
        )
    raise_together(problems)
    return source, manifest


def find_data(
    config: Config, info: WeightsInfo, manifest_digest: str, *, any_other: bool, other_features: bool
) -> tuple[Source, Manifest]:
    """The data set on which a run's model is to be used, which must be the run's own unless any other will do. That is
    taken whole."""
    place = config.data.where
    try:
        source, whole = open_matching(config.data, info, other_features=other_features)
    except DataError as error:
        if any_other:
            raise
        raise DataError(f"{error}\nIf the run's data set has moved, name its place with --shards") from None
    manifest = cut_training(source, whole, config.data.fraction, config.data.on_bad_video == "mask")
    if manifest.digest == manifest_digest:
        return source, manifest
    if not any_other:
        raise DataError(
            f"{place} holds another data set than the one that the run was trained on: {manifest.name}, whose manifest "
            f"has the digest {manifest.digest[:12]} and not {manifest_digest[:12]}. Name the place of the run's "
            f"data set with --shards; --shards {' '.join(config.data.places)} takes this one"
        )
    return source, whole
