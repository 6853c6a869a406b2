"""Shards from elsewhere, kept on this node's disk: named by their digest, whole or absent, bounded in size.

    <folder>/<sha256>.tar           a shard; its time of modification is when it was used last
    <folder>/.<sha256>.<bytes>.<n>  one that is arriving, locked by the process that fetches it
    <folder>/.lock-<xx>             held while a shard whose digest begins with xx is fetched or taken out
    <folder>/.lock                  held while room is made

All processes of a node share the folder, also those of several users. The kernel drops the locks of a process that
dies. Where the shards are there, nothing needs to be written; files of other names are left alone.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

from jomold_dist.data.format.damage import DamagedError
from jomold_dist.data.format.manifest import ShardInfo
from jomold_dist.data.reading.remote import LocalError, pause
from jomold_dist.errors import DataError
from jomold_dist.files import problem_of
from jomold_dist.locks import NoLocksError, is_free, locked, try_lock

FULL = "free some space, lower data.cache_gigabytes"
REMEDIES = {
    errno.ENOSPC: FULL,
    errno.EDQUOT: FULL,
    errno.EFBIG: FULL,
    errno.EIO: "check the disk, remove the file that it cannot give",
}
ARRIVING = re.compile(r"\.[0-9a-f]{64}\.(?P<bytes>\d+)\.\d+")
SHARD = re.compile(r"[0-9a-f]{64}\.tar")

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
            try:
                file = self._open(shard, closing)
            except OSError as error:
                raise self._unusable(error) from None
            if file is not None:
                return file
            self.ensure(shard, closing)  # another process may take it away again before it is opened

    def check(self, shards: Sequence[ShardInfo]) -> None:
        """DataError if nothing can be kept here, unless these shards are all there. Nothing is written."""
        place = self._folder
        while not os.path.lexists(place):
            place = place.parent
        try:
            if not place.is_dir():
                raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(place))
            if not os.access(place, os.W_OK | os.X_OK):
                missing = sum(not self._is_there(shard) for shard in shards)
                if missing or not shards:
                    said = f"{os.strerror(errno.EACCES)}, and it lacks {missing} of {len(shards)} shards"
                    raise OSError(errno.EACCES, said, str(place))
        except OSError as error:
            raise self._unusable(error) from None

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
            with self._locked(shard, closing):
                if not self._is_there(shard):  # it may have come while this process waited
                    self._bring(shard, closing)
        except OSError as error:  # LocalError too
            raise self._unusable(error) from None

    def _unusable(self, error: OSError) -> DataError:
        remedy = REMEDIES.get(error.errno or 0, "make it readable and writable") + ", "
        if isinstance(error, NoLocksError):
            remedy = ""
        return DataError(
            f"the cache {self._folder} cannot be used: {problem_of(error)}; {remedy}or set data.cache to another folder"
        )

    def _locked(self, shard: ShardInfo, closing: threading.Event | None) -> AbstractContextManager[None]:
        return locked(self._folder / f".lock-{shard.sha256[:2]}", wait=partial(pause, closing=closing))

    def _path(self, shard: ShardInfo) -> Path:
        return self._folder / f"{shard.sha256}.tar"

    def _is_there(self, shard: ShardInfo) -> bool:
        try:
            return self._path(shard).stat().st_size == shard.bytes
        except FileNotFoundError:
            return False

    def _open(self, shard: ShardInfo, closing: threading.Event | None) -> int | None:
        """A descriptor of the shard if it is there and sound. Its use is noted."""
        path = self._path(shard)
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            with suppress(OSError):  # it may be another user's
                os.utime(file)
            if self._sound(shard, file):
                return file
            with self._locked(shard, closing), suppress(FileNotFoundError):
                if os.path.samestat(path.stat(), os.fstat(file)):  # no other has come in its place
                    self._take_out(path)
        except BaseException as error:
            os.close(file)
            if isinstance(error, OSError):
                error.filename = error.filename or str(path)
            raise
        os.close(file)
        return None

    def _sound(self, shard: ShardInfo, file: int) -> bool:
        """Whether the content has the size and, looked at once, the digest."""
        size = os.fstat(file).st_size
        if size == shard.bytes and (not self._verify or shard.sha256 in self._verified):
            return True
        with os.fdopen(os.dup(file), "rb") as stream:
            same = hashlib.file_digest(stream, "sha256").hexdigest() == shard.sha256
        os.lseek(file, 0, os.SEEK_SET)
        if same and size != shard.bytes:  # it is what it is called, and may be a shard of other data sets
            raise DamagedError(
                f"the manifest says that shard {shard.name} has {shard.bytes} bytes, but what has its SHA-256 has "
                f"{size}; pack the data set again"
            )
        if same:
            self._verified.add(shard.sha256)
        return same

    def _take_out(self, path: Path) -> None:
        try:
            path.unlink()
        except PermissionError as error:
            raise OSError(error.errno, f"is damaged and cannot be removed ({error.strerror})", str(path)) from None

    def _bring(self, shard: ShardInfo, closing: threading.Event | None) -> None:
        """Fetch a shard to a file aside, which becomes the shard once it is whole."""
        aside = self._folder / f".{shard.sha256}.{shard.bytes}.{os.getpid()}{threading.get_ident()}"
        with ExitStack() as stack:
            with locked(self._folder / ".lock", wait=partial(pause, closing=closing)):
                aside.unlink(missing_ok=True)
                file = stack.enter_context(aside.open("x+b"))  # not through a link that another user has laid here
                stack.callback(aside.unlink, missing_ok=True)
                try_lock(file.fileno(), aside)  # nobody may find the file before it is locked
                self._make_room()
            self._fetch(shard, file, closing)
            try:
                file.flush()
                os.fsync(file.fileno())
            except OSError as error:
                raise LocalError(error.errno, error.strerror) from None
            aside.rename(self._path(shard))
            self._verified.add(shard.sha256)

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
            elif SHARD.fullmatch(entry.name):
                with suppress(FileNotFoundError):
                    found = entry.stat()
                    shards.append((found.st_mtime_ns, found.st_size, entry.path))
        total = arriving + sum(size for _, size, _ in shards)
        refused: OSError | None = None
        for _, size, path in sorted(shards):
            if total <= self._most:
                return
            try:
                os.unlink(path)
            except FileNotFoundError:
                pass
            except PermissionError as error:  # in a folder where everybody removes their own files only
                refused = error
                continue
            total -= size
        if refused is not None and total > self._most:
            said = f"is needed no more and cannot be removed ({refused.strerror})"
            raise OSError(refused.errno, said, refused.filename)


def _abandoned(path: Path) -> bool:
    """Whether nobody holds the file's lock any more."""
    try:
        return is_free(path)
    except (FileNotFoundError, PermissionError):  # it has become a shard; or it is another user's, who will know
        return False
