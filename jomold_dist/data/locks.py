"""Locks between processes: files that the kernel unlocks when their holder ends, however it ends."""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jomold_dist.data.remote import ClosedError

WAIT_SECONDS = 0.05  # between two looks at a lock


@contextmanager
def locked(path: Path, closing: threading.Event | None = None) -> Iterator[None]:
    """Holds a lock that other processes and threads wait for. ClosedError if `closing` is set while this one waits."""
    with path.open("a") as file:
        while closing is not None:  # another process may hold it for as long as a shard takes to come
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if closing.wait(WAIT_SECONDS):
                    raise ClosedError from None
        else:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
