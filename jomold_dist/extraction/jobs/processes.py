"""Files that go through several processes at once: a file in one of them, or, where this process has the GPU, only its
decoding.

A file at which a process ends (a decoder's crash, no memory) is tried once more, alone, before it is given up.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache, partial
from multiprocessing import get_context, resource_tracker
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from jomold_dist.child_processes import Inherited, as_it_starts, leave_with_first
from jomold_dist.extraction.encoding.encoders import Encoder
from jomold_dist.extraction.jobs.job import (
    ENDED,
    Extracted,
    Media,
    Need,
    Opening,
    Outcome,
    encode_media,
    extract_file,
    features_of,
    need_of,
    outcome_of,
    problem_text,
    read_media,
)
from jomold_dist.extraction.media.media_notes import MediaNote
from jomold_dist.wording import number_of

AHEAD = 2  # files given out for each process

Files = Mapping[str, Path]


class LocalExtraction:
    """The extraction on this machine, by so many processes. A context manager.

    One process does it all by itself; several on a CPU do a file each; with a GPU they decode, and this one encodes.
    UserError where the encoders cannot be opened.
    """

    def __init__(self, opening: Opening, jobs: int) -> None:
        self._opening, self._jobs = opening, jobs
        self._encoders = opening.open()
        self.features = features_of(opening, self._encoders)
        self._processes: Processes | None = None

    def __enter__(self) -> LocalExtraction:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._processes is not None:
            self._processes.close()

    def workers(self, files: int) -> str:
        """By how many processes so many files go through, for people."""
        return number_of(max(1, min(self._jobs, files)), "process", "es")

    def outcomes(self, files: Files) -> Generator[Outcome]:
        """What came of each file, in the order in which they are done."""
        jobs = min(self._jobs, len(files))
        if jobs <= 1:
            for key, path in files.items():
                extract = partial(extract_file, path, self._encoders, self._opening.sampling)
                yield outcome_of(key, path, extract)
            return
        self._processes = Processes(jobs)
        if self._opening.on_gpu:
            yield from self._encoded(self._processes, files)
            return
        self._encoders = {}  # each process has its own
        opening = self._opening.known_by(self.features)
        for key, outcome in self._processes.each(_extract, files, opening):
            yield Outcome(key, problem=ENDED) if outcome is None else outcome

    def _encoded(self, processes: Processes, files: Files) -> Generator[Outcome]:
        """What this process makes of what others have decoded."""
        sampling = self._opening.sampling
        needs = tuple(dict.fromkeys(need_of(encoder, sampling) for encoder in self._encoders.values()))
        for key, read in processes.each(_read, files, needs):
            if isinstance(read, Outcome):
                yield read
            elif read is None:
                yield Outcome(key, problem=ENDED)
            else:
                yield outcome_of(key, files[key], partial(self._encode, *read))

    def _encode(self, media: Media, notes: tuple[MediaNote, ...]) -> Extracted:
        return Extracted(encode_media(media, self._encoders, self._opening.sampling), notes)


@lru_cache(maxsize=1)
def _opened(opening: Opening) -> dict[str, Encoder]:
    return opening.open()


def _extract(opening: Opening, key: str, path: Path) -> Outcome:
    encoders = _opened(opening)
    return outcome_of(key, path, lambda: extract_file(path, encoders, opening.sampling))


def _read(needs: tuple[Need, ...], key: str, path: Path) -> tuple[Media, tuple[MediaNote, ...]] | Outcome:
    try:
        return read_media(path, needs)
    except Exception as error:  # as in `outcome_of`
        return Outcome(key, problem=problem_text(path, error))


class Processes:
    """So many processes, which are started when there is something to do."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._pool: ProcessPoolExecutor | None = None
        self._pipe: tuple[int, int] | None = None

    def close(self) -> None:
        """Ends the processes, whatever they are doing."""
        if self._pool is None or self._pipe is None:
            return
        os.close(self._pipe[1])
        self._pool.shutdown(cancel_futures=True)
        os.close(self._pipe[0])
        self._pool = self._pipe = None

    def each(self, work: Callable[[Any, str, Path], Any], files: Files, given: Any) -> Iterator[tuple[str, Any]]:
        """Each key with what `work` makes of `given`, the key and its file, in the order in which they are done; with
        None if the process ended at it. What `work` raises is raised here."""
        left, suspects = deque(files), deque[str]()
        waiting: dict[Future[Any], str] = {}
        while left or suspects or waiting:
            alone = not left and not waiting  # then those at which a process may have ended, one by one
            queue, most = (suspects, 1) if alone else (left, AHEAD * self._count)
            try:
                while queue and len(waiting) < most:
                    waiting[self._submit(work, given, queue[0], files[queue[0]])] = queue[0]
                    queue.popleft()
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    result = future.result()
                    yield waiting.pop(future), result
            except BrokenProcessPool:
                broken = list(waiting.values())
                waiting.clear()
                self.close()
                if alone:
                    yield from ((key, None) for key in broken)
                else:
                    suspects.extend(broken)

    def _submit(self, work: Callable[[Any, str, Path], Any], given: Any, key: str, path: Path) -> Future[Any]:
        if self._pool is None:
            resource_tracker.ensure_running()  # which would let signals through that are held back below
            self._pipe = os.pipe()
            self._pool = ProcessPoolExecutor(
                self._count,
                get_context("spawn"),
                initializer=cast(Callable[[int], object], leave_with_first),
                initargs=cast(tuple[int], (Inherited(self._pipe[0]),)),
            )
        with as_it_starts():
            return self._pool.submit(work, given, key, path)
