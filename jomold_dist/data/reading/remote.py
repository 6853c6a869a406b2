"""Fetching files from where fsspec can reach them, and sending them there; tried again where that can help."""

from __future__ import annotations

import hashlib
import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import fsspec

from jomold_dist.data.format.damage import AlteredError, DamagedError, MissingError
from jomold_dist.errors import ConfigError, DataError
from jomold_dist.secrets import blotted, problem_of_uri

logger = logging.getLogger(__name__)

T = TypeVar("T")

CHUNK = 1 << 20
PIECE = 8 << 20  # bytes asked for at once of a bucket's file; s3fs would take 50 MiB a transfer
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds between attempts; each pause is twice the one before
SILENCE_SECONDS = 60.0  # an HTTP server that sends nothing for so long has been lost
BUSY = (408, 425, 429)  # of the HTTP answers 4xx those that tell to come again
NO_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError")  # of botocore
FOLDERS = ("sftp", "ssh", "smb", "ftp", "hdfs", "webhdfs", "memory")  # that are made; a bucket has none
EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}


class TransferError(Exception):
    """What arrived is not what was asked for."""


class ClosedError(Exception):
    """The transfer was given up because nobody needs it any more."""


def pause(seconds: float, closing: threading.Event | None = None) -> None:
    """Waits, but no longer than until `closing` is set: then ClosedError."""
    if closing is None:
        time.sleep(seconds)
    elif closing.wait(seconds):
        raise ClosedError


class Remote:
    """A folder behind a URL. Thread-safe.

    `attempts` is how often a transfer is tried; `options` go to fsspec's file system; `setting` is how messages call
    what the URL was given by. ConfigError if the URL cannot be used at all. Can be given to another process.
    """

    def __init__(self, url: str, attempts: int, options: dict[str, Any], setting: str = "data.shards") -> None:
        self._made_of = (url, attempts, options, setting)
        self.url, self._attempts = url.rstrip("/"), attempts
        scheme, _, rest = self.url.partition("://")
        if problem := problem_of_uri(setting, url, query=False):
            raise ConfigError(problem)
        if not rest:
            raise ConfigError(f"{setting} = {url!r} names no place behind the scheme")
        self._scheme, self._web = scheme, scheme in ("http", "https")
        try:
            self._system, self._path = fsspec.core.url_to_fs(self.url, **_merged(self._patience(scheme), options))
            if hasattr(self._system, "retries"):  # of s3fs
                self._system.retries = 1
        except ImportError as error:
            extra = EXTRAS.get(scheme)
            remedy = f"install jomold_dist[{extra}]" if extra else f"install what it needs: {error}"
            raise ConfigError(f"{setting} = {url!r}: {scheme}:// needs another package; {remedy}") from None
        except ValueError as error:
            raise ConfigError(f"{setting} = {url!r}: {error}") from None
        except Exception as error:  # what a file system does with its options is its own affair
            raise ConfigError(f"{setting} = {url!r} cannot be used: {reason(error)}") from None

    def __reduce__(self) -> Any:
        return Remote, self._made_of  # not the file system, which forgets what was set on it here

    def size(self, name: str) -> int | None:
        """Bytes of a file below the folder, or None if the server does not tell. Errors as in `fetch`."""
        size = self._tried(name, lambda: self._system.info(f"{self._path}/{name}").get("size"))
        return None if size is None else int(size)

    def read(self, name: str, most: int) -> bytes:
        """A file whole. DamagedError if it has more than `most` bytes; else errors as in `fetch`."""

        def attempt() -> bytes:
            content = bytearray()
            with self._open(name) as source:
                while chunk := source.read(CHUNK):
                    content += chunk
                    if len(content) > most:
                        raise too_long(f"{self.url}/{name}", most)
            return bytes(content)

        return self._tried(name, attempt)

    def ranges(self, name: str, starts: Sequence[int], length: int) -> list[bytes]:
        """Pieces of a file, each of so many bytes. Errors as in `fetch`."""

        def attempt() -> list[bytes]:
            paths, ends = [f"{self._path}/{name}"] * len(starts), [start + length for start in starts]
            pieces = self._system.cat_ranges(paths, list(starts), ends, max_gap=None, on_error="raise")
            if any(len(piece) != length for piece in pieces):
                raise TransferError(f"not all {len(starts)} pieces of {length} bytes came")
            return [bytes(piece) for piece in pieces]

        return self._tried(name, attempt)

    def put(self, path: Path, name: str) -> None:
        """Send a file of this machine to the folder: there it is whole or not at all, as far as the server does so.

        DataError if the server refuses or cannot be reached, or still tells another size after all attempts.
        """
        size = path.stat().st_size

        def attempt() -> None:
            place = f"{self._path}/{name}"
            if self._scheme in FOLDERS:
                self._system.makedirs(place.rpartition("/")[0], exist_ok=True)
            self._system.put_file(str(path), place)
            self._system.invalidate_cache(place)
            if (there := self._system.info(place).get("size")) not in (None, size):
                raise TransferError(f"{there} of {size} bytes have arrived")

        self._tried(name, attempt, what="written")

    def fetch(self, name: str, target: BinaryIO, size: int, sha256: str, closing: threading.Event | None) -> None:
        """Copy a file that has this size and digest into `target`, from its start.

        MissingError if it is not there; AlteredError if something else came in the last of all attempts, which is in
        `target`, but for what is beyond the size; DataError if the server refuses or cannot be reached; ClosedError as
        soon as `closing` is set; LocalError if `target` cannot be written.
        """

        def attempt() -> None:
            target.seek(0)
            target.truncate()
            digest, done = hashlib.sha256(), 0
            with self._open(name) as source:
                while chunk := source.read(CHUNK):
                    if closing is not None and closing.is_set():
                        raise ClosedError
                    digest.update(chunk)
                    done += len(chunk)
                    _write(target, chunk)
                    if done > size:
                        break
            if done != size:
                raise TransferError(f"{'more than ' if done > size else ''}{min(done, size)} of {size} bytes came")
            if digest.hexdigest() != sha256:
                raise TransferError(f"its SHA-256 is {digest.hexdigest()[:16]}…, the manifest says {sha256[:16]}…")

        self._tried(name, attempt, closing)

    def _open(self, name: str) -> Any:
        # HTTP as one stream: in pieces is nothing for which every server is made. Others in pieces that fit memory.
        return self._system.open(f"{self._path}/{name}", "rb", block_size=0 if self._web else PIECE)

    def _patience(self, scheme: str) -> dict[str, Any]:
        """Options for the file system: silence is a fault, a long transfer is none, and it does not try again."""
        if self._web:
            from aiohttp import ClientTimeout

            timeout = ClientTimeout(total=None, sock_connect=SILENCE_SECONDS, sock_read=SILENCE_SECONDS)
            return {"client_kwargs": {"timeout": timeout, "trust_env": True}}  # the environment's proxies
        if scheme in ("s3", "s3a"):
            times = {"connect_timeout": SILENCE_SECONDS, "read_timeout": SILENCE_SECONDS}
            return {"config_kwargs": {**times, "retries": {"total_max_attempts": 1}}}
        return {}

    def _behind(self, error: Exception) -> Exception:
        """What happened: fsspec calls whatever goes wrong with an HTTP file a file that is not found."""
        cause = error.__cause__
        if self._web and isinstance(error, FileNotFoundError) and isinstance(cause, Exception):
            return cause
        return error

    def _tried(
        self, name: str, attempt: Callable[[], T], closing: threading.Event | None = None, what: str = "read"
    ) -> T:
        """What an attempt gives, tried again with pauses that double. `what` the file could not be in the end."""
        length = FIRST_PAUSE
        for number in range(1, self._attempts + 1):
            try:
                return attempt()
            except (ClosedError, LocalError, DamagedError):
                raise
            except Exception as raised:  # of fsspec, of the storage's client and of the network
                error = self._behind(raised)
                said = reason(error)
                if isinstance(error, FileNotFoundError) or getattr(error, "status", None) == 404:
                    if what == "written":
                        raise DataError(f"{self.url} cannot be written ({said}); make the bucket first") from None
                    raise MissingError(f"{self.url}/{name} does not exist") from None
                if is_final(error):
                    raise DataError(f"{self.url}/{name}: access was refused ({said}); check the credentials") from None
                if isinstance(error, TypeError):  # a client is only made, of whatever options, when it is first used
                    raise ConfigError(f"{self.url} cannot be used with the options in data.storage: {said}") from None
                if number == self._attempts:
                    kind = AlteredError if isinstance(error, TransferError) else DataError
                    raise kind(
                        f"{self.url}/{name} could not be {what} in {number} attempts, lastly: {said}; check the "
                        "network and the server" + (", or raise data.attempts" if what == "read" else "")
                    ) from None
                logger.warning("%s/%s: %s; attempt %d of %d", self.url, name, said, number, self._attempts)
            pause(length * random.uniform(0.5, 1.5), closing)  # so that ranks do not come back at once
            length = min(2 * length, LONGEST_PAUSE)
        raise AssertionError("an attempt returns or raises")


def too_long(place: str, most: int) -> DamagedError:
    """The problem of a file that has more than `most` bytes."""
    return DamagedError(f"{place} is damaged: it is longer than {most} bytes; copy it again, or make it again")


def _merged(ours: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Options with the user's on top, also in mappings inside: a region given to a client leaves its timeouts."""
    both = {
        name: _merged(ours[name], value)
        for name, value in given.items()
        if isinstance(value, dict) and isinstance(ours.get(name), dict)
    }
    return ours | given | both


class LocalError(OSError):
    """The local disk cannot take what came."""


def _write(target: BinaryIO, chunk: bytes) -> None:
    try:
        target.write(chunk)
    except OSError as error:
        raise LocalError(error.errno, error.strerror) from None


def is_final(error: Exception) -> bool:
    """Whether to try again cannot help: the server refuses."""
    status = getattr(error, "status", None)
    if isinstance(status, int):
        return 400 <= status < 500 and status not in BUSY
    return isinstance(error, PermissionError) or type(error).__name__ in NO_CREDENTIALS


def reason(error: Exception) -> str:
    """One line that says what happened."""
    status, message = getattr(error, "status", None), getattr(error, "message", None)
    if isinstance(status, int):
        return blotted(f"HTTP {status} {message or ''}".strip())
    text = " ".join(str(error).split())[:300]
    if " " not in text:  # a bare address, for instance, of a proxy that cannot be used
        text = f"{type(error).__name__} {text}".strip()
    return blotted(text)
