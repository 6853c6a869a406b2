"""Some videos of a split, picked and parsed by the models of runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jomold_dist.data.format.manifest import SplitInfo
from jomold_dist.errors import DataError
from jomold_dist.showing.timelines.models import RunModel
from jomold_dist.showing.timelines.parsed import Videos, parse_keys, parse_numbers, parse_split
from jomold_dist.showing.timelines.picking import Parsings, pick_differing, pick_worst, random_numbers
from jomold_dist.showing.timelines.picks import Pick
from jomold_dist.watching import Watch
from jomold_dist.wording import number_of


def pick_videos(
    models: Sequence[RunModel],
    videos: Videos,
    split_name: str,
    how: Pick,
    count: int,
    *,
    watch: Watch,
    seed: int = 0,
    threshold: float | None = None,
) -> tuple[list[Parsings], str]:
    """At most so many videos of a split, and a sentence that tells which. Only `random` does without a pass over the
    whole split. DataError where the split or the models do not allow it."""
    networks = [model.network for model in models]
    split = videos.manifest.split(split_name)
    if how == "worst" and not split.dense:
        raise DataError(
            f"--pick worst needs dense labels, and split {split.name!r} of {videos.source} has none; take random or, "
            "with several runs, differ"
        )
    if how == "differ" and len(models) == 1:
        raise DataError("--pick differ compares runs; name two or more")
    of = f"of the {split.videos:,} in split {split.name} of {videos.manifest.name}"
    if how == "random":
        numbers = _drawn(split, count, seed, one_shard=videos.source.is_remote)
        found = list(parse_numbers(networks, videos, split.name, numbers, threshold))
        drawn = "drawn at random, shard and videos" if videos.source.is_remote else "drawn at random"
        return found, f"{number_of(len(found), 'video')} {of}, {drawn} (seed {seed})."
    with watch.task(split.name, split.videos, "video") as task:
        if how == "differ":
            found = pick_differing(parse_split(networks, videos, split.name, threshold, task.more), count)
            return found, f"{number_of(len(found), 'video')} {of} on which the runs differ in the most segments."
        found = pick_worst(parse_split(networks[:1], videos, split.name, threshold, task.more), count)
    if len(models) > 1:
        found = list(parse_keys(networks, videos, [parsings[0].key for parsings in found], threshold))
    return found, f"{number_of(len(found), 'video')} {of} with the lowest segment scores of {models[0].name}."


def _drawn(split: SplitInfo, count: int, seed: int, one_shard: bool) -> np.ndarray:
    """The numbers of videos of a split; of `one_shard` where each that is touched has to be fetched whole."""
    if not one_shard:
        return random_numbers(split.videos, count, seed)
    shard = int(np.random.default_rng(seed).integers(len(split.shards)))
    return split.first_of(shard) + random_numbers(split.shards[shard].videos, count, seed)
