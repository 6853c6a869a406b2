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

    def noise(self, confidence: float) -> np.ndarray:
        """The labels that are told as noise at a confidence of one half or more, bool (2, n): in one modality at most,
        the likelier one."""
        told = self.confidence >= confidence
        both = told.all(0)
        told[0] &= ~both | (self.confidence[0] > self.confidence[1])
        told[1] &= ~both | ~told[0]
        return told
