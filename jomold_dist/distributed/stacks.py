"""The stacks of a rank's threads, for whoever wants to know why it hangs: on SIGUSR1, after a crash, when nothing has
moved for long, and when other ranks are lost.

faulthandler writes those of signals and crashes without Python's lock, so also where a library holds it. Until a run's
folder is this run's own they go to stderr; `StackWriter` then sends them there. Nothing in here ends a run or holds it
up: a thread does all that touches the disk.
"""

from __future__ import annotations

import faulthandler
import logging
import math
import os
import queue
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from jomold_dist.times import now_iso

logger = logging.getLogger(__name__)

STACKS = "stacks"  # of a run's folder
SIGNAL = signal.SIGUSR1
LOOK_SECONDS = 1.0
LEAVE_SECONDS = 5.0  # how long leaving waits for the disk
SHARE_OF_PATIENCE = 0.5  # after this share of the ranks' time-out without a move, stacks are written
MOST_STALLS = 20  # of one start: each takes some ten kilobytes
STDERR = 2


def answer_signals() -> None:
    """From here to the end of the process, SIGUSR1 writes the stacks of all threads to stderr and changes nothing else,
    and so does a signal that ends the process, such as SIGSEGV, before it does."""
    _send_to(STDERR)


def _send_to(file: int) -> None:
    faulthandler.register(SIGNAL, file=file, all_threads=True)
    faulthandler.enable(file=file, all_threads=True)


def keep_nccl_traces(folder: Path, variables: MutableMapping[str, str]) -> None:
    """Have NCCL's flight recorder, which knows the last collectives of each rank, leave them in `folder` as
    `nccl-rank-N` when they fail or run out of time. Before the process group is made; where the user has set one of the
    `variables` of the environment, it stays."""
    for names, value in (
        (("TORCH_FR_BUFFER_SIZE", "TORCH_NCCL_TRACE_BUFFER_SIZE"), "2000"),
        (("TORCH_NCCL_DUMP_ON_TIMEOUT",), "1"),
        (("TORCH_FR_DUMP_TEMP_FILE", "TORCH_NCCL_DEBUG_INFO_TEMP_FILE"), f"{folder.absolute()}/nccl-rank-"),
    ):
        if not any(name in variables for name in names):  # the later one is its older name
            variables[names[0]] = value


class StackWriter:
    """While the context is open, this rank's stacks go to `rank-N.txt` in `folder`, which a run without trouble leaves
    as it was.

    `where` tells where this rank's main thread is: `train, model 3/25: step 17 of 40`. If it tells the same for half
    of `patience_seconds`, after which ranks give each other up (None: nobody waits for this rank), stacks are written,
    once. A folder that cannot be used is told of, and stderr it stays.
    """

    def __init__(
        self, folder: Path, rank: int, size: int, patience_seconds: float | None, where: Callable[[], str]
    ) -> None:
        self.path = folder / f"rank-{rank}.txt"
        self._rank, self._size = rank, size
        self._patience = math.inf if patience_seconds is None else SHARE_OF_PATIENCE * patience_seconds
        self._where = where
        self._reasons: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._refused = False
        self._thread = threading.Thread(target=self._run, name="stacks", daemon=True)

    def __enter__(self) -> StackWriter:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reasons.put(None)
        self._thread.join(LEAVE_SECONDS)

    def write(self, why: str) -> Path | None:
        """Have the stacks written, with the reason above them. Returns at once: the file, unless it cannot be used."""
        self._reasons.put(why)
        return None if self._refused else self.path

    def _run(self) -> None:
        """The thread."""
        try:
            with _opened(self.path, self._heading()) as file:
                self._watch(file)
        except OSError as error:
            self._refused = True
            logger.info("stacks go to stderr, as %s cannot be written: %s", self.path, error.strerror or error)

    def _watch(self, file: int) -> None:
        at, idle, stalls, last = "", 0.0, 0, time.monotonic()
        written = os.fstat(file).st_size
        while True:
            try:
                reason = self._reasons.get(timeout=LOOK_SECONDS)
                if reason is None:
                    return
            except queue.Empty:
                reason = ""
            now = time.monotonic()
            idle += min(now - last, 2 * LOOK_SECONDS)  # a process that was stopped itself has not waited
            last = now
            if at != (at := self._where()):
                idle = 0.0
            if os.fstat(file).st_size > written:
                _write(file, f"^ asked for by {SIGNAL.name} at {now_iso()} [{at}]\n")
            if idle > self._patience and stalls < MOST_STALLS:
                reason, idle, stalls = f"nothing has moved for {self._patience:g} s", -math.inf, stalls + 1
                logger.warning("%s [%s]: the stacks of this rank are in %s", reason, at, self.path)
            if reason:
                _write(file, f"\n{now_iso()} [{at}] {reason}\nThreads: {_thread_names()}\n")
                faulthandler.dump_traceback(file, all_threads=True)
            written = os.fstat(file).st_size

    def _heading(self) -> str:
        where = f"rank {self._rank} of {self._size}, host {socket.gethostname()}, pid {os.getpid()}"
        return f"\n==== {where}, started {now_iso()}\n"


@contextmanager
def _opened(path: Path, heading: str) -> Iterator[int]:
    """The file's descriptor, to which stacks go meanwhile. A file that nothing but the heading was added to is left as
    it was before. Its folder goes if nothing is in it, and so does the run's own, which is empty where the run lies on
    another machine's disk, with what was made above it. OSError."""
    made = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        before = os.fstat(file).st_size
        _write(file, heading)
        headed = os.fstat(file).st_size
        _send_to(file)
        try:
            yield file
        finally:
            _send_to(STDERR)
        if os.fstat(file).st_size == headed:
            os.ftruncate(file, before)
            if not before:
                path.unlink()
    finally:
        os.close(file)
        with suppress(OSError):  # others' stacks are in it
            for folder in dict.fromkeys((path.parent, path.parent.parent, *made)):
                folder.rmdir()


def _write(file: int, text: str) -> None:
    os.write(file, text.encode(errors="backslashreplace"))


def _thread_names() -> str:
    return ", ".join(f"0x{thread.ident or 0:016x} {thread.name}" for thread in threading.enumerate())
