"""Where the arrays of a feature lie: a protocol, and the source that most have, a `.npy` file a video.

A source only finds and reads arrays. Which rows a feature must have, how they are pooled, and whether its values are
finite is looked at elsewhere, for all sources alike (`features`, `shard_writer`). Nothing is ever unpickled.
"""

from __future__ import annotations

import glob
import io
import math
import os
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, Protocol

import numpy as np

from jomold_dist.data.format.extraction_file import ExtractionFile, read_extraction
from jomold_dist.data.format.records import KEY_RULE, is_shard_key
from jomold_dist.errors import DataError, raise_together
from jomold_dist.reading import folder_problem, read_npy_header, regular_file
from jomold_dist.video_names import key_id

NOTHING: Mapping[str, Any] = {}
"""What is known of the extraction of features that are taken from others' files."""

NPY_HEADER_BYTES = 1 << 14  # more than any header of two numbers


class FeatureSource(Protocol):
    """Where the arrays of one feature (audio, frames or motion) lie.

    It is pickled and goes to other processes: an index may be made when it is first needed, but no file may be open.
    `extraction` tells how the arrays came out of video files, empty if that is not known, and `seconds` of how many
    seconds of each video they are, None if that is not known.
    """

    @property
    def extraction(self) -> Mapping[str, Any]: ...

    @property
    def seconds(self) -> float | None: ...

    def keys(self) -> list[str]:
        """All keys it holds, sorted. DataError if there are none, or one that can be no key."""

    def problems(self, keys: Sequence[str]) -> list[str]:
        """What is wrong with the whole source, so that none of these keys' arrays need be looked at."""

    def shape(self, key: str) -> tuple[int, int]:
        """Rows and width of a video's array, by its header. DataError, which names the place, if the array is missing,
        unreadable or cut, is not of two dimensions, has no width, or is not of floating-point numbers."""

    def read(self, key: str) -> np.ndarray:
        """The array (rows, width) of floats as it is kept, neither pooled nor cast. DataError as in `shape`."""

    def where(self, key: str) -> str:
        """What messages call the array."""

    def stamp(self, key: str) -> str:
        """Stands for the content without reading it: another stamp, and a shard is written anew. DataError if the array
        is there and not to be reached: that is no change."""


class FilePattern:
    """One `.npy` a video, where a pattern leads: `{key}` in it is the whole key, `{id}` what stands in it before its
    times (`key_id`). `name` is the feature's, for messages. What extraction.json over the files' folder says is
    believed. DataError if the pattern is none, or that file damaged."""

    def __init__(self, name: str, pattern: str) -> None:
        if "://" in pattern:
            raise DataError(f"--feature {name}={pattern}: features are read from files; copy them to a disk first")
        names = set(re.findall(r"\{[^/]*?\}", pattern))
        if not names or names - {"{key}", "{id}"}:
            raise DataError(
                f"--feature {name}={pattern} must tell with {{key}} (or {{id}}, the key without its times) where a "
                f"video's file lies, and with nothing else in braces; for instance {name}/{{key}}.npy"
            )
        self.name, self.pattern = name, pattern
        beside = read_extraction(self._folder.parent)
        features = [] if beside is None else beside.features.values()
        self._extracted = next((own for own in features if own.folder == self._folder.name), None)
        self.extraction = {} if self._extracted is None else self._extracted.extraction
        self.seconds = None if self._extracted is None or beside is None else beside.seconds

    def keys(self) -> list[str]:
        """As the protocol says; where the pattern has `{id}` alone, a key is an id."""
        try:
            os.listdir(self._folder)  # glob finds nothing where it may not look
        except OSError as error:
            raise DataError(f"the features' folder {self._folder} cannot be read ({error.strerror})") from None
        parts = re.split(r"\{(key|id)\}", self.pattern)  # texts, with names between
        wanted, asked = glob.escape(parts[0]), re.escape(parts[0])
        seen: set[str] = set()
        for name, text in zip(parts[1::2], parts[2::2], strict=True):
            wanted += "*" + glob.escape(text)
            asked += (f"(?P={name})" if name in seen else f"(?P<{name}>[^/]+)") + re.escape(text)
            seen.add(name)
        matches = (re.fullmatch(asked, path) for path in glob.iglob(wanted))
        found = {match["key" if "key" in seen else "id"] for match in matches if match}
        if not found:
            raise DataError(f"--feature {self.name}={self.pattern} leads to no file")
        bad = [key for key in sorted(found) if not is_shard_key(key)]
        raise_together([f"{self.where(key)} cannot be packed: {KEY_RULE}" for key in bad])
        return sorted(found)

    def problems(self, keys: Sequence[str]) -> list[str]:
        """That there is no such folder, or that two videos have the same file, as they can with `{id}` alone."""
        if problem := folder_problem(self._folder):
            return [f"the features' folder {self._folder} {problem} (--feature {self.name}={self.pattern})"]
        if "{key}" in self.pattern:
            return []
        owner: dict[str, str] = {}
        return [
            f"{self.path(key)} would be the {self.name} of both {first} and {key}; clips of one video need files of "
            "their own, named by {{key}}"
            for key in keys
            if (first := owner.setdefault(key_id(key), key)) != key
        ]

    def shape(self, key: str) -> tuple[int, int]:
        """As the protocol says."""
        path = self.path(key)
        try:
            with regular_file(path).open("rb") as file:
                found = npy_shape(file, os.fstat(file.fileno()).st_size, str(path))
        except OSError as error:
            raise _unreachable(path, error) from None
        if self._extracted is not None and found != self._extracted.shape:
            raise DataError(
                f"{path}: shape {found}, but extraction.json says {self._extracted.shape}: this is not what jomold "
                "extract has written; extract it again, or move extraction.json away"
            )
        return found

    def read(self, key: str) -> np.ndarray:
        """As the protocol says."""
        path = self.path(key)
        try:
            return npy_array(regular_file(path).read_bytes(), str(path))
        except OSError as error:
            raise _unreachable(path, error) from None

    def where(self, key: str) -> str:
        """The file's path."""
        return str(self.path(key))

    def stamp(self, key: str) -> str:
        """The file's size and time of change."""
        try:
            file = self.path(key).stat()
        except FileNotFoundError:
            return "missing"
        except OSError as error:
            raise _unreachable(self.path(key), error) from None
        return f"{file.st_size} {file.st_mtime_ns}"

    def path(self, key: str) -> Path:
        """The file of a video."""
        return Path(self.pattern.replace("{key}", key).replace("{id}", key_id(key)))

    @property
    def _folder(self) -> Path:
        """The folder below which all files lie."""
        return Path(self.pattern[: self.pattern.index("{")] + "x").parent


def extracted_patterns(folder: Path, extracted: ExtractionFile) -> dict[str, str]:
    """Where each feature lies of a folder that `jomold extract` has written."""
    return {name: str(folder / own.folder / "{key}.npy") for name, own in extracted.features.items()}


def npy_shape(file: BinaryIO, size: int, where: str) -> tuple[int, int]:
    """Rows and width of a .npy of `size` bytes that begins where `file` stands. DataError, which calls it `where`, if
    it is no array of floating-point numbers with rows and width, or has not the size that its header leads to."""
    return _header(file.read(NPY_HEADER_BYTES), size, where).shape


def npy_array(content: bytes, where: str) -> np.ndarray:
    """The array (rows, width) of a .npy file's bytes. DataError as in `npy_shape`."""
    header = _header(content[:NPY_HEADER_BYTES], len(content), where)
    array = np.frombuffer(content, header.dtype, math.prod(header.shape), header.start)
    return array.reshape(header.shape, order=header.order)


class _Header(NamedTuple):
    shape: tuple[int, int]
    order: Literal["C", "F"]
    dtype: np.dtype
    start: int


def _header(beginning: bytes, size: int, where: str) -> _Header:
    """The header of a file of `size` bytes that begins so."""
    first = 10 if beginning[6:7] == b"\1" else 12  # bytes before the text, whose length the last of them tell
    try:
        shape, fortran, dtype, start = _parsed(beginning[: first + int.from_bytes(beginning[8:first], "little")])
    except Exception as error:  # numpy parses the header as Python text and makes a type of what it says
        raise DataError(f"{where}: not a readable .npy file ({type(error).__name__}: {error})") from None
    if dtype.kind != "f":
        raise DataError(f"{where}: holds {dtype}, expected floating-point numbers")
    if len(shape) != 2 or min(shape) < 1:
        raise DataError(f"{where}: shape {shape}, expected (rows, width)")
    if size < start + shape[0] * shape[1] * dtype.itemsize:
        raise DataError(f"{where}: is cut: it has {size} bytes, fewer than its shape {shape} takes")
    return _Header((shape[0], shape[1]), "F" if fortran else "C", dtype, start)


@lru_cache
def _parsed(text: bytes) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """A header, which most files of a set share: numpy takes longer to read it than to open the file."""
    stream = io.BytesIO(text)
    with np.errstate(over="ignore"):  # of a size that no array can have
        shape, fortran, dtype = read_npy_header(stream)
    return shape, fortran, dtype, stream.tell()


def _unreachable(path: Path, error: OSError) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path}: the feature file is missing")
    return DataError(f"{path}: cannot be read ({error.strerror})")
