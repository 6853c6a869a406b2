"""Fetching the shards that will be needed next while others are read."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from functools import partial

import numpy as np

from jomold_dist.data.manifest import ShardInfo
from jomold_dist.data.remote import ClosedError
from jomold_dist.data.source import Source
from jomold_dist.errors import DataError

logger = logging.getLogger(__name__)


class Prefetcher:
    """A thread that keeps `ahead` shards fetched beyond those that are needed up to the position last reached.

    `order` int64 (n,) are indices into `shards`, `needs` int64 (n,) the positions of the epoch at which each is first
    needed, ascending. A fetch that fails is left to whoever needs the shard.
    """

    def __init__(
        self, source: Source, shards: Sequence[ShardInfo], needs: np.ndarray, order: np.ndarray, ahead: int, name: str
    ) -> None:
        self._source, self._shards, self._needs, self._order, self._ahead = source, shards, needs, order, ahead
        self._allowed = 0
        self._moved = threading.Condition()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def reached(self, position: int) -> None:
        """The consumer is about to need this position of the epoch."""
        with self._moved:
            self._allowed = int(np.searchsorted(self._needs, position, side="right")) + self._ahead
            self._moved.notify()

    def close(self) -> None:
        """Ends and joins the thread, also in the middle of a transfer."""
        self._closing.set()
        with self._moved:
            self._moved.notify()
        self._thread.join()

    def _may_begin(self, number: int) -> bool:
        return self._closing.is_set() or number < self._allowed

    def _run(self) -> None:
        for number, shard in enumerate(self._order.tolist()):
            with self._moved:
                self._moved.wait_for(partial(self._may_begin, number))
            if self._closing.is_set():
                return
            try:
                self._source.fetch(self._shards[shard], self._closing)
            except ClosedError:
                return
            except DataError as error:
                logger.debug("fetched ahead of need: %s", error)
