"""The record of videos that could not be used and were left out of their batches: which, and whether they are too many.

The run's bad_videos.csv names all that any start of the run has met. Only those that this start has met count: the
others may have been mended.
"""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

from jomold_dist.data.format.damage import BadVideo, from_csv, to_csv
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.data.reading.loader import Batch
from jomold_dist.distributed.world import World, broadcast_object, gather_to_main
from jomold_dist.errors import DataError, UnreadableError
from jomold_dist.files import write_text
from jomold_dist.reading import ABSENT, is_there, reading

logger = logging.getLogger(__name__)

NAMED_AT_MOST = 10


class BadVideoRecord:
    """Collects bad videos over all splits. Complete on rank 0 after every `collect`."""

    def __init__(self, manifest: Manifest, world: World, file: Path | None, most: float) -> None:
        """`most` is the share of a split's videos that may be bad. Without a `file`, they are only told."""
        self._manifest, self._world, self._file, self._most = manifest, world, file, most
        self._pending: set[BadVideo] = set()
        self._met: set[BadVideo] = set()  # by this start, on all ranks
        self._known: set[BadVideo] | None = None  # by all starts
        self._written = True

    def add(self, batch: Batch) -> None:
        """A batch that was taken on this rank."""
        self._pending.update(batch.bad)

    def too_many(self, split: str, count: int) -> bool:
        """Whether a split may not have so many bad videos."""
        return count / self._manifest.split(split).videos > self._most

    def collect(self) -> None:
        """Collective: brings what was added so far to rank 0, which logs and writes what is new. A file that cannot be
        written is a warning, and is tried again the next time."""
        gathered = gather_to_main(self._pending, self._world)
        self._pending = set()
        if not self._world.is_main:
            return
        met = set().union(*gathered)
        self._met |= met
        known = self._read()
        if new := met - known:
            for video in sorted(new)[:NAMED_AT_MOST]:
                logger.warning("left out: %s", video)
            if len(new) > NAMED_AT_MOST:
                logger.warning("left out: … and %d more%s", len(new) - NAMED_AT_MOST, self._where(", see "))
            known |= new
            self._written = False
        if not self._written:
            self._write(known)

    def refuse_too_many(self, split: str) -> None:
        """Collective, after `collect`: DataError on every rank if the split has more bad videos than it may have."""
        problem = broadcast_object(self._problem(split) if self._world.is_main else None, self._world)
        if problem is not None:
            error = DataError(problem)
            error.agreed = True
            raise error

    def summary(self) -> str | None:
        """How many this start has met by split, or None where there were none. For rank 0."""
        counts = Counter(video.split for video in self._met)
        if not counts:
            return None
        of = ", ".join(f"{counts[name]} of {self._manifest.split(name).videos} in {name}" for name in sorted(counts))
        return f"videos that could not be used and were left out: {of}{self._where('; see ')}"

    def _problem(self, split: str) -> str | None:
        met = [video for video in self._met if video.split == split]
        if not self.too_many(split, len(met)):
            return None
        return (
            f"{len(met)} of the {self._manifest.split(split).videos} videos of split {split!r} cannot be used, "
            f"more than data.max_bad_fraction = {self._most:g} allows; for instance {min(met)}"
            f"{self._where('. They are listed in ')}; mend the shards, or allow more"
        )

    def _where(self, before: str) -> str:
        return f"{before}{self._file}" if self._file is not None else ""

    def _write(self, known: set[BadVideo]) -> None:
        if self._file is None:
            return
        try:
            write_text(self._file, to_csv(known))
            self._written = True
        except OSError as error:
            logger.warning("%s cannot be written: %s", self._file, error.strerror or error)

    def _read(self) -> set[BadVideo]:
        """All that are known, those of earlier starts included."""
        if self._known is None:
            self._known = set()
            try:
                if self._file is not None and is_there(self._file):
                    with reading(self._file):
                        self._known = from_csv(self._file.read_text(encoding="utf-8"))
            except UnreadableError as error:
                logger.warning("%s. Until then what is left out is only told here", error)
                self._file = None
            except (*ABSENT, ValueError) as error:
                logger.warning("%s is damaged (%s) and is begun anew", self._file, error)
        return self._known
