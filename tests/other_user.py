"""Acting as another user of this machine, where the tests run as root."""

from __future__ import annotations

import os
import pickle
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

T = TypeVar("T")

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def as_nobody(function: Callable[[], T]) -> T:
    """What the function gives, or raises, in a process of a user whom permission bits bind: root reads and writes
    everything. No other thread may run."""
    if os.geteuid() != 0:
        return function()
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            os.umask(0o022)
            result = (True, function())
        except BaseException as error:
            result = (False, error)
        with os.fdopen(writing, "wb") as file:
            pickle.dump(result, file)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        good, value = pickle.load(file)
    os.waitpid(child, 0)
    if good:
        return value
    raise value


@contextmanager
def common_folder(mode: int = 0o755) -> Iterator[Path]:
    """A folder of this user's that others can reach, which those of pytest are not."""
    before = os.umask(0o022)
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(mode)
        yield folder
    finally:
        os.umask(before)
        shutil.rmtree(folder)
