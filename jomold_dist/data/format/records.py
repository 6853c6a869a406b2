"""One video's bytes in a shard: four or five tar members of fixed size, and views of them without decoding.

A record is, for each member, a 512-byte tar header and the content padded to 512 bytes. Arrays are .npy files with a
header of 128 bytes; the label text is padded with spaces to one slot. Nothing varies in length from video to video, so
n records are a uint8 array (n, record.bytes) and a feature of all of them is a strided view.

The tar header of a video's first member says, as the name of its owner, the CRC-32 of all its members' contents, so
that a damaged video can be told from its neighbours. Readers of tar files make nothing of it.

Shapes: n videos, C categories, T segments.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np

from jomold_dist.data.format.manifest import FEATURE_NAMES, FeatureSpec, Manifest, Member, RecordLayout, SplitInfo
from jomold_dist.errors import DataError

TAR_BLOCK = 512
NAME_FIELD = 100  # of a tar header; a longer name would add a header of its own and break the fixed size
NPY_HEADER = 128
LABELS = "labels.json"
DENSE = "dense.npy"
MAX_KEY = NAME_FIELD - len("." + LABELS)  # labels.json is the longest ending
KEY_RULE = f"a key is 1 to {MAX_KEY} printable ASCII characters without '.', '/' or space"
OWNER_FIELD = slice(265, 297)  # of a tar header, padded with zeros


def array_specs(
    features: Mapping[str, FeatureSpec], dense: tuple[int, int, int] | None
) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of each .npy member by its ending; `dense` is (2, C, T) or None."""
    specs: dict[str, tuple[tuple[int, ...], str]] = {
        f"{name}.npy": (features[name].shape, features[name].dtype) for name in FEATURE_NAMES if name in features
    }
    if dense is not None:
        specs[DENSE] = (dense, "uint8")
    return specs


def npy_header(shape: Sequence[int], dtype: str) -> bytes:
    """The first 128 bytes of an .npy file. Made here so that a shard's bytes do not depend on numpy's version."""
    text = (
        f"{{'descr': {np.dtype(dtype).newbyteorder('<').str!r}, 'fortran_order': False, 'shape': {tuple(shape)!r}, }}"
    )
    return b"\x93NUMPY\x01\x00" + (NPY_HEADER - 10).to_bytes(2, "little") + text.ljust(NPY_HEADER - 11).encode() + b"\n"


def is_shard_key(key: str) -> bool:
    """Whether a video may be called so: tar, webdataset and label files take the name without change."""
    return 1 <= len(key) <= MAX_KEY and key.isascii() and key.isprintable() and not set(key) & set("./ ")


def checksum_text(crc: int) -> str:
    """The owner's name that says a video's CRC-32."""
    return f"crc32-{crc:08x}"


def label_slot(max_labels: int, categories: int) -> int:
    """Bytes of the label text's slot: room for `max_labels` indices below `categories`, rounded up to 512."""
    widest = len(json.dumps({"labels": [categories - 1] * max_labels}))
    return _rounded(widest)


def label_text(labels: Sequence[int], slot: int) -> bytes:
    """`{"labels": [indices]}` padded with spaces to the slot."""
    text = json.dumps({"labels": [int(label) for label in labels]})
    return text.encode().ljust(slot)


def record_layout(features: Mapping[str, FeatureSpec], dense: tuple[int, int, int] | None, slot: int) -> RecordLayout:
    """Where each member of a record lies. Order: audio, frames, motion, labels, dense."""
    specs = array_specs(features, dense)
    endings = [ending for ending in specs if ending != DENSE] + [LABELS] + ([DENSE] if dense is not None else [])
    members, at = {}, 0
    for ending in endings:
        at += TAR_BLOCK
        if ending == LABELS:
            members[ending] = Member(at, slot)
            at += slot
        else:
            shape, dtype = specs[ending]
            size = math.prod(shape) * np.dtype(dtype).itemsize
            members[ending] = Member(at + NPY_HEADER, size)
            at += _rounded(NPY_HEADER + size)
    return RecordLayout(at, members)


def shard_bytes(videos: int, record_bytes: int) -> int:
    """Size of a shard: its records and the end of a tar, which is padded to 20 blocks."""
    return -(-(videos * record_bytes + 2 * TAR_BLOCK) // (20 * TAR_BLOCK)) * 20 * TAR_BLOCK


def strided(records: np.ndarray, offset: int, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """The array at `offset` of every row of `records` uint8 (n, bytes): (n, *shape), a view."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    return records[:, offset : offset + size].view(dtype).reshape(len(records), *shape)


def record_keys(records: np.ndarray, layout: RecordLayout) -> list[str]:
    """The keys of records uint8 (n, record.bytes), from the name of the first member."""
    ending = "." + next(iter(layout.members))
    names = np.ascontiguousarray(records[:, :NAME_FIELD]).view(f"S{NAME_FIELD}")[:, 0]
    return [name[: -len(ending)].decode("ascii", "replace") for name in names.tolist()]


class RecordView:
    """Reads arrays, keys and labels out of records, uint8 (n, record.bytes), without copying features."""

    def __init__(self, records: np.ndarray, manifest: Manifest, split: SplitInfo) -> None:
        self._records = records
        self._manifest = manifest
        self._split = split

    def feature(self, name: str) -> np.ndarray:
        """A feature (n, *shape) in its stored dtype: a strided view."""
        spec = self._manifest.features[name]
        return strided(self._records, self._split.record.members[f"{name}.npy"].offset, spec.shape, spec.dtype)

    def keys(self) -> list[str]:
        """The videos' keys."""
        return record_keys(self._records, self._split.record)

    def labels(self) -> np.ndarray:
        """Weak labels, bool (n, C). DataError if a label text is damaged."""
        labels = np.zeros((len(self._records), len(self._manifest.categories)), dtype=bool)
        if not len(self._records):
            return labels
        slot = self._split.record.members[LABELS]
        texts = self._records[:, slot.offset : slot.offset + slot.bytes]
        used = int(np.flatnonzero((texts != ord(" ")).any(axis=0)).max(initial=0)) + 1
        joined = np.full((len(texts), used + 1), ord(","), dtype=np.uint8)  # one parse for the whole batch
        joined[:, :used] = texts[:, :used]
        try:
            lists = [row["labels"] for row in json.loads(b"[" + joined.tobytes()[:-1] + b"]")]
            video = np.repeat(np.arange(len(lists)), [len(indices) for indices in lists])
            indices = [i for indices in lists for i in indices]
            if len(lists) != len(labels) or not {*map(type, indices)} <= {int} or min(indices, default=0) < 0:
                raise ValueError('not {"labels": [indices]}')
            labels[video, np.array(indices, dtype=np.intp)] = True
        except (ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError) as error:
            raise DataError(
                f"a label text in split {self._split.name!r} is damaged ({error}); "
                "run jomold verify and pack the data set again"
            ) from None
        return labels

    def dense(self) -> np.ndarray:
        """Dense labels uint8 (n, 2, C, T), audio first: a strided view. Only in splits that hold them."""
        shape = (2, len(self._manifest.categories), self._manifest.segments)
        return strided(self._records, self._split.record.members[DENSE].offset, shape, "uint8")


class RecordCheck:
    """Tells whether records look as the layout says: tar headers, member names and .npy headers at their places."""

    def __init__(self, manifest: Manifest, split: SplitInfo) -> None:
        dense = (2, len(manifest.categories), manifest.segments) if split.dense else None
        self._specs = array_specs(manifest.features, dense)
        self._members = split.record.members

    @cached_property
    def _constant(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions inside a record whose bytes are the same in every video, and those bytes."""
        positions, values = [], []
        for ending, member in self._members.items():
            npy = npy_header(*self._specs[ending]) if ending in self._specs else b""
            header = member.offset - len(npy) - TAR_BLOCK
            for at, text in (
                (header + 124, b"%011o\0" % (len(npy) + member.bytes)),  # size
                (header + 156, b"0"),  # an ordinary file
                (header + 257, b"ustar"),
                (header + TAR_BLOCK, npy),
            ):
                positions.append(np.arange(at, at + len(text)))
                values.append(np.frombuffer(text, dtype=np.uint8))
        return np.concatenate(positions), np.concatenate(values)

    def good(self, records: np.ndarray) -> np.ndarray:
        """Whether each of the records uint8 (n, record.bytes) is in order: bool (n,)."""
        positions, values = self._constant
        good = (records[:, positions] == values).all(axis=1)
        first = records[:, :NAME_FIELD]
        length = (first == ord(".")).argmax(axis=1)[:, None]  # (n, 1): keys hold no dot
        good &= length[:, 0] > 0
        column = np.arange(NAME_FIELD)
        for ending, member in self._members.items():
            header = member.offset - TAR_BLOCK - (NPY_HEADER if ending in self._specs else 0)
            name = records[:, header : header + NAME_FIELD]
            expected = np.zeros(2 * NAME_FIELD, dtype=np.uint8)
            expected[: len(ending) + 1] = np.frombuffer(b"." + ending.encode(), dtype=np.uint8)
            wanted = np.where(column < length, first, expected[np.maximum(column - length, 0)])
            good &= (name == wanted).all(axis=1)
        return good


def _rounded(size: int) -> int:
    return -(-size // TAR_BLOCK) * TAR_BLOCK
