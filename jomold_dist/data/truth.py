"""The truth of a split whose shards hold labels only: which of them are really heard and seen, at some time.

Simulated data have it, and real data that publish it. truth/<split>.npz below the data set's folder holds `keys` (n,)
and `present` uint8 (n, 2, C), audio first, in the order of the shards. Both have the size that the manifest leads to,
and nothing else is inflated.

Shapes: n videos, C categories.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jomold_dist.data.damage import DamagedError
from jomold_dist.data.manifest import Manifest
from jomold_dist.data.records import MAX_KEY
from jomold_dist.data.remote import MissingError
from jomold_dist.data.source import Source
from jomold_dist.errors import DataError

MOST_BYTES = 16 << 30  # of a split's truth in memory; that of ten million videos and 527 categories takes 14 GB

REMEDY = "the command that packed the data set writes it anew with --repair; or remove the file to go on without"

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class Truth(NamedTuple):
    """Keys (n,) in bytes, and what their videos hold, bool (n, 2, C), audio first."""

    keys: np.ndarray
    present: np.ndarray


def truth_name(split: str) -> str:
    """Where a data set holds the truth of a split."""
    return f"truth/{split}.npz"


def write_truth(path: Path, keys: Sequence[str], present: np.ndarray) -> None:
    """Writes the truth of a split: its keys in the order of the shards, and `present` bool (n, 2, C), audio first.
    ValueError for another shape."""
    if present.ndim != 3 or present.shape[:2] != (len(keys), 2):
        raise ValueError(f"present is of shape {present.shape}, not ({len(keys)}, 2, C)")
    with path.open("wb") as file:
        np.savez_compressed(file, keys=np.array(keys), present=present.astype(bool).view(np.uint8))


def read_truth(source: Source, manifest: Manifest, split: str) -> Truth | None:
    """The truth of a split; None where none is known. DataError if it cannot be read, DamagedError if it is damaged
    or of an older form.

    A real data set is asked for it only if its manifest says that it is there: a bucket may refuse to tell of files
    that are not.
    """
    info = manifest.split(split)
    if manifest.simulated is None and not info.truth:
        return None
    videos, name = info.videos, truth_name(split)
    shape = (videos, 2, len(manifest.categories))
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
            if "present.npy" not in archive.namelist() and "dense.npy" in archive.namelist():
                raise DamagedError(f"{source}/{name} is of an older form, with times (dense, not present); {REMEDY}")
            present = _array(archive, "present", "u", shape)
        if (present > 1).any():
            raise ValueError("it holds other values than 0 and 1")
    except DataError:
        raise
    except Exception as error:  # zipfile, zlib and numpy each have several for bytes that are not what they were
        said = f"{error or type(error).__name__}"
        raise DamagedError(f"{source}/{name} is damaged ({said}); {REMEDY}") from None
    return Truth(keys, present.view(bool))


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
