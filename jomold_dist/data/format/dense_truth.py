"""Whether there is anything to score against. A video with neither truth nor prediction counts as right, so where a
modality has no truth at all, whatever finds nothing scores 100, and the number says nothing.

Legend: n videos, C categories, T segments.
"""

from __future__ import annotations

import numpy as np

from jomold_dist.labels import MODALITIES


def has_positives(dense: np.ndarray) -> np.ndarray:
    """Whether any of the dense labels, 0 or 1 of shape (n, 2, C, T), is 1, by modality: bool (2,), audio first."""
    return np.asarray(dense.any(axis=(0, 2, 3)))


def truth_problem(positives: np.ndarray) -> str | None:
    """What is wrong with a split that has positives or not, bool (2,), in audio and visual."""
    lacking = [name for name, there in zip(MODALITIES, positives.tolist(), strict=True) if not there]
    if not lacking:
        return None
    return (
        f"no video has a dense label in {' or in '.join(lacking)}, where whatever finds nothing would score 100; check "
        "the dense labels, or take more videos, and pack the data set again"
    )
