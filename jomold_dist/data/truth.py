"""The hidden truth of simulated data: what the videos of a split show and sound, where their labels do not tell.

truth/<split>.npz below the data set's folder holds `keys` (n,) and `dense` uint8 (n, 2, C, T), audio first, in the
order of the shards. Both have the size that the manifest leads to, and nothing else is inflated.

Shapes: n videos, C categories, T segments.
"""

from __future__ import annotations

import io
import math
import zipfile
from typing import NamedTuple

import numpy as np

from jomold_dist.data.damage import DamagedError
from jomold_dist.data.manifest import Manifest
from jomold_dist.data.records import MAX_KEY
from jomold_dist.data.remote import MissingError
from jomold_dist.data.source import Source
from jomold_dist.errors import DataError

MOST_BYTES = 16 << 30  # of a split's truth in memory; that of ten million videos of LLP's categories takes 5 GB

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class Truth(NamedTuple):
    """Keys (n,) in bytes, and what their videos hold, uint8 (n, 2, C, T), audio first."""

    keys: np.ndarray
    dense: np.ndarray


def truth_name(split: str) -> str:
    """Where a simulated data set holds the hidden truth of a split."""
    return f"truth/{split}.npz"


def read_truth(source: Source, manifest: Manifest, split: str) -> Truth | None:
    """The truth of a split; None where none is known. DataError if it cannot be read, DamagedError if it is damaged."""
    if manifest.simulated is None:
        return None
    videos, name = manifest.split(split).videos, truth_name(split)
    shape = (videos, 2, len(manifest.categories), manifest.segments)
    most = math.prod(shape) + 4 * MAX_KEY * videos
    if most > MOST_BYTES:
        raise DataError(f"{source}/{name} would take {most} bytes, more than {MOST_BYTES}; remove it to go on without")
    try:
        content = source.read(name, most + (1 << 20))
    except MissingError:
        return None
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            keys = _array(archive, "keys", "U", (videos,)).astype(f"S{MAX_KEY}")  # ASCII, or this raises
            truth = Truth(keys, _array(archive, "dense", "u", shape))
        if (truth.dense > 1).any():
            raise ValueError("it holds other values than 0 and 1")
    except Exception as error:  # zipfile, zlib and numpy each have several for bytes that are not what they were
        said = f"{error or type(error).__name__}"
        raise DamagedError(f"{source}/{name} is damaged ({said}); simulate the data set again, or remove it") from None
    return truth


def _array(archive: zipfile.ZipFile, name: str, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """An array of numbers of one byte (`u`) or of texts (`U`), if it is of this shape. ValueError if it is another."""
    with archive.open(f"{name}.npy") as stream:
        found, fortran, dtype = _HEADERS[np.lib.format.read_magic(stream)](stream)
        most = 1 if kind == "u" else 4 * MAX_KEY
        if found != shape or fortran or dtype.kind != kind or not 1 <= dtype.itemsize <= most:
            raise ValueError(f"{name} is {dtype} of shape {found}, not of {shape}")
        size = math.prod(shape) * dtype.itemsize
        content = stream.read(size + 1)  # to its end, where its checksum is compared
    if len(content) != size:
        raise ValueError(f"{name} does not have {size} bytes")
    return np.frombuffer(content, dtype).reshape(shape)
