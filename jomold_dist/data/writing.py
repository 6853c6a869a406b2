"""Writing a data set: shards of fixed-size records, then the manifest, then one rename that makes them appear."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from webdataset.writer import TarWriter

from jomold_dist.data.manifest import (
    FEATURE_NAMES,
    MANIFEST_NAME,
    FeatureSpec,
    Manifest,
    RecordLayout,
    ShardInfo,
    SplitInfo,
)
from jomold_dist.data.records import (
    DENSE,
    LABELS,
    MAX_KEY,
    checksum_text,
    is_key,
    label_slot,
    label_text,
    npy_header,
    record_layout,
    shard_bytes,
)
from jomold_dist.errors import DataError
from jomold_dist.labels import CategorySet


@dataclass(frozen=True)
class Video:
    """One video to be stored: its key, features by name, label indices, and dense labels (2, C, T), audio first."""

    key: str
    features: Mapping[str, np.ndarray]
    labels: tuple[int, ...]
    dense: np.ndarray | None = None


class DatasetWriter:
    """Writes a data set into a folder beside `out` and renames it to `out` in finish().

    A context manager: leaving it without finish(), or by an exception, removes what was written. DataError if `out`
    exists and is not empty, or for a video that cannot be stored (the message names its key).
    """

    def __init__(
        self,
        out: Path,
        *,
        name: str,
        categories: CategorySet,
        segments: int,
        features: dict[str, FeatureSpec],
        simulated: dict[str, Any] | None = None,
        videos_per_shard: int = 500,
    ) -> None:
        self._out = Path(os.path.abspath(out))
        unknown = set(features) - set(FEATURE_NAMES)
        if unknown or not features:
            raise DataError(
                f"features must be some of {', '.join(FEATURE_NAMES)}; given: {', '.join(features) or 'none'}"
            )
        if videos_per_shard < 1:
            raise DataError(f"videos_per_shard must be at least 1; given: {videos_per_shard}")
        if self._out.exists() and not (self._out.is_dir() and not any(self._out.iterdir())):
            raise DataError(f"{out} exists and is not an empty folder; remove it or choose another one")
        self._name, self._categories, self._segments = name, categories, segments
        self._features = {f: features[f] for f in FEATURE_NAMES if f in features}
        self._simulated, self._videos_per_shard = simulated, videos_per_shard
        self._splits: dict[str, SplitInfo] = {}
        self._keys: set[str] = set()
        self.aside = self._out.with_name(f".{self._out.name}.{os.getpid()}.partial")
        try:
            self._out.parent.mkdir(parents=True, exist_ok=True)
            self.aside.mkdir()
        except OSError as error:
            raise DataError(f"cannot write beside {out}: {error}; choose another folder") from None

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self.aside, ignore_errors=True)  # after finish() there is nothing left

    def write_split(self, split: str, videos: Iterable[Video], *, max_labels: int, dense: bool) -> None:
        """Writes all videos of a split, in their order. `max_labels`: at most so many labels a video."""
        if split in self._splits:
            raise DataError(f"split {split!r} is written twice")
        if not split.isidentifier():
            raise DataError(f"a split's name must be a word of letters, digits and '_'; given: {split!r}")
        dense_shape = (2, len(self._categories), self._segments) if dense else None
        slot = label_slot(max_labels, len(self._categories))
        layout = record_layout(self._features, dense_shape, slot)
        (self.aside / split).mkdir()
        source, most = iter(videos), 0
        shards: list[ShardInfo] = []
        while chunk := list(islice(source, self._videos_per_shard)):
            path = self.aside / split / f"shard-{len(shards):06d}.tar"
            for video in chunk:
                self._check_labels(video, max_labels)
            most = max(most, *(len(video.labels) for video in chunk))
            size, digest = self._write_shard(path, chunk, dense_shape, slot)
            self._confirm(path, [video.key for video in chunk], layout)
            labels = np.array([label for video in chunk for label in video.labels], dtype=np.int64)
            positives = np.bincount(labels, minlength=len(self._categories)).astype(np.int32)
            shards.append(ShardInfo(f"{split}/{path.name}", len(chunk), size, digest, positives))
        if not shards:
            raise DataError(f"split {split!r} has no videos")
        _sync_folder(self.aside / split)
        self._splits[split] = SplitInfo(split, most, dense, layout, tuple(shards))

    def finish(self) -> Manifest:
        """Writes the manifest and makes the data set appear at `out`."""
        if not self._splits:
            raise DataError("a data set needs at least one split")
        manifest = Manifest(self._name, self._segments, self._categories, self._features, self._splits, self._simulated)
        with (self.aside / MANIFEST_NAME).open("xb") as file:
            file.writelines(line.encode() for line in manifest.lines())
            _sync(file)
        _sync_folder(self.aside)
        try:
            os.rename(self.aside, self._out)  # takes the place of an empty folder
        except OSError as error:
            raise DataError(f"cannot rename the finished data set to {self._out}: {error}") from None
        _sync_folder(self._out.parent)
        return manifest

    def _write_shard(
        self, path: Path, videos: list[Video], dense: tuple[int, int, int] | None, slot: int
    ) -> tuple[int, str]:
        """Writes one shard; its size and SHA-256."""
        try:
            with path.open("xb") as file:
                target = _Hashing(file)
                with TarWriter(target, encoder=False, mtime=0, user="", group="") as writer:
                    for video in videos:
                        members = self._members(video, dense, slot)
                        writer.user = checksum_text(zlib.crc32(b"".join(content for _, content in members)))
                        for ending, content in members:
                            writer.write({"__key__": video.key, ending: content})  # one at a time: it sorts by ending
                            writer.user = ""
                _sync(file)
        except OSError as error:
            raise DataError(
                f"cannot write {path}: {error.strerror}; free some space or choose another folder"
            ) from None
        return target.bytes, target.hexdigest()

    def _check_labels(self, video: Video, max_labels: int) -> None:
        key, labels = video.key, video.labels
        if not is_key(key):
            raise DataError(f"key {key!r} must be 1 to {MAX_KEY} printable ASCII characters without '.', '/' or space")
        if key in self._keys:
            raise DataError(f"key {key!r} comes twice; keys are unique over all splits")
        self._keys.add(key)
        if len(set(labels)) != len(labels) or any(not 0 <= label < len(self._categories) for label in labels):
            raise DataError(f"video {key}: labels {labels} must be distinct and in 0..{len(self._categories) - 1}")
        if len(labels) > max_labels:
            raise DataError(f"video {key} has {len(labels)} labels, the split is written for at most {max_labels}")

    def _members(self, video: Video, dense: tuple[int, int, int] | None, slot: int) -> list[tuple[str, bytes]]:
        """(ending, content) of a video's members in the order of the layout."""
        members = []
        for name, spec in self._features.items():
            if name not in video.features:
                raise DataError(f"video {video.key}: feature {name!r} is missing")
            array = stored(video.features[name], spec, f"video {video.key}: feature {name!r}")
            members.append((f"{name}.npy", npy_header(spec.shape, spec.dtype) + array.tobytes()))
        members.append((LABELS, label_text(sorted(video.labels), slot)))
        if (video.dense is None) != (dense is None):
            raise DataError(f"video {video.key}: dense labels {'are missing' if dense else 'in a split without them'}")
        if video.dense is not None and dense is not None:
            array = np.asarray(video.dense)
            if array.shape != dense or not np.isin(array, (0, 1)).all():
                raise DataError(f"video {video.key}: dense labels must be 0 or 1 of shape {dense}, got {array.shape}")
            members.append((DENSE, npy_header(dense, "uint8") + array.astype(np.uint8).tobytes()))
        return members

    def _confirm(self, path: Path, keys: list[str], layout: RecordLayout) -> None:
        """The layout is arithmetic; what tarfile reads back must agree, or nothing could be read by offset."""
        with tarfile.open(path) as tar:
            seen = [(member.name, member.offset_data + member.size) for member in tar]
        wanted = [
            (f"{key}.{ending}", number * layout.bytes + member.offset + member.bytes)
            for number, key in enumerate(keys)
            for ending, member in layout.members.items()
        ]
        if seen != wanted or path.stat().st_size != shard_bytes(len(keys), layout.bytes):
            raise RuntimeError(
                f"{path.name}: the tar writer did not keep to the layout of {layout.bytes} bytes a video"
            )


def stored(array: np.ndarray, spec: FeatureSpec, what: str) -> np.ndarray:
    """The array in the dtype of `spec`. DataError if its shape differs or it is not finite, before or after."""
    array = np.asarray(array)
    if array.shape != spec.shape or array.dtype.kind != "f":
        raise DataError(f"{what} must be {spec.shape} of floats; it is {array.shape} of {array.dtype}")
    with np.errstate(over="ignore"):
        result = array.astype(np.dtype(spec.dtype).newbyteorder("<"))
    if not np.isfinite(result).all():
        if not np.isfinite(array).all():
            raise DataError(f"{what} holds NaN or infinity; extract it again or leave the video out")
        largest = np.abs(array).max()
        raise DataError(f"{what} holds {largest:g}, too large for {spec.dtype}; store it as float32")
    return result


class _Hashing:
    """A file to write to that counts and hashes what goes through it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.bytes = 0

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        self.bytes += len(data)
        return self._file.write(data)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
