"""PURE: what is thought of every label of a split: how likely it is noise in each modality, and on what evidence.

Legend: n labels, C categories; modality 0 is audio, 1 is visual.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from jomold_dist.labels import CategorySet

LEAST_CONFIDENCE = 0.5
"""An event is there in one modality at least. So above one half no label is noise in both."""
FEWEST = 20
"""Labels that a category needs, or none of its labels is told as noise by confidence: with fewer, the mixture goes more
by what all categories share than by the category's own labels, and is too sure."""
MOSTLY = 0.5
"""The share of epochs from which on a label is told as noise by removals, unless another is asked for."""


@dataclass(frozen=True)
class JudgedLabels:
    """Labels in the order of the videos, and of the categories within a video."""

    categories: CategorySet
    keys: np.ndarray
    """Of the videos, texts (n,)."""
    category: np.ndarray
    """int64 (n,)."""
    presence: np.ndarray
    """How likely the label's event is there, float32 (2, n)."""
    evidence: Mapping[str, np.ndarray] = field(default_factory=dict)
    """What that was told from, by name, float32 (2, n) each: for instance logits, probits, losses."""
    epochs_removed: np.ndarray | None = None
    """In how many epochs a training removed it, int64 (2, n); None where it was not recorded."""
    epochs: int = 0
    """Of how many."""
    there: np.ndarray | None = None
    """The truth, bool (2, n): whether the event is really there; None where it is not known."""

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def confidence(self) -> np.ndarray:
        """That it is noise, float32 (2, n)."""
        return 1 - self.presence

    @property
    def rare(self) -> np.ndarray:
        """Categories that have labels, but fewer than FEWEST, int64."""
        counts = np.bincount(self.category, minlength=len(self.categories))
        return np.flatnonzero((counts > 0) & (counts < FEWEST))

    @property
    def share_removed(self) -> np.ndarray:
        """In which share of the epochs a training removed it, float64 (2, n); 0 where that was not recorded."""
        if self.epochs_removed is None or not self.epochs:
            return np.zeros(self.presence.shape)
        return self.epochs_removed / self.epochs


@dataclass(frozen=True)
class Rule:
    """By what labels are told as noise: by their confidence, or by how often a training has removed them."""

    least: float
    """The confidence, or the share of epochs, from which on."""
    by_removals: bool = False

    def scores(self, judged: JudgedLabels) -> np.ndarray:
        """What is compared with `least`, (2, n)."""
        return judged.share_removed if self.by_removals else judged.confidence

    def told(self, judged: JudgedLabels) -> np.ndarray:
        """The labels that are told as noise, bool (2, n): in one modality at most, that of the higher score."""
        scores = self.scores(judged)
        told = (scores >= self.least) & (scores > 0)
        if not self.by_removals:
            told &= ~np.isin(judged.category, judged.rare)
        both = told.all(0)
        told[0] &= ~both | (scores[0] > scores[1])
        told[1] &= ~both | ~told[0]
        return told

    @property
    def text(self) -> str:
        """The rule in words."""
        least = f"{100 * self.least:g} %"
        return f"removed in {least} of the epochs and more" if self.by_removals else f"a confidence of {least} and more"
