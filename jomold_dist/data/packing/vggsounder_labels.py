"""The label files of VGGSounder: clips of ten seconds, 309 categories, and for each label whether it is heard, seen or
both. No times, and no splits.

A folder holds classes.csv and the labels: vggsounder+background-music.csv, or else vggsounder.csv, which leaves out the
clips with background music. Both are comma-separated, a label of a clip a row. A clip is named `<YouTube id>_<start>`,
and its key is the whole name.

The splits are made here, of the sha256 of the YouTube id: 80 % of the ids are train, 8 % val, 12 % test. So a clip has
the same split in every version of the file, and all clips of one id have the same.

Legend: N clips, C categories.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from jomold_dist.data.format.records import is_shard_key
from jomold_dist.data.packing.annotations import Annotations, SplitLabels
from jomold_dist.data.packing.dense_labels import is_known
from jomold_dist.data.packing.label_files import TableReport, read_rows, video_key
from jomold_dist.errors import DataError, raise_together
from jomold_dist.labels import CategorySet
from jomold_dist.reading import folder_problem

CLASS_FILE = "classes.csv"
LABEL_FILES = ("vggsounder+background-music.csv", "vggsounder.csv")  # the first that is there counts
SPLITS = {"train": 0.80, "val": 0.88, "test": 1.0}  # up to which share of the hash's range

_CLASS_COLUMNS = ("index", "mid", "display_name")
_COLUMNS = ("video_id", "label", "modality", "background_music", "static_image", "voice_over")
_MODALITIES = {"A": (True, False), "V": (False, True), "AV": (True, True)}


def read_vggsounder(folder: Path) -> Annotations:
    """Read and validate VGGSounder's label files in `folder`: labels and `present` of all splits, clips in the order of
    their keys; nothing is dense. Raises DataError with every harmful defect of the classes, or else of the labels."""
    folder = Path(folder)
    if problem := folder_problem(folder):
        raise DataError(f"the annotations' folder {folder} {problem}; it must hold {CLASS_FILE} and {LABEL_FILES[0]}")
    classes = TableReport(folder / CLASS_FILE)
    names = _read_classes(classes)
    raise_together(classes.problems())
    categories = CategorySet(names)
    report = TableReport(next((p for p in map(folder.joinpath, LABEL_FILES) if p.exists()), folder / LABEL_FILES[0]))
    present = _read_labels(report, categories)
    raise_together(report.problems())
    splits = {}
    for split in SPLITS:
        keys = tuple(sorted(key for key in present if split_of(key) == split))
        held = np.array([present[key] for key in keys], dtype=bool).reshape(len(keys), 2, len(categories))
        splits[split] = SplitLabels(keys, keys, np.asarray(held.any(axis=1)), None, held)
    taken = (
        [] if report.path.name == LABEL_FILES[0] else [f"{LABEL_FILES[0]} is not there, {report.path.name} is taken"]
    )
    return Annotations(categories, splits, (*taken, *report.findings))


def split_of(key: str) -> str:
    """The split of the clip `key`: the same for all clips of one YouTube id."""
    digest = hashlib.sha256(video_key(key).encode()).digest()
    share = int.from_bytes(digest[:8], "big") / 2**64
    return next(split for split, end in SPLITS.items() if share < end)


def _read_classes(report: TableReport) -> tuple[str, ...]:
    """The categories in the order of their index; what is wrong goes to `report`."""
    names: list[str] = []
    for line, fields in read_rows(report, _CLASS_COLUMNS, ","):
        if len(fields) != len(_CLASS_COLUMNS):
            report.problem(f"malformed row, expected the columns {list(_CLASS_COLUMNS)}", line)
            continue
        index, _, name = (field.strip() for field in fields)
        if index != str(len(names)):
            report.problem("the index does not count from 0", line, index)
        if not name or name in names:
            report.problem("the name is missing, or stands in an earlier row", line, name)
        names.append(name)
    return tuple(names)


def _read_labels(report: TableReport, categories: CategorySet) -> dict[str, np.ndarray]:
    """What each clip holds, bool (2, C) by its key; what is wrong goes to `report`."""
    present: dict[str, np.ndarray] = {}
    modality_of: dict[tuple[str, str], tuple[str, int]] = {}
    repeated: list[tuple[int, str]] = []
    for line, fields in read_rows(report, _COLUMNS, ","):
        if len(fields) != len(_COLUMNS):
            report.problem(f"malformed row, expected the {len(_COLUMNS)} columns {list(_COLUMNS)}", line)
            continue
        key, name, modality = (field.strip() for field in fields[:3])
        if not is_shard_key(key) or key[11:12] != "_" or not key[12:].isdigit():
            report.problem("malformed name, expected <11-character id>_<start>", line, key)
        elif modality not in _MODALITIES:
            report.problem("the modality is A, V or AV", line, modality)
        elif is_known(report, name, categories, line):
            earlier, first = modality_of.setdefault((key, name), (modality, line))
            if earlier != modality:
                report.problem(f"{name!r} of {key} is {modality} here and {earlier} in line {first}", line)
            elif first != line:
                repeated.append((line, key))
            held = present.setdefault(key, np.zeros((2, len(categories)), dtype=bool))
            held[:, categories.index(name)] = _MODALITIES[modality]
    report.finding(repeated, "repeating an earlier row")
    return present
