"""The labels of a split, held in a few arrays: a label takes four bytes, and what is not there takes none.

Legend: N videos, C categories, T segments.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import overload

import numpy as np

from jomold_dist.data.packing.annotations import SplitLabels
from jomold_dist.labels import CategorySet


@dataclass(frozen=True)
class IndexLists:
    """A sorted list of distinct indices for each of N videos: `indices` int32, those of video i from `starts[i]` up to
    `starts[i + 1]`, int64 (N + 1,)."""

    starts: np.ndarray
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, video: int) -> np.ndarray:
        return self.indices[self.starts[video] : self.starts[video + 1]]

    @cached_property
    def lengths(self) -> np.ndarray:
        """How many indices each video has, int64 (N,)."""
        return np.diff(self.starts)

    @cached_property
    def videos(self) -> np.ndarray:
        """Whose each index is, int64, in the order of `indices`."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def multi_hot(self, videos: np.ndarray, size: int) -> np.ndarray:
        """The lists of some videos as bool (n, size)."""
        rows = np.zeros((len(videos), size), dtype=bool)
        for row, video in zip(rows, videos.tolist(), strict=True):
            row[self[video]] = True
        return rows


def lists_of_pairs(videos: np.ndarray, indices: np.ndarray, count: int, size: int) -> IndexLists:
    """The lists of `count` videos of the pairs (video, index below `size`), which may repeat."""
    return lists_of_codes(np.unique(videos.astype(np.int64) * size + indices), count, size)


def lists_of_codes(codes: np.ndarray, count: int, size: int) -> IndexLists:
    """The lists of `count` videos of sorted, distinct codes `video * size + index`, int64."""
    starts = np.searchsorted(codes, np.arange(count + 1) * size)
    return IndexLists(starts, (codes % size).astype(np.int32))


def lists_of_rows(rows: np.ndarray) -> IndexLists:
    """The lists of an array (N, …) of 0 and 1: where each row, flattened, is 1."""
    flat = rows.reshape(len(rows), -1)
    videos, indices = np.nonzero(flat)
    return lists_of_pairs(videos, indices, len(flat), flat.shape[1])


@dataclass(frozen=True)
class VideoLabels:
    """One split's videos: `keys` in bytes (N,), and by lists their `labels` (below C), `dense` labels (below 2·C·T, as
    (2, C, T) flattened, audio first) and which labels are `present`, that is really heard or seen (below 2·C); None
    where that is not known."""

    keys: np.ndarray
    labels: IndexLists
    dense: IndexLists | None = None
    present: IndexLists | None = None

    def __len__(self) -> int:
        return len(self.keys)

    def key(self, video: int) -> str:
        text: str = self.keys[video].decode("ascii")
        return text

    @property
    def max_labels(self) -> int:
        """The most labels that a video has."""
        return int(self.labels.lengths.max(initial=0))


class Keys(Sequence[str]):
    """The keys of several splits one after another, each made a text when it is asked for."""

    def __init__(self, splits: Iterable[VideoLabels]) -> None:
        self._splits = list(splits)
        self._ends = list(accumulate(map(len, self._splits)))

    def __len__(self) -> int:
        return self._ends[-1]

    @overload
    def __getitem__(self, number: int) -> str: ...

    @overload
    def __getitem__(self, number: slice) -> list[str]: ...

    def __getitem__(self, number: int | slice) -> str | list[str]:
        if isinstance(number, slice):
            return [self[place] for place in range(*number.indices(len(self)))]
        if not 0 <= number < len(self):
            raise IndexError(number)
        split = bisect_right(self._ends, number)
        return self._splits[split].key(number - (self._ends[split - 1] if split else 0))


@dataclass(frozen=True)
class LabelSet:
    """All labels of a data set to be. `findings` were passed over, a line each; `notes` are to be told beside."""

    categories: CategorySet
    splits: dict[str, VideoLabels]
    findings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def compact(split: SplitLabels) -> VideoLabels:
    """The same labels in lists."""
    return VideoLabels(
        np.array(split.keys, dtype="S"),
        lists_of_rows(split.labels),
        None if split.dense is None else lists_of_rows(split.dense),
        None if split.present is None else lists_of_rows(split.present),
    )


def unlabelled(keys: list[str]) -> VideoLabels:
    """Videos of which no label is known."""
    return VideoLabels(np.array(keys, dtype="S"), IndexLists(np.zeros(len(keys) + 1, np.int64), np.zeros(0, np.int32)))


def label_set_digest(splits: Mapping[str, VideoLabels]) -> str:
    """Stands for all keys and labels of the splits, weak, dense and present, in their order."""
    digest = hashlib.sha256()
    for name, split in splits.items():
        digest.update(repr((name, split.keys.dtype.str, len(split))).encode())
        digest.update(np.ascontiguousarray(split.keys).view(np.uint8).data)
        for lists in (split.labels, split.dense, split.present):
            digest.update(b"none" if lists is None else lists.starts.tobytes() + lists.indices.tobytes())
    return digest.hexdigest()
