"""What a trial's run folder holds, if it is what was asked for: its name is not taken for its content."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jomold_dist.config import Config
from jomold_dist.errors import DataError
from jomold_dist.reading import ABSENT, is_there, read_json, reading
from jomold_dist.training.run_folder import ENDED_EARLY, OWNER, RunFolder
from jomold_dist.training.trained import MODEL

SCORE = "score"


def identity(config: Config, manifest_digest: str) -> dict[str, Any]:
    """What a run is: its config, its data set, the order of its videos, and how long it is trained."""
    owner = RunFolder(Path(config.run.dir)).owner(config, manifest_digest)
    return {**owner, "epochs": config.train.epochs}


def is_finished(folder: Path, asked: Mapping[str, Any]) -> bool:
    """Whether a folder holds the finished run of this identity, with its scores. UnreadableError; DataError for a
    damaged history."""
    status = _read(folder / "status.json")
    if status.get("state") != "finished" or not _is_of(folder, asked) or not is_there(RunFolder(folder).scores):
        return False
    epochs = read_epochs(folder, MODEL)
    return bool(epochs) and (epochs[-1]["epoch"] == asked["epochs"] or epochs[-1][ENDED_EARLY])


def has_predictions(folder: Path, asked: Mapping[str, Any]) -> bool:
    """Whether a folder holds what the estimator of this identity predicts. UnreadableError."""
    return _is_of(folder, asked) and is_there(RunFolder(folder).predictions)


def read_epochs(folder: Path, stage: str, metric: str = "") -> list[dict[str, Any]]:
    """The epochs of a stage that are in a run folder's history, each with all its scores on val, SCORE, the one that is
    asked for, and whether it ended the training early. UnreadableError; DataError if the history is damaged."""
    file = RunFolder(folder).history
    try:
        with reading(file):
            lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        return [
            {"epoch": line["epoch"], SCORE: line.get(f"val/{metric}", -math.inf), ENDED_EARLY: ENDED_EARLY in line}
            | {name: value for name, value in line.items() if name.startswith("val/")}
            for line in lines
            if line["stage"] == stage
        ]
    except FileNotFoundError:
        return []
    except (*ABSENT, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file} is damaged ({error!r}); mend it, or move its folder away") from None


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
