"""Where results go: files that are whole or as they were before, and whatever else a user names as an output.

Everything that leaves the program as a file is written through `writing`.
"""

from __future__ import annotations

import errno
import glob
import json
import os
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

MOST_LINKS = 40  # as the kernel
LEFTOVER_SECONDS = 86_400.0


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically: the file is whole or as it was before."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically: the file is whole or as it was before."""
    with writing(path) as aside:
        aside.write_text(text, encoding="utf-8")


@contextmanager
def writing(path: Path, *, leftovers: bool = True) -> Iterator[Path]:
    """Yields where to write what `path` is to hold at the end of the block.

    A file appears by one rename, synced, and keeps its permissions if it was there; a link stays, and what it leads to
    is written. What is no regular file (a pipe, a terminal, /dev/null, /dev/stdout wherever that leads) is opened and
    written, never replaced. OSError if that cannot be. Where `leftovers` is False, nobody looks for what killed
    processes have left of the file, which means reading all names of its folder (see `remove_partial_files`).
    """
    if is_stream(path):
        with TemporaryDirectory() as folder:
            aside = Path(folder) / "content"
            yield aside
            with _stream(path) as stream, aside.open("rb") as content:
                shutil.copyfileobj(content, stream)
        return
    target = Path(os.path.realpath(path))
    aside = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
    if leftovers:
        _remove_leftovers(target)
    try:
        yield aside
        sync(aside)
        if target.exists():
            _give_mode(aside, stat.S_IMODE(target.stat().st_mode))
        aside.replace(target)
        sync(target.parent)
    finally:
        aside.unlink(missing_ok=True)


def _remove_leftovers(target: Path) -> None:
    """Removes what killed processes have left of the same file; what is younger may be somebody's work."""
    for leftover in target.parent.glob(f".{glob.escape(target.name)}.*.partial"):
        with suppress(OSError):
            if time.time() - leftover.stat().st_mtime > LEFTOVER_SECONDS:
                leftover.unlink()


def remove_partial_files(folder: Path) -> None:
    """Removes what killed processes have left of any file in a folder where nobody else is writing. OSError."""
    for leftover in folder.glob(".*.partial"):
        leftover.unlink(missing_ok=True)


def check_output(path: Path) -> None:
    """OSError if `writing` cannot write to `path`, as far as that is to be seen beforehand. Nothing is written."""
    if is_stream(path):
        return
    target = Path(os.path.realpath(path, strict=False))
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    target.parent.stat()
    if not target.parent.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(target.parent))
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(target.parent))


def is_stream(path: Path) -> bool:
    """Whether `path` is something to write into rather than a file to put in place: a descriptor of this process such
    as /dev/stdout, or what is there and neither a regular file nor a folder. OSError for links that lead in a circle.
    """
    if _descriptor(path) is not None:
        return True
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def is_stdout(path: Path) -> bool:
    """Whether what is written to `path` goes where `print` goes."""
    return _descriptor(path) == 1


def _descriptor(path: Path) -> int | None:
    """The open descriptor of this process that `path` (/dev/stdout, /dev/fd/3, a link to them) stands for."""
    place = os.path.abspath(path)
    for _ in range(MOST_LINKS):
        folder, name = os.path.split(place)
        if name.isdecimal() and os.path.realpath(folder) == f"/proc/{os.getpid()}/fd":
            return int(name)
        if not os.path.islink(place):
            return None
        place = os.path.join(folder, os.readlink(place))
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


def _stream(path: Path) -> BinaryIO:
    """The stream, opened for writing. A descriptor is written where it stands: a file behind it is not cut off."""
    number = _descriptor(path)
    if number is None:
        return path.open("wb")
    if number == 1:
        sys.stdout.flush()
    return os.fdopen(os.dup(number), "wb")


def give_usual_mode(path: Path) -> None:
    """Give a file that a library has made with a mode of its own the one that a new file has in this folder: what the
    umask or the folder's default ACL says."""
    sample = path.with_name(f".{path.name}.mode")
    sample.unlink(missing_ok=True)
    sample.touch()
    usual = stat.S_IMODE(sample.stat().st_mode)
    sample.unlink()
    _give_mode(path, usual)


def _give_mode(path: Path, mode: int) -> None:
    if stat.S_IMODE(path.stat().st_mode) != mode:  # some file systems have one mode, and refuse to be told it
        path.chmod(mode)


def problem_of(error: OSError) -> str:
    """What happened, and to which file."""
    what = error.strerror or str(error)
    return f"{error.filename}: {what}" if error.filename else what


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's entries, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
