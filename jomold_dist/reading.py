"""Reading files, where what cannot be read is one thing, and what is read and found wrong another.

A permission, an I/O error or a stale handle says nothing about a file: it is an UnreadableError, and nobody may call
the file damaged, write it anew or remove it. Damage is a ValueError, which callers tell of in their own words. What is
no regular file is not opened at all: whoever opens a FIFO waits for its writer, perhaps for ever.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from jomold_dist.errors import UnreadableError

ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
"""What says that there is no such file. Of these alone a caller knows that there is nothing to be lost."""

ZIP = b"PK"  # how every .npz begins
DAMAGE = (
    EOFError, RuntimeError, SyntaxError, TypeError, ValueError,
    zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError,
)  # fmt: skip
"""What zipfile and numpy make of a changed byte."""

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
    with reading(path):
        content = regular_file(path).read_bytes()
    try:
        return json.loads(content)
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
        file.seek(0)
        with np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    except DAMAGE as error:
        raise ValueError(f"{error}" or type(error).__name__) from None


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
