"""Where a data set lies: in a folder, behind a URL with a cache on this node, or in several such places. All give the
same bytes."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from typing import BinaryIO, Protocol

from jomold_dist.config import DataConfig
from jomold_dist.data.format.damage import AlteredError, DamagedError, MissingError, unreadable
from jomold_dist.data.format.manifest import MANIFEST_NAME, Manifest, ShardInfo
from jomold_dist.data.format.manifest_file import MOST_BYTES, ManifestError, parse_manifest
from jomold_dist.data.reading.cache import ShardCache
from jomold_dist.data.reading.remote import Remote, too_long
from jomold_dist.errors import ConfigError, DataError
from jomold_dist.places import split_scheme
from jomold_dist.reading import regular_file

REREAD = 2  # how often a remote manifest that is damaged is read again
REMEDY = (
    "copy it again, or have the command that packed the data set write it anew with --repair; with "
    "data.on_bad_video=mask a run goes on without damaged videos"
)


class Source(Protocol):
    """A data set's files. `str()` of it is how messages call it."""

    is_remote: bool
    """Whether any of it is."""

    def locate(self, shard: ShardInfo) -> tuple[Source, ShardInfo]:
        """The folder or URL in which a shard lies, and the shard as it is called there."""
        ...

    def path_of(self, name: str) -> str:
        """How messages call one of its files."""
        ...

    def read(self, name: str, most: int) -> bytes:
        """A file whole. MissingError if it is not there, DamagedError if it has more than `most` bytes, DataError if it
        cannot be read."""
        ...

    def open(self, shard: ShardInfo, closing: threading.Event, any_size: bool = False) -> int:
        """A descriptor of a shard whose size is what the manifest says, unless any will do. DamagedError if the shard
        is missing or another; DataError if it cannot be had; ClosedError as soon as `closing` is set."""
        ...

    def fetch(self, shard: ShardInfo, closing: threading.Event) -> None:
        """Bring a shard near, so that `open` is quick. Raises ClosedError as soon as `closing` is set."""
        ...

    def local_folder(self) -> Path:
        """A folder on this node for what is made of the data set."""
        ...


def _pack_first(folder: Path) -> str:
    """What to do with a folder of features, if it is one."""
    if next(folder.glob("*/*.npy"), None) is None:
        return ""
    return (
        f", but folders of .npy files: pack these features first, with jomold pack --labels FILE --feature "
        f"audio='{folder}/…/{{key}}.npy' … --out SHARDS, or those of LLP with jomold pack-llp --features {folder} …"
    )


class Folder:
    """A data set in a folder that this node can read."""

    is_remote = False

    def __init__(self, path: Path) -> None:
        self._path = path

    def __str__(self) -> str:
        return str(self._path)

    def locate(self, shard: ShardInfo) -> tuple[Source, ShardInfo]:
        return self, shard

    def path_of(self, name: str) -> str:
        return f"{self}/{name}"

    def read(self, name: str, most: int) -> bytes:
        try:
            with regular_file(self._path / name).open("rb") as file:
                if os.fstat(file.fileno()).st_size > most:
                    raise too_long(f"{self}/{name}", most)
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            raise MissingError(self._without(name)) from None
        except OSError as error:
            raise unreadable(str(self._path / name), error) from None

    def _without(self, name: str) -> str:
        """What is wrong with a folder that does not hold a file."""
        try:
            if stat.S_ISDIR(self._path.stat().st_mode):
                return f"{self._path} holds no {name}{_pack_first(self._path)}"
        except OSError:
            return f"the shards' folder {self._path} does not exist; make one with jomold pack or jomold simulate"
        folders = [folder for folder in self._path.parents if (folder / MANIFEST_NAME).is_file()]
        found = f", here {folders[0]}" if folders else ""
        return f"{self._path} is a file; give the folder that holds {MANIFEST_NAME} and the shards{found}"

    def open(self, shard: ShardInfo, closing: threading.Event | None = None, any_size: bool = False) -> int:
        path = self._path / shard.name
        try:
            file = os.open(regular_file(path), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise DamagedError(
                f"shard {path} is missing ({shard.videos} videos, {shard.bytes} bytes); {REMEDY}"
            ) from None
        except OSError as error:
            raise unreadable(f"shard {path}", error) from None
        size = os.fstat(file).st_size
        if size != shard.bytes and not any_size:
            os.close(file)
            how = "truncated" if size < shard.bytes else "longer than it should be"
            raise DamagedError(f"shard {path} is {how}: {size} bytes, the manifest says {shard.bytes}; {REMEDY}")
        return file

    def size(self, shard: ShardInfo) -> int | None:
        """Bytes of what lies in the shard's place. OSError."""
        return os.stat(regular_file(self._path / shard.name)).st_size

    def open_as_it_is(self, shard: ShardInfo) -> BinaryIO:
        """What lies in the shard's place, whatever it is, to be verified. OSError."""
        return regular_file(self._path / shard.name).open("rb", buffering=0)

    def fetch(self, shard: ShardInfo, closing: threading.Event) -> None:
        pass

    def local_folder(self) -> Path:
        return self._path


class Url:
    """A data set behind a URL, of which shards are kept on this node as they are needed."""

    is_remote = True

    def __init__(self, url: str, data: DataConfig) -> None:
        self._remote = Remote(url, data.attempts, data.storage)
        self._folder = Path(data.cache) if data.cache is not None else default_cache()
        most = int(1e9 * data.cache_gigabytes)
        self._cache = ShardCache(self._folder / "shards", most, data.verify == "digest", self._bring)
        self._damaged: dict[str, DamagedError] = {}  # by shard: what all attempts have shown is not tried again

    def __str__(self) -> str:
        return self._remote.url

    def locate(self, shard: ShardInfo) -> tuple[Source, ShardInfo]:
        return self, shard

    def path_of(self, name: str) -> str:
        return f"{self}/{name}"

    def read(self, name: str, most: int) -> bytes:
        try:
            return self._remote.read(name, most)
        except MissingError as error:
            if not str(self).endswith((f"/{MANIFEST_NAME}", ".tar")):
                raise
            raise MissingError(
                f"{error}: {self} is a file's; give the URL of the folder that holds {MANIFEST_NAME} and the shards"
            ) from None

    def open(self, shard: ShardInfo, closing: threading.Event | None = None, any_size: bool = False) -> int:
        return self._cache.open(shard, closing)

    def fetch(self, shard: ShardInfo, closing: threading.Event) -> None:
        self._cache.ensure(shard, closing)

    def size(self, shard: ShardInfo) -> int | None:
        """Bytes of the shard at the server, without fetching it; None if the server does not tell."""
        return self._remote.size(shard.name)

    def open_as_it_is(self, shard: ShardInfo) -> BinaryIO:
        """A copy of what lies in the shard's place, to be verified: what came last, where no attempt gives the right
        one. It is gone when it is closed. MissingError if there is none; DataError if it cannot be had."""
        with ExitStack() as stack:
            copy = stack.enter_context(TemporaryFile())
            try:
                with suppress(AlteredError):
                    self._remote.fetch(shard.name, copy, shard.bytes, shard.sha256, None)
                copy.seek(0)
            except OSError as error:
                raise DataError(f"{gettempdir()} cannot hold a copy of {self}/{shard.name}: {error.strerror}") from None
            stack.pop_all()
            return copy

    def local_folder(self) -> Path:
        return self._folder

    def check_cache(self, shards: Sequence[ShardInfo]) -> None:
        """DataError if no shard can be kept on this node, or not the largest of these."""
        self._cache.check(shards)
        if shards and (problem := self._cache.too_small_for(max(shards, key=lambda shard: shard.bytes))):
            raise DataError(problem)

    def _bring(self, shard: ShardInfo, target: BinaryIO, closing: threading.Event | None) -> None:
        if shard.name in self._damaged:
            raise self._damaged[shard.name]
        try:
            self._remote.fetch(shard.name, target, shard.bytes, shard.sha256, closing)
        except DamagedError as error:
            self._damaged[shard.name] = error.with_traceback(None)
            raise


class Joined:
    """Several data sets as one. The file NAME of set number n is called n/NAME."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = tuple(sources)
        self.is_remote = any(source.is_remote for source in sources)

    def __str__(self) -> str:
        return ", ".join(map(str, self.sources))

    def locate(self, shard: ShardInfo) -> tuple[Source, ShardInfo]:
        source, name = self._owner(shard.name)
        return source.locate(replace(shard, name=name))

    def path_of(self, name: str) -> str:
        source, own = self._owner(name)
        return source.path_of(own)

    def read(self, name: str, most: int) -> bytes:
        source, own = self._owner(name)
        return source.read(own, most)

    def open(self, shard: ShardInfo, closing: threading.Event, any_size: bool = False) -> int:
        source, own = self.locate(shard)
        return source.open(own, closing, any_size)

    def fetch(self, shard: ShardInfo, closing: threading.Event) -> None:
        source, own = self.locate(shard)
        source.fetch(own, closing)

    def local_folder(self) -> Path:
        return self.sources[0].local_folder()

    def _owner(self, name: str) -> tuple[Source, str]:
        number, _, own = name.partition("/")
        return self.sources[int(number)], own


Place = str | Path | Source


def as_source(place: Place) -> Source:
    """A folder's path as a source; a source as it is."""
    return Folder(Path(place)) if isinstance(place, str | Path) else place


@lru_cache
def source_of(data: DataConfig) -> Source:
    """Where the config says that the data set lies; one for the whole process. ConfigError if that cannot be."""
    sources: list[Source] = []
    for place in data.places:
        _, folder = split_scheme(place)
        sources.append(Url(place, data) if folder is None else Folder(Path(folder)))
    return sources[0] if len(sources) == 1 else Joined(sources)


def read_manifest(place: Place) -> Manifest:
    """The manifest of a data set. DataError if it is missing, damaged or of another schema."""
    source = as_source(place)
    path = f"{source}/{MANIFEST_NAME}"
    for _ in range(REREAD if source.is_remote else 0):
        with suppress(ManifestError):  # it may have been altered on its way
            return parse_manifest(source.read(MANIFEST_NAME, MOST_BYTES), path)
    return parse_manifest(source.read(MANIFEST_NAME, MOST_BYTES), path)


def default_cache() -> Path:
    """Where shards are kept unless `data.cache` says otherwise. ConfigError for an account without a home."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jomold_dist"
    except RuntimeError:
        raise ConfigError(
            "this account has no home folder for a cache of shards; set data.cache (or XDG_CACHE_HOME) to a folder"
        ) from None
