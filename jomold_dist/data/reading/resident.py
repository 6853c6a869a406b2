"""A split decoded once into files that are mapped into memory, and shared by the ranks of a node and by trials.

The folder `<cache>/<first 16 of the manifest's digest>-v<layout>-<split>` holds raw arrays, a row a video in the order
of the manifest: rows.bin (the features, each from a multiple of 64 bytes on), labels.bin, keys.bin and perhaps
dense.bin; bad.csv, the videos that cannot be used; and made.json, when each of these was written: what was changed
since is made again. Nothing is hashed: a disk that loses bits is not noticed.
It appears by one rename, made under a lock, so that whoever comes second waits and then maps the same files.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from pathlib import Path

import numpy as np

from jomold_dist.data.format.damage import BadVideo, from_csv, to_csv
from jomold_dist.data.format.manifest import Manifest, SplitInfo
from jomold_dist.data.format.records import LABELS, MAX_KEY, RecordView, label_text, strided
from jomold_dist.data.reading.shards import ShardReader
from jomold_dist.data.reading.source import Place, Source, as_source
from jomold_dist.errors import DataError
from jomold_dist.files import problem_of, write_json
from jomold_dist.locks import locked
from jomold_dist.reading import ABSENT, parse_json, regular_file

logger = logging.getLogger(__name__)

LAYOUT = 2  # of the files: another one has folders of another name; 2: with made.json
BAD, MADE = "bad.csv", "made.json"
SLACK_SECONDS = 2.0  # by which file systems may round the time of a change
_ALIGN = 64
_CHUNK = 64  # videos that are decoded at once


class ResidentRows:
    """Some videos of a resident split; the same methods as RecordView."""

    def __init__(self, split: ResidentSplit, index: np.ndarray) -> None:
        self._split = split
        self._index = index
        self._rows = split.gather("rows", index)

    def feature(self, name: str) -> np.ndarray:
        """A feature (n, *shape) in its stored dtype: a strided view."""
        spec = self._split.manifest.features[name]
        return strided(self._rows, self._split.offsets[name], spec.shape, spec.dtype)

    def keys(self) -> list[str]:
        return [key.decode("ascii") for key in self._split.gather("keys", self._index).tolist()]

    def labels(self) -> np.ndarray:
        """Weak labels, bool (n, C)."""
        return self._split.gather("labels", self._index)

    def dense(self) -> np.ndarray:
        """Dense labels, uint8 (n, 2, C, T), audio first."""
        return self._split.gather("dense", self._index)


class ResidentSplit:
    """Maps a split's decoded files, which it makes first where they are not there yet.

    `place` is the data set; `cache` is where the files go, None for `.resident` inside its folder. DataError if the
    files cannot be made, or for a video that cannot be used; with `mask`, `bad` holds such videos by their number in
    the split.
    """

    def __init__(
        self, place: Place, manifest: Manifest, split: str, cache: Path | None = None, mask: bool = False
    ) -> None:
        self.manifest = manifest
        source = as_source(place)
        self._info = manifest.split(split)
        self.offsets, self._arrays = _layout(manifest, self._info)
        folder = Path(cache) if cache is not None else source.local_folder() / ".resident"
        kept = folder / f"{manifest.digest[:16]}-v{LAYOUT}-{split}"
        if not self._complete(kept):
            self._build(source, kept, mask)
        self.bad = self._read_bad(kept)
        if self.bad and not mask:
            raise DataError(
                f"{kept} was made with data.on_bad_video=mask and lacks {len(self.bad)} videos, for instance "
                f"{next(iter(self.bad.values()))}; mend the shards and remove that folder"
            )
        try:
            self._maps = {
                name: np.asarray(np.memmap(kept / f"{name}.bin", dtype, "r", shape=(self._info.videos, *shape)))
                for name, (dtype, shape) in self._arrays.items()
            }
        except OSError as error:
            raise self._unreadable(error) from None

    def close(self) -> None:
        """Gives the files back."""
        self._maps.clear()

    def rows(self, index: np.ndarray) -> ResidentRows:
        """The videos with these numbers (in the order of the manifest), int64 (n,)."""
        return ResidentRows(self, index)

    def gather(self, name: str, index: np.ndarray) -> np.ndarray:
        """A copy of rows of one of the arrays."""
        return self._maps[name].take(index, axis=0)

    def _complete(self, place: Path) -> bool:
        """Whether every file is there in full. DataError if that cannot be seen: they may be good."""
        try:
            made = parse_json(regular_file(place / MADE).read_bytes())
            sizes = {f"{name}.bin": self._info.videos * _row_bytes(form) for name, form in self._arrays.items()}
            found = {name: (place / name).stat() for name in (*sizes, BAD)}
            whole = all(found[name].st_size == size for name, size in sizes.items())
            return whole and all(abs(stat.st_mtime - made[name]) <= SLACK_SECONDS for name, stat in found.items())
        except (*ABSENT, ValueError, KeyError, TypeError):
            return False
        except OSError as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: OSError) -> DataError:
        return DataError(
            f"cannot read what is kept of split {self._info.name!r}: {problem_of(error)}; make it readable, give "
            "another folder in data.cache, or set data.resident to false"
        )

    def _read_bad(self, place: Path) -> dict[int, BadVideo]:
        first = np.concatenate([[0], np.cumsum(self._info.shard_sizes)])
        shards = {shard.name: number for number, shard in enumerate(self._info.shards)}
        try:
            found = from_csv((place / BAD).read_text(encoding="utf-8"))
            return {int(first[shards[video.shard]]) + video.number: video for video in sorted(found)}
        except OSError as error:
            raise self._unreadable(error) from None
        except (ValueError, KeyError) as error:
            raise DataError(f"{place / BAD} is damaged ({error}); remove that folder") from None

    def _build(self, source: Source, place: Path, mask: bool) -> None:
        try:
            with locked(place.with_name(f"{place.name}.lock")):
                if self._complete(place):
                    return  # another process has made it meanwhile
                partial = place.with_name(f"{place.name}.partial")
                for leftover in (partial, place):
                    if leftover.exists():
                        shutil.rmtree(leftover)
                partial.mkdir()
                try:
                    logger.info("decoding split %r into %s", self._info.name, place)
                    self._decode(source, partial, mask)
                    write_json(partial / MADE, {path.name: path.stat().st_mtime for path in sorted(partial.iterdir())})
                    os.rename(partial, place)
                finally:
                    shutil.rmtree(partial, ignore_errors=True)
        except OSError as error:
            raise DataError(
                f"cannot keep split {self._info.name!r} resident in {place.parent}: {problem_of(error)}; "
                "give a writable folder with enough space in data.cache, or set data.resident to false"
            ) from None

    def _decode(self, source: Source, partial: Path, mask: bool) -> None:
        """Writes the arrays of all videos, zeros for bad ones; not through a map, where a full disk would be a signal,
        not an error."""
        bad: list[BadVideo] = []
        slot = self._info.record.members[LABELS]
        nothing = np.zeros(self._info.record.bytes, dtype=np.uint8)  # a video without labels
        nothing[slot.offset : slot.offset + slot.bytes] = np.frombuffer(label_text([], slot.bytes), dtype=np.uint8)
        with contextlib.ExitStack() as stack:
            reader = stack.enter_context(ShardReader(source, self.manifest, self._info.name, mask=mask))
            files = {name: stack.enter_context((partial / f"{name}.bin").open("wb")) for name in self._arrays}
            for shard, videos in enumerate(self._info.shard_sizes.tolist()):
                for first in range(0, videos, _CHUNK):
                    records = np.empty((min(_CHUNK, videos - first), reader.record_bytes), dtype=np.uint8)
                    found = reader.read_into(shard, first, records)
                    bad += found.values()
                    records[list(found)] = nothing
                    view = RecordView(records, self.manifest, self._info)
                    rows = np.zeros((len(records), *self._arrays["rows"][1]), dtype=np.uint8)
                    for name, spec in self.manifest.features.items():
                        strided(rows, self.offsets[name], spec.shape, spec.dtype)[:] = view.feature(name)
                    files["rows"].write(rows.tobytes())
                    files["labels"].write(view.labels().tobytes())
                    files["keys"].write(np.array(view.keys(), dtype=f"S{MAX_KEY}").tobytes())
                    if self._info.dense:
                        files["dense"].write(view.dense().tobytes())
            files["bad"] = stack.enter_context((partial / BAD).open("wb"))
            files["bad"].write(to_csv(bad).encode())
            for file in files.values():
                file.flush()
                os.fsync(file.fileno())


def resident_bytes(manifest: Manifest, split: str) -> int:
    """Size of a split's resident files, if all its videos are good; made.json has a hundred bytes more."""
    info = manifest.split(split)
    return len(to_csv([])) + info.videos * sum(_row_bytes(form) for form in _layout(manifest, info)[1].values())


def resident_row_bytes(manifest: Manifest) -> int:
    """Size of one video's features in a resident file."""
    return _row_bytes(_layout(manifest, next(iter(manifest.splits.values())))[1]["rows"])


def _layout(manifest: Manifest, info: SplitInfo) -> tuple[dict[str, int], dict[str, tuple[str, tuple[int, ...]]]]:
    """Where each feature lies in a row of rows.bin; and by file the dtype and shape of a row."""
    offsets, width = {}, 0
    for name, spec in manifest.features.items():
        offsets[name] = width
        width += -(-spec.bytes // _ALIGN) * _ALIGN
    categories = len(manifest.categories)
    arrays: dict[str, tuple[str, tuple[int, ...]]] = {
        "rows": ("uint8", (width,)),
        "labels": ("bool", (categories,)),
        "keys": (f"S{MAX_KEY}", ()),
    }
    if info.dense:
        arrays["dense"] = ("uint8", (2, categories, manifest.segments))
    return offsets, arrays


def _row_bytes(form: tuple[str, tuple[int, ...]]) -> int:
    dtype, shape = form
    return int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
