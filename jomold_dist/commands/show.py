"""See what runs find in videos: a timeline of each video as PNG, and all of them on one page.

    jomold show runs/llp-jomold
    jomold show runs/llp-han runs/llp-jomold --videos 8 --pick differ
    jomold show runs/llp-han runs/llp-jomold --videos EwTLLwJtDyo 0Ob6CJOiHh8 --media videos
    jomold show runs/clips --videos birthday.mp4

A timeline has rows for each category that is labelled, true or found, by modality: the truth where it is known, and
every run, with its probabilities as shades and the events that it finds outlined. Runs that are shown together have the
same categories and segments, and parse the first run's data set, or the one that --shards names.

--videos takes a number of videos of --split, picked by --pick: any (random), those that the first run parses worst
(worst), or those on which the runs differ most (differ). Or it takes keys of videos, in whichever split; or video files
that were never packed. Features of files are extracted as those of the first run's training were, which its weights
tell; a model that came from a folder is named anew by --feature audio=clap:FOLDER. With --media, a folder of the files
of packed videos, there are thumbnails.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence

from jomold_dist.command_line import add_imports, add_other_features, add_threshold, command, command_parser
from jomold_dist.errors import DataError
from jomold_dist.places import local_path, place
from jomold_dist.showing.timelines.picks import PICKS

VIDEOS = 8


@command
def main() -> int:
    parser = _parser()
    arguments = parser.parse_args(_with_keys(sys.argv[1:], parser))
    from jomold_dist.commands.showing import show_runs  # imports torch, which takes seconds
    from jomold_dist.distributed.environment import read_environment
    from jomold_dist.launching import launch
    from jomold_dist.methods.registry import checked
    from jomold_dist.training.run_folder import RunFolder
    from jomold_dist.training.run_reading import read_config

    if read_environment(os.environ).size > 1:
        raise DataError("show runs as one process: start it without a launcher, and without WORLD_SIZE set")
    first = RunFolder(arguments.runs[0])
    return launch(
        lambda: checked(read_config(first), arguments.imports),
        lambda config, world: show_runs(config, world, arguments),
        {},
    )


def _with_keys(words: Sequence[str], parser: argparse.ArgumentParser) -> list[str]:
    """The words of a command line, with a space before keys that begin with hyphens, as many of YouTube's do, and that
    would else be taken for options. With two hyphens they are those of YouTube's length that name no option."""
    options = parser.format_usage()

    def is_key(word: str) -> bool:
        if word.startswith("--"):
            return re.fullmatch(r"[\w-]{11}", word) is not None and word not in options
        return re.match("-[^-h]|-h.", word) is not None

    return [f" {word}" if is_key(word) else word for word in words]


def _not_negative(text: str) -> int:
    """A seed on the command line."""
    if not text.strip().isdecimal():
        raise argparse.ArgumentTypeError(f"{text.strip()!r} is no whole number from 0 on")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(__doc__)
    add_imports(parser)
    parser.add_argument("runs", nargs="+", type=local_path, metavar="RUN", help="folders of runs, before all options")
    parser.add_argument(
        "--videos", action="extend", nargs="+", type=str.strip, metavar="N|KEY|FILE",
        help=f"how many videos, or their keys, or video files or folders of them (default: {VIDEOS})",
    )  # fmt: skip
    parser.add_argument("--split", default="test", help="split of which videos are picked (default: test)")
    parser.add_argument("--pick", choices=PICKS, default=PICKS[0], help="which ones (default: random)")
    parser.add_argument("--seed", type=_not_negative, default=0, help="of --pick random (default: 0)")
    parser.add_argument(
        "--shards", type=place, nargs="+", metavar="PLACE",
        help="where the data set lies, a folder or its URL, or several that are joined (default: where the run's did)",
    )  # fmt: skip
    parser.add_argument("--media", type=local_path, metavar="DIR", help="folder of the videos' files, for thumbnails")
    parser.add_argument("--out", type=local_path, metavar="DIR", help="where to (default: shown, in the first run's)")
    parser.add_argument(
        "--feature", action="append", default=[], metavar="NAME=KIND[+OPTION][:MODEL]",
        help="for files: what makes a feature, as jomold extract takes it (default: what made those of the training)",
    )  # fmt: skip
    add_other_features(parser)
    add_threshold(parser)
    return parser
