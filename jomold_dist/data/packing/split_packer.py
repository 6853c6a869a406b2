"""The shards of a split, in whatever order they are finished: kept or written, their keys compared with all others."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import count

import numpy as np

from jomold_dist.data.packing.journal import FinishedShard
from jomold_dist.data.packing.key_index import KeyIndex, key_digests
from jomold_dist.data.packing.shard_jobs import ShardJob, ShardResult, SplitJobs
from jomold_dist.data.packing.shard_writer import BadVideosError, ShardFormat, Video, repeated_key
from jomold_dist.data.packing.splits import OnePass, Origin, Videos, shard_name
from jomold_dist.data.packing.workers import Outcome, Workers, do_here
from jomold_dist.data.packing.workplace import Workplace
from jomold_dist.data.reading.remote import Remote
from jomold_dist.errors import DataError

logger = logging.getLogger(__name__)


class SplitPacker:
    """Writes the shards of one split after the other into a workplace, `size` videos a shard, and knows all their keys.

    With `remote`, shards are sent there.
    """

    def __init__(self, workplace: Workplace, workers: Workers, size: int, remote: Remote | None) -> None:
        self._workplace, self._workers, self._size, self._remote = workplace, workers, size, remote
        self.keys = KeyIndex()
        self._sums: dict[str, bytes] = {}  # of the digests of a shard's keys, by its name

    def pack(
        self,
        split: str,
        videos: Videos | Iterable[Video],
        form: ShardFormat,
        origin: Origin | None,
        used_names: Collection[str],
        progress: Callable[[int], object],
    ) -> list[FinishedShard]:
        """All shards of a split in their order, under other names than `used_names`. See
        DatasetWriter.write_split."""
        shards: dict[int, FinishedShard] = {}
        problems: dict[int, tuple[str, ...]] = {}
        for job, work, outcome in self._outcomes(split, videos, form, origin, used_names):
            settled = self._settled(job, work, outcome) if isinstance(outcome, ShardResult) else outcome
            if isinstance(settled, ShardResult):
                shards[job.part.start] = settled.shard
            elif isinstance(settled, BadVideosError):
                problems[job.part.start] = settled.problems
            else:
                raise settled
            progress(settled.shard.videos if isinstance(settled, ShardResult) else job.videos)
        if problems:
            raise BadVideosError(*(problem for first in sorted(problems) for problem in problems[first]))
        if not shards:
            raise DataError(f"split {split!r} has no videos")
        return [shards[first] for first in sorted(shards)]

    def are_keys(self, shards: Iterable[str], sizes: Iterable[int], keys: Sequence[str]) -> bool:
        """Whether these are the keys of shards of these names and sizes, in their order."""
        first = 0
        for name, size in zip(shards, sizes, strict=True):
            if _sum(key_digests(keys[first : first + size])) != self._sums[name]:
                return False
            first += size
        return first == len(keys)

    def _outcomes(
        self,
        split: str,
        videos: Videos | Iterable[Video],
        form: ShardFormat,
        origin: Origin | None,
        used_names: Collection[str],
    ) -> Iterator[tuple[ShardJob, SplitJobs, Outcome]]:
        every = (shard_name(split, number) for number in count(len(used_names)))
        names = (name for name in every if name not in used_names)
        if isinstance(videos, Videos):
            work = SplitJobs(self._workplace.set, form, videos, origin, remote=self._remote)
            parts = (slice(i, min(i + self._size, len(videos))) for i in range(0, len(videos), self._size))
            jobs = [
                ShardJob(name, part, self._workplace.finished.get(name))
                for part, name in zip(parts, names, strict=False)
            ]
            outcomes = self._workers.each(work, jobs)
        else:
            once = OnePass(videos)
            work = SplitJobs(self._workplace.set, form, once, origin, remote=self._remote)
            outcomes = do_here(
                work, (ShardJob(name, part) for part, name in zip(once.parts(self._size), names, strict=False))
            )
        for job, outcome in outcomes:
            yield job, work, outcome

    def _settled(self, job: ShardJob, work: SplitJobs, result: ShardResult) -> ShardResult | BadVideosError:
        """A shard that is there, recorded; or the problem of keys in it that come twice."""
        repeated = self.keys.has(result.digests)
        if repeated.any() and result.kept:  # perhaps its videos have others by now
            try:
                result = work.do(replace(job, known=None))
            except BadVideosError as error:
                return error
            repeated = self.keys.has(result.digests)
        if repeated.any():
            return BadVideosError(*(repeated_key(key.decode()) for key in result.keys[repeated].tolist()))
        self.keys.add(result.digests)
        self._sums[job.name] = _sum(result.digests)
        if result.reason:
            logger.info("%s", result.reason)
        if not result.kept:
            self._workplace.add(result.shard)
        return result


def _sum(digests: np.ndarray) -> bytes:
    return hashlib.blake2b(digests.tobytes(), digest_size=16).digest()
