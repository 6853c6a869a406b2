"""Chance, by video: every video draws from generators of its own, keyed by (seed, split, video, purpose).

So video i is the same whatever the number of videos and however they are grouped.
"""

from __future__ import annotations

import numpy as np

SPLITS = ("train", "val", "test")

# What a generator is for: the last number of its key.
LABELS, TRUTH, FEATURES, FRAMES, WORLD = range(5)


def video_generator(seed: int, split: str, video: int, purpose: int) -> np.random.Generator:
    """The generator of one video for one purpose."""
    return np.random.default_rng([seed, SPLITS.index(split), video, purpose])
