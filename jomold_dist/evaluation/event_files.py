"""What a network finds, as a file: a table of events, a JSON object an event, or every probability behind them.

Legend: N videos, C categories, T segments; modality 0 is audio, 1 is visual.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from torch import Tensor

from jomold_dist.errors import DataError
from jomold_dist.evaluation.events import event_rows
from jomold_dist.evaluation.probability_files import ARRAYS, TABLE, Predictions
from jomold_dist.files import is_stream, writing
from jomold_dist.labels import DENSE_COLUMNS, MODALITIES, CategorySet

EVENT_COLUMNS = (*DENSE_COLUMNS, "modality", "probability")
"""Those of LLP's dense label files first."""

TABLES = {".csv": ",", ".tsv": "\t"}
OBJECTS = ".jsonl"
WHOLE = (ARRAYS, TABLE)
"""Forms that have every probability, and not only those of events."""
FORMS = (*TABLES, OBJECTS, *WHOLE)
DIGITS = 4  # of a probability in a text

Row = tuple[str, float, float, str, str, float]


def form_of(path: Path) -> str:
    """The form of a file by its ending; what is a stream and has none of FORMS gets tabs. DataError for other files."""
    ending = path.suffix.lower()
    if ending in FORMS:
        return ending
    if is_stream(path):
        return ".tsv"
    raise DataError(
        f"{path} does not tell by its ending how events are to be written: .csv (commas), .tsv (tabs, as LLP's label "
        "files), .jsonl (a JSON object a line), .npz or .parquet (with the probability of every segment)"
    )


class Events:
    """Collects what is found, batch by batch, and writes it. `segment_seconds` is how long a segment lasts."""

    def __init__(self, categories: CategorySet, segment_seconds: float, form: str) -> None:
        self._categories, self._segment_seconds, self._form = categories, segment_seconds, form
        self._rows: list[Row] = []
        self._predictions = Predictions(categories, segment_seconds)

    def add(
        self, names: Sequence[str], audio: Tensor, visual: Tensor, segment_prob: Tensor, video_prob: Tensor
    ) -> None:
        """The videos of a batch: what counts, bool (b, C, T) a modality, and the probabilities of segments
        (b, T, 2, C) and of whole videos (b, 2, C)."""
        if self._form in WHOLE:
            events = np.stack([audio.cpu().numpy(), visual.cpu().numpy()], axis=1)
            segments = segment_prob.float().cpu().numpy().transpose(0, 2, 3, 1)
            self._predictions.add(names, events, segments, video_prob.float().cpu().numpy())
            return
        found = event_rows(audio, visual, segment_prob, self._segment_seconds)
        for video, onset, offset, category, modality, probability in zip(
            *(column.tolist() for column in found), strict=True
        ):
            name, kind = self._categories.names[category], MODALITIES[modality]
            self._rows.append((names[video], onset, offset, name, kind, round(probability, DIGITS)))

    def write(self, path: Path) -> None:
        """The file appears whole or not at all. DataError if it cannot be written.

        A table or the objects have a row an event, ordered by video, modality, category and onset, with its times in
        seconds. For the other forms see `Predictions`.
        """
        try:
            if self._form in WHOLE:
                self._predictions.write(path, self._form)
                return
            with writing(path) as aside, aside.open("w", encoding="utf-8", newline="\n") as text:
                self._write_rows(text)
        except OSError as error:
            raise DataError(f"cannot write {path} ({error.strerror}); name a file in a folder that exists") from None

    def _write_rows(self, file: IO[str]) -> None:
        if self._form == OBJECTS:
            file.writelines(f"{json.dumps(dict(zip(EVENT_COLUMNS, row, strict=True)))}\n" for row in self._rows)
            return
        writer = csv.writer(file, delimiter=TABLES[self._form], lineterminator="\n")
        writer.writerow(EVENT_COLUMNS)
        writer.writerows(_with_digits(self._rows))


def _with_digits(rows: Sequence[Row]) -> Iterator[tuple[object, ...]]:
    """The rows with every probability in as many digits as all others."""
    return ((*row[:-1], f"{row[-1]:.{DIGITS}f}") for row in rows)
