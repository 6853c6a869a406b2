"""The stage that marks the labels which a table of cleaned labels does not have.

A row of the table is a label of a video in a modality: `filename` (or `key`), `label` (or `event_labels`), `modality`,
which is audio, visual or both. `jomold labels --apply` writes such tables, and `jomold pack` reads them.

Legend: N videos of the split, C categories; modality 0 is audio, 1 is visual.
"""

from __future__ import annotations

import csv
import logging
from pathlib import Path

import numpy as np

from jomold_dist.distributed.world import agree_on_errors, gather_to_main
from jomold_dist.errors import DataError, raise_together
from jomold_dist.labels import MODALITIES, CategorySet
from jomold_dist.reading import ABSENT, reading, regular_file
from jomold_dist.training.marked_labels import MarkedLabels
from jomold_dist.training.run import Run
from jomold_dist.training.stage import Found
from jomold_dist.video_names import Names

logger = logging.getLogger(__name__)

COLUMNS = (("filename", "key"), ("label", "event_labels"), ("modality",))
WORDS = {"audio": (0,), "visual": (1,), "both": (0, 1)}
NAMED_AT_MOST = 5


class CleanedLabels(MarkedLabels):
    """Marks what `denoise.cleaned_labels` does not have of the videos that it names. Others keep all their labels."""

    def mark(self, run: Run, found: Found) -> np.ndarray:
        index, keys, labels = [], [], []
        with run.loader("train", False) as loader:
            for batch in run.batches(loader):
                index.append(batch.index.numpy())
                keys.append(np.array(batch.keys, dtype=np.bytes_))
                labels.append(np.packbits(batch.labels.numpy(), axis=1))
        own = (np.concatenate(index), np.concatenate(keys), np.concatenate(labels))
        parts = gather_to_main(own, run.world)
        with agree_on_errors(run.world):
            if not run.world.is_main:
                return np.zeros(0, dtype=bool)
            categories = run.manifest.categories
            path = Path(str(run.config.denoise.cleaned_labels))
            cleaned = read_cleaned(path, categories)
            marked = np.zeros((2, run.manifest.split("train").videos, len(categories)), dtype=bool)
            names_there, missing = Names(cleaned), 0
            for place, names, bits in parts:
                there = np.unpackbits(bits, axis=1, count=len(categories)).view(bool)
                for number, name, row in zip(place.tolist(), names.tolist(), there, strict=True):
                    if (told := names_there.find(name.decode())) is None:
                        missing += 1
                    else:
                        marked[:, number] = row & ~cleaned[told]
            _tell(path, missing, sum(len(place) for place, _, _ in parts), marked)
            return marked


def read_cleaned(path: Path, categories: CategorySet) -> dict[str, np.ndarray]:
    """By the names of videos, which labels are heard and seen, bool (2, C).

    DataError with what is wrong with the table; UnreadableError."""
    found: dict[str, np.ndarray] = {}
    problems: list[str] = []
    try:
        with reading(path), regular_file(path).open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            places = _places(path, next(reader, []))
            for line in reader:
                if not line:
                    continue
                if len(line) <= max(places):
                    problems.append(f"{path}, line {reader.line_num}: it has too few cells")
                    continue
                name, label, modality = (line[place].strip() for place in places)
                if label not in categories or modality not in WORDS:
                    wrong = f"modality {modality!r}" if label in categories else f"label {label!r}"
                    problems.append(f"{path}, line {reader.line_num}: the data set has no {wrong}")
                    continue
                kept = found.get(name)
                if kept is None:
                    kept = found[name] = np.zeros((len(MODALITIES), len(categories)), dtype=bool)
                kept[list(WORDS[modality]), categories.index(label)] = True
    except ABSENT:
        raise DataError(f"denoise.cleaned_labels = {str(path)!r} is no file") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"the cleaned labels {path} are no table of text: {error}") from None
    if len(problems) > NAMED_AT_MOST:
        problems[NAMED_AT_MOST:] = [f"{path}: and {len(problems) - NAMED_AT_MOST} more such lines"]
    raise_together(problems)
    if not found:
        raise DataError(f"the cleaned labels {path} have no rows")
    return found


def _places(path: Path, header: list[str]) -> list[int]:
    names = [name.strip() for name in header]
    places = [next((names.index(name) for name in some if name in names), -1) for some in COLUMNS]
    if -1 in places:
        raise DataError(
            f"the cleaned labels {path} have the columns {', '.join(names) or 'of an empty file'}; they need "
            f"{', '.join(some[0] for some in COLUMNS)}, separated by commas"
        )
    return places


def _tell(path: Path, missing: int, videos: int, marked: np.ndarray) -> None:
    """DataError if the table is of other videos; else what it removes, in the log."""
    if missing == videos:
        raise DataError(f"the cleaned labels {path} name none of the {videos} training videos of the data set")
    if missing:
        logger.warning("%s does not name %d of %d training videos: they keep all their labels", path, missing, videos)
    logger.info("cleaned labels: removed audio %d, visual %d", *marked.sum((1, 2)).tolist())
