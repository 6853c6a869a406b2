"""Weak and dense label files, as LLP publishes them, read into arrays and validated.

All are tab-separated UTF-8 text with a header. A weak file names each video once with its labels, a dense file holds
one event a row for one modality, in whole seconds. A video is named `<11-character id>_<start>_<end>`; its key, under
which features are stored, is the first 11 characters. Dense rows belong to a video by its whole name.

A harmful defect raises; every one of all files is in the one message. A harmless defect is passed over and becomes
one line of `findings`.

Legend: N videos, C categories, T segments.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jomold_dist.data.packing.dense_labels import DenseRows, fill_truth, read_events, refuse_strangers
from jomold_dist.data.packing.label_files import TableReport, video_key
from jomold_dist.data.packing.weak_labels import parse_weak, repeated_over_splits
from jomold_dist.errors import DataError, raise_together
from jomold_dist.labels import LLP_CATEGORIES, CategorySet
from jomold_dist.reading import folder_problem

WEAK_FILES = {"train": "AVVP_train.csv", "val": "AVVP_val_pd.csv", "test": "AVVP_test_pd.csv"}
AUDIO_FILE = "AVVP_eval_audio.csv"
VISUAL_FILE = "AVVP_eval_visual.csv"
DENSE_SPLITS = ("val", "test")


@dataclass(frozen=True)
class SplitLabels:
    """One split's labels: bool (N, C); dense uint8 (N, 2, C, T), audio first, or None where there are none (train).

    `present`, bool (N, 2, C), audio first, tells which labels are really heard and seen at some time, where that is
    published without times; None where it is not known, or only from the dense labels.
    """

    keys: tuple[str, ...]
    filenames: tuple[str, ...]
    labels: np.ndarray
    dense: np.ndarray | None = None
    present: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.filenames)


@dataclass(frozen=True)
class Annotations:
    """A whole folder of label files. `splits` holds train, val and test; `findings` a line per harmless defect."""

    categories: CategorySet
    splits: dict[str, SplitLabels]
    findings: tuple[str, ...]


def read_annotations(
    folder: Path,
    categories: CategorySet = LLP_CATEGORIES,
    segments: int = 10,
    audio_file: str = AUDIO_FILE,
    seconds: int | None = None,
) -> Annotations:
    """Read and validate the five label files of `folder`; `audio_file` names another version of the dense audio file.
    The segments share the `seconds` of a video; None: a segment is a second.

    Raises DataError with every harmful defect of all files.
    """
    folder = Path(folder)
    if problem := folder_problem(folder):
        raise DataError(f"the annotations' folder {folder} {problem}; it must hold {', '.join(WEAK_FILES.values())}, …")
    reports = {split: TableReport(folder / name) for split, name in WEAK_FILES.items()}
    weak = {split: parse_weak(report, categories) for split, report in reports.items()}
    between = repeated_over_splits(folder, WEAK_FILES, {split: rows.filenames for split, rows in weak.items()})

    names = [name for split in DENSE_SPLITS for name in weak[split].filenames]
    first_of_test = len(weak["val"].filenames)
    places = {WEAK_FILES["val"]: slice(first_of_test), WEAK_FILES["test"]: slice(first_of_test, None)}
    dense_reports = [TableReport(folder / audio_file), TableReport(folder / VISUAL_FILE)]
    form = (segments, seconds or segments)
    found = [_parse_dense(report, categories, names, form, weak["train"].filenames) for report in dense_reports]
    if all(report.sound for report in reports.values()):  # else the videos are not all known
        for report, rows in zip(dense_reports, found, strict=True):
            refuse_strangers(report, rows, names, places)
    truth = np.stack([rows.truth for rows in found], axis=1).astype(np.uint8)
    dense = dict(zip(DENSE_SPLITS, np.split(truth, [first_of_test]), strict=True))

    everything = [*reports.values(), *dense_reports]
    raise_together([p for report in everything for p in report.problems()] + between)
    splits = {
        split: SplitLabels(tuple(map(video_key, rows.filenames)), rows.filenames, rows.labels, dense.get(split))
        for split, rows in weak.items()
    }
    return Annotations(categories, splits, tuple(f for report in everything for f in report.findings))


def _parse_dense(
    report: TableReport,
    categories: CategorySet,
    filenames: Sequence[str],
    form: tuple[int, int],
    others: Iterable[str] = (),
) -> DenseRows:
    """The truth of videos of a `form`: so many segments in so many seconds."""
    segments, seconds = form
    events = read_events(report, categories, seconds)
    lengths = dict.fromkeys(filenames, seconds)
    return fill_truth(report, events, (len(categories), segments), filenames, others, lengths)
