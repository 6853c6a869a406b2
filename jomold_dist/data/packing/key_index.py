"""Which keys a data set has: a digest a key in sorted arrays, as ten million texts in a set would take a gigabyte.

Two keys of one 128-bit digest are the same key, as far as anybody will ever see.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

DIGEST_BYTES = 16


def key_digests(keys: Iterable[str | bytes]) -> np.ndarray:
    """A digest for each key, in their order: S16 (n,)."""
    texts = (key.encode() if isinstance(key, str) else key for key in keys)
    joined = b"".join(hashlib.blake2b(text, digest_size=DIGEST_BYTES).digest() for text in texts)
    return np.frombuffer(joined, dtype=f"S{DIGEST_BYTES}")


class KeyIndex:
    """The digests of keys, in sorted runs that are merged as they grow, so that a look costs little at any size."""

    def __init__(self) -> None:
        self._runs: list[np.ndarray] = []  # each more than twice as long as the next

    def add(self, digests: np.ndarray) -> None:
        """Adds digests S16 (n,)."""
        run = np.sort(digests)
        while self._runs and len(self._runs[-1]) <= 2 * len(run):
            run = np.sort(np.concatenate([self._runs.pop(), run]), kind="stable")
        if len(run):
            self._runs.append(run)

    def has(self, digests: np.ndarray) -> np.ndarray:
        """Whether each of the digests S16 (n,) is there: bool (n,)."""
        found = np.zeros(len(digests), dtype=bool)
        for run in self._runs:
            places = np.searchsorted(run, digests)
            found |= run[np.minimum(places, len(run) - 1)] == digests
        return found
