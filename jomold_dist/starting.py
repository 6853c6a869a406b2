"""Commands of this package as processes of their own, started in any folder, with or without a checkout."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from jomold_dist.errors import UserError

PROGRAM = "jomold_dist"
HOME = Path(__file__).resolve().parents[1]
TRAIN = ("-m", PROGRAM, "train")


def command(name: str, *words: str) -> list[str]:
    """The command line of `jomold NAME …`, with this process's own Python."""
    return [sys.executable, "-m", PROGRAM, name, *words]


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """This process's environment and the variables, for a Python that finds the package where this one has found it: a
    checkout, or the copy of one that a Ray job has. Where it is installed, every Python finds it."""
    found = os.environ | variables
    if HOME.name not in ("site-packages", "dist-packages"):
        found["PYTHONPATH"] = os.pathsep.join(filter(None, (str(HOME), found.get("PYTHONPATH"))))
    return found


def find_training(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Of a launcher and its words, such as `torchrun --nproc-per-node 2 -m jomold_dist train --config llp`: what tells
    its ranks from other processes (the script, or module and command), and the training's own words."""
    for at, word in enumerate(words):
        if at == 0:
            continue
        if word.endswith(".py"):
            return [word], list(words[at + 1 :])
        if word == PROGRAM and words[at - 1] in ("-m", "--module"):
            if words[at + 1 : at + 2] != ["train"]:
                raise UserError(f"start starts trainings: {PROGRAM} train …, not {' '.join(words[at : at + 2])}")
            return list(words[at : at + 2]), list(words[at + 2 :])
    raise UserError(f"no training after {words[0]!r}; for instance: {words[0]} -m {PROGRAM} train --config CONFIG")
