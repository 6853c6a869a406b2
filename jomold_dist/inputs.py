"""What may be read as input: regular files, and folders that are there. Whoever opens a FIFO waits for its writer,
perhaps for ever.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

_KINDS = {stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


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
