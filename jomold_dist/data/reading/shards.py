"""Reading records out of shards. Nothing is read that the manifest does not confirm."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType

import numpy as np

from jomold_dist.data.format.damage import BadVideo, DamagedError, unreadable
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.data.format.records import RecordCheck
from jomold_dist.data.format.video_check import VideoCheck
from jomold_dist.data.reading.source import REMEDY, Place, as_source

MAX_OPEN = 128  # files that a reader keeps open


class ShardReader:
    """Reads records of one split by offset. Thread-safe; opens shards lazily and keeps at most `max_open` open.

    With `mask`, videos that are damaged are told instead of raised, and every video is checked for what can be wrong
    with it; without, the shards' digests are taken to have been checked.
    """

    def __init__(
        self, place: Place, manifest: Manifest, split: str, *, mask: bool = False, max_open: int = MAX_OPEN
    ) -> None:
        self._source, self._mask = as_source(place), mask
        self._info = manifest.split(split)
        self._layout, self._videos = RecordCheck(manifest, self._info), VideoCheck(manifest, self._info)
        self.record_bytes = self._info.record.bytes
        self._max_open = max_open
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._files: OrderedDict[int, int] = OrderedDict()  # shard -> file descriptor, least recently used first
        self._users: dict[int, int] = {}  # shard -> reads that are under way

    def __enter__(self) -> ShardReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def stop(self) -> None:
        """Ends reads that wait for a shard to come, with ClosedError."""
        self._closing.set()

    def close(self) -> None:
        """Closes all files. No read may be under way."""
        with self._lock:
            while self._files:
                os.close(self._files.popitem()[1])

    def read_into(self, shard: int, first: int, records: np.ndarray) -> dict[int, BadVideo]:
        """Fills `records` uint8 (count, record.bytes), C-contiguous, with a shard's videos from `first` on. Returns, by
        row, those that cannot be used; their rows hold anything.

        DataError if the shard cannot be had or read, whatever lies in it; without `mask` also (DamagedError) if it is
        missing, has another size than the manifest says, or holds something else at this place.
        """
        info = self._info.shards[shard]
        path = self._source.path_of(info.name)
        if not 0 <= first <= first + len(records) <= info.videos:
            raise IndexError(f"videos {first}..{first + len(records)} of {info.name}, which holds {info.videos}")
        if not len(records):
            return {}
        whole, problem = self._fill(shard, first, records)
        if problem and not self._mask:
            raise DamagedError(problem)
        if self._mask:
            problems = dict.fromkeys(range(whole, len(records)), problem) | self._videos.problems(records[:whole])
            found = {}
            for row, why in problems.items():
                key = self._videos.key(records[row]) if row < whole else ""  # nothing was read there
                found[row] = BadVideo(self._info.name, info.name, first + row, key, why)
            return found
        good = self._layout.good(records)
        if not good.all():
            raise DamagedError(
                f"shard {path} is altered: video {first + int(good.argmin())} of it does not lie "
                f"where the manifest says; {REMEDY}"
            )
        if (bad := self._videos.bad_keys(records)).any():
            raise DamagedError(
                f"shard {path}: the key of video {first + int(bad.argmax())} holds a "
                f"character that a key may not hold; {REMEDY}"
            )
        return {}

    def _fill(self, shard: int, first: int, records: np.ndarray) -> tuple[int, str]:
        """Reads until all is read or damage is in the way: how many records are whole, and what it was."""
        source, info = self._source.locate(self._info.shards[shard])
        size, path = self._info.record.bytes, source.path_of(info.name)
        target = memoryview(records.reshape(-1))  # type: ignore[arg-type]
        at, done = first * size, 0
        try:
            with self._opened(shard) as file:
                while done < len(target):
                    got = os.preadv(file, [target[done:]], at + done)
                    if not got:
                        return done // size, (
                            f"shard {path} ends at byte {os.fstat(file).st_size}, "
                            f"the manifest says {info.bytes} bytes; {REMEDY}"
                        )
                    done += got
        except OSError as error:
            kept = f", as kept in {source.local_folder()}" if source.is_remote else ""
            raise unreadable(f"shard {path}{kept}", error) from None
        except DamagedError as error:
            return 0, str(error)
        return len(records), ""

    @contextmanager
    def _opened(self, shard: int) -> Iterator[int]:
        """The shard's file descriptor, which stays open at least until the block ends."""
        source, info = self._source.locate(self._info.shards[shard])
        with self._lock:
            there = shard in self._files
        # Not under the lock: a shard may have to come from far away, and others can be read meanwhile.
        opened = None if there else source.open(info, self._closing, self._mask)
        with self._lock:
            if shard not in self._files:
                if opened is None:  # closed again since the first look
                    opened = source.open(info, self._closing, self._mask)
                self._files[shard], opened = opened, None
            if opened is not None:  # another thread was quicker
                os.close(opened)
            self._files.move_to_end(shard)
            self._users[shard] = self._users.get(shard, 0) + 1
            file = self._files[shard]
        if source.is_remote:
            with suppress(OSError):  # a cache that others own may be read only
                os.utime(file)  # shards that are being read are the last to leave the cache
        try:
            yield file
        finally:
            with self._lock:
                self._users[shard] -= 1
                if not self._users[shard]:
                    del self._users[shard]
                idle = [s for s in self._files if s not in self._users]
                out = idle[: max(0, len(self._files) - self._max_open)]
                if not there:  # others may have left the cache for this one: let their space go too
                    out += [s for s in idle[len(out) :] if not os.fstat(self._files[s]).st_nlink]
                for old in out:
                    os.close(self._files.pop(old))
