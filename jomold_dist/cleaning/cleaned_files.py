"""Cleaned label files: which labels of a split are heard and which are seen, in the layouts that programs read.

csv   cleaned_labels.csv: filename, label, and modality (audio, visual or both). `jomold pack` reads it as --labels and
      as --truth, and `method: cleaned` trains on it.
llp   AVVP_train.csv, AVVP_train_audio.csv, AVVP_train_visual.csv: tab-separated, a video a row, as HAN reads them; and
      need_to_change.pkl, which MA's third step reads: what is removed, as rows of AVVP_train.csv by category, visual
      first. A video of which a modality keeps nothing is not in that modality's file: HAN reads no empty labels.
lfav  train_weakly.csv, train_audio_weakly.csv, train_visual_weakly.csv, as LFAV publishes them: every video is in each.
      Where a modality keeps nothing, the label is `silent`, which LFAV's own files have for that and no category is.

The labels of a whole video stay all: no label leaves both modalities. Legend: n labels; modality 0 is audio, 1 is
visual.
"""

from __future__ import annotations

import csv
import io
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from jomold_dist.cleaning.judged import JudgedLabels
from jomold_dist.data.packing.weak_labels import WEAK_COLUMNS
from jomold_dist.files import write_text, writing
from jomold_dist.labels import MODALITIES

CSV_COLUMNS = ("filename", "label", "modality")
CSV_NAME = "cleaned_labels.csv"
SILENT = "silent"
_PICKLE_PROTOCOL = 4  # that of Python 3.4, older than any that runs MA


def write_cleaned(
    folder: Path, form: str, judged: JudgedLabels, removed: np.ndarray, names: Mapping[str, str]
) -> list[Path]:
    """Writes the files of one form into a folder, without the labels removed bool (2, n). `names` has the whole names
    of videos by their keys; they come first, in its order. The files' paths."""
    videos = _Videos(judged, removed, names)
    return WRITERS[form](folder, videos)


class _Videos:
    """The labels by video."""

    def __init__(self, judged: JudgedLabels, removed: np.ndarray, names: Mapping[str, str]) -> None:
        self.categories = judged.categories
        rows: dict[str, list[int]] = {key: [] for key in names}
        for row, key in enumerate(judged.keys.tolist()):
            rows.setdefault(key, []).append(row)
        self.rows = {names.get(key, key): own for key, own in rows.items() if own}
        """The labels of each video, by its whole name."""
        self._category, self._removed = judged.category.tolist(), removed

    def labels(self, rows: Sequence[int], modality: int | None) -> list[str]:
        """The names of the labels that a modality keeps; None: all."""
        kept = (row for row in rows if modality is None or not self._removed[modality, row])
        return [self.categories.names[self._category[row]] for row in kept]

    def modality(self, row: int) -> str | None:
        """Which modality keeps a label, as the table tells it."""
        kept = ~self._removed[:, row]
        return "both" if kept.all() else MODALITIES[int(kept.argmax())] if kept.any() else None

    def removed_rows(self, modality: int) -> list[list[int]]:
        """By category, the numbers of the videos, from 0, of which the modality loses the label."""
        found: list[list[int]] = [[] for _ in self.categories.names]
        for number, rows in enumerate(self.rows.values()):
            for row in rows:
                if self._removed[modality, row]:
                    found[self._category[row]].append(number)
        return found


def _write_csv(folder: Path, videos: _Videos) -> list[Path]:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for name, rows in videos.rows.items():
        for row in rows:
            if (modality := videos.modality(row)) is not None:
                writer.writerow((name, *videos.labels([row], None), modality))
    path = folder / CSV_NAME
    write_text(path, text.getvalue())
    return [path]


def _write_llp(folder: Path, videos: _Videos) -> list[Path]:
    paths = [folder / f"AVVP_train{ending}.csv" for ending in ("", "_audio", "_visual")]
    for path, modality in zip(paths, (None, 0, 1), strict=True):
        _write_weak(path, ((name, videos.labels(rows, modality)) for name, rows in videos.rows.items()))
    changes = folder / "need_to_change.pkl"
    with writing(changes) as aside:
        aside.write_bytes(pickle.dumps([videos.removed_rows(1), videos.removed_rows(0)], protocol=_PICKLE_PROTOCOL))
    return [*paths, changes]


def _write_lfav(folder: Path, videos: _Videos) -> list[Path]:
    paths = [folder / f"train{ending}.csv" for ending in ("_weakly", "_audio_weakly", "_visual_weakly")]
    for path, modality in zip(paths, (None, 0, 1), strict=True):
        _write_weak(path, ((name, videos.labels(rows, modality) or [SILENT]) for name, rows in videos.rows.items()))
    return paths


def _write_weak(path: Path, rows: Iterable[tuple[str, list[str]]]) -> None:
    """A tab-separated file of videos and their labels, without those that have none."""
    lines = ["\t".join(WEAK_COLUMNS), *(f"{name}\t{','.join(labels)}" for name, labels in rows if labels)]
    write_text(path, "\n".join(lines) + "\n")


WRITERS: dict[str, Callable[[Path, _Videos], list[Path]]] = {"csv": _write_csv, "llp": _write_llp, "lfav": _write_lfav}
