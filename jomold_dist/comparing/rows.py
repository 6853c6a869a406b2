"""Which finished runs are one row of a table, what a row is called, and with which rows it is compared.

A row is everything that decides a result but the seed. Runs on different data sets are not compared at all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from jomold_dist.comparing.cautions import CONTROLS
from jomold_dist.comparing.finished import ORDER, FinishedRun, read_finished
from jomold_dist.comparing.score_table import Compared
from jomold_dist.config import Config
from jomold_dist.data.reading.plan import PLAN_VERSION
from jomold_dist.errors import RunFolderError, raise_together
from jomold_dist.tables import value_text
from jomold_dist.training.scores import ScoredData

AROUND = ("model.", "loss.", "train.", "data.", ORDER)
"""Settings of the network, of the losses and of training, which a row and its control should share."""

HAN_NETWORK = "han"


@dataclass(frozen=True)
class Row:
    """Runs that differ in nothing but their seeds."""

    name: str
    runs: Sequence[FinishedRun]

    @property
    def method(self) -> str:
        return self.runs[0].config.method

    @property
    def network(self) -> str:
        return self.runs[0].config.model.network

    @cached_property
    def around(self) -> dict[str, Any]:
        """What the method runs in."""
        return {name: value for name, value in self.runs[0].deciding.items() if name.startswith(AROUND)}

    @cached_property
    def scores(self) -> dict[int, dict[str, float]]:
        """The scores on test in percent, by seed."""
        return {run.config.run.seed: run.scores.found.scores for run in self.runs}

    @cached_property
    def removals(self) -> dict[int, Mapping[str, Any]]:
        """What removals.json holds, by seed."""
        return {run.config.run.seed: run.removals for run in self.runs}


@dataclass(frozen=True)
class Comparison:
    """Rows over one data set, and what else is to be said: what was left out, and why."""

    data: ScoredData
    rows: Sequence[Row]
    compared: Sequence[Compared]
    """The rows with their controls."""
    controls: Sequence[str]
    """Those of CONTROLS with which any row is compared."""
    notes: Sequence[str]


def compare_runs(paths: Sequence[Path]) -> Comparison:
    """The finished runs among these folders as rows. DataError for folders that cannot be read, for runs on different
    data sets, and for two results of one config and seed."""
    runs, notes = read_finished(paths)
    _check_data(runs)
    return compare_finished(runs, notes)


def compare_finished(runs: Sequence[FinishedRun], notes: list[str]) -> Comparison:
    """Finished runs on one data set as rows; to `notes` is added what else is to be said. DataError for two results of
    one config and seed."""
    members: dict[str, dict[int, FinishedRun]] = {}
    problems = []
    for run in runs:
        row = members.setdefault(json.dumps(run.deciding, sort_keys=True), {})
        first = row.setdefault(run.config.run.seed, run)
        if first is run:
            continue
        same = f"{run} has the settings and the seed of {first}"
        if (run.scores.found, run.removals) == (first.scores.found, first.removals):
            notes.append(f"{same}, and its scores: counted once")
        else:
            problems.append(f"{same}, but other scores; a row has every seed once: name one of the two")
    raise_together(problems)
    names = row_names([next(iter(row.values())).deciding for row in members.values()])
    rows = [Row(name, list(row.values())) for name, row in zip(names, members.values(), strict=True)]
    versions = sorted({run.scores.jomold_dist for run in runs})
    if len(versions) > 1:
        notes.append(f"scored by different versions of jomold_dist: {', '.join(versions)}")
    compared = [_compared(row, rows, notes) for row in rows]
    controls = [method for method in CONTROLS if any(method in row.against for row in compared)]
    return Comparison(runs[0].scores.data, rows, compared, controls, notes)


def row_names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each row's method with those of the settings that differ between the rows that it does not have as by default.
    What decides nothing in a row is as by default in it (see `FinishedRun.deciding`), and so is not told of it."""
    defaults = Config().flat() | {ORDER: PLAN_VERSION}
    differing = [name for name in rows[0] if name != "method" and any(row[name] != rows[0][name] for row in rows)]
    shown = [{name: row[name] for name in differing if row[name] != defaults[name]} for row in rows]
    return [
        ", ".join([row["method"], *(f"{name}={value_text(value)}" for name, value in settings.items())])
        for row, settings in zip(rows, shown, strict=True)
    ]


def _compared(row: Row, rows: Sequence[Row], notes: list[str]) -> Compared:
    """The row with its controls. `notes` is told where a difference is of more than the method."""
    against: dict[str, Row] = {}
    for method in CONTROLS:
        if row.method == method and row.network == HAN_NETWORK:
            continue
        others = [other for other in rows if other.method == method and other is not row]
        others = [other for other in others if other.network in (row.network, HAN_NETWORK)]
        others.sort(key=lambda other: len(_differing(row, other)))
        if not others:
            continue
        differing = _differing(row, others[0])
        if len(others) > 1 and len(_differing(row, others[1])) == len(differing):
            notes.append(f"{row.name} is not compared with {method}: {others[0].name} and {others[1].name} are as near")
            continue
        if differing:
            notes.append(f"{row.name} differs from {others[0].name} in more than its method: {', '.join(differing)}")
        against[method] = others[0]
    return Compared(row, row.method, against)


def _differing(row: Row, other: Row) -> list[str]:
    return [name for name, value in row.around.items() if other.around[name] != value]


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
