"""One weak label file: a video a row, with its labels.

Legend: N videos, C categories.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jomold_dist.data.packing.dense_labels import is_known
from jomold_dist.data.packing.label_files import TableReport, name_problem, read_rows, some_of, video_key
from jomold_dist.errors import raise_together
from jomold_dist.labels import CategorySet

WEAK_COLUMNS = ("filename", "event_labels")


@dataclass(frozen=True)
class WeakRows:
    """The rows of a weak file: their lines and videos, and the labels of these, bool (N, C)."""

    lines: tuple[int, ...]
    filenames: tuple[str, ...]
    labels: np.ndarray


def parse_weak(report: TableReport, categories: CategorySet, beside: Iterable[str] = ()) -> WeakRows:
    """The rows of one weak file; what is wrong goes to `report`. The names `beside` are known and are no labels."""
    known = set(beside)
    lines: list[int] = []
    filenames: list[str] = []
    labels: list[np.ndarray] = []
    twice: list[tuple[int, str]] = []
    passed: dict[str, list[tuple[int, str]]] = {}
    line_of: dict[str, int] = {}
    for line, fields in read_rows(report, WEAK_COLUMNS):
        filename = fields[0].strip()
        if problem := name_problem(filename):
            report.problem(problem, line, filename)
            continue
        if len(fields) > len(WEAK_COLUMNS):
            report.problem("malformed row, expected a name, a tab, and labels", line, "\t".join(fields))
            continue
        named = [name.strip() for field in fields[1:] for name in field.split(",") if name.strip()]
        if not named:
            report.problem(f"the video {filename} has no labels", line)
        if len(set(named)) < len(named):
            twice.append((line, filename))
        for name in known.intersection(named):
            passed.setdefault(name, []).append((line, filename))
        earlier = line_of.setdefault(video_key(filename), line)
        if earlier != line:
            report.problem(f"the video {video_key(filename)} stands already in line {earlier}", line)
        lines.append(line)
        filenames.append(filename)
        own = [name for name in named if name not in known]
        labels.append(categories.encode(name for name in own if is_known(report, name, categories, line)))
    report.finding(twice, "naming a label twice")
    for name, rows in sorted(passed.items()):
        report.finding(rows, f"naming {name}, which is no category")
    encoded = np.array(labels, dtype=bool).reshape(len(filenames), len(categories))
    return WeakRows(tuple(lines), tuple(filenames), encoded)


def whole_names(paths: Sequence[Path]) -> dict[str, str]:
    """The whole name of each video that weak label files name, by its key; their labels are not looked at. DataError
    with every name that is none, and with every key that two names have."""
    names: dict[str, str] = {}
    reports = [TableReport(path) for path in paths]
    for report in reports:
        for line, fields in read_rows(report, WEAK_COLUMNS):
            filename = fields[0].strip()
            if problem := name_problem(filename):
                report.problem(problem, line, filename)
            elif names.setdefault(video_key(filename), filename) != filename:
                report.problem(f"the video is called {names[video_key(filename)]} elsewhere", line, filename)
    raise_together([problem for report in reports for problem in report.problems()])
    return names


def repeated_over_splits(folder: Path, files: Mapping[str, str], names: Mapping[str, Sequence[str]]) -> list[str]:
    """A problem for every two splits that share videos; the file and the videos' names of each split are given."""
    home: dict[str, str] = {}
    shared: dict[tuple[str, str], list[str]] = {}
    for split, filenames in names.items():
        for key in dict.fromkeys(video_key(name) for name in filenames):
            first = home.setdefault(key, split)
            if first != split:
                shared.setdefault((first, split), []).append(key)
    return [
        f"{folder}: {files[a]} and {files[b]} share {len(keys)} of their videos: {some_of(keys)}"
        for (a, b), keys in shared.items()
    ]
