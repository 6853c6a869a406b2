"""Timelines of a few videos in a run's report, parsed by its model and by the one it is set beside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jomold_dist.distributed.world import World
from jomold_dist.showing.timelines.models import open_models, open_videos
from jomold_dist.showing.timelines.picked import pick_videos
from jomold_dist.showing.timelines.picking import score_of
from jomold_dist.showing.timelines.picks import Pick
from jomold_dist.showing.timelines.timeline import Timeline
from jomold_dist.showing.timelines.timelines import timeline_of
from jomold_dist.training.run_folder import RunFolder
from jomold_dist.training.run_reading import read_config
from jomold_dist.watching import Watch

COUNT = 8
SPLITS = ("test", "val", "train")
"""Of the first of these that the data set has."""


@dataclass(frozen=True)
class Examples:
    """Timelines, and a sentence that tells which videos they are of."""

    about: str
    timelines: tuple[Timeline, ...]


def examples(folders: Sequence[RunFolder], world: World, watch: Watch, how: Pick = "random") -> Examples:
    """COUNT videos of the first run's data set, parsed in this process by the finished models of all runs. UserError
    if a model or the data set cannot be used."""
    models = open_models(folders, [read_config(folder) for folder in folders], world)
    videos = open_videos(models, None, world)
    split = next(name for name in SPLITS if name in videos.manifest.splits)
    found, about = pick_videos(models, videos, split, how, COUNT, watch=watch)
    timelines = []
    for parsings in found:
        named = [(model.name, parsed) for model, parsed in zip(models, parsings, strict=True)]
        timelines.append(timeline_of(named, list(map(score_of, parsings))))
    return Examples(about, tuple(timelines))
