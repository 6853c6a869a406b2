"""What a network predicts, as arrays (.npz) or a table (.parquet): each probability of segments and of whole videos.

Legend: N videos, C categories, T segments; modality 0 is audio, 1 is visual.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jomold_dist.files import writing
from jomold_dist.labels import MODALITIES, CategorySet

ARRAYS, TABLE = ".npz", ".parquet"


class Predictions:
    """Collects what is predicted, batch by batch, and writes it. `segment_seconds` is how long a segment lasts."""

    def __init__(self, categories: CategorySet, segment_seconds: float) -> None:
        self._categories, self._segment_seconds = categories, segment_seconds
        self._names: list[str] = []
        self._events: list[np.ndarray] = []
        self._segments: list[np.ndarray] = []
        self._videos: list[np.ndarray] = []

    def add(self, names: Sequence[str], events: np.ndarray, segments: np.ndarray, videos: np.ndarray) -> None:
        """The videos of a batch: what counts, bool (b, 2, C, T), and the probabilities of segments, float32 of that
        shape, and of whole videos (b, 2, C), NaN in a modality that the network lacks."""
        self._names += names
        self._events.append(events)
        self._segments.append(segments)
        self._videos.append(videos)

    def write(self, path: Path, form: str) -> None:
        """Appears whole or not at all, as ARRAYS or as a TABLE.

        The arrays are `filename` (N,), `categories` (C,), `events` bool (N, 2, C, T), `probability` float32 of that
        shape, `audio` and `visual`, the whole videos' probabilities, float32 (N, C), and `segment_seconds`, one
        float64. The table has a row a video, category and modality: these, `probability` of the whole video,
        `segments`, a list of T probabilities, and `events`, a list of T bools.
        """
        with writing(path) as aside:
            if form == TABLE:
                self._write_table(aside)
                return
            videos = np.concatenate(self._videos)
            with aside.open("wb") as file:
                np.savez(
                    file,
                    filename=np.array(self._names, dtype=np.str_),
                    categories=np.array(self._categories.names),
                    events=np.concatenate(self._events),
                    probability=np.concatenate(self._segments),
                    audio=videos[:, 0],
                    visual=videos[:, 1],
                    segment_seconds=np.float64(self._segment_seconds),
                )

    def _write_table(self, path: Path) -> None:
        text = pa.dictionary(pa.int32(), pa.string())
        schema = pa.schema(
            [("filename", pa.string()), ("category", text), ("modality", text), ("probability", pa.float32()),
             ("segments", pa.list_(pa.float32())), ("events", pa.list_(pa.bool_()))],
            metadata={b"segment_seconds": repr(float(self._segment_seconds)).encode()},
        )  # fmt: skip
        with pq.ParquetWriter(path, schema) as writer:
            first = 0
            for events, segments, videos in zip(self._events, self._segments, self._videos, strict=True):
                count, kinds, categories, length = events.shape
                names = np.repeat(np.array(self._names[first : first + count], dtype=object), kinds * categories)
                first += count
                modality, category = (np.tile(part.ravel(), count) for part in np.indices((kinds, categories)))
                ends = pa.array(np.arange(len(names) + 1, dtype=np.int32) * length)
                columns = [
                    pa.array(names, pa.string()),
                    _dictionary(category, self._categories.names),
                    _dictionary(modality, MODALITIES),
                    pa.array(videos.ravel()),
                    *(pa.ListArray.from_arrays(ends, pa.array(part.ravel())) for part in (segments, events)),
                ]
                writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def _dictionary(numbers: np.ndarray, names: Sequence[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(numbers.astype(np.int32)), pa.array(list(names)))
