"""Where a packed data set goes: a new folder, a folder with a set that is added to, or a URL of either kind.

Readers never see anything between: a new folder appears by one rename, and what is added, like a set at a URL, by its
manifest, which comes last.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np

from jomold_dist.config import DataConfig
from jomold_dist.data.format.damage import MissingError
from jomold_dist.data.format.manifest import MANIFEST_NAME, Manifest, SplitInfo
from jomold_dist.data.format.manifest_file import MOST_BYTES, parse_manifest
from jomold_dist.data.format.records import NAME_FIELD, record_keys
from jomold_dist.data.packing.key_index import key_digests
from jomold_dist.data.packing.workplace import Workplace, beside, place_of
from jomold_dist.data.reading.remote import Remote
from jomold_dist.data.reading.source import Folder, default_cache, read_manifest
from jomold_dist.errors import ConfigError, DataError
from jomold_dist.files import problem_of, sync, writing
from jomold_dist.places import split_scheme

SETTING = "--out"  # as messages call it


class Destination(Protocol):
    """A place for a data set. `remote` is where shards are sent as they are finished, None for a folder; `moved_to` is
    the folder to which a set that is added to has them moved at the end."""

    remote: Remote | None
    moved_to: Path | None

    def workplace(self) -> Workplace:
        """The folder in which it is packed, which belongs to this process until it is closed."""
        ...

    def existing(self) -> Manifest | None:
        """The manifest of the set that is added to, None for a new one. DataError if there is not what there has to
        be: nothing for a new set, a whole one to be added to."""
        ...

    def keys(self, split: SplitInfo) -> Iterator[np.ndarray]:
        """The digests of the keys of a split that is there, a shard at a time."""
        ...

    def publish(self, packed: Path, manifest: Manifest) -> None:
        """Makes the set of this manifest appear; `packed` holds what is new of it. OSError or DataError if that fails,
        and then nothing has appeared."""
        ...


def destination_of(out: Path | str, *, append: bool, work: Path | None) -> Destination:
    """ConfigError or DataError if nothing can be written there."""
    _, folder = split_scheme(str(out))
    if folder is None:
        return UrlDestination(str(out), append, work)
    return FolderDestination(Path(folder), append)


class FolderDestination:
    """A folder; where it is a link, its target is meant."""

    remote: Remote | None = None

    def __init__(self, out: Path, append: bool) -> None:
        try:
            self._place, self._append = place_of(out), append
        except OSError as error:
            raise DataError(f"cannot write beside {out}: {problem_of(error)}; choose another folder") from None
        if os.path.ismount(self._place):
            if append:
                raise DataError(
                    f"{out} is a mount point, and shards that are added are written beside a set and renamed; move the "
                    f"set into a folder inside it, such as {out / 'set'}"
                )
            raise DataError(
                f"{out} is a mount point, and a folder is renamed to become the data set; choose a folder inside it, "
                f"such as {out / 'set'}"
            )
        self.moved_to = self._place if append else None

    def workplace(self) -> Workplace:
        return beside(self._place)

    def existing(self) -> Manifest | None:
        if self._append:
            return read_manifest(self._place)
        check_free(self._place)
        return None

    def keys(self, split: SplitInfo) -> Iterator[np.ndarray]:
        for shard in split.shards:
            file = Folder(self._place).open(shard)  # of the size that the manifest tells
            try:
                with os.fdopen(file, "rb") as opened:
                    records = np.memmap(opened, mode="r", shape=(shard.videos, split.record.bytes))
                    yield key_digests(record_keys(records, split.record))
            except (OSError, ValueError) as error:
                raise DataError(f"cannot read shard {self._place / shard.name}: {error}") from None

    def publish(self, packed: Path, manifest: Manifest) -> None:
        if self._append:
            for path in sorted(path for path in packed.rglob("*") if path.is_file()):
                target = self._place / path.relative_to(packed)
                target.parent.mkdir(exist_ok=True)
                os.rename(path, target)
                sync(target.parent)
            write_manifest(self._place / MANIFEST_NAME, manifest)
            return
        write_manifest(packed / MANIFEST_NAME, manifest)
        os.rename(packed, self._place)  # takes the place of an empty folder
        with contextlib.suppress(OSError):
            sync(self._place.parent)


class UrlDestination:
    """A bucket, or whatever fsspec can write to. One packer a URL: no lock can be held there."""

    moved_to: Path | None = None

    def __init__(self, url: str, append: bool, work: Path | None) -> None:
        if url.startswith(("http://", "https://")):
            raise ConfigError(f"{SETTING} = {url!r}: a web server is only read; give a folder, or the URL of a bucket")
        self._url = Remote(url, DataConfig().attempts, {}, SETTING)
        self.remote: Remote | None = self._url
        self._append = append
        name = hashlib.sha256(self._url.url.encode()).hexdigest()[:16]
        self._folder = (default_cache() if work is None else Path(os.path.realpath(work))) / "packing" / name

    def workplace(self) -> Workplace:
        return Workplace(self._folder, self._url.url, f"into {self._folder} (--work)")

    def existing(self) -> Manifest | None:
        place = f"{self._url.url}/{MANIFEST_NAME}"
        try:
            content = self._url.read(MANIFEST_NAME, MOST_BYTES)
        except MissingError:
            if self._append:
                raise
            return None
        if not self._append:
            raise DataError(f"{place} is there already; remove that data set, choose another place, or add to it")
        return parse_manifest(content, place)

    def keys(self, split: SplitInfo) -> Iterator[np.ndarray]:
        for shard in split.shards:
            starts = range(0, shard.videos * split.record.bytes, split.record.bytes)
            headers = b"".join(self._url.ranges(shard.name, starts, NAME_FIELD))
            records = np.frombuffer(headers, dtype=np.uint8).reshape(shard.videos, NAME_FIELD)
            yield key_digests(record_keys(records, split.record))

    def publish(self, packed: Path, manifest: Manifest) -> None:
        for path in sorted(packed.rglob("*.npz")):
            self._url.put(path, path.relative_to(packed).as_posix())
        write_manifest(packed / MANIFEST_NAME, manifest)
        self._url.put(packed / MANIFEST_NAME, MANIFEST_NAME)


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Writes the manifest's file, which is whole or as it was before. OSError if that cannot be."""
    with writing(path) as aside, aside.open("w", encoding="utf-8") as file:
        file.writelines(manifest.lines())


def check_free(place: Path) -> None:
    """DataError if a data set cannot appear at a folder."""
    try:
        with os.scandir(place) as entries:
            free = next(entries, None) is None
    except FileNotFoundError:
        return
    except NotADirectoryError:
        free = False
    except OSError as error:
        raise DataError(f"cannot read {place}: {error.strerror}; choose another folder") from None
    if not free:
        raise DataError(f"{place} exists and is not an empty folder; remove it or choose another one")
