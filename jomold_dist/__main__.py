"""`jomold COMMAND`, which is `python -m jomold_dist COMMAND`: finds the command and hands the other words on."""

from __future__ import annotations

import importlib
import sys

from jomold_dist.errors import SUCCESS, USER_ERROR, nearest

COMMANDS = {
    "quickstart": "simulate a small data set, train five methods on it, and compare them",
    "simulate": "make a data set with a hidden truth",
    "pack-llp": "pack LLP's published features and label files",
    "verify": "check a data set against its manifest",
    "train": "train, under python, torchrun or deepspeed",
    "start": "start a training under any launcher, with signals and exit code handed on",
    "ray-train": "train on several nodes of a Ray cluster",
    "evaluate": "score a run's model on a split",
    "predict": "find the events of videos with a run's model",
    "sweep": "train what a sweep file asks for, and tabulate it",
    "tabulate": "tables and figures of a sweep",
    "compare": "compare finished runs",
    "compare-worlds": "compare the same methods over several data sets",
    "settings": "every setting, as a page or as the schema of a config file",
}
"""In the order of a user's day; each is the module of that name in jomold_dist/commands."""


def main() -> int:
    """The exit code of the command that is named first."""
    name, words = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("", [])
    if name in ("-h", "--help", ""):
        (sys.stdout if name else sys.stderr).write(overview())
        return SUCCESS if name else USER_ERROR
    if name not in COMMANDS:
        sys.stderr.write(f"error: unknown command {name!r}{nearest(name, COMMANDS)}; jomold --help lists them\n")
        return USER_ERROR
    sys.argv = [f"jomold {name}", *words]
    code: int = importlib.import_module(f"jomold_dist.commands.{name.replace('-', '_')}").main()
    return code


def overview() -> str:
    """All commands, a line each."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, text in COMMANDS.items()]
    return "\n".join(["usage: jomold COMMAND …", "", *lines, "", "jomold COMMAND --help tells more.", ""])


if __name__ == "__main__":
    sys.exit(main())
