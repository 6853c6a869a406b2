"""The same methods on several data sets: one table a score, how rightly labels were removed, and how well noise ratios
were estimated.

Runs are compared within a data set only; the tables put the comparisons side by side.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

import numpy as np

from jomold_dist.comparing.cautions import few_seeds
from jomold_dist.comparing.paired import mask_names, values
from jomold_dist.comparing.rows import Comparison, compare_runs
from jomold_dist.denoising.noise_ratio import read_noise_ratios
from jomold_dist.errors import UserError
from jomold_dist.labels import MODALITIES
from jomold_dist.reading import is_there
from jomold_dist.score_names import heading
from jomold_dist.tables import Table, spread
from jomold_dist.training.run_folder import RunFolder
from jomold_dist.training.run_reading import QUALITY, read_scores

Cells = dict[str, dict[str, str]]
"""Cells by row and data set."""


def worlds_report(paths: Sequence[Path], scores: Sequence[str]) -> str:
    """A page of markdown about the finished runs among these folders: what `compare_runs` finds on each data set."""
    found = [compare_runs(members) for members in _by_data_set(paths).values()]
    found.sort(key=lambda comparison: comparison.data.name)
    tables = [_scores(found, score) for score in scores]
    tables += [table for table in (_removals(found), _ratio_errors(found)) if table.rows]
    told = [
        f"{comparison.data.name}: {text}"
        for comparison in found
        for text in (few_seeds(comparison.rows), *comparison.notes)
        if text
    ]
    return "\n\n".join([*(table.markdown() for table in tables), "\n".join(f"- {text}" for text in told)]).rstrip()


def _by_data_set(paths: Sequence[Path]) -> Mapping[str, list[Path]]:
    """Folders by the manifest of what they are scored on; those without scores with all of them, to be told of."""
    found: dict[str, list[Path]] = defaultdict(list)
    others: list[Path] = []
    for path in paths:
        folder = RunFolder(path)
        try:
            found[read_scores(folder).data.manifest].append(path)
        except (UserError, OSError):
            others.append(path)
    if found:
        next(iter(found.values())).extend(others)
    elif others:
        found[""] = others
    return found


def _names(comparison: Comparison) -> dict[str, str]:
    """What the rows of a data set are called here, where their settings differ from those on others: by their methods,
    where there is one of each."""
    methods = [row.method for row in comparison.rows]
    return {row.name: row.method if methods.count(row.method) == 1 else row.name for row in comparison.rows}


def _scores(found: Sequence[Comparison], score: str) -> Table:
    cells: Cells = defaultdict(dict)
    for comparison in found:
        names = _names(comparison)
        for compared in comparison.compared:
            gap = compared.gap(score)
            text = spread(values(compared.row, score))
            cells[names[compared.row.name]][comparison.data.name] = text if gap == "-" else f"{text} ({gap})"
    caption = (
        f"{heading(score)} on test, in percent, mean ± standard deviation over seeds; in brackets the gap closed in "
        "percent, (row − han) / (true − han) by seed, with its 95 % interval"
    )
    return _table(caption, "row", cells, found)


def _removals(found: Sequence[Comparison]) -> Table:
    """How rightly labels were removed, where the truth is known."""
    cells: Cells = defaultdict(dict)
    for comparison in found:
        names = _names(comparison)
        for row in comparison.rows:
            for mask in mask_names([row]):
                entries = [removals["total"][mask] for removals in row.removals.values()]
                shares = [[100 * e[k] for e in entries if e.get(k) is not None] for k in QUALITY]
                if all(shares):
                    text = " / ".join(f"{mean(values):.0f}" for values in shares)
                    cells[f"{names[row.name]}, {mask}"][comparison.data.name] = text
    caption = "Removed labels, over all epochs: precision / recall against the truth, in percent, means over seeds"
    return _table(caption, "removed by", cells, found)


def _ratio_errors(found: Sequence[Comparison]) -> Table:
    """How far noise ratios are from the true ones, where these are known."""
    cells: Cells = defaultdict(dict)
    for comparison in found:
        names = _names(comparison)
        for row in comparison.rows:
            errors = [error for error in (ratio_errors(run.folder, run.removals) for run in row.runs) if error]
            for number, modality in enumerate(MODALITIES):
                if errors:
                    text = spread([error[number] for error in errors], 3)
                    cells[f"{names[row.name]}, {modality}"][comparison.data.name] = text
    caption = "Noise ratios: mean absolute error over the categories that have labels, mean ± standard deviation"
    return _table(caption, "noise ratios", cells, found)


def ratio_errors(folder: RunFolder, removals: Mapping[str, object]) -> tuple[float, ...] | None:
    """A run's mean absolute errors of its noise ratios, audio and visual; None where it has none, or the truth is not
    known. DataError for damage."""
    categories = removals["categories"]
    assert isinstance(categories, dict)  # `read_removals` has looked
    if not is_there(folder.noise_ratios):
        return None
    ratios = read_noise_ratios(folder.noise_ratios, tuple(categories))
    errors = []
    for modality, own in zip(MODALITIES, ratios, strict=True):
        entries = [masks.get(modality, {}) for masks in categories.values()]
        if not all("noise" in entry for entry in entries):
            return None
        pairs = [
            (float(ratio), entry["noise"] / entry["labels"])
            for ratio, entry in zip(own, entries, strict=True)
            if entry["labels"]
        ]
        errors.append(float(np.mean([abs(ratio - true) for ratio, true in pairs])) if pairs else 0.0)
    return tuple(errors)


def _table(caption: str, first: str, cells: Cells, found: Sequence[Comparison]) -> Table:
    names = [comparison.data.name for comparison in found]
    rows = [[row, *(of_row.get(name, "-") for name in names)] for row, of_row in cells.items()]
    return Table(caption, [first, *names], rows)
