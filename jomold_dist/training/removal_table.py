"""What a training removed, by category, as a text table: where something was to be removed, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jomold_dist.denoising.noise_ratio import NoiseRatios
from jomold_dist.labels import MODALITIES
from jomold_dist.tables import markdown_table

HEADER = ["category, modality", "labels", "ratio", "intended", "candidates", "removed", "precision %"]


def removal_table(removals: Mapping[str, Any], ratios: NoiseRatios | None, names: Sequence[str]) -> str | None:
    """A row a category and modality in which a label was to be removed, or was, those with most removals first; None
    where there are none. `removals` is what removals.json holds, `ratios` those of the categories `names`, if the
    method has any.

    Counts of labels are means over the epochs, the warm-up included. intended: ratio × labels.
    """
    epochs, rows = max(int(removals["epochs"]), 1), []
    for at, name in enumerate(names):
        for modality in MODALITIES:
            entry = removals["categories"][name][modality]
            ratio = None if ratios is None else float(getattr(ratios, modality)[at])
            intended = None if ratio is None else ratio * entry["labels"]
            if (intended or 0) >= 1 or entry["removed"]:
                rows.append((name, modality, entry, ratio, intended))
    if not rows:
        return None
    rows.sort(key=lambda row: (-row[2]["removed"], -(row[4] or 0)))
    judged = any("precision" in entry for _, _, entry, _, _ in rows)
    cells = [
        [
            f"{name}, {modality}",
            str(entry["labels"]),
            _number(ratio, 2),
            _number(intended, 0),
            _number(entry["candidates"] / epochs, 1) if ratio is not None else "-",
            _number(entry["removed"] / epochs, 1),
            _number(None if entry.get("precision") is None else 100 * entry["precision"], 1),
        ]
        for name, modality, entry, ratio, intended in rows
    ]
    columns = slice(None) if judged else slice(-1)
    reached = sum(entry["removed"] > 0 for _, _, entry, _, _ in rows)
    others = len(MODALITIES) * len(names) - len(rows)
    return (
        f"Labels removed from the training split's targets in an epoch (mean of {epochs}; intended: ratio × labels)\n\n"
        f"{markdown_table(HEADER[columns], [row[columns] for row in cells])}\n\n"
        f"removed somewhere in {reached} of these {len(rows)}; nothing was to be removed in the {others} others"
    )


def _number(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"
