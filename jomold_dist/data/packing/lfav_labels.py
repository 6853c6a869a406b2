"""The label files of LFAV, long videos with 35 categories, read into arrays and validated.

A folder holds, per split, the weak labels of a video (train_weakly.csv, val_weak_av.csv, test_weak_av.csv), those that
are heard (<split>_audio_weakly.csv) and those that are seen (<split>_visual_weakly.csv); for val and test also dense
rows in seconds (<split>_audio.csv, <split>_visual.csv). All are tab-separated; a video is named by its 11-character id.

The files do not say how long a video lasts. It is taken to end with its last event, the largest offset over both
modalities; its seconds are shared by the T segments evenly (see `fill_truth`). An offset of more than an hour is a
slip of the pen: such a row is passed over. (All others are at most 1058 s.)

A label of a modality that the video's weak labels do not have is passed over; there are a few, mostly of categories
that were given up (train, toilet_flush). `silent` is no category: nothing is heard.

Legend: N videos, C categories, T segments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from jomold_dist.data.packing.annotations import Annotations, SplitLabels
from jomold_dist.data.packing.dense_labels import Event, fill_truth, read_events, refuse_strangers
from jomold_dist.data.packing.label_files import TableReport, some_of
from jomold_dist.data.packing.weak_labels import WeakRows, parse_weak, repeated_over_splits
from jomold_dist.errors import DataError, raise_together
from jomold_dist.labels import MODALITIES, CategorySet
from jomold_dist.reading import folder_problem

LFAV_CATEGORIES = CategorySet(
    (
        "accordion",
        "alarm",
        "banjo",
        "bicycle",
        "car",
        "car_alarm",
        "cat",
        "cello",
        "chainsaw",
        "cheering",
        "chicken_rooster",
        "clapping",
        "cry",
        "dance",
        "dog",
        "drum",
        "fixed-wing_aircraft",
        "frisbee",
        "guitar",
        "helicopter",
        "horse",
        "laughter",
        "piano",
        "playing_badminton",
        "playing_baseball",
        "playing_basketball",
        "playing_ping-pong",
        "playing_soccer",
        "playing_tennis",
        "playing_volleyball",
        "rodents",
        "shofar",
        "singing",
        "speech",
        "violin",
    )
)
WEAK_FILES = {"train": "train_weakly.csv", "val": "val_weak_av.csv", "test": "test_weak_av.csv"}
DENSE_SPLITS = ("val", "test")

_BESIDE = ("silent", "train", "toilet_flush")  # names in the files that are no categories
_HOUR = 3600
_LATEST = 10**9  # seconds that can be read at all


def read_lfav(folder: Path, segments: int = 10) -> Annotations:
    """Read and validate LFAV's label files in `folder`: labels and `present` of all splits, dense labels of val and
    test. Raises DataError with every harmful defect of all files."""
    folder = Path(folder)
    if problem := folder_problem(folder):
        raise DataError(f"the annotations' folder {folder} {problem}; it must hold {', '.join(WEAK_FILES.values())}, …")
    reports: list[TableReport] = []
    splits: dict[str, SplitLabels] = {}
    for split, weak_file in WEAK_FILES.items():
        union = TableReport(folder / weak_file)
        of_modality = [TableReport(folder / f"{split}_{modality}_weakly.csv") for modality in MODALITIES]
        weak = parse_weak(union, LFAV_CATEGORIES)
        own = [_of_modality(report, union, weak) for report in of_modality]
        dense = None
        if split in DENSE_SPLITS:
            dense_reports = [TableReport(folder / f"{split}_{modality}.csv") for modality in MODALITIES]
            dense = _dense(dense_reports, union, weak.filenames, segments)
            reports += dense_reports
            for rows, truth, report in zip(own, dense.swapaxes(0, 1), of_modality, strict=True):
                report.finding(_with_any(rows, rows.labels & ~truth.any(axis=2)), "with a label that has no event")
        present = np.stack([rows.labels for rows in own], axis=1)
        nowhere = _with_any(weak, weak.labels & ~present.any(axis=1))
        union.finding(nowhere, "with a label that neither modality has")
        splits[split] = SplitLabels(weak.filenames, weak.filenames, weak.labels, dense, present)
        reports += [union, *of_modality]
    between = repeated_over_splits(folder, WEAK_FILES, {name: split.filenames for name, split in splits.items()})
    raise_together([problem for report in reports for problem in report.problems()] + between)
    findings = tuple(finding for report in reports for finding in report.findings)
    return Annotations(LFAV_CATEGORIES, splits, findings)


def _of_modality(report: TableReport, union: TableReport, weak: WeakRows) -> WeakRows:
    """The rows of one modality's weak file in the order of the videos, with those labels that these have."""
    own = parse_weak(report, LFAV_CATEGORIES, _BESIDE)
    nothing = replace(weak, labels=np.zeros_like(weak.labels))
    if not (report.sound and union.sound):
        return nothing
    if strangers := sorted(set(own.filenames).symmetric_difference(weak.filenames)):
        report.problem(f"{len(strangers)} videos stand only here or only in {union.path.name}: {some_of(strangers)}")
        return nothing
    number = {name: i for i, name in enumerate(own.filenames)}
    order = [number[name] for name in weak.filenames]
    found = WeakRows(tuple(own.lines[i] for i in order), weak.filenames, own.labels[order])
    beyond = _with_any(found, found.labels & ~weak.labels)
    report.finding(beyond, f"with a label that the video does not have in {union.path.name}")
    return replace(found, labels=found.labels & weak.labels)


def _with_any(rows: WeakRows, labels: np.ndarray) -> list[tuple[int, str]]:
    """Line and video of the rows with any of these labels, bool (N, C)."""
    return [(rows.lines[i], rows.filenames[i]) for i in np.flatnonzero(labels.any(axis=1))]


def _dense(reports: Sequence[TableReport], union: TableReport, names: Sequence[str], segments: int) -> np.ndarray:
    """The dense labels of a split's videos, uint8 (N, 2, C, T), from the files of the two modalities."""
    events = [_plausible(report, read_events(report, LFAV_CATEGORIES, _LATEST)) for report in reports]
    lengths: dict[str, int] = {}
    for event in (event for rows in events for event in rows if event.offset > event.onset):
        lengths[event.filename] = max(event.offset, lengths.get(event.filename, 0))
    truth = []
    for report, rows in zip(reports, events, strict=True):
        found = fill_truth(report, rows, (len(LFAV_CATEGORIES), segments), names, lengths=lengths)
        if union.sound:  # else the videos are not all known
            refuse_strangers(report, found, names, {union.path.name: slice(None)})
        truth.append(found.truth)
    return np.stack(truth, axis=1).astype(np.uint8)


def _plausible(report: TableReport, events: Sequence[Event]) -> list[Event]:
    """The events without those of an offset that no video has."""
    beyond = [event for event in events if event.offset > _HOUR]
    report.finding([(event.line, f"{event.filename} {event.offset} s") for event in beyond], "with offset > 1 hour")
    return [event for event in events if event.offset <= _HOUR]
