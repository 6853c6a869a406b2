"""Rows of label tables on their way to a split's arrays: keys, lines and label numbers side by side, a few bytes a row.

Legend: R rows, N videos, C categories.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np

from jomold_dist.data.packing.label_files import SHOWN, TableReport
from jomold_dist.data.packing.video_labels import IndexLists, LabelSet, VideoLabels, lists_of_codes
from jomold_dist.errors import DataError, nearest
from jomold_dist.labels import CategorySet

FIRST_SPLITS = ("train", "val", "test")  # what training reads; in this order, before all others

_TOGETHER = 1 << 14  # keys that become an array together
_COMPARED = 1 << 20  # keys that are compared at a time


class LabelRows:
    """Collects the rows of one table after another. With `categories` None, every name is one."""

    def __init__(self, categories: CategorySet | None) -> None:
        self.known = categories
        names = () if categories is None else categories.names
        self._numbers = {name: number for number, name in enumerate(names)}
        self._splits: dict[str, int] = {}
        self._reports: list[TableReport] = []
        self._repeats: list[bool] = []
        self._starts: list[int] = []  # the first row of each table
        self._some_keys: list[bytes] = []
        self._keys: list[np.ndarray] = []
        self._lines, self._split, self._count, self._labels = (array(kind) for kind in "iiii")

    def begin(self, report: TableReport, repeats: bool) -> None:
        """The rows that follow are of this table, in which keys may be repeated or not."""
        self._reports.append(report)
        self._repeats.append(repeats)
        self._starts.append(len(self._lines))

    def category(self, name: str) -> int:
        """The number by which `add` takes a label. Where the categories are known, it must be one."""
        if self.known is None:
            return self._numbers.setdefault(name, len(self._numbers))
        return self._numbers[name]

    def add(self, line: int, key: str, split: str, labels: Sequence[int]) -> None:
        """A row of the table."""
        self._some_keys.append(key.encode())
        if len(self._some_keys) == _TOGETHER:
            self._gather_keys()
        self._lines.append(line)
        self._split.append(self._splits.setdefault(split, len(self._splits)))
        self._count.append(len(labels))
        self._labels.extend(labels)

    def label_set(self) -> LabelSet:
        """All labels by split, the videos in the order of their first rows. What is wrong goes to the reports; where
        something is, the labels are those without it."""
        self._gather_keys()
        keys = np.concatenate(self._keys) if self._keys else np.zeros(0, "S1")
        self._keys = [keys]
        lines, splits, counts, labels = (
            np.frombuffer(column, column.typecode) if len(column) else np.zeros(0, column.typecode)
            for column in (self._lines, self._split, self._count, self._labels)
        )
        categories, labels, notes = self._categories(labels)
        first, video = _grouped(keys)
        self._tell_repeated(keys, lines, splits, first[video])
        self._tell_rows(keys, lines, counts == 0, "without labels")
        codes = _codes(video, counts, labels, len(categories))
        codes.sort()
        repeated = np.flatnonzero(codes[1:] == codes[:-1])
        if len(repeated):
            self._tell_twice(keys, lines, _codes(video, counts, labels, len(categories)), counts)
            codes = np.delete(codes, repeated)
        lists = lists_of_codes(codes, len(first), len(categories))
        strange = tuple(
            f"split {name}: training reads {', '.join(FIRST_SPLITS)} alone{nearest(name.lower(), FIRST_SPLITS)}"
            for name in self._splits
            if name not in FIRST_SPLITS
        )
        return LabelSet(categories, self._by_split(keys[first], splits[first], lists), (), (*notes, *strange))

    def _gather_keys(self) -> None:
        if self._some_keys:
            self._keys.append(np.array(self._some_keys, dtype="S"))
            self._some_keys = []

    def _categories(self, labels: np.ndarray) -> tuple[CategorySet, np.ndarray, tuple[str, ...]]:
        """The categories, the labels by their numbers, and what is to be told."""
        if self.known is not None:
            return self.known, labels, ()
        names = sorted(self._numbers)
        if not names:
            raise DataError(f"{self._reports[0].path}: no video has a label, so that there are no categories")
        places = {name: place for place, name in enumerate(names)}
        renumbered = np.array([places[name] for name in self._numbers], dtype=np.int32)
        which = "the one label that occurs" if len(names) == 1 else f"the {len(names)} labels that occur, sorted"
        told = f"categories: {which} (--categories FILE names them otherwise)"
        alike: dict[str, list[str]] = {}
        for name in names:
            alike.setdefault("".join(filter(str.isalnum, name.casefold())) or name, []).append(name)
        twins = (" and ".join(map(repr, group)) for group in alike.values() if len(group) > 1)
        doubts = (f"categories that are written alike: {twin}; is that one?" for twin in twins)
        return CategorySet(tuple(names)), renumbered[labels], (told, *doubts)

    def _by_split(self, keys: np.ndarray, splits: np.ndarray, lists: IndexLists) -> dict[str, VideoLabels]:
        found = {}
        for name in sorted(self._splits, key=lambda name: [*FIRST_SPLITS, name].index(name)):
            own = splits == self._splits[name]
            starts = np.concatenate([[0], np.cumsum(lists.lengths[own])]).astype(np.int64)
            found[name] = VideoLabels(keys[own], IndexLists(starts, lists.indices[np.repeat(own, lists.lengths)]))
        return found

    def _tell_repeated(self, keys: np.ndarray, lines: np.ndarray, splits: np.ndarray, first: np.ndarray) -> None:
        """A problem for every row of a video that has one already and may not, or that has one in another split."""
        names = list(self._splits)
        table = np.searchsorted(self._starts, np.arange(len(keys)), side="right") - 1
        later = first != np.arange(len(keys))
        elsewhere = later & (splits != splits[first])
        again = later & ~elsewhere & ~np.array([*self._repeats, True])[table]
        for row in np.flatnonzero(elsewhere | again).tolist():
            report, origin, key = self._reports[table[row]], int(first[row]), keys[row].decode()
            other = self._reports[table[origin]]
            where = f"line {lines[origin]}" + (f" of {other.path.name}" if other is not report else "")
            if elsewhere[row]:
                split = f"of {names[splits[row]]} here and of {names[splits[origin]]} in {where}"
                report.problem(f"the video {key} is {split}", int(lines[row]))
            else:
                report.problem(f"the video {key} stands already in {where}", int(lines[row]))

    def _tell_rows(self, keys: np.ndarray, lines: np.ndarray, which: np.ndarray, what: str) -> None:
        """A finding for the rows of each table that `which`, bool (R,), holds."""
        for number, report in enumerate(self._reports):
            end = self._starts[number + 1] if number + 1 < len(self._starts) else len(keys)
            rows = np.flatnonzero(which[self._starts[number] : end]) + self._starts[number]
            some = [(int(lines[row]), keys[row].decode()) for row in rows[:SHOWN].tolist()]
            report.finding(some, what, len(rows))

    def _tell_twice(self, keys: np.ndarray, lines: np.ndarray, codes: np.ndarray, counts: np.ndarray) -> None:
        """A finding for the rows with a label that their video has already; `codes` tell video and label."""
        order = np.argsort(codes, kind="stable")
        repeated = np.zeros(len(codes), dtype=bool)
        repeated[order[1:]] = codes[order[1:]] == codes[order[:-1]]
        rows = np.zeros(len(keys), dtype=bool)
        rows[np.repeat(np.arange(len(keys)), counts)[repeated]] = True
        self._tell_rows(keys, lines, rows, "naming a label again")


def _grouped(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first row of each video, int64 (N,), in the order of these rows, and the video of each row, int32 (R,)."""
    by_key = np.argsort(keys, kind="stable")
    new = np.ones(len(keys), dtype=bool)
    for start in range(1, len(keys), _COMPARED):
        part = slice(start, start + _COMPARED)
        new[part] = keys[by_key[part]] != keys[by_key[start - 1 : start - 1 + len(new[part])]]
    if new.all():
        return np.arange(len(keys)), np.arange(len(keys), dtype=np.int32)
    first = by_key[new]
    order = np.argsort(first)
    number = np.empty(len(first), dtype=np.int32)
    number[order] = np.arange(len(first), dtype=np.int32)
    video = np.empty(len(keys), dtype=np.int32)
    video[by_key] = number[np.cumsum(new) - 1]
    return first[order], video


def _codes(video: np.ndarray, counts: np.ndarray, labels: np.ndarray, categories: int) -> np.ndarray:
    """`video * categories + label` of every label, int64, in the order of the rows."""
    codes = np.repeat(video, counts).astype(np.int64)
    codes *= categories
    codes += labels
    return codes
