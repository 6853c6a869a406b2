"""What `jomold show` does: chooses videos, has them parsed, and writes their timelines."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jomold_dist.command_line import show
from jomold_dist.config import Config
from jomold_dist.data.checking.start_check import problems_of_shards
from jomold_dist.distributed.world import World
from jomold_dist.errors import DataError, raise_together
from jomold_dist.methods.registry import checked
from jomold_dist.showing.gallery import write_gallery
from jomold_dist.showing.media import file_of, media_files, pictures
from jomold_dist.showing.models import RunModel, open_models, open_videos
from jomold_dist.showing.parsed import Videos, parse_keys, parse_numbers, parse_split
from jomold_dist.showing.picking import Parsings, pick_differing, pick_worst, random_numbers, segment_scores
from jomold_dist.showing.timelines import timeline_of
from jomold_dist.training.run_folder import RunFolder
from jomold_dist.training.run_reading import read_config
from jomold_dist.watching import Watch
from jomold_dist.wording import number_of

SHOWN = "shown"


@dataclass(frozen=True)
class Asked:
    """What --videos asks for: so many videos, or these keys, or these files."""

    count: int = 0
    keys: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Chosen:
    """Parsed videos, each by all models; a sentence that tells which, and where their files are, by key."""

    videos: Sequence[Parsings]
    about: str
    simulated: str | None = None


def show_runs(config: Config, world: World, arguments: argparse.Namespace) -> None:
    """Parse what is asked for and write it. One process does it all."""
    asked = asked_for(arguments.videos)
    folders = [RunFolder(path) for path in dict.fromkeys(arguments.runs)]
    configs = [config, *(checked(read_config(folder), arguments.imports) for folder in folders[1:])]
    files = {} if arguments.media is None else media_files(arguments.media)
    models = open_models(folders, configs, world)
    with Watch(config.log.every_seconds) as watch:
        videos = open_videos(models, arguments.shards, world, arguments.other_features)
        chosen = choose(asked, models, videos, arguments, watch)
        timelines = []
        for parsings in watch.over(chosen.videos, len(chosen.videos), "thumbnails", "video"):
            video = parsings[0]
            file = file_of(video.key, files)
            seen, notes = ([], []) if file is None else pictures(file, video.segments, video.segment_seconds)
            named = [(model.name, parsed) for model, parsed in zip(models, parsings, strict=True)]
            scores = [None if v.truth is None else segment_scores([v])[0] for v in parsings]
            timelines.append(timeline_of(named, scores, notes, seen))
        with watch.task("pictures", len(timelines), "video") as task:
            page = write_gallery(
                arguments.out or folders[0].path / SHOWN,
                timelines,
                title=f"Timelines of {number_of(len(timelines), 'video')}",
                about=chosen.about,
                runs=[(model.name, str(model.folder.path)) for model in models],
                simulated=chosen.simulated,
                progress=task.more,
            )
    show(f"{number_of(len(timelines), 'timeline')} in {page.parent}; all of them: {page}")


def asked_for(words: Sequence[str]) -> Asked:
    """What the words after --videos ask for. DataError for a mixture, and for files that are not there."""
    if len(words) == 1 and words[0].isdecimal():
        if not (count := int(words[0])):
            raise DataError("--videos 0 asks for nothing; give a number of videos from 1 on, keys or files")
        return Asked(count=count)
    files = [word for word in words if Path(word).suffix or "/" in word]  # a key holds neither dots nor slashes
    if not files:
        return Asked(keys=tuple(dict.fromkeys(words)))
    if keys := [word for word in words if word not in files]:
        raise DataError(f"--videos takes keys or files, not both: {keys[0]} is no file, and {files[0]} is one")
    raise_together([f"--videos {word}: there is no such file" for word in files if not Path(word).is_file()])
    return Asked(files=tuple(Path(word) for word in dict.fromkeys(files)))


def choose(
    asked: Asked, models: Sequence[RunModel], videos: Videos, arguments: argparse.Namespace, watch: Watch
) -> Chosen:
    """The videos of a data set that are asked for, parsed. DataError if none of them can be used."""
    networks, threshold = [model.network for model in models], arguments.threshold
    name, simulated = videos.manifest.name, videos.manifest.simulated
    if asked.keys:
        found = list(parse_keys(networks, videos, asked.keys, threshold))
        about = f"Videos of {name} that were asked for by their keys."
    else:
        split, pick = videos.manifest.split(arguments.split), arguments.pick
        if pick == "worst" and not split.dense:
            raise DataError(
                f"--pick worst needs dense labels, and split {split.name!r} of {videos.source} has none; take random"
                " or, with several runs, differ"
            )
        if pick == "differ" and len(models) == 1:
            raise DataError("--pick differ compares runs; name two or more")
        raise_together(problems_of_shards(videos.config.data, videos.source, videos.manifest, [split.name]))
        of = f"of the {split.videos:,} in the split {split.name} of {name}"
        if pick == "random":
            numbers = random_numbers(split.videos, asked.count, arguments.seed)
            found = list(parse_numbers(networks, videos, split.name, numbers, threshold))
            about = f"{number_of(len(found), 'video')} {of}, drawn at random (seed {arguments.seed})."
        else:
            compared = networks[:1] if pick == "worst" else networks
            with watch.task(split.name, split.videos, "video") as task:
                parsed = parse_split(compared, videos, split.name, threshold, task.more)
                found = (pick_worst if pick == "worst" else pick_differing)(parsed, asked.count)
            if pick == "worst":
                keys = [parsings[0].key for parsings in found]
                found = list(parse_keys(networks, videos, keys, threshold)) if len(models) > 1 else found
                about = f"{number_of(len(found), 'video')} {of} with the lowest segment scores of {models[0].name}."
            else:
                about = f"{number_of(len(found), 'video')} {of} on which the runs differ in the most segments."
    if not found:
        raise DataError(f"none of the videos of {videos.source} that were asked for can be used; see jomold verify")
    return Chosen(found, about, None if simulated is None else str(simulated.get("scenario", "")) or None)
