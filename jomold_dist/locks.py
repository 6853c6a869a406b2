"""Locks between processes: files that the kernel unlocks when their holder ends, however it ends.

Several users may share a folder, and whoever may read a lock file can lock it. It says who has locked it last.
"""

from __future__ import annotations

import errno
import fcntl
import math
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

WAIT_SECONDS = 0.05  # between two looks at a lock

_NONE = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # what a file system without locks answers
_NOT_TO_WRITE = (errno.EACCES, errno.EPERM, errno.EROFS)
_REMEDY = "choose a folder on one that has them, or have it mounted with them"
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW  # in a folder that others may write, a link could lead to a file of the user's


class LockHeldError(Exception):
    """Somebody else holds the lock: the message says who, for instance `process 7 on node-1`."""


class NoLocksError(OSError):
    """The lock's file system has no locks."""


@contextmanager
def locked(path: Path, patience: float = math.inf, wait: Callable[[float], object] = time.sleep) -> Iterator[None]:
    """Holds the lock file `path`, which is made, with its folder, where it is not there.

    LockHeldError if another process or thread holds it for longer than `patience` seconds. Until then `wait` is called
    with the seconds between two looks, and may raise to give up. OSError if the lock cannot be had, NoLocksError if
    there are none; then nothing that was made for it stays.
    """
    file = acquire(path, patience, wait)
    try:
        yield
    finally:
        os.close(file)


def acquire(
    path: Path,
    patience: float = math.inf,
    wait: Callable[[float], object] = time.sleep,
    folder_mode: int = 0o777,
) -> int:
    """A descriptor that holds the lock until it is closed; otherwise as `locked`. Where the lock's folder is made, its
    mode is `folder_mode`, less the umask."""
    until = time.monotonic() + patience
    while True:
        missing = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
        path.parent.mkdir(folder_mode, parents=True, exist_ok=True)
        try:
            file, made = _opened(path)
        except FileNotFoundError:
            continue  # a holder has just ended, and removed the folder
        try:
            free = try_lock(file, path)
            if free and _is_still(path, file):
                _sign(file)
                return file
            if not free and time.monotonic() > until:
                raise LockHeldError(_signed(file))
        except BaseException as error:
            os.close(file)
            if isinstance(error, OSError):
                _take_back(missing, path if made else None)
            raise
        os.close(file)
        if not free:
            wait(WAIT_SECONDS)


def is_free(path: Path) -> bool:
    """Whether nobody holds the lock of a file that is there. OSError if it is not, or if that cannot be told."""
    file = _opened_again(path)
    try:
        return try_lock(file, path)
    finally:
        os.close(file)


def try_lock(file: int, path: Path) -> bool:
    """Locks an open file if nobody holds it, and tells whether. OSError as in `locked`, which names the path."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NONE:
            said = f"this file system has no file locks (flock: {error.strerror}); {_REMEDY}"
            raise NoLocksError(error.errno, said, str(path)) from None
        if error.errno == errno.EBADF:  # NFS: a file that may only be read cannot be locked
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path)) from None
        raise OSError(error.errno, error.strerror, str(path)) from None
    return True


def _opened(path: Path) -> tuple[int, bool]:
    """A descriptor of the lock file, and whether it was not there before."""
    try:
        return os.open(path, _FLAGS | os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), True
    except FileExistsError:
        return _opened_again(path), False


def _opened_again(path: Path) -> int:
    try:
        return os.open(path, _FLAGS | os.O_RDWR)
    except OSError as error:
        if error.errno not in _NOT_TO_WRITE:
            raise
    return os.open(path, _FLAGS | os.O_RDONLY)  # it is another user's


def _is_still(path: Path, file: int) -> bool:
    """Whether the open file is the one at the path, and not one that a former holder has removed since."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(file))
    except FileNotFoundError:
        return False


def _sign(file: int) -> None:
    with suppress(OSError):  # for messages only; another user's file may not be written
        os.ftruncate(file, 0)
        os.pwrite(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)


def _signed(file: int) -> str:
    words = os.pread(file, 200, 0).decode(errors="replace").split()
    return " ".join(words) or "another process"


def _take_back(folders: Sequence[Path], lock: Path | None) -> None:
    """Removes what was made: a lock file, and folders from the innermost out."""
    with suppress(OSError):
        if lock is not None:
            lock.unlink()
        for folder in folders:
            folder.rmdir()
