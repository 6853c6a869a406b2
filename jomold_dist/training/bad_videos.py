"""The record of videos that could not be used and were left out of their batches: which, and whether they are too many.

It lives in the run's bad_videos.csv. What is in there stays in there: a run that goes on meets the others again.
"""

from __future__ import annotations

import logging
from collections import Counter

from jomold_dist.data.damage import BadVideo, from_csv, to_csv
from jomold_dist.data.loader import Batch
from jomold_dist.data.manifest import Manifest
from jomold_dist.distributed.world import World, broadcast_object, gather_objects
from jomold_dist.errors import DataError
from jomold_dist.files import write_text
from jomold_dist.training.run_folder import RunFolder

logger = logging.getLogger(__name__)

NAMED_AT_MOST = 10


class BadVideoRecord:
    """Collects bad videos over all splits. Complete on rank 0 after every `collect`."""

    def __init__(self, manifest: Manifest, world: World, folder: RunFolder, most: float) -> None:
        """`most` is the share of a split's videos that may be bad."""
        self._manifest, self._world, self._folder, self._most = manifest, world, folder, most
        self._pending: set[BadVideo] = set()
        self._known: set[BadVideo] | None = None

    def add(self, batch: Batch) -> None:
        """A batch that was taken on this rank."""
        self._pending.update(batch.bad)

    def too_many(self, split: str, count: int) -> bool:
        """Whether a split may not have so many bad videos."""
        return count > self._most * self._manifest.split(split).videos

    def collect(self) -> None:
        """Collective: brings what was added so far to rank 0, which logs and writes what is new."""
        gathered = gather_objects(self._pending, self._world)
        self._pending = set()
        if not self._world.is_main:
            return
        known = self._read()
        if new := set().union(*gathered) - known:
            for video in sorted(new)[:NAMED_AT_MOST]:
                logger.warning("left out: %s", video)
            if len(new) > NAMED_AT_MOST:
                logger.warning("left out: … and %d more, see %s", len(new) - NAMED_AT_MOST, self._folder.bad_videos)
            known |= new
            write_text(self._folder.bad_videos, to_csv(known))

    def refuse_too_many(self) -> None:
        """Collective, after `collect`: DataError on every rank if a split has more bad videos than it may have."""
        problem = broadcast_object(self._problem() if self._world.is_main else None, self._world)
        if problem is not None:
            error = DataError(problem)
            error.agreed = True
            raise error

    def summary(self) -> str | None:
        """How many there are by split, or None where there are none. For rank 0."""
        counts = Counter(video.split for video in self._read())
        if not counts:
            return None
        of = ", ".join(f"{counts[name]} of {self._manifest.split(name).videos} in {name}" for name in sorted(counts))
        return f"videos that could not be used and were left out: {of}; see {self._folder.bad_videos}"

    def _problem(self) -> str | None:
        known = self._read()
        counts = Counter(video.split for video in known)
        for split, count in counts.items():
            if self.too_many(split, count):
                first = min(video for video in known if video.split == split)
                return (
                    f"{count} of the {self._manifest.split(split).videos} videos of split {split!r} cannot be used, "
                    f"more than data.max_bad_fraction = {self._most:g} allows; for instance {first}. They are listed "
                    f"in {self._folder.bad_videos}: mend the shards and remove that file, or allow more"
                )
        return None

    def _read(self) -> set[BadVideo]:
        """All that are known, those of earlier starts included."""
        if self._known is None:
            path, self._known = self._folder.bad_videos, set()
            try:
                if path.exists():
                    self._known = from_csv(path.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                logger.warning("%s cannot be read (%s) and is begun anew", path, error)
        return self._known
