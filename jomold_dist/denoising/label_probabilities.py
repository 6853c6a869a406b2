"""PURE: what is known of each label of a split, looked up by video.

Legend: L labels of the split, N videos, b videos of a batch, C categories; modality 0 is audio, 1 is visual.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class LabelProbabilities(NamedTuple):
    """How likely each label of a split is really there. 8 bytes a label and 8 a video."""

    first: np.ndarray
    """int64 (N + 1,): video i has the labels first[i] … first[i + 1] − 1, its categories ascending."""
    probability: np.ndarray
    """float32 (L, 2)."""

    def of(self, index: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The probabilities of the labels bool (b, C) of the videos with these numbers, float32 (2, b, C); 0 where
        there is no label, and 1 of a video of which nothing is known. ValueError if a video has other labels."""
        count = labels.sum(1)
        known = self.first[index + 1] - self.first[index]
        if ((known > 0) & (known != count)).any():
            raise ValueError(f"video {index[(known > 0) & (known != count)][0]} of the split has other labels now")
        video, category = np.nonzero(labels)
        place = np.arange(len(video)) - np.repeat(np.cumsum(count) - count, count)  # the label's among its video's
        found = np.ones((len(video), 2), dtype=np.float32)
        there = known[video] > 0
        found[there] = self.probability[(self.first[index[video]] + place)[there]]
        result = np.zeros((2, *labels.shape), dtype=np.float32)
        result[:, video, category] = found.T
        return result

    @staticmethod
    def bytes_of(labels: int, videos: int) -> int:
        """The memory of so many."""
        return 8 * labels + 8 * (videos + 1)
