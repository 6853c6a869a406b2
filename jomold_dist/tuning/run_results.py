"""What a trial's run folder holds, if it is what was asked for: its name is not taken for its content."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jomold_dist.config import Config
from jomold_dist.reading import ABSENT, is_there, read_json
from jomold_dist.training.run_folder import OWNER, RunFolder
from jomold_dist.training.run_reading import UnusableFileError, best_scores, read_history, read_scores

SCORE = "score"


def identity(config: Config, manifest_digest: str) -> dict[str, Any]:
    """What a run is: its config, its data set, the order of its videos, and how long it is trained."""
    owner = RunFolder(Path(config.run.dir)).owner(config, manifest_digest)
    return {**owner, "epochs": config.train.epochs}


def is_finished(folder: Path, asked: Mapping[str, Any]) -> bool:
    """Whether a folder holds the finished run of this identity, with its scores, which tell for how many epochs they
    are the result. UnreadableError."""
    run = RunFolder(folder)
    if _read(run.status).get("state") != "finished" or not _is_of(folder, asked):
        return False
    try:
        return read_scores(run).model.epochs == asked["epochs"]
    except UnusableFileError:  # which a new start of the run mends
        return False


def has_predictions(folder: Path, asked: Mapping[str, Any]) -> bool:
    """Whether a folder holds what the estimator of this identity predicts. UnreadableError."""
    return _is_of(folder, asked) and is_there(RunFolder(folder).predictions)


def read_epochs(folder: Path, stage: str, metric: str = "") -> list[dict[str, Any]]:
    """The epochs of a stage that are in a run folder's history, each with all its scores on val, and as SCORE the one
    that is asked for, at the epoch's best moment. UnreadableError; UnusableFileError if the history is damaged."""
    return [
        {"epoch": line["epoch"], SCORE: best_scores(line).get(metric, -math.inf)}
        | {name: value for name, value in line.items() if name.startswith("val/")}
        for line in read_history(RunFolder(folder), stage)
    ]


def _is_of(folder: Path, asked: Mapping[str, Any]) -> bool:
    owner = {name: value for name, value in asked.items() if name != "epochs"}
    return _read(folder / OWNER) == owner


def _read(file: Path) -> dict[str, Any]:
    """A JSON file's mapping; an empty one if the file is not there or damaged, which a new start of the run mends."""
    try:
        found = read_json(file)
    except (*ABSENT, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
