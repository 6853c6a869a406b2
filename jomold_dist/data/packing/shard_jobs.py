"""One shard that is to be there: it is kept if it is what it was, else it is written. In whatever process.

What it was is known from the journal of an earlier start, which goes on with any content that the videos have now, or
from a manifest, which takes nothing but the very same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from jomold_dist.data.format.damage import DamagedError, unreadable
from jomold_dist.data.format.records import record_keys
from jomold_dist.data.packing.journal import FinishedShard
from jomold_dist.data.packing.key_index import DIGEST_BYTES, key_digests
from jomold_dist.data.packing.shard_writer import ShardFormat, Video, write_shard
from jomold_dist.data.packing.splits import Origin
from jomold_dist.data.reading.remote import Remote
from jomold_dist.errors import DataError
from jomold_dist.files import problem_of, writing
from jomold_dist.reading import regular_file

KEYS_ENDING = ".keys"  # of the file that stays here in the place of a shard that is in a bucket


@dataclass(frozen=True)
class ShardJob:
    """The shard `name`, of a part of the split's videos; `known` tells what there may be of it already."""

    name: str
    part: slice
    known: FinishedShard | None = None

    @property
    def videos(self) -> int:
        return int(self.part.stop - self.part.start)


@dataclass(frozen=True)
class ShardResult:
    """A shard that is there, whether it was `kept`, and its keys: bytes (n,), and their digests S16 (n,). `reason`
    tells why one that was known has been written again."""

    shard: FinishedShard
    kept: bool
    keys: np.ndarray
    digests: np.ndarray
    reason: str = ""


class Parts(Protocol):
    """Videos of which a part can be had."""

    def __getitem__(self, part: slice, /) -> Iterable[Video]: ...


@dataclass(frozen=True)
class SplitJobs:
    """What the jobs of a split have in common. With `exact`, a shard is written only with the digest that is known;
    with `remote`, it is sent there when it is written, and the digests of its keys stay here in its place."""

    folder: Path
    form: ShardFormat
    videos: Parts
    origin: Origin | None = None
    exact: bool = False
    remote: Remote | None = None

    def do(self, job: ShardJob) -> ShardResult:
        """BadVideosError names the videos that cannot be stored, OtherContentError that they give another shard than
        the exact one. DataError if the shard cannot be read, written or sent. In each case what is there stays."""
        origin = self._origin(job.part)
        reason = ""
        if job.known is not None:
            if (job.known.videos, job.known.origin) != (job.videos, origin):
                reason = f"{job.name} is written again: what its videos are made from has changed since"
            elif (keys := self._kept(job.known)) is not None:
                return ShardResult(job.known, True, *keys)
            else:
                reason = f"{job.name} is written again: it is damaged or missing"
        path = self.folder / job.name
        wanted = job.known.sha256 if job.known is not None and self.exact else None
        made = write_shard(path, self.videos[job.part], self.form, sha256=wanted)
        digests = key_digests(made.keys.tolist())
        if self.remote is not None:
            self.remote.put(path, job.name)
            try:
                with writing(path.with_suffix(KEYS_ENDING)) as aside:
                    aside.write_bytes(digests.tobytes())
                path.unlink()
            except OSError as error:
                raise DataError(f"cannot write {problem_of(error)}; free some space or choose another folder") from None
        shard = FinishedShard(
            job.name, len(made.keys), made.bytes, made.sha256, made.positives, made.max_labels, made.modalities, origin
        )
        return ShardResult(shard, False, made.keys, digests, reason)

    def _origin(self, part: slice) -> str:
        if self.exact:
            return ""
        return f"{self.form.slot} {self.form.dense} {'' if self.origin is None else self.origin(part)}"

    def _kept(self, shard: FinishedShard) -> tuple[np.ndarray, np.ndarray] | None:
        """The keys of a shard that is there and is what it was, and their digests; None if it is not.

        DataError if it cannot be read: then it may be.
        """
        path = self.folder / shard.name
        if self.remote is not None:
            return self._kept_afar(path.with_suffix(KEYS_ENDING), shard, self.remote)
        try:
            with regular_file(path).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unreadable(f"{path}, which may be sound", error) from None
        if digest != shard.sha256:
            return None
        records = np.memmap(path, mode="r", shape=(shard.videos, self.form.layout.bytes))
        keys = np.array(record_keys(records, self.form.layout), dtype="S")
        return keys, key_digests(keys.tolist())

    @staticmethod
    def _kept_afar(path: Path, shard: FinishedShard, remote: Remote) -> tuple[np.ndarray, np.ndarray] | None:
        try:
            size = remote.size(shard.name)
            digests = np.frombuffer(regular_file(path).read_bytes(), dtype=f"S{DIGEST_BYTES}")
        except (DamagedError, FileNotFoundError, ValueError):
            return None
        except OSError as error:
            raise unreadable(str(path), error) from None
        return (digests, digests) if size == shard.bytes and len(digests) == shard.videos else None
