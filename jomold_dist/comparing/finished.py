"""Finished runs as they lie in their folders: what was trained, how it scored, what was removed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from jomold_dist.config import Config
from jomold_dist.config_roles import decides
from jomold_dist.errors import DataError, UserError, raise_together
from jomold_dist.methods.registry import essential
from jomold_dist.reading import is_there
from jomold_dist.training.run_folder import ENDED_EARLY, OWNER, RunFolder
from jomold_dist.training.run_reading import (
    UnusableFileError,
    read_config,
    read_history,
    read_owner,
    read_removals,
    read_scores,
    read_state,
)
from jomold_dist.training.scores import RunScores
from jomold_dist.training.trained import MODEL

SEED, EPOCHS, ORDER, RATIO_FILE = "run.seed", "train.epochs", "plan", "denoise.ratio_file"


@dataclass(frozen=True)
class FinishedRun:
    """A run's folder as it was named, and what lies in it."""

    folder: RunFolder
    config: Config
    plan: int
    ratios: str | None
    """Name and digest of the noise ratios that it was given as a file."""
    scores: RunScores
    removals: Mapping[str, Any]

    @cached_property
    def deciding(self) -> dict[str, Any]:
        """Everything but seed and data set that decides the result, by name."""
        deciding = {k: v for k, v in essential(self.config).flat().items() if decides(k) and k != SEED}
        return deciding | {RATIO_FILE: self.ratios, EPOCHS: self.scores.model.epochs, ORDER: self.plan}

    def __str__(self) -> str:
        return str(self.folder.path)


def read_finished(paths: Sequence[Path]) -> tuple[list[FinishedRun], list[str]]:
    """As `read_folders`; DataError, too, if there is no run."""
    runs, notes = read_folders(paths)
    if not runs:
        raise DataError(*(notes if len(paths) == 1 else ["there is no finished run among these folders", *notes]))
    return runs, notes


def read_folders(paths: Sequence[Path]) -> tuple[list[FinishedRun], list[str]]:
    """The finished runs, each once, and what is to be said of the other folders. DataError tells of all that cannot be
    read."""
    runs: list[FinishedRun] = []
    problems, notes, no_runs = [], [], list[Path]()
    seen: dict[str, Path] = {}
    for path in paths:
        try:
            place = os.path.realpath(path, strict=True)
            if place in seen:
                notes.append(f"{path} is {seen[place]}: counted once")
                continue
            seen[place] = path
            folder = RunFolder(path)
            if not is_there(folder.config):
                no_runs.append(path)  # MLflow's store lies beside the run folders
                continue
            found = _read(folder)
        except OSError as error:
            problems.append(f"{path} cannot be read: {error.strerror or error}")
        except UserError as error:
            problems.append(str(error))
        else:
            if isinstance(found, str):
                notes.append(f"{path} is left out: {found}")
                continue
            runs.append(found)
            if (trained := found.removals["epochs"]) != (asked := found.scores.model.epochs):
                notes.append(f"{path} ended after epoch {trained} of {asked}, as no epoch got better (train.patience)")
            if is_there(folder.bad_videos):
                notes.append(f"{path} could not use all videos of its data set, see its {folder.bad_videos.name}")
    if no_runs:
        notes.append(f"no run's folder: {', '.join(map(str, no_runs))}{_runs_inside(no_runs)}")
    raise_together(problems)
    return runs, notes


def _runs_inside(folders: Sequence[Path]) -> str:
    """A hint where folders are not runs', and hold some."""
    found = [folder for folder in folders if any(folder.glob(f"*/{OWNER}"))]
    return f" (did you mean {' '.join(f'{folder}/*' for folder in found)}?)" if found else ""


def _read(folder: RunFolder) -> FinishedRun | str:
    """A finished run, or why it is none."""
    if not is_there(folder.status):
        return "it has not begun"
    if (state := read_state(folder)) != "finished":
        return f"it is not finished, its state is {state!r}"
    if not is_there(folder.scores):
        return (
            "it has no scores, as a sweep's estimator, a run that ended with --until, or one whose data set has no "
            "dense labels in test"
        )
    config = read_config(folder)
    owner, scores, removals = read_owner(folder, config), read_scores(folder), read_removals(folder)
    if scores.data.manifest != owner.manifest:
        raise UnusableFileError(f"{folder.scores} is of another data set than the run, by its {OWNER}")
    trained, asked = removals["epochs"], scores.model.epochs
    if trained != asked and not (asked is not None and trained < asked and _ended_early(folder)):
        raise UnusableFileError(f"{folder.removals} is of {trained} epochs, and {folder.scores.name} of {asked}")
    file, ratios = essential(config).denoise.ratio_file, None
    if file is not None:  # another time the file of that name may have held others; the run's own copy tells
        ratios = f"{Path(file).name}#{hashlib.sha256(folder.noise_ratios.read_bytes()).hexdigest()[:8]}"
    return FinishedRun(folder, config, owner.plan, ratios, scores, removals)


def _ended_early(folder: RunFolder) -> bool:
    """Whether the model's training ended before all its epochs, for want of better scores."""
    return any(ENDED_EARLY in line for line in read_history(folder, MODEL)[-1:])
