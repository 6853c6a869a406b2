"""PURE: random numbers that are functions of what they are for.

A draw depends on its keys alone: not on how many were made before it, nor on which process makes it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

_GOLDEN, _FIRST, _SECOND = (np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def draws(*keys: ArrayLike) -> np.ndarray:
    """Uniform uint64 from whole numbers ≥ 0 that broadcast against each other; the order of the keys matters.

    Each key is mixed in by the finalizer of splitmix64 (Steele, Lea and Flood, 2014).
    """
    state = np.zeros(np.broadcast_shapes(*(np.shape(key) for key in keys)), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for key in keys:
            state = (state ^ np.asarray(key).astype(np.uint64)) + _GOLDEN
            state = (state ^ (state >> np.uint64(30))) * _FIRST
            state = (state ^ (state >> np.uint64(27))) * _SECOND
            state = state ^ (state >> np.uint64(31))
    return state


def below(most: ArrayLike, *keys: ArrayLike) -> np.ndarray:
    """Uniform whole numbers from 0 to below `most` (at most 2³²) from keys as in `draws`: int64."""
    high = draws(*keys) >> np.uint64(32)
    return ((high * np.asarray(most).astype(np.uint64)) >> np.uint64(32)).astype(np.int64)
