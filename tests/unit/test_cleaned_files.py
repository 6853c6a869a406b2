"""Cleaned label files: what HAN, MA, LFAV's readers and our own make of them, by readers that are written plainly."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jomold_dist.cleaning.cleaned_files import write_cleaned
from jomold_dist.cleaning.judged import JudgedLabels
from jomold_dist.data.packing.event_tables import Length, with_event_tables
from jomold_dist.data.packing.label_files import TableReport
from jomold_dist.data.packing.label_tables import LabelFile, read_label_tables
from jomold_dist.data.packing.lfav_labels import LFAV_CATEGORIES, read_lfav
from jomold_dist.data.packing.weak_labels import parse_weak
from jomold_dist.errors import DataError
from jomold_dist.labels import LLP_CATEGORIES, MODALITIES, CategorySet
from jomold_dist.training.cleaned_labels import read_cleaned

KEYS = ["-abcdefghij", "bbbbbbbbbbb", "ccccccccccc", "ddddddddddd"]
NAMES = {KEYS[2]: f"{KEYS[2]}_30_40", KEYS[0]: f"{KEYS[0]}_0_10", KEYS[1]: f"{KEYS[1]}_5_15"}
"""In the order of a weak file, which lacks the last video."""


def labels_of(categories: CategorySet) -> tuple[JudgedLabels, np.ndarray, np.ndarray]:
    """Labels of some videos, bool (N, C) of the first ones, and what is removed, bool (2, n)."""
    there = np.zeros((len(KEYS), len(categories)), dtype=bool)
    there[0, [0, 3]] = there[1, 0] = there[2, [0, 5, 7]] = there[3, 1] = True
    video, category = np.nonzero(there)
    removed = np.zeros((2, len(video)), dtype=bool)
    removed[1, [0, 2, 3]] = True  # the first category is never seen
    removed[0, 5] = removed[0, 6] = True  # the last video is not heard at all
    presence = np.where(removed, 0.02, 1).astype(np.float32)
    return JudgedLabels(categories, np.array(KEYS)[video], category, presence), there, removed


def kept_of(judged: JudgedLabels, removed: np.ndarray, modality: int) -> set[tuple[str, str]]:
    """The labels that are kept, by video and name."""
    return {
        (str(judged.keys[n]), judged.categories.names[judged.category[n]])
        for n in range(len(judged))
        if not removed[modality, n]
    }


def han_reads(path: Path) -> dict[str, list[str]]:
    """As HAN does: a header, tabs, the last cell is labels with commas. It stops at a label that is none."""
    lines = path.read_text().split("\n")
    assert lines[0] == "filename\tevent_labels"
    assert lines.pop() == ""
    found = {}
    for line in lines[1:]:
        name, labels = line.split("\t")
        assert all(label in LLP_CATEGORIES.names for label in labels.split(","))
        found[name[:11]] = labels.split(",")
    assert len(found) == len(lines) - 1
    return found


def test_han_and_ma_read_their_own_layout(tmp_path: Path) -> None:
    judged, _, removed = labels_of(LLP_CATEGORIES)
    (tmp_path / "new").mkdir()
    paths = write_cleaned(tmp_path / "new", "llp", judged, removed, NAMES)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(path.name for path in paths)
    whole = han_reads(tmp_path / "new/AVVP_train.csv")
    assert list(whole) == [KEYS[2], KEYS[0], KEYS[1], KEYS[3]]  # in the order of the names
    for modality, name in enumerate(MODALITIES):
        rows = han_reads(tmp_path / f"new/AVVP_train_{name}.csv")
        assert {(key, label) for key, labels in rows.items() for label in labels} == kept_of(judged, removed, modality)
    # MA's third step: for each row of AVVP_train.csv, a label whose row stands under its category is changed
    with (tmp_path / "new/need_to_change.pkl").open("rb") as file:
        visual, audio = pickle.load(file)
    assert len(visual) == len(audio) == 25
    for modality, changes in ((0, audio), (1, visual)):
        kept = {
            (key, label)
            for row, (key, labels) in enumerate(whole.items())
            for label in labels
            if row not in changes[LLP_CATEGORIES.index(label)]
        }
        assert kept == kept_of(judged, removed, modality)


def test_lfav_reads_its_own_layout(tmp_path: Path, lfav: Callable[[Path], Path]) -> None:
    judged, there, removed = labels_of(LFAV_CATEGORIES)
    write_cleaned(tmp_path, "lfav", judged, removed, {})
    lfav(tmp_path)
    train = read_lfav(tmp_path).splits["train"]
    assert list(train.keys) == KEYS
    np.testing.assert_array_equal(train.labels, there)
    assert train.present is not None
    for modality in range(2):
        video, category = np.nonzero(train.present[:, modality])
        found = {(KEYS[v], LFAV_CATEGORIES.names[c]) for v, c in zip(video, category, strict=True)}
        assert found == kept_of(judged, removed, modality)


@pytest.fixture
def lfav() -> Callable[[Path], Path]:
    """Adds files of LFAV's other splits, a video each."""

    def add(folder: Path) -> Path:
        for split in ("val", "test"):
            video = f"{split}________"[:11]
            for ending in ("weak_av", "audio_weakly", "visual_weakly"):
                (folder / f"{split}_{ending}.csv").write_text(f"filename\tevent_labels\n{video}\tdog\n")
            for modality in MODALITIES:
                rows = f"filename\tonset\toffset\tevent_labels\n{video}\t0\t5\tdog\n"
                (folder / f"{split}_{modality}.csv").write_text(rows)
        return folder

    return add


def test_pack_reads_the_plain_table_as_labels_and_as_truth(tmp_path: Path) -> None:
    judged, there, removed = labels_of(LLP_CATEGORIES)
    (path,) = write_cleaned(tmp_path, "csv", judged, removed, NAMES)
    found = read_label_tables([LabelFile(path, "train")], LLP_CATEGORIES)
    assert found.findings == (f"{path.name}: the column modality, which nothing is made of",)
    found = with_event_tables(found, {}, {"train": [path]}, Length(10, 1.0))
    train = found.splits["train"]
    videos = np.arange(len(train))
    order = [KEYS.index(train.key(video)[:11]) for video in videos]
    np.testing.assert_array_equal(train.labels.multi_hot(videos, 25), there[order])
    assert train.present is not None
    present = train.present.multi_hot(videos, 50).reshape(-1, 2, 25)
    for modality in range(2):
        video, category = np.nonzero(present[:, modality])
        told = {(train.key(v)[:11], LLP_CATEGORIES.names[c]) for v, c in zip(video, category, strict=True)}
        assert told == kept_of(judged, removed, modality)


def test_pack_reads_the_weak_files(tmp_path: Path) -> None:
    judged, _, removed = labels_of(LLP_CATEGORIES)
    write_cleaned(tmp_path, "llp", judged, removed, NAMES)
    for modality, name in enumerate(MODALITIES):
        report = TableReport(tmp_path / f"AVVP_train_{name}.csv")
        rows = parse_weak(report, LLP_CATEGORIES)
        assert report.sound
        video, category = np.nonzero(rows.labels)
        found = {(rows.filenames[v][:11], LLP_CATEGORIES.names[c]) for v, c in zip(video, category, strict=True)}
        assert found == kept_of(judged, removed, modality)


def test_training_reads_the_plain_table(tmp_path: Path) -> None:
    judged, _, removed = labels_of(LLP_CATEGORIES)
    (path,) = write_cleaned(tmp_path, "csv", judged, removed, NAMES)
    found = read_cleaned(path, LLP_CATEGORIES)
    assert set(found) == {*NAMES.values(), KEYS[3]}
    for modality in range(2):
        told = {
            (name[:11], LLP_CATEGORIES.names[c]) for name, row in found.items() for c in np.flatnonzero(row[modality])
        }
        assert told == kept_of(judged, removed, modality)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "the columns of an empty file; they need filename, label, modality"),
        ("filename,labels\na,Dog\n", "the columns filename, labels; they need filename, label, modality"),
        ("filename,label,modality\n", "have no rows"),
        ("filename,label,modality\na,Dgo,audio\na,Dog,smell\na,Dog\n", "line 2: the data set has no label 'Dgo'"),
        ("filename,label,modality\na,Dog,smell\n", "line 2: the data set has no modality 'smell'"),
        ("filename,label,modality\na,Dog\n", "line 2: it has too few cells"),
        (None, "is no file"),
    ],
)
def test_tables_that_are_none_are_refused(content: str | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "cleaned.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError) as told:
        read_cleaned(path, LLP_CATEGORIES)
    assert said in str(told.value)
