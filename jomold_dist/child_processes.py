"""Processes that this one starts to share its work, and that end with it, however it ends.

They are started by spawn: a fork would take locks along that threads hold. Each waits on a pipe whose other end only
the first process has, and leaves when that is closed.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import reduction
from typing import Any

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")  # of which each process shall have one


@contextmanager
def as_it_starts() -> Iterator[None]:
    """What a process that is started in the block inherits: signals that come from the terminal or a scheduler are for
    the first process alone, and arithmetic takes one thread."""
    before = {name: os.environ.get(name) for name in THREADS}
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        os.environ.update(dict.fromkeys(THREADS, "1"))
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


class Inherited:
    """A descriptor that a process which is started with it has too: there, it arrives as a number."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __reduce__(self) -> Any:
        return _received, (reduction.DupFd(self._descriptor),)


def _received(descriptor: Any) -> int:
    return int(descriptor.detach())


def leave_with_first(pipe: int) -> None:
    """To be called by a process at its start: it ends at once when the pipe's other end is closed."""
    threading.Thread(target=_wait, args=(pipe,), name="first process", daemon=True).start()


def _wait(pipe: int) -> None:
    os.read(pipe, 1)
    os._exit(1)
