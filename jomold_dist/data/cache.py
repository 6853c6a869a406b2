"""Shards from elsewhere, kept on this node's disk: named by their digest, whole or absent, bounded in size.

    <folder>/<sha256>.tar           a shard; its time of modification is when it was used last
    <folder>/.<sha256>.<bytes>.<n>  one that is arriving, locked by the process that fetches it
    <folder>/.lock-<xx>             held while a shard whose digest begins with xx is fetched
    <folder>/.lock                  held while room is made

All processes of a node share the folder. The kernel drops the locks of a process that dies.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO

from jomold_dist.data.locks import locked
from jomold_dist.data.manifest import ShardInfo
from jomold_dist.data.remote import LocalError
from jomold_dist.errors import DataError

FULL = "free some space, lower data.cache_gigabytes"
REMEDIES = {
    errno.ENOSPC: FULL,
    errno.EDQUOT: FULL,
    errno.EFBIG: FULL,
    errno.EIO: "check the disk, remove the file that it cannot give",
}
ARRIVING = re.compile(r"\.[0-9a-f]{64}\.(?P<bytes>\d+)\.\d+")

Fetch = Callable[[ShardInfo, BinaryIO, threading.Event | None], None]


class ShardCache:
    """Keeps at most `most_bytes`, the least recently used going first. Thread-safe.

    A shard that goes while somebody has it open stays readable for them. With `verify`, a shard that an earlier process
    left is compared with its digest when it is first opened. `fetch` writes a shard's content, verified, to a file.
    """

    def __init__(self, folder: Path, most_bytes: int, verify: bool, fetch: Fetch) -> None:
        self._folder, self._most, self._verify, self._fetch = folder, most_bytes, verify, fetch
        self._verified: set[str] = set()

    def open(self, shard: ShardInfo, closing: threading.Event | None = None) -> int:
        """A descriptor of the shard, which is fetched where it is not there. DataError if it cannot be kept."""
        while True:
            file = self._open(shard)
            if file is not None:
                return file
            self.ensure(shard, closing)  # another process may take it away again before it is opened

    def check(self) -> None:
        """DataError if nothing can be kept here. Nothing is written."""
        place = self._folder
        while not os.path.lexists(place):
            place = place.parent
        number = 0 if os.access(place, os.W_OK | os.X_OK) else errno.EACCES
        number = number if place.is_dir() else errno.ENOTDIR
        if number:
            raise self._unusable(OSError(number, os.strerror(number)))

    def too_small_for(self, shard: ShardInfo) -> str | None:
        """The problem, if the shard takes more than the cache may hold."""
        if shard.bytes <= self._most:
            return None
        return (
            f"data.cache_gigabytes = {self._most / 1e9:g} is less than shard {shard.name} takes "
            f"({shard.bytes / 1e9:.3g}); allow more"
        )

    def ensure(self, shard: ShardInfo, closing: threading.Event | None = None) -> None:
        """Fetch the shard unless it is there, or `closing` is set meanwhile."""
        if problem := self.too_small_for(shard):
            raise DataError(problem)
        try:
            if self._is_there(shard):
                return
            self._folder.mkdir(parents=True, exist_ok=True)
            with locked(self._folder / f".lock-{shard.sha256[:2]}", closing):
                if not self._is_there(shard):  # it may have come while this process waited
                    self._bring(shard, closing)
        except OSError as error:  # LocalError too
            raise self._unusable(error) from None

    def _unusable(self, error: OSError) -> DataError:
        remedy = REMEDIES.get(error.errno or 0, "make it readable and writable")
        return DataError(
            f"the cache {self._folder} cannot be used: {error.strerror or error}; {remedy}, or set data.cache to "
            "another folder"
        )

    def _path(self, shard: ShardInfo) -> Path:
        return self._folder / f"{shard.sha256}.tar"

    def _is_there(self, shard: ShardInfo) -> bool:
        try:
            return self._path(shard).stat().st_size == shard.bytes
        except FileNotFoundError:
            return False

    def _open(self, shard: ShardInfo) -> int | None:
        """A descriptor of the shard if it is there and sound. Its use is noted."""
        path = self._path(shard)
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable(error) from None
        with suppress(OSError):  # a cache that others own may be read only
            os.utime(file)
        try:
            if os.fstat(file).st_size == shard.bytes and (not self._verify or self._sound(shard, file)):
                return file
        except OSError as error:
            os.close(file)
            raise self._unusable(error) from None
        os.close(file)
        path.unlink(missing_ok=True)
        return None

    def _sound(self, shard: ShardInfo, file: int) -> bool:
        """Whether the content has the digest; looked at once."""
        if shard.sha256 not in self._verified:
            with os.fdopen(os.dup(file), "rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() != shard.sha256:
                    return False
            os.lseek(file, 0, os.SEEK_SET)
            self._verified.add(shard.sha256)
        return True

    def _bring(self, shard: ShardInfo, closing: threading.Event | None) -> None:
        """Fetch a shard to a file aside, which becomes the shard once it is whole."""
        aside = self._folder / f".{shard.sha256}.{shard.bytes}.{os.getpid()}{threading.get_ident()}"
        with ExitStack() as stack:
            with locked(self._folder / ".lock"):  # nobody may find the file before it is locked
                file = stack.enter_context(aside.open("w+b"))
                fcntl.flock(file, fcntl.LOCK_EX)
                self._make_room()
            try:
                self._fetch(shard, file, closing)
                try:
                    file.flush()
                    os.fsync(file.fileno())
                except OSError as error:
                    raise LocalError(error.errno, error.strerror) from None
                aside.rename(self._path(shard))
                self._verified.add(shard.sha256)
            finally:
                aside.unlink(missing_ok=True)

    def _make_room(self) -> None:
        """Remove the least recently used shards until those that are arriving have room, and what killed processes
        left of theirs."""
        arriving, shards = 0, []
        for entry in os.scandir(self._folder):
            if match := ARRIVING.fullmatch(entry.name):
                if _abandoned(Path(entry.path)):
                    with suppress(FileNotFoundError):  # it has just become a shard
                        os.unlink(entry.path)
                else:
                    arriving += int(match["bytes"])
            elif entry.name.endswith(".tar"):
                with suppress(FileNotFoundError):
                    found = entry.stat()
                    shards.append((found.st_mtime_ns, found.st_size, entry.path))
        total = arriving + sum(size for _, size, _ in shards)
        for _, size, path in sorted(shards):
            if total <= self._most:
                return
            with suppress(FileNotFoundError):
                os.unlink(path)
            total -= size


def _abandoned(path: Path) -> bool:
    """Whether nobody holds the file's lock any more."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    except FileNotFoundError:
        return False
