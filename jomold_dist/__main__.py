"""`jomold COMMAND`, which is `python -m jomold_dist COMMAND`: finds the command and hands the other words on."""

from __future__ import annotations

import importlib
import sys

from jomold_dist.command_line import command
from jomold_dist.errors import SUCCESS, USER_ERROR, nearest
from jomold_dist.versions import version

COMMANDS = {
    "quickstart": "simulate a small data set, train five methods on it, and compare them",
    "simulate": "make a data set with a hidden truth",
    "extract": "make features of video files",
    "pack": "pack features and labels of your own",
    "pack-llp": "pack LLP's published features and label files",
    "data": "look at a data set, or at one of its videos",
    "verify": "check a data set against its manifest",
    "train": "train, under python, torchrun or deepspeed",
    "start": "start a training under any launcher, with signals and exit code handed on",
    "ray-train": "train on several nodes of a Ray cluster",
    "evaluate": "score a run's model on a split",
    "predict": "find the events of videos with a run's model",
    "show": "timelines of videos: what runs find in them",
    "labels": "tell which training labels are likely noise, and clean label files",
    "report": "write the report of a run anew, with controls beside it",
    "sweep": "train what a sweep file asks for, and tabulate it",
    "tabulate": "tables and figures of a sweep",
    "compare": "compare finished runs",
    "compare-worlds": "compare the same methods over several data sets",
    "settings": "every setting, as a page or as the schema of a config file",
}
"""In the order of a user's day; each is the module of that name in jomold_dist/commands."""


@command  # as each command is: what follows here may be stopped, and its reader may be gone, before that begins
def main() -> int:
    """The exit code of the command that is named first."""
    words = sys.argv[1:]
    # `deepspeed --module jomold_dist train` puts its own option before what is its script
    of_launcher = words[:1] if words and words[0].startswith("--local_rank=") else []
    name, *words = words[len(of_launcher) :] or [""]
    if name in ("-h", "--help", ""):
        (sys.stdout if name else sys.stderr).write(overview())
        return SUCCESS if name else USER_ERROR
    if name == "--version":
        sys.stdout.write(f"jomold_dist {version('jomold_dist')}, torch {version('torch')}\n")
        return SUCCESS
    if name not in COMMANDS:
        sys.stderr.write(f"error: unknown command {name!r}{nearest(name, COMMANDS)}; jomold --help lists them\n")
        return USER_ERROR
    sys.argv = [f"jomold {name}", *words, *of_launcher]
    code: int = importlib.import_module(f"jomold_dist.commands.{name.replace('-', '_')}").main()
    return code


def overview() -> str:
    """All commands, a line each."""
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())
    more = "jomold COMMAND --help tells more, and jomold --version the release."
    return f"usage: jomold COMMAND …\n\n{commands}\n\n{more}\n"


if __name__ == "__main__":
    sys.exit(main())
