"""Videos to the bytes of one shard, which appears whole and synced under its name, or not at all."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from jomold_dist.data.format.dense_truth import has_positives
from jomold_dist.data.format.manifest import FeatureSpec, RecordLayout
from jomold_dist.data.format.records import (
    DENSE,
    KEY_RULE,
    LABELS,
    checksum_text,
    is_shard_key,
    label_text,
    npy_header,
    record_layout,
    shard_bytes,
)
from jomold_dist.errors import DataError, raise_together
from jomold_dist.files import writing
from jomold_dist.labels import MODALITIES, CategorySet

ENCODING = 2  # to be raised where the same videos would become other bytes; 2: with a checksum a video


class BadVideosError(DataError):
    """Some videos of a shard or a split cannot be stored; the others can."""


class OtherContentError(DataError):
    """The videos do not give the shard that was expected of them."""


@dataclass(frozen=True)
class Video:
    """One video to be stored: its key, features by name, label indices, and dense labels (2, C, T), audio first.
    `places` says where features are from, for messages."""

    key: str
    features: Mapping[str, np.ndarray]
    labels: tuple[int, ...]
    dense: np.ndarray | None = None
    places: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ShardFormat:
    """How the videos of a split are stored: `dense` labels or none, and `slot` bytes for the text of labels."""

    features: Mapping[str, FeatureSpec]
    categories: CategorySet
    segments: int
    dense: bool
    slot: int

    @property
    def dense_shape(self) -> tuple[int, int, int] | None:
        return (2, len(self.categories), self.segments) if self.dense else None

    @cached_property
    def layout(self) -> RecordLayout:
        return record_layout(self.features, self.dense_shape, self.slot)


@dataclass(frozen=True)
class WrittenShard:
    """What the manifest has to say about a shard, and the videos' keys, bytes (n,).

    `positives` are int32 (C,), `max_labels` is the most labels that one of its videos has, `modalities` tells whether
    any of its dense labels is 1, by modality.
    """

    bytes: int
    sha256: str
    positives: np.ndarray
    max_labels: int
    modalities: tuple[bool, ...]
    keys: np.ndarray


def write_shard(path: Path, videos: Iterable[Video], form: ShardFormat, *, sha256: str | None = None) -> WrittenShard:
    """Writes a shard aside and renames it to `path`, whose folder is made, when it is whole and on the disk.

    BadVideosError names every video that cannot be stored; what `videos` itself raises as DataError while it is read is
    told likewise. With `sha256`, OtherContentError if the shard has another digest. DataError if it cannot be written.
    In each case `path` stays as it was.
    """
    try:
        path.parent.mkdir(exist_ok=True)
        with writing(path) as aside:
            shard = _write(aside, videos, form)
            _confirm(aside, shard.keys, form.layout)
            if sha256 is not None and shard.sha256 != sha256:
                raise OtherContentError(f"{path}: written anew it has SHA-256 {shard.sha256[:16]}…, not {sha256[:16]}…")
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}; free some space or choose another folder") from None
    return shard


def repeated_key(key: str) -> str:
    """The problem of a key that is not the first of its name."""
    return f"key {key!r} comes twice; keys are unique over all splits"


def _write(path: Path, videos: Iterable[Video], form: ShardFormat) -> WrittenShard:
    keys: dict[str, None] = {}
    positives = np.zeros(len(form.categories), dtype=np.int32)
    modalities = np.zeros(len(MODALITIES), dtype=bool)
    most = 0
    problems: list[str] = []
    with path.open("wb") as file:
        target = _Hashing(file)
        with tarfile.open(fileobj=cast(BinaryIO, target), mode="w|") as tar:  # to which it only ever writes
            try:
                for video in videos:
                    try:
                        _check(video, form, video.key in keys)
                        members = _members(video, form)
                    except DataError as error:
                        problems += error.problems
                        continue
                    keys[video.key] = None
                    positives[list(video.labels)] += 1
                    most = max(most, len(video.labels))
                    if video.dense is not None:
                        modalities |= has_positives(np.asarray(video.dense)[None])
                    if problems:
                        continue  # nothing is kept, but every bad video is to be named
                    owner = checksum_text(zlib.crc32(b"".join(content for _, content in members)))
                    for ending, content in members:
                        _add_member(tar, f"{video.key}.{ending}", content, owner)
                        owner = ""
            except DataError as error:
                problems += error.problems
    if problems:
        raise BadVideosError(*problems)
    names = np.array(list(keys), dtype="S")
    return WrittenShard(target.bytes, target.hexdigest(), positives, most, tuple(modalities.tolist()), names)


def _add_member(tar: tarfile.TarFile, name: str, content: bytes, owner: str) -> None:
    """A file of the tar whose header tells nothing of this machine. The first of a video has its checksum as owner."""
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.uname = len(content), 0o444, owner
    tar.addfile(member, io.BytesIO(content))


def _check(video: Video, form: ShardFormat, repeated: bool) -> None:
    key, labels, categories = video.key, video.labels, len(form.categories)
    if not isinstance(key, str) or not is_shard_key(key):
        raise DataError(f"key {key!r} cannot be packed: {KEY_RULE}")
    if repeated:
        raise DataError(repeated_key(key))
    numbers = all(isinstance(label, int | np.integer) and not isinstance(label, bool) for label in labels)
    if not numbers or len(set(labels)) != len(labels) or any(not 0 <= label < categories for label in labels):
        raise DataError(f"video {key}: labels {labels} must be distinct whole numbers in 0..{categories - 1}")
    if len(label_text(labels, form.slot)) > form.slot:
        raise DataError(
            f"video {key} has {len(labels)} labels, more than fit into the {form.slot} bytes that its split has for "
            f"them; the split must be written with max_labels={len(labels)} or more"
        )


def _members(video: Video, form: ShardFormat) -> list[tuple[str, bytes]]:
    """(ending, content) of a video's members in the order of the layout."""
    members = []
    problems: list[str] = []
    for name, spec in form.features.items():
        where = video.places.get(name) or f"video {video.key}: feature {name!r}"
        if name not in video.features:
            problems.append(f"{where} is missing")
            continue
        try:
            array = stored(video.features[name], spec, where)
            members.append((f"{name}.npy", npy_header(spec.shape, spec.dtype) + array.tobytes()))
        except DataError as error:
            problems += error.problems
    raise_together(problems)
    members.append((LABELS, label_text(sorted(video.labels), form.slot)))
    dense = form.dense_shape
    if (video.dense is None) != (dense is None):
        raise DataError(f"video {video.key}: dense labels {'are missing' if dense else 'in a split without them'}")
    if video.dense is not None and dense is not None:
        array = np.asarray(video.dense)
        if array.shape != dense or not np.isin(array, (0, 1)).all():
            raise DataError(f"video {video.key}: dense labels must be 0 or 1 of shape {dense}, got {array.shape}")
        members.append((DENSE, npy_header(dense, "uint8") + array.astype(np.uint8).tobytes()))
    return members


def _confirm(path: Path, keys: np.ndarray, layout: RecordLayout) -> None:
    """The layout is arithmetic; what tarfile reads back must agree, or nothing could be read by offset."""
    with tarfile.open(path) as tar:
        seen = [(member.name, member.offset_data + member.size) for member in tar]
    wanted = [
        (f"{key.decode()}.{ending}", number * layout.bytes + member.offset + member.bytes)
        for number, key in enumerate(keys.tolist())
        for ending, member in layout.members.items()
    ]
    if seen != wanted or path.stat().st_size != shard_bytes(len(wanted) // len(layout.members), layout.bytes):
        raise RuntimeError(f"{path.name}: the tar writer did not keep to the layout of {layout.bytes} bytes a video")


def stored(array: np.ndarray, spec: FeatureSpec, what: str) -> np.ndarray:
    """The array in the dtype of `spec`. DataError if its shape differs or it is not finite, before or after."""
    array = np.asarray(array)
    if array.shape != spec.shape or array.dtype.kind != "f":
        raise DataError(f"{what} must be {spec.shape} of floats; it is {array.shape} of {array.dtype}")
    with np.errstate(over="ignore"):
        result = array.astype(np.dtype(spec.dtype).newbyteorder("<"))
    if not np.isfinite(result).all():
        if (bad := ~np.isfinite(array)).any():
            row, column = np.argwhere(bad)[0].tolist()
            values = "values of its segments' means" if spec.pooled else "values"
            raise DataError(
                f"{what} holds NaN or infinity in {bad.sum()} of {bad.size} {values}, the first at [{row}, {column}]; "
                "extract it again or leave the video out"
            )
        largest = np.abs(array).max()
        advice = "; store it as float32 (--dtype float32)" if spec.dtype == "float16" else ""
        raise DataError(f"{what} holds {largest:g}, too large for {spec.dtype}{advice}")
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
