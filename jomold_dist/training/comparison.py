"""Finished runs side by side: which of them are one row of a table, what a row is called, and the tables.

A row is everything that decides a result but the seed. Runs on different data sets are not compared at all.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from jomold_dist.config import Config
from jomold_dist.config_roles import decides
from jomold_dist.data.plan import PLAN_VERSION
from jomold_dist.errors import DataError, RunFolderError, UserError, raise_together
from jomold_dist.labels import MODALITIES
from jomold_dist.methods.registry import essential
from jomold_dist.reading import is_there
from jomold_dist.score_names import SCORE_NAMES
from jomold_dist.tables import SCORE_HEADERS, markdown_table, spread, value_text
from jomold_dist.training.run_folder import OWNER, RunFolder
from jomold_dist.training.run_reading import (
    UnusableFileError,
    read_config,
    read_owner,
    read_removals,
    read_scores,
    read_state,
)
from jomold_dist.training.scores import RunScores, ScoredData

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


@dataclass(frozen=True)
class Row:
    """Runs that differ in nothing but their seeds."""

    name: str
    runs: Sequence[FinishedRun]


@dataclass(frozen=True)
class Comparison:
    """Rows over one data set, and what else is to be said: what was left out, and why."""

    data: ScoredData
    rows: Sequence[Row]
    notes: Sequence[str]


def compare_runs(paths: Sequence[Path]) -> Comparison:
    """The finished runs among these folders as rows. DataError for folders that cannot be read, for runs on different
    data sets, and for two results of one config and seed."""
    runs, notes = _finished(paths)
    _check_data(runs)
    rows: dict[str, dict[int, FinishedRun]] = {}
    problems = []
    for run in runs:
        row = rows.setdefault(json.dumps(run.deciding, sort_keys=True), {})
        first = row.setdefault(run.config.run.seed, run)
        if first is run:
            continue
        same = f"{run} has the settings and the seed of {first}"
        if (run.scores.found, run.removals) == (first.scores.found, first.removals):
            notes.append(f"{same}, and its scores: counted once")
        else:
            problems.append(f"{same}, but other scores; a row has every seed once: name one of the two")
    raise_together(problems)
    members = [list(row.values()) for row in rows.values()]
    names = row_names([row[0].deciding for row in members])
    versions = sorted({run.scores.jomold_dist for run in runs})
    if len(versions) > 1:
        notes.append(f"scored by different versions of jomold_dist: {', '.join(versions)}")
    return Comparison(runs[0].scores.data, [Row(*row) for row in zip(names, members, strict=True)], notes)


def row_names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each row's method with what else differs between the rows: any setting that differs within the method, and of
    those that differ from other methods' rows the ones that are not as by default."""
    defaults = Config().flat() | {ORDER: PLAN_VERSION}

    def differing(among: Sequence[Mapping[str, Any]]) -> set[str]:
        return {name for name in among[0] if any(row[name] != among[0][name] for row in among)} - {"method"}

    everywhere, names = differing(rows), []
    for row in rows:
        within = differing([other for other in rows if other["method"] == row["method"]])
        shown = [n for n in row if n in within or (n in everywhere and row[n] != defaults[n])]
        names.append(", ".join([row["method"], *(f"{name}={value_text(row[name])}" for name in shown)]))
    return names


def report(found: Comparison) -> str:
    """The tables and notes as markdown."""
    titles = {row.name: f"{row.name} ({len(row.runs)} run{'s' * (len(row.runs) > 1)})" for row in found.rows}
    caption = f"F-scores on test of {found.data.name} in percent" + (", simulated data" if found.data.simulated else "")
    rows = [
        [titles[row.name], *(spread([run.scores.found.scores[score] for run in row.runs]) for score in SCORE_NAMES)]
        for row in found.rows
    ]
    parts = [f"{caption}; mean ± standard deviation over seeds", markdown_table(["method", *SCORE_HEADERS], rows)]
    rows = []
    for row in found.rows:
        for modality in MODALITIES:
            entries = [run.removals["total"][modality] for run in row.runs]
            if any(entry["removed"] for entry in entries):
                shares = [[100 * e[k] for e in entries if e.get(k) is not None] for k in ("precision", "recall")]
                removed = spread([entry["removed"] for entry in entries])
                rows.append([f"{row.name}, {modality}", removed, *map(spread, shares)])
    if rows:
        parts.append(markdown_table(["removed labels", "in all epochs", "precision %", "recall %"], rows))
    if any("=" in row.name for row in found.rows):
        parts.append("Rows are named by what differs; what a row does not name is the same in all, or has its default.")
    if found.notes:
        parts.append("\n".join(f"- {note}" for note in found.notes))
    return "\n\n".join(parts)


def _finished(paths: Sequence[Path]) -> tuple[list[FinishedRun], list[str]]:
    """The finished runs, each once, and what is to be said of the other folders. DataError tells of all that cannot be
    read, or if there is no run."""
    runs: list[FinishedRun] = []
    problems, notes, no_runs = [], [], []
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
                no_runs.append(str(path))  # MLflow's store lies beside the run folders
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
            if is_there(folder.bad_videos):
                notes.append(f"{path} could not use all videos of its data set, see its {folder.bad_videos.name}")
    if no_runs:
        notes.append(f"no run's folder: {', '.join(no_runs)}")
    raise_together(problems)
    if not runs:
        raise DataError("there is no finished run among these folders", *notes)
    return runs, notes


def _read(folder: RunFolder) -> FinishedRun | str:
    """A finished run, or why it is none."""
    if not is_there(folder.status):
        return "it has not begun"
    if (state := read_state(folder)) != "finished":
        return f"it is not finished, its state is {state!r}"
    if not is_there(folder.scores):
        return "it has no scores, as a sweep's estimator or a run that ended with --until"
    config = read_config(folder)
    owner, scores, removals = read_owner(folder, config), read_scores(folder), read_removals(folder)
    if scores.data.manifest != owner.manifest:
        raise UnusableFileError(f"{folder.scores} is of another data set than the run, by its {OWNER}")
    if removals["epochs"] != scores.model.epochs:
        raise UnusableFileError(
            f"{folder.removals} is of {removals['epochs']} epochs, and {folder.scores.name} of {scores.model.epochs}"
        )
    file, ratios = essential(config).denoise.ratio_file, None
    if file is not None:  # another time the file of that name may have held others; the run's own copy tells
        ratios = f"{Path(file).name}#{hashlib.sha256(folder.noise_ratios.read_bytes()).hexdigest()[:8]}"
    return FinishedRun(folder, config, owner.plan, ratios, scores, removals)


def _check_data(runs: Sequence[FinishedRun]) -> None:
    """RunFolderError if the runs are not on one data set."""
    places: dict[str, list[FinishedRun]] = {}
    for run in runs:
        places.setdefault(run.scores.data.manifest, []).append(run)
    if len(places) == 1:
        return
    lines = []
    for digest, members in places.items():
        data = members[0].scores.data
        simulated = ", simulated" if data.simulated else ""
        lines.append(f"  - {data.name}{simulated} (manifest {digest[:12]}): {', '.join(map(str, members))}")
    raise RunFolderError("\n".join(["the runs are on different data sets; name those of one:", *lines]))
