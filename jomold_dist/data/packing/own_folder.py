"""Folders that are this user's alone, at places that others may write: a data set on a scratch disk for everybody.

Whoever else can write in such a folder, or has made it, leads what is written and removed there elsewhere, by links.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from jomold_dist.errors import DataError

_REMEDY = "have it removed, or choose another --out"


OWN = 0o700  # the mode of one


def check_own_folder(folder: Path, *inside: str) -> None:
    """DataError if the folder, or one of these names inside it, is a link, another user's, or open for everybody to
    write; nothing if it is not there. OSError if that cannot be seen."""
    for path in (folder, *(folder / name for name in inside)):
        try:
            found = path.lstat()
        except FileNotFoundError:
            continue
        if stat.S_ISLNK(found.st_mode):
            raise DataError(f"{path} is a link, and a data set is packed in a folder of its own; remove it")
        if found.st_uid != os.geteuid():
            raise DataError(f"{path} is another user's, and a data set is packed in a folder of one's own; {_REMEDY}")
        if found.st_mode & stat.S_IWOTH:
            raise DataError(f"everybody may write in {path}, where a data set is packed; {_REMEDY}")
