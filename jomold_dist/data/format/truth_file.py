"""The file that tells which labels of a split are really heard and seen, where its shards hold labels only.

truth/<split>.npz below the data set's folder holds `keys` (n,) and `present` uint8 (n, 2, C), audio first, in the order
of the shards. Both have the size that the manifest leads to, and nothing else is inflated.

Shapes: n videos, C categories.
"""

from __future__ import annotations

import io
import math
import zipfile
from typing import NamedTuple

import numpy as np

from jomold_dist.data.format.damage import DamagedError
from jomold_dist.data.format.records import MAX_KEY
from jomold_dist.reading import read_npy_header

REMEDY = "the command that packed the data set writes it anew with --repair; or remove the file to go on without"


class Truth(NamedTuple):
    """Keys (n,) in bytes, and what their videos hold, bool (n, 2, C), audio first."""

    keys: np.ndarray
    present: np.ndarray


def truth_name(split: str) -> str:
    """Where a data set holds the truth of a split."""
    return f"truth/{split}.npz"


def truth_bytes(videos: int, categories: int) -> int:
    """The most bytes that the truth of so many videos takes in memory."""
    return 2 * categories * videos + 4 * MAX_KEY * videos


def parse_truth(content: bytes, path: str, videos: int, categories: int) -> Truth:
    """The file's content, which messages call `path`. DamagedError if it is damaged, of an older form, or not of so
    many videos and categories."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            keys = _array(archive, "keys", "U", (videos,)).astype(f"S{MAX_KEY}")  # ASCII, or this raises
            if "present.npy" not in archive.namelist() and "dense.npy" in archive.namelist():
                raise DamagedError(f"{path} is of an older form, with times (dense, not present); {REMEDY}")
            present = _array(archive, "present", "u", (videos, 2, categories))
        if (present > 1).any():
            raise ValueError("it holds other values than 0 and 1")
    except DamagedError:
        raise
    except Exception as error:  # zipfile, zlib and numpy each have several for bytes that are not what they were
        said = f"{error or type(error).__name__}"
        raise DamagedError(f"{path} is damaged ({said}); {REMEDY}") from None
    return Truth(keys, present.view(bool))


def _array(archive: zipfile.ZipFile, name: str, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """An array of numbers of one byte (`u`) or of texts (`U`), if it is of this shape. ValueError if it is another."""
    with archive.open(f"{name}.npy") as stream:
        found, fortran, dtype = read_npy_header(stream)
        most = 1 if kind == "u" else 4 * MAX_KEY
        if found != shape or fortran or dtype.kind != kind or not 1 <= dtype.itemsize <= most:
            raise ValueError(f"{name} is {dtype} of shape {found}, not of {shape}")
        size = math.prod(shape) * dtype.itemsize
        content = stream.read(size + 1)  # to its end, where its checksum is compared
    if len(content) != size:
        raise ValueError(f"{name} does not have {size} bytes")
    return np.frombuffer(content, dtype).reshape(shape)
