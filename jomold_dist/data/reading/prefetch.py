"""Fetching the shards that will be needed next while others are read."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

import numpy as np

from jomold_dist.data.format.manifest import ShardInfo
from jomold_dist.data.reading.remote import ClosedError
from jomold_dist.data.reading.source import Source
from jomold_dist.errors import DataError

logger = logging.getLogger(__name__)


PARALLEL = 4  # transfers of a rank at once


class Prefetcher:
    """Threads that keep `ahead` shards fetched beyond those that are needed up to the position last reached.

    `order` int64 (n,) are indices into `shards`, `needs` int64 (n,) the positions of the epoch at which each is first
    needed, ascending. A fetch that fails is left to whoever needs the shard.
    """

    def __init__(
        self, source: Source, shards: Sequence[ShardInfo], needs: np.ndarray, order: np.ndarray, ahead: int, name: str
    ) -> None:
        self._source, self._shards, self._needs, self._order, self._ahead = source, shards, needs, order, ahead
        self._next, self._allowed = 0, 0
        self._moved = threading.Condition()
        self._closing = threading.Event()
        threads = range(min(PARALLEL, len(order)))
        self._threads = [threading.Thread(target=self._run, name=f"{name}-{n}", daemon=True) for n in threads]
        for thread in self._threads:
            thread.start()

    def reached(self, position: int) -> None:
        """The consumer is about to need this position of the epoch."""
        with self._moved:
            self._allowed = int(np.searchsorted(self._needs, position, side="right")) + self._ahead
            self._moved.notify_all()

    def close(self) -> None:
        """Ends and joins the threads, also in the middle of a transfer."""
        self._closing.set()
        with self._moved:
            self._moved.notify_all()
        for thread in self._threads:
            thread.join()

    def _take(self) -> int | None:
        """The next shard to fetch, once it may be; None at the end."""
        with self._moved:
            self._moved.wait_for(lambda: self._closing.is_set() or self._next < min(self._allowed, len(self._order)))
            if self._closing.is_set():
                return None
            self._next += 1
            return int(self._order[self._next - 1])

    def _run(self) -> None:
        while (shard := self._take()) is not None:
            try:
                self._source.fetch(self._shards[shard], self._closing)
            except ClosedError:
                return
            except DataError as error:
                logger.debug("fetched ahead of need: %s", error)
