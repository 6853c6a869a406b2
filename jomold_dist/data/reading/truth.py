"""Which labels of a split are really heard and seen, where it is known: simulated data tell it, and some real ones."""

from __future__ import annotations

import numpy as np

from jomold_dist.data.format.damage import MissingError
from jomold_dist.data.format.manifest import Manifest, TruthFile
from jomold_dist.data.format.truth_file import Truth, parse_truth, truth_bytes, truth_name
from jomold_dist.data.reading.source import Source
from jomold_dist.errors import DataError

MOST_BYTES = 16 << 30  # of a split's truth in memory; that of ten million videos and 527 categories takes 14 GB


def read_truth(source: Source, manifest: Manifest, split: str) -> Truth | None:
    """The truth of a split; None where none is known. DataError if it cannot be read, DamagedError if it is damaged
    or of an older form.

    A real data set is asked for it only if its manifest says that it is there: a bucket may refuse to tell of files
    that are not.
    """
    info = manifest.split(split)
    if manifest.simulated is None and not info.truth:
        return None
    files, categories = info.truth_files or (TruthFile(truth_name(split), info.videos),), len(manifest.categories)
    if (total := sum(truth_bytes(file.videos, categories) for file in files)) > MOST_BYTES:
        raise DataError(
            f"{', '.join(source.path_of(file.name) for file in files)} would take {total} bytes, more than "
            f"{MOST_BYTES}; remove it to go on without"
        )
    parts = []
    for file in files:
        try:
            content = source.read(file.name, truth_bytes(file.videos, categories) + (1 << 20))
        except MissingError:
            return None
        parts.append(parse_truth(content, source.path_of(file.name), file.videos, categories))
    keys, present = parts[0] if len(parts) == 1 else map(np.concatenate, zip(*parts, strict=True))
    return Truth(keys[: info.videos], present[: info.videos])
