"""What a training removed, by category, as a text table: where something was to be removed, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from jomold_dist.denoising.noise_ratio import NoiseRatios, read_noise_ratios
from jomold_dist.reading import is_there
from jomold_dist.tables import markdown_table
from jomold_dist.training.run_folder import RunFolder
from jomold_dist.training.run_reading import read_removals

HEADER = ["category, modality", "labels", "ratio", "intended", "candidates", "removed", "precision %"]
MOST_ROWS = 12


@dataclass(frozen=True)
class _Row:
    """One category in one modality, or several together. Counts are means over the epochs; None: not known."""

    name: str
    labels: int
    intended: float | None
    candidates: float | None
    removed: float
    rightly: float | None

    def cells(self) -> list[str]:
        ratio = None if self.intended is None or not self.labels else self.intended / self.labels
        precision = None if self.rightly is None or not self.removed else 100 * self.rightly / self.removed
        candidates = None if self.intended is None else self.candidates
        numbers = [(ratio, 2), (self.intended, 1), (candidates, 1), (self.removed, 1), (precision, 1)]
        return [self.name, str(self.labels), *("-" if n is None else f"{n:.{decimals}f}" for n, decimals in numbers)]


def removal_table(removals: Mapping[str, Any], ratios: NoiseRatios | None, names: Sequence[str]) -> str | None:
    """A row a category and mask (mostly a modality) by which labels were to be removed, or were, those with most
    removals first, and the many with few in one row together; None where there are none. `removals` is what
    removals.json holds, `ratios` those of the categories `names`, if the method has any.

    Counts of labels are means over the epochs, the warm-up included. intended: ratio × labels, of which a category
    without as much as one label is left out.
    """
    epochs, rows = max(int(removals["epochs"]), 1), []
    for at, name in enumerate(names):
        for mask, entry in removals["categories"][name].items():
            intended = None if ratios is None else float(getattr(ratios, entry["modality"])[at]) * entry["labels"]
            if (intended or 0) >= 1 or entry["removed"]:
                removed, rightly = entry["removed"] / epochs, None
                if "noise" in entry:
                    rightly = removed * (entry["precision"] or 0)
                candidates = None if entry["candidates"] is None else entry["candidates"] / epochs
                rows.append(_Row(f"{name}, {mask}", entry["labels"], intended, candidates, removed, rightly))
    if not rows:
        return None
    rows.sort(key=lambda row: (-row.removed, -(row.intended or 0)))
    if len(rows) > MOST_ROWS:
        rows[MOST_ROWS - 1 :] = [_together(rows[MOST_ROWS - 1 :])]
    columns = slice(None) if rows[0].rightly is not None else slice(-1)
    table = markdown_table(HEADER[columns], [row.cells()[columns] for row in rows])
    return f"Labels removed in an epoch of the training split (mean of {epochs}); intended: ratio × labels\n\n{table}"


def removals_of(folder: RunFolder, names: Sequence[str]) -> str | None:
    """The table of a finished run's folder, for the categories `names`. What `read_removals` and `read_noise_ratios`
    raise."""
    ratios = read_noise_ratios(folder.noise_ratios, names) if is_there(folder.noise_ratios) else None
    return removal_table(read_removals(folder), ratios, names)


def _together(rows: Sequence[_Row]) -> _Row:
    def total(name: str) -> Any:
        numbers = [getattr(row, name) for row in rows]
        return None if None in numbers else sum(numbers)

    counts = {item.name: total(item.name) for item in fields(_Row) if item.name != "name"}
    return _Row(f"{len(rows)} others", **counts)
