"""Which files are to go through: those that are named, and those of media in folders, each with the key of its video.

A video is called by its file's name without the ending, as in label files.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from jomold_dist.data.format.records import KEY_RULE, is_shard_key
from jomold_dist.errors import DataError, raise_together
from jomold_dist.reading import folder_problem

VIDEOS = frozenset(
    (
        *(".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".m2ts", ".m2v", ".m4v", ".mkv", ".mov"),
        *(".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".ogv", ".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv"),
    )
)
SOUNDS = frozenset(
    (
        *(".aac", ".ac3", ".aif", ".aiff", ".amr", ".au", ".flac", ".m4a", ".mka"),
        *(".mp3", ".oga", ".ogg", ".opus", ".wav", ".wma"),
    )
)


@dataclass(frozen=True)
class MediaList:
    """Files by their keys, sorted, and why others cannot be taken."""

    files: dict[str, Path]
    refused: dict[Path, str]


def find_media(places: Iterable[Path], *, with_sounds: bool) -> MediaList:
    """Files as they are named, and those of folders, however deep, whose names end as videos' do, or, with
    `with_sounds`, as those of sound alone. Hidden files are passed over, and folders behind links are not entered; a
    link to a file is a video of its own name. Files that cannot be told apart by their names are refused, all of them,
    and so is a name that can be no key. DataError names every place that is not there, and a folder without a file of
    media."""
    endings = VIDEOS | SOUNDS if with_sounds else VIDEOS
    problems: list[str] = []
    found: dict[Path, Path] = {}  # by where it really lies: a file may be named, and lie in a folder too
    for place in places:
        if place.is_dir():
            if problem := folder_problem(place):
                problems.append(f"--videos {place} {problem}")
                continue
            own = list(_in_folder(place, endings))
            if not own:
                problems.append(
                    f"--videos {place}: no file there ends as .mp4, .mkv, .webm and the like do; name files"
                )
        elif place.exists():
            own = [place]
        else:
            problems.append(f"--videos {place} does not exist")
            continue
        for path in own:
            found.setdefault(Path(os.path.realpath(path.parent), path.name), path)
    raise_together(problems)
    return _by_key(found.values())


def _in_folder(folder: Path, endings: frozenset[str]) -> Iterator[Path]:
    def told(error: OSError) -> None:
        raise DataError(f"the folder {error.filename} cannot be read ({error.strerror})")

    for inner, _, names in os.walk(folder, onerror=told):
        media = (name for name in names if os.path.splitext(name)[1].lower() in endings)
        yield from (Path(inner, name) for name in media if not name.startswith("."))  # others' caches and leftovers


def _by_key(paths: Iterable[Path]) -> MediaList:
    owners: dict[str, list[Path]] = {}
    refused: dict[Path, str] = {}
    for path in sorted(paths):
        if is_shard_key(path.stem):
            owners.setdefault(path.stem, []).append(path)
        else:
            refused[path] = f"a video cannot be called so: {KEY_RULE}; rename the file"
    for key, own in owners.items():
        for path in own if len(own) > 1 else ():
            other = next(one for one in own if one != path)
            refused[path] = f"{other} is called {key} too; rename one of them, or name the one to take"
    return MediaList({key: own[0] for key, own in sorted(owners.items()) if len(own) == 1}, refused)
