"""PURE: which labels to look at first, the likeliest noise before the others.

Legend: n labels, C categories; modality 0 is audio, 1 is visual.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jomold_dist.cleaning.judged import LEAST_CONFIDENCE, JudgedLabels, Rule
from jomold_dist.labels import MODALITIES

MOST = 1000
"""Suspects that are listed in all."""
FEWEST_EACH, MOST_EACH = 2, 20
"""Of these a category's own in one modality, so that rare categories are not lost among frequent ones."""


@dataclass(frozen=True)
class Suspect:
    """A label in one modality that is noise rather than not, or that a training has removed."""

    row: int
    """Its number among the labels."""
    key: str
    category: str
    modality: str
    confidence: float
    evidence: dict[str, tuple[float, float]]
    """What that was told from, by name: in audio and visual."""
    epochs_removed: tuple[int, int] | None
    there: bool | None
    """The truth in this modality, where it is known."""


def suspects_of(judged: JudgedLabels, rule: Rule, most: int = MOST) -> list[Suspect]:
    """The highest scores of the rule first: the first of each category and modality, and then the first of all, `most`
    together or as many as every category has to have."""
    scores = rule.scores(judged)
    modality, row = np.nonzero(scores > 0 if rule.by_removals else scores >= LEAST_CONFIDENCE)
    value = scores[modality, row]
    order = np.lexsort((modality, row, -value))
    modality, row = modality[order], row[order]
    cell = judged.category[row] * len(MODALITIES) + modality
    each = int(np.clip(most // max(1, len(np.unique(cell)) * 2), FEWEST_EACH, MOST_EACH))
    first = _place_in_cell(cell) < each
    chosen = first.copy()
    chosen[np.flatnonzero(~first)[: max(0, most - int(first.sum()))]] = True
    return [_suspect(judged, m, r) for m, r in zip(modality[chosen].tolist(), row[chosen].tolist(), strict=True)]


def _place_in_cell(cell: np.ndarray) -> np.ndarray:
    """How many before it have the same cell, int64 (n,)."""
    order = np.argsort(cell, kind="stable")
    ordered = cell[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    place = np.arange(len(cell)) - np.repeat(starts, np.diff(starts, append=len(cell)))
    result = np.empty(len(cell), dtype=np.int64)
    result[order] = place
    return result


def _suspect(judged: JudgedLabels, modality: int, row: int) -> Suspect:
    removed = judged.epochs_removed
    evidence = {name: (float(pair[0, row]), float(pair[1, row])) for name, pair in judged.evidence.items()}
    return Suspect(
        row,
        str(judged.keys[row]),
        judged.categories.names[judged.category[row]],
        MODALITIES[modality],
        float(judged.confidence[modality, row]),
        evidence,
        None if removed is None else (int(removed[0, row]), int(removed[1, row])),
        None if judged.there is None else bool(judged.there[modality, row]),
    )
