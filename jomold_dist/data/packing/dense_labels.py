"""One modality's dense label file: an event a row, in whole seconds, for a video that is given by its whole name.

Legend: N videos, C categories, T segments.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from jomold_dist.data.packing.label_files import TableReport, read_rows, video_key
from jomold_dist.errors import nearest
from jomold_dist.labels import DENSE_COLUMNS, CategorySet

_LOOKED_UP = 50  # kinds of problems of a file beyond which no other name is proposed; fewer are shown


@dataclass(frozen=True)
class Event:
    """A row of a dense file: what is heard or seen from `onset` until before `offset`, in seconds."""

    line: int
    filename: str
    onset: int
    offset: int
    category: int


@dataclass(frozen=True)
class DenseRows:
    """What a dense file says of the videos asked for: their truth, bool (N, C, T), and how many rows each has, int64
    (N,); the names in those rows that match no video; and how many rows there are."""

    truth: np.ndarray
    matched: np.ndarray
    homeless: tuple[str, ...]
    total: int


def read_events(report: TableReport, categories: CategorySet, latest: int) -> list[Event]:
    """The sound rows of a dense file, with onsets and offsets from 0 to `latest`; what is wrong goes to `report`."""
    events: list[Event] = []
    seen: set[tuple[str, ...]] = set()
    void: list[tuple[int, str]] = []
    repeated: list[tuple[int, str]] = []
    for line, fields in read_rows(report, DENSE_COLUMNS):
        if len(fields) != len(DENSE_COLUMNS):
            report.problem(f"malformed row, expected the {len(DENSE_COLUMNS)} columns {list(DENSE_COLUMNS)}", line)
            continue
        row = (filename, *times, category) = tuple(field.strip() for field in fields)
        onset, offset = (_second(report, text, latest, line) for text in times)
        if not is_known(report, category, categories, line) or onset is None or offset is None:
            continue
        if row in seen:
            repeated.append((line, filename))
        seen.add(row)
        if offset <= onset:
            void.append((line, filename))
        events.append(Event(line, filename, onset, offset, categories.index(category)))
    report.finding(void, "with offset ≤ onset")
    report.finding(repeated, "repeating an earlier row")
    return events


def fill_truth(
    report: TableReport,
    events: Sequence[Event],
    shape: tuple[int, int],
    filenames: Sequence[str],
    others: Iterable[str] = (),
    lengths: Mapping[str, int] | None = None,
) -> DenseRows:
    """The truth of the videos `filenames`, of `shape` (C, T); what is wrong goes to `report`. The rows of the videos
    `others` are known and not used.

    A segment is a second, unless `lengths` says how many seconds a video lasts: its T segments then share them evenly,
    and an event's ends go to the nearest border between segments. An event that is too short for that has the segment
    of its middle.
    """
    categories, segments = shape
    truth = np.zeros((len(filenames), categories, segments), dtype=bool)
    matched = np.zeros(len(filenames), dtype=np.int64)
    number = {name: i for i, name in enumerate(filenames)}
    unused = set(others)
    of_others: list[tuple[int, str]] = []
    homeless: list[tuple[int, str]] = []
    for event in events:
        if event.filename in number:
            length = segments if lengths is None else lengths.get(event.filename, segments)
            video = number[event.filename]
            truth[video, event.category, slice(*segments_of(event.onset, event.offset, segments, length))] = True
            matched[video] += 1
        else:
            (of_others if event.filename in unused else homeless).append((event.line, event.filename))
    names = len({name for _, name in homeless})
    report.finding(homeless, f"matching no video ({names} name{'s' if names > 1 else ''})")
    report.finding(of_others, "of training videos, of which no dense labels are used")
    return DenseRows(truth, matched, tuple(name for _, name in homeless), len(events))


def segments_of(onset: float, offset: float, segments: int, length: float) -> tuple[int, int]:
    """The first segment of an event and the one after its last, of a video of `length` seconds.

    Its ends go to the nearest border between segments, a half upwards; one that is too short for that has the segment
    of its middle.
    """
    if offset <= onset:
        return 0, 0
    first, end = (min(math.floor(round(second * segments / length, 9) + 0.5), segments) for second in (onset, offset))
    if first == end:
        first = min(int((onset + offset) * segments / length / 2), segments - 1)
        end = first + 1
    return first, end


def refuse_strangers(
    report: TableReport, found: DenseRows, filenames: Sequence[str], splits: Mapping[str, slice]
) -> None:
    """Problems for a file that is not about these videos: most of its rows match none, or most of the rows about the
    videos of a split, or no row gives any of them an event. `splits` tells which videos are a split's, by the name that
    messages have for it.

    A few rows that match nothing are harmless, and LLP's own files have some. Where all of them are passed over, there
    is no truth left, and every score is 100.
    """
    if not report.sound:
        return  # rows with another defect may be those that are missing
    homeless = found.homeless
    if 2 * len(homeless) > found.total:
        forms = _both_forms(homeless, filenames)
        report.problem(f"{len(homeless)} of {found.total} rows match no video by its whole name{forms}")
        return
    for name, part in splits.items():
        known = {video_key(filename) for filename in filenames[part]}
        strange = [filename for filename in homeless if video_key(filename) in known]
        rows = len(strange) + int(found.matched[part].sum())
        if 2 * len(strange) > rows:
            forms = _both_forms(strange, filenames[part])
            report.problem(f"{len(strange)} of {rows} rows about videos of {name} do not have their whole name{forms}")
        elif len(filenames[part]) and not found.truth[part].any():
            report.problem(f"no row gives any video of {name} an event{_both_forms(homeless, filenames[part])}")


def is_known(report: TableReport, category: str, categories: CategorySet, line: int) -> bool:
    """Whether there is such a category; if not, it goes to `report`."""
    if category in categories:
        return True
    like = _nearest(category, categories.names) if report.kinds < _LOOKED_UP else ""
    report.problem(f"unknown category {category!r}{like}", line)
    return False


_nearest = lru_cache(maxsize=4 * _LOOKED_UP)(nearest)  # a comparison with every category, for every row with a mistake


def _both_forms(homeless: Sequence[str], filenames: Sequence[str]) -> str:
    """How a video is called here and where it is known, if there is one whose id agrees."""
    known = {video_key(name): name for name in filenames}
    for name in homeless:
        if video_key(name) in known:
            return (
                f": {name!r} here is {known[video_key(name)]!r} in the weak label file; write the names here as they "
                "are written there"
            )
    instance = f"; {homeless[0]!r}, for instance, has no such video's id" if homeless else ""
    return f"{instance}; are these the dense labels of another data set?"


def _second(report: TableReport, text: str, latest: int, line: int) -> int | None:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not (0 <= value <= latest and value == int(value)):
        report.problem(f"onset and offset are whole seconds from 0 to {latest}, not {text!r}", line)
        return None
    return int(value)
