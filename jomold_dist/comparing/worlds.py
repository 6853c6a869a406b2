"""The same methods on several data sets: one table a score, one of a row's differences from the others, how rightly
labels were removed, and how well noise ratios were estimated.

Runs are compared within a data set only; the tables put the comparisons side by side.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from jomold_dist.comparing.cautions import few_seeds
from jomold_dist.comparing.finished import FinishedRun, read_folders
from jomold_dist.comparing.paired import difference, mask_names, values
from jomold_dist.comparing.rows import Comparison, Row, compare_finished
from jomold_dist.denoising.noise_ratio import NoiseRatios, read_noise_ratios
from jomold_dist.errors import DataError
from jomold_dist.labels import MODALITIES
from jomold_dist.reading import is_there
from jomold_dist.score_names import heading
from jomold_dist.tables import Table, spread
from jomold_dist.training.run_folder import RunFolder
from jomold_dist.training.run_reading import QUALITY

OURS = "mixture"
"""The row whose differences are shown where none is asked for."""

RIVALS = ("han", "static", "jomold", "large-loss", "random")
"""The methods that a row is measured against."""

OF_THE_DATA = "denoise.static_labels."
"""Settings that name categories, which are the data set's own."""

Cells = dict[str, dict[str, str]]
"""Cells by row and data set."""


@dataclass(frozen=True)
class World:
    """A data set under its heading, and the comparison of its runs."""

    heading: str
    comparison: Comparison

    @cached_property
    def rows(self) -> dict[str, Row]:
        """The rows by what they are called here, where their settings differ from those on other data sets: by their
        methods, where there is one of each."""
        methods = Counter(row.method for row in self.comparison.rows)
        return {row.method if methods[row.method] == 1 else row.name: row for row in self.comparison.rows}


def worlds_report(paths: Sequence[Path], scores: Sequence[str], row: str | None = None) -> str:
    """A page of markdown about the finished runs among these folders: the comparisons of each data set, and how much
    better one row is than those of RIVALS; `row` is `mixture` by default, where there is one.

    DataError for folders that cannot be read, and if there is no finished run, or none of that row.
    """
    there = [path for path in paths if is_there(path)]
    runs, notes = read_folders(there)
    notes += [f"{path} is left out: it does not exist" for path in paths if path not in there]
    if not runs:
        raise DataError("there is no finished run among these folders", *notes)
    worlds = _worlds(runs)
    names = list(dict.fromkeys(name for world in worlds for name in world.rows))
    if row is not None and row not in names:
        raise DataError(f"there is no row {row!r}; the rows are: {'; '.join(names)}")
    tables = [table for score in scores for table in (_scores(worlds, score), _differences(worlds, score, row or OURS))]
    tables += [_removals(worlds), _ratio_errors(worlds)]
    told = [*(f"{world.heading}: {text}" for world in worlds for text in _told(world)), *_merged(worlds), *notes]
    parts = [*(table.markdown() for table in tables if table.rows), "\n".join(f"- {text}" for text in told)]
    return "\n\n".join(parts).rstrip()


def _worlds(runs: Sequence[FinishedRun]) -> list[World]:
    """The runs by the manifest of what they are scored on, sorted by headings: the names of the data sets, and the
    first digits of the manifest's digest where others have that name, too."""
    members: dict[str, list[FinishedRun]] = defaultdict(list)
    for run in runs:
        members[run.scores.data.manifest].append(run)
    found = [compare_finished(of_one, []) for of_one in members.values()]
    names = Counter(comparison.data.name for comparison in found)
    headings = [c.data.name + f" ({c.data.manifest[:8]})" * (names[c.data.name] > 1) for c in found]
    return sorted(map(World, headings, found), key=lambda world: world.heading)


def _told(world: World) -> Iterator[str]:
    """What is to be said of one data set's runs."""
    few = few_seeds([replace(row, name=name) for name, row in world.rows.items()])
    yield from ([few] if few else [])
    yield from world.comparison.notes


def _merged(worlds: Sequence[World]) -> Iterator[str]:
    """A line for rows whose runs have other settings on one data set than on another: which."""
    members: dict[str, list[Row]] = defaultdict(list)
    for world in worlds:
        for name, row in world.rows.items():
            members[name].append(row)
    unlike: dict[str, list[str]] = defaultdict(list)
    for name, rows in members.items():
        first, *others = (row.runs[0].deciding for row in rows)
        found = [k for k in first if not k.startswith(OF_THE_DATA) and any(other[k] != first[k] for other in others)]
        if found:
            unlike[", ".join(found)].append(name)
    for settings, names in unlike.items():
        yield f"not set alike on all data sets: {settings} (of {', '.join(names)})"


def _scores(worlds: Sequence[World], score: str) -> Table:
    cells: Cells = defaultdict(dict)
    for world in worlds:
        compared = {one.row.name: one for one in world.comparison.compared}
        for name, row in world.rows.items():
            gap, text = compared[row.name].gap(score), spread(values(row, score))
            cells[name][world.heading] = text if gap == "-" else f"{text} ({gap})"
    caption = (
        f"{heading(score)} on test, in percent, mean ± standard deviation over seeds; in brackets the gap closed in "
        "percent, (row − han) / (true − han) by seed, with its 95 % interval"
    )
    return _table(caption, "row", cells, worlds)


def _differences(worlds: Sequence[World], score: str, name: str) -> Table:
    """How much better a row is than those of RIVALS, in that order."""
    found: dict[str, Cells] = {method: defaultdict(dict) for method in RIVALS}
    for world in worlds:
        own = world.rows.get(name)
        for other, row in world.rows.items():
            delta = difference(own, row, score) if own is not None and own is not row else None
            if row.method in RIVALS and delta is not None:
                found[row.method][other][world.heading] = str(delta)
    cells = {other: of_row for rivals in found.values() for other, of_row in rivals.items()}
    caption = f"{heading(score)}: {name} minus another row, in points, mean over seeds with its 95 % interval"
    return _table(caption, f"{name} minus", cells, worlds)


def _removals(worlds: Sequence[World]) -> Table:
    """How rightly labels were removed, where the truth is known."""
    cells: Cells = defaultdict(dict)
    for world in worlds:
        for name, row in world.rows.items():
            for mask in mask_names([row]):
                entries = [removals["total"][mask] for removals in row.removals.values()]
                shares = [[100 * e[k] for e in entries if e.get(k) is not None] for k in QUALITY]
                if all(shares):
                    text = " / ".join(f"{mean(values):.0f}" for values in shares)
                    cells[f"{name}, {mask}"][world.heading] = text
    caption = "Removed labels, over all epochs: precision / recall against the truth, in percent, means over seeds"
    return _table(caption, "removed by", cells, worlds)


def _ratio_errors(worlds: Sequence[World]) -> Table:
    """How far noise ratios are from the true ones, where these are known."""
    cells: Cells = defaultdict(dict)
    for world in worlds:
        for name, row in world.rows.items():
            errors = [error for error in (ratio_errors(run.folder, run.removals) for run in row.runs) if error]
            for number, modality in enumerate(MODALITIES):
                known = [found for error in errors if (found := error[number]) is not None]
                if known:
                    text = spread(known, 3)
                    cells[f"{name}, {modality}"][world.heading] = text
    caption = "Noise ratios: mean absolute error over the categories that have labels, mean ± standard deviation"
    return _table(caption, "noise ratios", cells, worlds)


def ratio_errors(folder: RunFolder, removals: Mapping[str, object]) -> tuple[float | None, ...] | None:
    """As `errors_of`, of a run's folder; None where it has no ratios. DataError for damage."""
    categories = removals["categories"]
    assert isinstance(categories, dict)  # `read_removals` has looked
    if not is_there(folder.noise_ratios):
        return None
    return errors_of(read_noise_ratios(folder.noise_ratios, tuple(categories)), categories)


def errors_of(
    ratios: NoiseRatios, categories: Mapping[str, Mapping[str, Mapping[str, Any]]]
) -> tuple[float | None, ...] | None:
    """The mean absolute errors of noise ratios, audio and visual, None for a modality without labels, by what
    removals.json says of the categories; None where the truth is not known."""
    errors: list[float | None] = []
    for modality, own in zip(MODALITIES, ratios, strict=True):
        entries = [masks.get(modality, {}) for masks in categories.values()]
        if not all("noise" in entry for entry in entries):
            return None
        pairs = [
            (float(ratio), entry["noise"] / entry["labels"])
            for ratio, entry in zip(own, entries, strict=True)
            if entry["labels"]
        ]
        errors.append(float(np.mean([abs(ratio - true) for ratio, true in pairs])) if pairs else None)
    return tuple(errors)


def _table(caption: str, first: str, cells: Cells, worlds: Sequence[World]) -> Table:
    names = [world.heading for world in worlds]
    rows = [[row, *(of_row.get(name, "-") for name in names)] for row, of_row in cells.items()]
    return Table(caption, [first, *names], rows)
