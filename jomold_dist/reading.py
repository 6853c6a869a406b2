"""Reading files, where what cannot be read is one thing, and what is read and found wrong another.

A permission, an I/O error or a stale handle says nothing about a file: it is an UnreadableError, and nobody may call
the file damaged, write it anew or remove it. Damage is a ValueError, which callers tell of in their own words. What is
no regular file is not opened at all: whoever opens a FIFO waits for its writer, perhaps for ever. And no array takes
much more memory than its file takes on the disk, whatever that says that it holds.
"""

from __future__ import annotations

import errno
import json
import lzma
import math
import os
import stat
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal, NamedTuple

import numpy as np

from jomold_dist.errors import UnreadableError

ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
"""What says that there is no such file. Of these alone a caller knows that there is nothing to be lost."""

ZIP = b"PK"  # how every .npz begins
DAMAGE = (
    EOFError, RuntimeError, SyntaxError, TypeError, ValueError,
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, tokenize.TokenError,
)  # fmt: skip
"""What zipfile and numpy make of a changed byte."""

MOST_JSON = 64 << 20  # bytes of a JSON file; the largest that a run writes has a few megabytes
PIECE = 1 << 20  # bytes of an array that are read at once
ROOM = 64 << 20  # what the arrays of an archive may take beyond its file: what the package writes is not compressed

_KINDS = {stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Tells of a file or folder that the system does not hand out as an UnreadableError; those of ABSENT stay."""
    try:
        yield
    except ABSENT:
        raise
    except OSError as error:
        raise UnreadableError(
            f"{path} cannot be read: {error.strerror or error}. It may be good, so it stays as it is; make it "
            "readable, or move it away to do without it"
        ) from None


def is_there(path: Path) -> bool:
    """Whether there is a file or folder. UnreadableError where that is not to be found out, of which `Path.exists`
    makes a no in some versions of Python and an error of its own in others."""
    return _mode(path) is not None


def is_folder(path: Path) -> bool:
    """Whether there is a folder. UnreadableError as in `is_there`."""
    mode = _mode(path)
    return mode is not None and stat.S_ISDIR(mode)


def _mode(path: Path) -> int | None:
    """What kind of thing is there, or None."""
    with reading(path):
        try:
            return path.stat().st_mode
        except ABSENT:
            return None


def read_json(path: Path) -> Any:
    """A JSON file's content. UnreadableError; ValueError for damage; those of ABSENT."""
    with reading(path), regular_file(path).open("rb") as file:
        content = file.read(MOST_JSON + 1)
    if len(content) > MOST_JSON:
        raise ValueError(f"it has more than {MOST_JSON} bytes")
    return parse_json(content)


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text that may be anybody's. ValueError, whatever is wrong with it."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_arrays(file: Path | BinaryIO) -> dict[str, np.ndarray]:
    """The arrays of an .npz by name. UnreadableError; ValueError for damage; those of ABSENT."""
    if isinstance(file, Path):
        with reading(file), regular_file(file).open("rb") as opened:
            return read_arrays(opened)
    try:
        if file.read(len(ZIP)) != ZIP:
            raise ValueError("it is no archive of arrays")
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            room = file.seek(0, os.SEEK_END) + ROOM - sum(member.file_size for member in members)
            if room < 0:
                raise ValueError(f"its arrays would take {-room} bytes more than any that are written")
            return {member.filename.removesuffix(".npy"): _array(archive, member) for member in members}
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # of bz2, and of a member that lies before the file
            raise
        raise ValueError(f"{error}") from None
    except DAMAGE as error:
        raise ValueError(f"{error}" or type(error).__name__) from None


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """An array of an archive. What its header says must be what follows: memory is taken for it before it is read."""
    with archive.open(member) as stream:
        header = read_npy_header(stream)
        if header.dtype.hasobject:
            raise ValueError(f"{member.filename} holds objects, which are not read")
        size = math.prod(header.shape) * header.dtype.itemsize
        if size > member.file_size:
            raise ValueError(f"{member.filename} holds less than {header.dtype} of shape {header.shape}")
        content = np.empty(size, dtype=np.uint8)
        pieces = (content[at : at + PIECE].data for at in range(0, size, PIECE))
        done = sum(stream.readinto(piece) for piece in pieces)  # type: ignore[attr-defined]
        if done != size or stream.read(1):  # at its end its checksum is compared
            raise ValueError(f"{member.filename} holds other than {header.dtype} of shape {header.shape}")
    order: Literal["F", "C"] = "F" if header.fortran else "C"
    return content.view(header.dtype).reshape(header.shape, order=order)


class NpyHeader(NamedTuple):
    """What the beginning of an .npy says."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]


def read_npy_header(stream: IO[bytes]) -> NpyHeader:
    """Reads the header of an .npy, up to its array. One of DAMAGE if it is none."""
    version = np.lib.format.read_magic(stream)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"it is of version {version} of .npy")
    header = NpyHeader(*read(stream))
    if any(size < 0 for size in header.shape):
        raise ValueError(f"it is of shape {header.shape}")
    return header


def regular_file(path: Path) -> Path:
    """The path of a file, or of a link to one, as it is. OSError, whose `strerror` says what is wrong, if it is missing
    or cannot be reached, or if it is a folder, a FIFO or a device."""
    kind = stat.S_IFMT(os.stat(path).st_mode)
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, "it is a folder, not a file", str(path))
    if kind != stat.S_IFREG:
        raise OSError(errno.EINVAL, f"it is {_KINDS.get(kind, 'something else')}, not a regular file", str(path))
    return path


def folder_problem(path: Path) -> str | None:
    """Why nothing can be read from a folder: that it "does not exist", "is not a folder", or what the system says."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return "does not exist"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None if stat.S_ISDIR(mode) else "is not a folder"
