"""Tables of what is heard and seen: with times they become dense labels, without them the truth of weak labels.

A row is one event, or one label, of one video in one modality: `key`, `onset` and `offset` in seconds, `label`, and
`modality`, under these names or those of the tables that `jomold predict` writes (`filename`, `event_labels`). The
modality is audio or visual (also A or V, heard or seen), or both (AV).

Legend: N videos, C categories, T segments.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from jomold_dist.data.packing.dense_labels import is_known, segments_of
from jomold_dist.data.packing.input_tables import Cell, open_table
from jomold_dist.data.packing.label_files import SHOWN, TableReport
from jomold_dist.data.packing.video_labels import IndexLists, LabelSet, VideoLabels, lists_of_pairs
from jomold_dist.errors import raise_together
from jomold_dist.labels import CategorySet

KEYS, NAMES = ("key", "filename"), ("label", "event_labels")
MODALITY_WORDS = {
    **dict.fromkeys(("audio", "a", "heard"), (0,)),
    **dict.fromkeys(("visual", "v", "seen"), (1,)),
    **dict.fromkeys(("both", "av"), (0, 1)),
}

_TOGETHER = 1 << 14  # keys that are looked up together


@dataclass(frozen=True)
class Length:
    """How long every video is: so many `segments` of `seconds` each."""

    segments: int
    seconds: float

    @property
    def total(self) -> float:
        return self.segments * self.seconds


def with_event_tables(
    labels: LabelSet, dense: Mapping[str, Sequence[Path]], truth: Mapping[str, Sequence[Path]], length: Length
) -> LabelSet:
    """The labels with the dense labels and the truth of some splits, each of one or several tables. DataError with
    every harmful defect of all tables."""
    raise_together(
        [
            f"--{option} {name}={files[0]}: no labels tell of a split {name!r}; there are {', '.join(labels.splits)}"
            for option, tables in (("dense", dense), ("truth", truth))
            for name, files in tables.items()
            if name not in labels.splits
        ]
    )
    reports: list[TableReport] = []
    splits, silent, notes, categories = {}, list[str](), list[str](), labels.categories
    for name, split in labels.splits.items():
        timed = [TableReport(path) for path in dense.get(name, ())]
        true = [TableReport(path) for path in truth.get(name, ())]
        times = _joined([read_event_table(report, split, categories, length) for report in timed])
        present = _joined([read_truth_table(report, split, categories) for report in true])
        for lists, own in ((times, timed), (present, true)):
            if lists is not None and (none := int(((lists.lengths == 0) & (split.labels.lengths > 0)).sum())):
                silent.append(f"{own[0].path.name}: nothing of {none} of the {len(split)} videos of {name}")
        if times is not None and (beyond := _unlabelled_events(split, times, categories, length.segments)):
            notes.append(f"{name}: heard or seen, and kept, but no labels of their videos: {beyond:,}")
        splits[name] = replace(split, dense=times, present=present)
        reports += timed + true
    raise_together([problem for report in reports for problem in report.problems()])
    findings = [finding for report in reports for finding in report.findings]
    return replace(
        labels, splits=splits, findings=(*labels.findings, *findings, *silent), notes=(*labels.notes, *notes)
    )


def read_event_table(report: TableReport, split: VideoLabels, categories: CategorySet, length: Length) -> IndexLists:
    """The dense labels of a split's videos, as lists below 2·C·T; what is wrong goes to `report`.

    An event's ends go to the nearest border between segments; one that is too short for that has the segment of its
    middle.
    """
    rows = _Rows(report, split)
    wanted = {"key": KEYS, "onset": ("onset",), "offset": ("offset",), "label": NAMES, "modality": ("modality",)}
    void: list[tuple[int, str]] = []
    for line, key, cells, kinds, category in _read(report, wanted, categories):
        times = _times(report, line, cells[:2], length)
        if times is None:
            continue
        if times[1] <= times[0]:
            void.append((line, key))
        first, end = segments_of(*times, length.segments, length.total)
        for kind in kinds:
            rows.add(line, key, (kind * len(categories) + category) * length.segments + first, end - first)
    report.finding(void[:SHOWN], "with offset ≤ onset", len(void))
    return rows.lists(2 * len(categories) * length.segments)


def read_truth_table(report: TableReport, split: VideoLabels, categories: CategorySet) -> IndexLists:
    """Which labels of a split's videos are really heard and seen, as lists below 2·C; what is wrong goes to `report`.

    What it says of labels that a video does not have is passed over."""
    rows = _Rows(report, split)
    wanted = {"key": KEYS, "label": NAMES, "modality": ("modality",)}
    for line, key, _, kinds, category in _read(report, wanted, categories):
        for kind in kinds:
            rows.add(line, key, kind * len(categories) + category, 1)
    found = rows.lists(2 * len(categories))
    own = split.labels.videos * len(categories) + split.labels.indices
    told = found.videos * len(categories) + found.indices % len(categories)
    labelled = np.isin(told, own)
    beyond, nowhere = int((~labelled).sum()), int((~np.isin(own, told)).sum())
    if beyond:
        report.findings.append(f"{report.path.name}: heard or seen, but no labels of their videos: {beyond}")
    if nowhere:
        report.findings.append(f"{report.path.name}: labels neither heard nor seen: {nowhere} of {len(own)}")
    size = 2 * len(categories)
    return lists_of_pairs(found.videos[labelled], found.indices[labelled], len(split), size)


def _unlabelled_events(split: VideoLabels, times: IndexLists, categories: CategorySet, segments: int) -> int:
    """How many categories of a video are heard or seen in it and are none of its labels, in all videos."""
    told = np.unique(times.videos * len(categories) + times.indices // segments % len(categories))
    own = split.labels.videos * len(categories) + split.labels.indices
    return int((~np.isin(told, own)).sum())


def _read(
    report: TableReport, wanted: dict[str, tuple[str, ...]], categories: CategorySet
) -> Iterator[tuple[int, str, list[Cell], tuple[int, ...], int]]:
    """Of every sound row: line, key, the cells between key and label, its modalities, and the category's number."""
    table = open_table(report, wanted, tuple(wanted))
    if table is None:
        return
    for line, (key, *between, label, modality) in table.rows():
        kinds = MODALITY_WORDS.get(str(modality).lower())
        if kinds is None:
            report.problem("the modality is audio, visual or both", line, str(modality))
        elif is_known(report, str(label), categories, line):
            yield line, str(key), between, kinds, categories.index(str(label))


def _times(report: TableReport, line: int, cells: Sequence[Cell], length: Length) -> tuple[float, float] | None:
    """Onset and offset in seconds. None, and a problem in the report, if they are not within the video."""
    try:
        onset, offset = (float(cell) for cell in cells if not isinstance(cell, list))
    except ValueError:
        onset = offset = math.nan
    latest = length.total + length.seconds / 2  # so far the video's end is the nearest border
    if not (0 <= onset <= latest and 0 <= offset <= latest):
        report.problem(
            f"onset and offset are seconds from 0 to {length.total:g}, the end of {length.segments} segments of "
            f"{length.seconds:g} seconds",
            line,
            f"{cells[0]} {cells[1]}",
        )
        return None
    return onset, offset


def _joined(parts: Sequence[IndexLists]) -> IndexLists | None:
    """What any of the lists has, video by video."""
    if not parts:
        return None
    videos, indices = np.concatenate([p.videos for p in parts]), np.concatenate([p.indices for p in parts])
    return lists_of_pairs(videos, indices, len(parts[0]), int(indices.max(initial=0)) + 1)


class _Rows:
    """Collects pairs of a video and a run of indices, whose videos are given by keys."""

    def __init__(self, report: TableReport, split: VideoLabels) -> None:
        self._report, self._split = report, split
        self._order = np.argsort(split.keys)
        self._sorted = split.keys[self._order]
        self._pending: list[tuple[int, str]] = []
        self._videos: list[np.ndarray] = []
        self._first, self._length = array("q"), array("q")
        self._strange: list[tuple[int, str]] = []
        self._strangers = self._rows = 0
        self._line = self._strange_line = 0  # of the row before: one may come several times

    def add(self, line: int, key: str, first: int, length: int) -> None:
        """The indices from `first` on, so many."""
        self._pending.append((line, key))
        self._rows += line != self._line
        self._line = line
        self._first.append(first)
        self._length.append(length)
        if len(self._pending) == _TOGETHER:
            self._look_up()

    def lists(self, size: int) -> IndexLists:
        """The indices by video. A file that is mostly of other videos is a problem; a few rows are a finding."""
        self._look_up()
        videos = np.concatenate([np.zeros(0, np.int64), *self._videos])
        first, length = (np.array(column, dtype=np.int64) for column in (self._first, self._length))
        example = self._split.key(0) if len(self._split) else ""
        if 2 * self._strangers > self._rows:
            self._report.problem(
                f"{self._strangers} of {self._rows} rows are of no video of this split, for instance "
                f"{self._strange[0][1]!r}; its keys are such as {example!r}"
            )
        else:
            self._report.finding(self._strange, "of no video of the split", self._strangers)
        known = videos >= 0
        videos, first, length = videos[known], first[known], length[known]
        whose = np.repeat(videos, length)
        within = np.arange(len(whose)) - np.repeat(np.cumsum(length) - length, length)
        return lists_of_pairs(whose, np.repeat(first, length) + within, len(self._split), size)

    def _look_up(self) -> None:
        """The numbers of the videos of the pending keys, -1 where there is none."""
        keys = np.array([key.encode("ascii", "replace") for _, key in self._pending], dtype="S")
        if not len(keys):
            return
        place = np.minimum(np.searchsorted(self._sorted, keys), max(len(self._sorted) - 1, 0))
        found = np.where(self._sorted[place] == keys, self._order[place], -1)
        for number in np.flatnonzero(found < 0).tolist():
            if (line := self._pending[number][0]) == self._strange_line:
                continue
            self._strange_line = line
            self._strangers += 1
            if len(self._strange) < SHOWN:
                self._strange.append(self._pending[number])
        self._videos.append(found)
        self._pending = []
