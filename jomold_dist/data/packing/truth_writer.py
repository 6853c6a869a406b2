"""Writing which labels of a split are really heard and seen, beside its shards.

Shapes: n videos, C categories.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jomold_dist.data.format.damage import DamagedError
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.data.reading.source import Folder
from jomold_dist.data.reading.truth import read_truth
from jomold_dist.errors import DataError
from jomold_dist.files import writing


def write_truth(path: Path, keys: Sequence[str], present: np.ndarray) -> None:
    """Writes the truth of a split, which is whole or as it was before: its keys in the order of the shards, and
    `present` bool (n, 2, C), audio first. The folder is made. ValueError for another shape, DataError if the file
    cannot be written."""
    if present.ndim != 3 or present.shape[:2] != (len(keys), 2):
        raise ValueError(f"present is of shape {present.shape}, not ({len(keys)}, 2, C)")
    try:
        path.parent.mkdir(exist_ok=True)
        with writing(path) as aside, aside.open("wb") as file:
            np.savez_compressed(file, keys=np.array(keys), present=present.astype(bool).view(np.uint8))
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}; free some space or choose another folder") from None


def lacks_truth(folder: Path, manifest: Manifest, split: str) -> bool:
    """Whether the truth that a split of a set in a folder should have is damaged or missing. DataError if it cannot be
    read: then it may be sound."""
    if manifest.simulated is None and not manifest.split(split).truth:
        return False
    try:
        return read_truth(Folder(folder), manifest, split) is None
    except DamagedError:
        return True
