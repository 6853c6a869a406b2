"""Processes among which the shards of a split are divided. They end with the one that started them, however it ends.

Each holds the workplace's lock, so that nobody else begins there before the last has left.
"""

from __future__ import annotations

import mmap
import os
import pickle
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context, resource_tracker
from tempfile import TemporaryFile, gettempdir
from types import TracebackType
from typing import IO, cast

from jomold_dist.child_processes import Inherited, as_it_starts, leave_with_first
from jomold_dist.data.packing.shard_jobs import ShardJob, ShardResult, SplitJobs
from jomold_dist.errors import DataError, UserError

PAYS_SECONDS = 5.0  # of work ahead, for which processes that take half a second or more each to start are worth it
PAYS_BYTES = 400 << 20  # to write, which no process does in less than those seconds
AHEAD = 2  # jobs given out for each process
ALIGNED = 64  # arrays that are shared begin at multiples of it

Outcome = ShardResult | UserError


def do_here(work: SplitJobs, jobs: Iterable[ShardJob]) -> Iterator[tuple[ShardJob, Outcome]]:
    """Each job with what came of it, one after the other in this process. An error of the user's is an outcome."""
    for job in jobs:
        try:
            yield job, work.do(job)
        except UserError as error:
            yield job, error


class Workers:
    """Up to `count` processes, which are started when there is enough to do. They inherit the descriptor `lock`.

    A context manager. Left by an exception, it ends them at once, whatever they are doing.
    """

    def __init__(self, count: int, lock: int) -> None:
        self._count, self._lock = count, lock
        self._pool: ProcessPoolExecutor | None = None
        self._pipe: tuple[int, int] | None = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(at_once=error is not None)

    def close(self, *, at_once: bool) -> None:
        """Ends the processes: at once, or when they have done what they were given."""
        if self._pool is None or self._pipe is None:
            return
        if not at_once:
            self._pool.shutdown()
        os.close(self._pipe[1])
        self._pool.shutdown(cancel_futures=True)
        os.close(self._pipe[0])
        self._pool = self._pipe = None

    def each(self, work: SplitJobs, jobs: Iterable[ShardJob]) -> Iterator[tuple[ShardJob, Outcome]]:
        """Each job with what came of it, in the order in which they end. An error of the user's is an outcome.

        DataError if `work` cannot be given to other processes, or if one of them is killed.
        """
        left = deque(jobs)
        if self._count == 1:
            yield from do_here(work, left)
            return
        pickled, arrays = _pickled(work)
        much = work.form.layout.bytes * sum(job.videos for job in left if job.known is None) > PAYS_BYTES
        seconds = 0.0  # that the last job has taken
        while left and self._pool is None and not much and seconds * len(left) < PAYS_SECONDS:
            begun = time.monotonic()
            yield from do_here(work, [left.popleft()])
            seconds = time.monotonic() - begun
        if left:
            yield from self._divided(pickled, arrays, left)

    def _divided(
        self, pickled: bytes, arrays: list[pickle.PickleBuffer], left: deque[ShardJob]
    ) -> Iterator[tuple[ShardJob, Outcome]]:
        """What `each` does, by the processes. The work lies in a file without a name, which nobody else can write."""
        with TemporaryFile() as file:
            try:
                work = _written(file, pickled, arrays)
            except OSError as error:
                raise DataError(
                    f"cannot hand the videos to other processes by a file in {gettempdir()}: {error.strerror}; free "
                    "some space there, set TMPDIR to another folder, or pack with --jobs 1"
                ) from None
            waiting: dict[Future[ShardResult], ShardJob] = {}
            try:
                while left or waiting:
                    while left and len(waiting) < AHEAD * self._count:
                        job = left.popleft()
                        waiting[self._submit(work, job)] = job
                    for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                        yield waiting.pop(future), _outcome(future)
            except BrokenProcessPool:
                self.close(at_once=True)
                raise DataError(
                    "a process that was packing has ended before its work was done (killed for want of memory?); start "
                    "again with fewer --jobs. A script that packs with jobs above 1 begins below `if __name__ == "
                    '"__main__":`, as every process imports it'
                ) from None
            finally:
                if waiting:
                    self.close(at_once=True)

    def _submit(self, work: _SharedWork, job: ShardJob) -> Future[ShardResult]:
        if self._pool is None:
            resource_tracker.ensure_running()  # which would let signals through that are held back below
            self._pipe = os.pipe()
            self._pool = ProcessPoolExecutor(
                self._count,
                get_context("spawn"),
                initializer=cast(Callable[[int, int], object], _begin),
                initargs=cast(tuple[int, int], (Inherited(self._pipe[0]), Inherited(self._lock))),
            )
        with as_it_starts():
            return self._pool.submit(_do, work, job)


def _outcome(future: Future[ShardResult]) -> Outcome:
    try:
        return future.result()
    except UserError as error:
        return error


@dataclass(frozen=True)
class _SharedWork:
    """An open file of a process, and the places in it of a pickle and its arrays."""

    process: int
    descriptor: int
    number: int
    places: tuple[tuple[int, int], ...]


def _pickled(work: SplitJobs) -> tuple[bytes, list[pickle.PickleBuffer]]:
    arrays: list[pickle.PickleBuffer] = []
    try:
        return pickle.dumps(work, protocol=5, buffer_callback=arrays.append), arrays
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise DataError(
            f"these videos cannot be given to other processes ({error}); have them of a class that a module defines, "
            "and that pickle can write, or pack with jobs=1"
        ) from None


def _written(file: IO[bytes], pickled: bytes, arrays: list[pickle.PickleBuffer]) -> _SharedWork:
    places = []
    for part in (memoryview(pickled), *(array.raw() for array in arrays)):
        first = -(-file.tell() // ALIGNED) * ALIGNED
        file.seek(first)
        file.write(part)
        places.append((first, len(part)))
    file.flush()
    return _SharedWork(os.getpid(), file.fileno(), time.monotonic_ns(), tuple(places))


def _begin(pipe: int, lock: int) -> None:
    """A process of Workers, at its start. It does nothing with the lock but to hold it."""
    leave_with_first(pipe)


@lru_cache(maxsize=1)
def _loaded(shared: _SharedWork) -> SplitJobs:
    with open(f"/proc/{shared.process}/fd/{shared.descriptor}", "rb") as file:
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    pickled, *arrays = (content[first : first + size] for first, size in shared.places)
    try:
        work: SplitJobs = pickle.loads(pickled, buffers=arrays)
    except (ImportError, AttributeError) as error:
        raise DataError(
            f"these videos cannot be had in another process ({error}); have them of a class that a module defines, or "
            "pack with jobs=1"
        ) from None
    return work


def _do(shared: _SharedWork, job: ShardJob) -> ShardResult:
    return _loaded(shared).do(job)
