"""What a sweep has found, read from its folder: its rows, by setting and by category."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from jomold_dist.comparing.paired import values
from jomold_dist.errors import DataError
from jomold_dist.labels import MODALITIES
from jomold_dist.reading import ABSENT, is_there, read_json
from jomold_dist.training.run_folder import OWNER, RunFolder
from jomold_dist.training.run_reading import read_removals, read_scores
from jomold_dist.training.scores import ScoredData
from jomold_dist.tuning.run_results import is_finished

CELLS = "cells.json"
CONTROL = "control"
COUNTS = ("removed", "candidates")
"""The kind of a row that others are compared with."""


@dataclass(frozen=True)
class RowResult:
    """The finished runs of a row."""

    name: str
    kind: str
    method: str
    settings: Mapping[str, Any]
    runs: Mapping[int, Path]
    """Run folders by seed."""
    missing: Sequence[str]
    """What is to be said of the seeds that are not there."""

    @cached_property
    def scores(self) -> dict[int, dict[str, float]]:
        """The scores on test in percent, by seed."""
        return {seed: read_scores(RunFolder(run)).found.scores for seed, run in self.runs.items()}

    @cached_property
    def removals(self) -> dict[int, dict[str, Any]]:
        """What removals.json holds, by seed."""
        return {seed: read_removals(RunFolder(run)) for seed, run in self.runs.items()}

    def totals(self, mask: str, name: str) -> list[float]:
        """A number of a mask's removals over all categories, of the seeds that have it."""
        found = [removals["total"].get(mask, {}).get(name) for removals in self.removals.values()]
        return [float(number) for number in found if number is not None]

    def intended_share(self, mask: str, name: str) -> list[float]:
        """`candidates` or `removed` labels in percent of those that the noise ratios intend (ratio x labels x epochs),
        of every seed that has both."""
        shares = []
        for seed, run in self.runs.items():
            file, removals = RunFolder(run).noise_ratios, self.removals[seed]
            total = removals["total"].get(mask, {})
            found = total.get(name)
            if found is None or not file.exists():
                continue
            estimated = _read(file)
            ratios = dict(zip(estimated["categories"], estimated[total["modality"]], strict=True))
            labels = {category: entry[mask]["labels"] for category, entry in removals["categories"].items()}
            intended = removals["epochs"] * sum(ratios[category] * count for category, count in labels.items())
            if intended:
                shares.append(100 * found / intended)
        return shares


@dataclass(frozen=True)
class SweepResults:
    """All rows of a sweep."""

    name: str
    metric: str
    data: ScoredData
    axes: Sequence[str]
    rows: Sequence[RowResult]
    baseline: RowResult

    @property
    def scored(self) -> list[RowResult]:
        """The rows with runs that have the sweep's score."""
        return [row for row in self.rows if values(row, self.metric)]


def read_results(folder: Path, baseline: str | None = None) -> SweepResults:
    """The results in a sweep's folder. DataError if there are none, or no such baseline."""
    data = _read(folder / CELLS)
    try:
        rows = []
        for row in data["rows"]:
            trials = [trial for trial in data["trials"] if trial["row"] == row["name"]]
            problems = {trial["seed"]: _problem(folder, trial) for trial in trials}
            runs = {t["seed"]: (folder / t["run"]).resolve() for t in trials if problems[t["seed"]] is None}
            missing = [f"{row['name']}, seed {seed}: {text}" for seed, text in problems.items() if text is not None]
            rows.append(RowResult(row["name"], row["kind"], row["method"], row["settings"], runs, missing))
        against = baseline or data["baseline"]
        found = {row.name: row for row in rows}
        if against not in found:
            raise DataError(f"--baseline {against!r} is no row of {folder}: {', '.join(found)}")
        scored = ScoredData(**data["data"])
        return SweepResults(data["sweep"], data["metric"], scored, data["axes"], rows, found[against])
    except (KeyError, TypeError) as error:
        raise DataError(f"{folder / CELLS} is damaged ({error!r}); run the sweep again") from None


def _problem(folder: Path, trial: Mapping[str, Any]) -> str | None:
    """Why a trial's run folder has no results for the table."""
    if trial["state"] != "finished":
        return str(trial["problem"] or trial["state"])
    run = folder / trial["run"]
    if is_finished(run, trial["is"]):
        return None
    return f"{run.resolve()} has been changed since: to another config, data set or length of training"


def line(results: SweepResults) -> tuple[str, list[RowResult]] | None:
    """A setting and the finished rows that differ in nothing but its number, in its order: the longest such line of at
    least three; None with more than one axis."""
    if len(results.axes) > 1:
        return None
    lines: dict[tuple[str, str], list[RowResult]] = {}
    for row in results.scored:
        if row.kind == CONTROL:
            continue
        for name, value in row.settings.items():
            if is_number(value):
                others = json.dumps({key: row.settings[key] for key in sorted(row.settings) if key != name})
                lines.setdefault((name, others), []).append(row)
    (name, _), rows = max(lines.items(), key=lambda found: len(found[1]), default=(("", ""), []))
    return (name, sorted(rows, key=lambda row: row.settings[name])) if len(rows) >= 3 else None


def is_number(value: Any) -> bool:
    """Whether a setting's value can lie on a figure's axis."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def per_category(row: RowResult, modality: str, name: str) -> dict[str, float]:
    """An entry of removals.json by category, of the first mask of a modality: the mean over the seeds that have one.

    Shares are in percent; `noise` is that of labels that are noise, where the truth is known. Those of COUNTS are
    counts, over all epochs.
    """
    scale = 1 if name in COUNTS else 100
    found: dict[str, list[float]] = {}
    for removals in row.removals.values():
        for category, entries in removals["categories"].items():
            entry: dict[str, Any] = next((e for e in entries.values() if e["modality"] == modality), {})
            value = entry.get(name)
            if name == "noise" and value is not None:
                value = value / entry["labels"] if entry["labels"] else None
            if value is not None:
                found.setdefault(category, []).append(scale * value)
    return {category: float(np.mean(shares)) for category, shares in found.items()}


def estimated_ratios(results: SweepResults) -> tuple[RowResult, dict[str, dict[str, tuple[float, float]]]] | None:
    """True and estimated noise ratios by modality and category, means over seeds, of the row with the best score among
    those whose ratios differ between categories; None where no truth is known."""

    def estimates(row: RowResult, modality: str) -> dict[str, float]:
        files = [_read(file) for run in row.runs.values() if (file := RunFolder(run).noise_ratios).exists()]
        if not files:
            return {}
        means = np.mean([file[modality] for file in files], axis=0).tolist()
        return dict(zip(files[0]["categories"], means, strict=True))

    rows = [row for row in results.scored if row.kind != CONTROL and len(set(estimates(row, "visual").values())) > 1]
    rows = [row for row in rows if per_category(row, "visual", "noise")]
    if not rows:
        return None
    best = max(rows, key=lambda row: statistics.mean(values(row, results.metric)))
    points = {}
    for modality in MODALITIES:
        true, found = per_category(best, modality, "noise"), estimates(best, modality)
        points[modality] = {category: (true[category] / 100, found[category]) for category in true}
    return best, points


def _read(path: Path) -> Any:
    try:
        return read_json(path)
    except ABSENT:
        if path.name == CELLS and is_there(path.with_name(OWNER)):
            raise DataError(f"{path.parent} is a run's folder, and no sweep's; `jomold compare` takes it") from None
        raise DataError(f"{path} does not exist; a sweep's folder holds {CELLS}, a finished run its results") from None
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}") from None
