"""What `jomold show` does: chooses videos, has them parsed, and writes their timelines."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from jomold_dist.command_line import show
from jomold_dist.commands.show import VIDEOS
from jomold_dist.config import Config
from jomold_dist.data.checking.start_check import problems_of_shards
from jomold_dist.distributed.world import World
from jomold_dist.errors import DataError, raise_together
from jomold_dist.extraction.jobs.media_list import find_media
from jomold_dist.methods.registry import checked
from jomold_dist.showing.timelines.gallery import write_gallery
from jomold_dist.showing.timelines.media import file_of, media_files, pictures
from jomold_dist.showing.timelines.models import RunModel, open_models, open_videos
from jomold_dist.showing.timelines.parsed import Videos, parse_keys
from jomold_dist.showing.timelines.picked import pick_videos
from jomold_dist.showing.timelines.picking import Parsings, score_of
from jomold_dist.showing.timelines.timeline import Timeline
from jomold_dist.showing.timelines.timelines import timeline_of
from jomold_dist.showing.timelines.unpacked import Extractor, given_encoders, keys_of, open_extractor, parse_files
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
    """Parsed videos, each by all models, and a sentence that tells which. By key, where their files are, and what has
    to be said of a video; `left_out` tells what could not be used."""

    videos: Sequence[Parsings]
    about: str
    simulated: str | None = None
    files: Mapping[str, Path] = field(default_factory=dict)
    notes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    left_out: Sequence[str] = ()

    @property
    def keys(self) -> list[str]:
        """The videos' keys."""
        return [parsings[0].key for parsings in self.videos]


def show_runs(config: Config, world: World, arguments: argparse.Namespace) -> None:
    """Parse what is asked for and write it. One process does it all."""
    asked = Asked(count=VIDEOS) if arguments.videos is None else asked_for(arguments.videos)
    given = given_encoders(arguments.feature)
    if given and not asked.files:
        raise DataError("--feature says what makes features of video files, and --videos names none")
    folders = [RunFolder(path) for path in dict.fromkeys(arguments.runs)]
    configs = [config, *(checked(read_config(folder), arguments.imports) for folder in folders[1:])]
    media = {} if arguments.media is None else media_files(arguments.media)
    models = open_models(folders, configs, world)
    with Watch(config.log.every_seconds) as watch:
        if asked.files:
            extractor = open_extractor(models, given, world, arguments.other_features)
            chosen = parse_chosen_files(asked.files, models, extractor, arguments.threshold, watch)
        else:
            videos = open_videos(models, arguments.shards, world, arguments.other_features)
            chosen = choose(asked, models, videos, arguments, watch)
            chosen = replace(chosen, files={key: path for key in chosen.keys if (path := file_of(key, media))})
            if arguments.media is not None and (lacking := len(chosen.keys) - len(chosen.files)):
                unseen = f"--media {arguments.media} has no file of {lacking} of {number_of(len(chosen.keys), 'video')}"
                chosen = replace(chosen, left_out=[*chosen.left_out, unseen])
        timelines = [
            draw(models, parsings, chosen)
            for parsings in watch.over(chosen.videos, len(chosen.videos), "thumbnails", "video")
        ]
        with watch.task("pictures", len(timelines), "video") as task:
            page = write_gallery(
                arguments.out or folders[0].path / SHOWN,
                timelines,
                title=f"Timelines of {number_of(len(timelines), 'video')}",
                about=chosen.about,
                runs=[(model.name, str(model.folder.path)) for model in models],
                notes=chosen.left_out,
                simulated=chosen.simulated,
                progress=task.more,
            )
    show(f"{number_of(len(timelines), 'timeline')} in {page.parent}; all of them: {page}")
    for problem in chosen.left_out:
        show(problem)


def draw(models: Sequence[RunModel], parsings: Parsings, chosen: Chosen) -> Timeline:
    """The timeline of a video that all models have parsed."""
    video = parsings[0]
    file = chosen.files.get(video.key)
    seen, unseen = ([], []) if file is None else pictures(file, video.segments, video.segment_seconds)
    named = [(model.name, parsed) for model, parsed in zip(models, parsings, strict=True)]
    return timeline_of(named, list(map(score_of, parsings)), [*chosen.notes.get(video.key, ()), *unseen], seen)


def asked_for(words: Sequence[str]) -> Asked:
    """What the words after --videos ask for. DataError for a mixture, and for files that are not there."""
    if len(words) == 1 and words[0].isdecimal():
        if not (count := int(words[0])):
            raise DataError("--videos 0 asks for nothing; give a number of videos from 1 on, keys or files")
        return Asked(count=count)
    places = [word for word in words if names_a_file(word)]
    if not places:
        return Asked(keys=tuple(dict.fromkeys(words)))
    if keys := [word for word in words if word not in places]:
        raise DataError(f"--videos takes keys or files, not both: {keys[0]} is no file, and {places[0]} names one")
    raise_together([f"--videos {word}: there is no such file" for word in places if not Path(word).exists()])
    files = [path for word in places for path in files_at(Path(word))]
    return Asked(files=tuple(dict.fromkeys(files)))


def names_a_file(word: str) -> bool:
    """Whether it is a file or a folder and no key, which holds neither dots nor slashes."""
    return bool(Path(word).suffix) or "/" in word or Path(word).is_dir()


def files_at(place: Path) -> list[Path]:
    """The file, or all videos in a folder. DataError."""
    if not place.is_dir():
        return [place]
    found = find_media([place], with_sounds=False)
    return sorted([*found.files.values(), *found.refused])


def parse_chosen_files(
    files: Sequence[Path], models: Sequence[RunModel], extractor: Extractor, threshold: float | None, watch: Watch
) -> Chosen:
    """Video files that were never packed, parsed. DataError if none of them can be used."""
    paths = keys_of(files)
    videos, notes, left_out = [], {}, []
    with watch.task("features", len(paths), "file") as task:
        for key, parsings, said in parse_files(models, extractor, paths, threshold, task.more):
            if parsings:
                videos.append(parsings)
                notes[key] = said
            else:
                left_out += said
    problems = list(dict.fromkeys(left_out))  # that a package is missing is true of every file
    if not videos:
        raise_together(problems)
    return Chosen(videos, "Video files, with features made of them now.", None, paths, notes, problems)


def choose(
    asked: Asked, models: Sequence[RunModel], videos: Videos, arguments: argparse.Namespace, watch: Watch
) -> Chosen:
    """The videos of a data set that are asked for, parsed. DataError if none of them can be used."""
    if asked.keys:
        networks = [model.network for model in models]
        found = list(parse_keys(networks, videos, asked.keys, arguments.threshold))
        about = f"Videos of {videos.manifest.name}, by their keys."
    else:
        split = arguments.split
        raise_together(problems_of_shards(videos.config.data, videos.source, videos.manifest, [split]))
        found, about = pick_videos(
            models, videos, split, arguments.pick, asked.count,
            watch=watch, seed=arguments.seed, threshold=arguments.threshold,
        )  # fmt: skip
    there = {parsings[0].key for parsings in found}
    bad = [f"video {key} cannot be used; jomold verify tells why" for key in asked.keys if key not in there]
    if not found:
        raise_together(bad or [f"no video of split {arguments.split!r} can be used; jomold verify tells why"])
    return Chosen(found, about, videos.manifest.world, left_out=bad)
