"""What a run's folder tells its readers: each file is read and found right, or refused in one message.

Nothing is written here, and nothing that cannot be read counts as missing or damaged: it is an UnreadableError.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from jomold_dist.config import Config
from jomold_dist.config_files import load_config
from jomold_dist.errors import RunFolderError
from jomold_dist.labels import MODALITIES
from jomold_dist.reading import ABSENT, is_there, parse_json, read_json, reading, regular_file
from jomold_dist.training.run_folder import BEST_WITHIN, OWNER, RunFolder
from jomold_dist.training.scores import RunScores

T = TypeVar("T")
QUALITY = ("precision", "recall")


class UnusableFileError(RunFolderError):
    """A file of a run is missing, or was read and is damaged or of another version's form."""


@dataclass(frozen=True)
class Owner:
    """To whom a run folder belongs: digests of its config and of its data set's manifest, and the canonical order."""

    config: str
    manifest: str
    plan: int


def read_config(folder: RunFolder) -> Config:
    """The settings of a run. RunFolderError if the folder is no run's, ConfigError or UnreadableError if they cannot be
    used."""
    if not is_there(folder.config):
        raise RunFolderError(f"{folder.path} is no run's folder ({folder.config.name} is missing)")
    return load_config(folder.config)


def read_owner(folder: RunFolder, config: Config) -> Owner:
    """To whom the folder belongs. RunFolderError unless that is the config that was read from it."""
    owner = _read(folder.path / OWNER, lambda content: Owner(**content))
    if owner.config != config.digest:
        raise UnusableFileError(
            f"{folder.config} is not the config that {OWNER} beside it names: it was changed or is damaged, or the run "
            "is of another version of jomold_dist; restore it, or use that version"
        )
    return owner


def read_scores(folder: RunFolder) -> RunScores:
    """The scores on test of a finished run."""
    return _read(folder.scores, RunScores.of_json, "the run's training command scores the finished model anew")


def read_removals(folder: RunFolder) -> dict[str, Any]:
    """What removals.json holds (see `RemovalRecord.summary`)."""
    return _read(folder.removals, _removals)


def read_history(folder: RunFolder, stage: str) -> list[dict[str, Any]]:
    """The lines of a stage's epochs in the history, in their order; none where there is no history. As
    `read_histories`."""
    return read_histories(folder).get(stage, [])


def read_histories(folder: RunFolder) -> dict[str, list[dict[str, Any]]]:
    """The lines of all stages' epochs in the history. UnusableFileError for a damaged one; UnreadableError."""
    found: dict[str, list[dict[str, Any]]] = {}
    try:
        for line in _lines(folder.history):
            epoch = _epoch(line)
            found.setdefault(str(epoch["stage"]), []).append(epoch)
    except (*ABSENT, ValueError, KeyError, TypeError) as error:
        raise UnusableFileError(f"{folder.history} is damaged ({error!r}); mend it, or move it away") from None
    return found


def _epoch(line: str) -> dict[str, Any]:
    """A line of the history. ValueError, KeyError or TypeError if it is none."""
    epoch = dict(parse_json(line))
    if BEST_WITHIN in epoch:
        within = epoch[BEST_WITHIN]
        if not 0 < within["step"] <= within["steps"] or not isinstance(within["scores"], dict):
            raise ValueError(f"{BEST_WITHIN} is no step with its scores")
    return epoch | {"epoch": int(epoch["epoch"])}


def read_steps(folder: RunFolder, stage: str) -> list[dict[str, Any]]:
    """The lines of a stage's optimizer steps, in their order. What a kill has cut short is passed over.
    UnusableFileError if the file is none of text; UnreadableError."""
    found = []
    try:
        for line in _lines(folder.steps):
            with suppress(ValueError, KeyError, TypeError):
                step = dict(parse_json(line))
                if step["stage"] == stage:
                    found.append(step | {"step": int(step["step"])})
    except (*ABSENT, ValueError) as error:
        raise UnusableFileError(f"{folder.steps} is damaged ({error!r}); move it away") from None
    return found


def _lines(path: Path) -> list[str]:
    """A text file's lines; none where it is not there."""
    if not is_there(path):
        return []
    with reading(path):
        return regular_file(path).read_text(encoding="utf-8").splitlines()


def best_scores(line: Mapping[str, Any]) -> dict[str, float]:
    """The scores on val, by name, of an epoch by its line in the history: those of its best moment where that was
    within the epoch, else those of its end."""
    if BEST_WITHIN in line:
        return dict(line[BEST_WITHIN]["scores"])
    return {name.removeprefix("val/"): value for name, value in line.items() if name.startswith("val/")}


def read_state(folder: RunFolder) -> str:
    """What status.json says: running, finished, failed or preempted."""
    return _read(folder.status, lambda content: str(content["state"]))


def _removals(content: Any) -> dict[str, Any]:
    masks = content["total"].keys()
    for entries in (content["total"], *content["categories"].values()):
        if entries.keys() != masks:
            raise ValueError(f"there are {', '.join(entries)} instead of {', '.join(masks)}")
        for entry in entries.values():
            if entry["modality"] not in MODALITIES:
                raise ValueError(f"{entry['modality']!r} is no modality")
            known = [entry[name] for name in ("candidates", *QUALITY) if entry.get(name) is not None]
            if not all(math.isfinite(number) for number in (entry["labels"], entry["removed"], *known)):
                raise ValueError("a number is not finite")
    if not isinstance(content["epochs"], int):
        raise ValueError("epochs is no number")
    return dict(content)


def _read(path: Path, parse: Callable[[Any], T], remedy: str = "restore it from a copy") -> T:
    """A JSON file of a run, parsed. UnusableFileError; UnreadableError."""
    try:
        found = read_json(path)
    except ABSENT:
        raise UnusableFileError(f"{path} is missing; {remedy}") from None
    except ValueError as error:
        raise UnusableFileError(f"{path} is damaged ({error}); {remedy}") from None
    try:
        return parse(found)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        what = f"{type(error).__name__}: {error}"
        raise UnusableFileError(f"{path} is damaged or of another version of jomold_dist ({what}); {remedy}") from None
