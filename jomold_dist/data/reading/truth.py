"""Which labels of a split are really heard and seen, where it is known: simulated data tell it, and some real ones."""

from __future__ import annotations

from jomold_dist.data.format.damage import MissingError
from jomold_dist.data.format.manifest import Manifest
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
    name, most = truth_name(split), truth_bytes(info.videos, len(manifest.categories))
    if most > MOST_BYTES:
        raise DataError(f"{source}/{name} would take {most} bytes, more than {MOST_BYTES}; remove it to go on without")
    try:
        content = source.read(name, most + (1 << 20))
    except MissingError:
        return None
    return parse_truth(content, f"{source}/{name}", info.videos, len(manifest.categories))
