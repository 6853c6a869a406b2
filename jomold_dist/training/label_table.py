"""labels.parquet of a run: every label of the training split, with the evidence for it and what was made of it.

Rows are in the order of the videos in the split, and of the categories within a video.
Legend: n labels of this rank; modality 0 is audio, 1 is visual.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jomold_dist.denoising.label_probabilities import LabelProbabilities
from jomold_dist.distributed.world import agree_on_errors, broadcast_object, gather_to_main
from jomold_dist.errors import DataError
from jomold_dist.files import writing
from jomold_dist.labels import MODALITIES, CategorySet
from jomold_dist.reading import reading, regular_file
from jomold_dist.training.run import Run
from jomold_dist.training.stage import results

CHUNK = 1 << 16  # videos whose labels are brought to rank 0 at a time, and are a row group of the file
NEEDED = ("video", "audio", "visual")
VERDICTS = ("neither", "audio only", "visual only", "both")
_MANIFEST = b"manifest"


@dataclass(frozen=True)
class LabelRows:
    """Labels with their evidence, ascending by video and category."""

    video: np.ndarray
    """Number in the split, int64 (n,)."""
    key: np.ndarray
    """ASCII (n,)."""
    category: np.ndarray
    """int64 (n,)."""
    fold: np.ndarray
    """Which estimator has not learnt the video, int8 (n,)."""
    logit: np.ndarray
    """That estimator's, float32 (2, n)."""
    probit: np.ndarray
    """The logit's place among the videos without the label, the mean over all rounds so far, float32 (2, n)."""
    probability: np.ndarray
    """That the label is really there, float32 (2, n)."""

    def between(self, first: int, end: int) -> LabelRows:
        """The rows of the videos from `first` on, below `end`."""
        rows = slice(*np.searchsorted(self.video, [first, end]))
        return LabelRows(**{name: column[..., rows] for name, column in vars(self).items()})

    @classmethod
    def joined(cls, parts: Sequence[LabelRows]) -> LabelRows:
        """The rows of several ranks or folds in their order."""
        columns = {name: np.concatenate([getattr(p, name) for p in parts], axis=-1) for name in vars(parts[0])}
        order = np.lexsort((columns["category"], columns["video"]))
        return cls(**{name: column[..., order] for name, column in columns.items()})


def write_label_table(run: Run, own: LabelRows, path: Path) -> None:
    """Collective: the labels of all ranks as one file, which rank 0 writes piece by piece."""
    names = run.manifest.categories.names
    schema = _schema(run.manifest.digest)
    with ExitStack() as stack:
        with results(run) as is_main:
            if is_main:
                aside = stack.enter_context(writing(path))
                writer = stack.enter_context(pq.ParquetWriter(aside, schema))
        for first in range(0, run.manifest.split("train").videos, CHUNK):
            parts = gather_to_main(own.between(first, first + CHUNK), run.world)
            with results(run) as is_main:
                if is_main:
                    writer.write_table(_table(LabelRows.joined(parts), names, schema))
        with results(run):
            stack.close()


def read_probits(run: Run, path: Path, own: LabelRows) -> np.ndarray:
    """Collective: the probits float32 (2, n) that an earlier table of this run has of these labels, NaN where it has
    none. Rank 0 reads it piece by piece. DataError, UnreadableError, or one of ABSENT, on every rank."""
    categories, found = run.manifest.categories, np.full_like(own.probit, np.nan)
    label = own.video * len(categories) + own.category  # ascending
    with ExitStack() as stack:
        with agree_on_errors(run.world):
            pieces = stack.enter_context(_opened(path)) if run.world.is_main else None
        for number in range(broadcast_object(pieces.num_row_groups if pieces else None, run.world)):
            with agree_on_errors(run.world):
                read = _probits_of_piece(path, pieces, number, categories) if pieces else None
            earlier, probit = broadcast_object(read, run.world)
            place = np.searchsorted(label, earlier)
            known = np.flatnonzero(np.take(label, place, mode="clip") == earlier) if len(label) else place[:0]
            found[:, place[known]] = probit[:, known]
    return found


def _probits_of_piece(
    path: Path, pieces: pq.ParquetFile, number: int, categories: CategorySet
) -> tuple[np.ndarray, np.ndarray]:
    """Of one row group: each label's video × C + category, int64 (n,), and its probits float32 (2, n)."""
    with _as_damage(path):
        table = pieces.read_row_group(number, columns=["video", "category", "audio_probit", "visual_probit"])
        column = table.column("category").combine_chunks()
        column_of = np.array([categories.index(name) for name in column.dictionary.to_pylist()], dtype=np.int64)
        category = column_of[column.indices.to_numpy()]
        probit = np.stack([table.column(f"{name}_probit").to_numpy() for name in MODALITIES])
        return table.column("video").to_numpy() * len(categories) + category, probit


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    """The file, of which row groups are read one by one. DataError; UnreadableError; those of ABSENT."""
    with ExitStack() as stack:
        with reading(path):
            file = stack.enter_context(regular_file(path).open("rb"))
        with _as_damage(path):
            pieces = pq.ParquetFile(file)
        yield pieces


@contextmanager
def _as_damage(path: Path) -> Iterator[None]:
    """Tells of what pyarrow makes of changed bytes, and of unknown categories, as a DataError."""
    try:
        yield
    except (pa.ArrowException, DataError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DataError(f"the labels {path} cannot be used: {error}") from None


def _require_manifest(pieces: pq.ParquetFile, digest: str) -> None:
    """ValueError if the file is of another data set than the manifest's with this digest."""
    if (pieces.schema_arrow.metadata or {}).get(_MANIFEST) != digest.encode():
        raise ValueError("it is of another data set")


def _schema(manifest_digest: str) -> pa.Schema:
    text = pa.dictionary(pa.int32(), pa.string())
    columns: list[tuple[str, pa.DataType]] = [
        ("key", pa.string()), ("video", pa.int64()), ("category", text), ("fold", pa.int8()),
        ("audio_logit", pa.float32()), ("visual_logit", pa.float32()),
        ("audio_probit", pa.float32()), ("visual_probit", pa.float32()),
        ("audio", pa.float32()), ("visual", pa.float32()), ("verdict", text),
    ]  # fmt: skip
    return pa.schema(columns, metadata={_MANIFEST: manifest_digest.encode()})


def _table(rows: LabelRows, names: Sequence[str], schema: pa.Schema) -> pa.Table:
    audible, visible = rows.probability >= 0.5
    verdict = pa.array((audible + 2 * visible).astype(np.int32))
    columns = [
        pa.array(rows.key.astype(str)),
        pa.array(rows.video),
        pa.DictionaryArray.from_arrays(pa.array(rows.category.astype(np.int32)), pa.array(names)),
        pa.array(rows.fold),
        *(pa.array(column) for pair in (rows.logit, rows.probit, rows.probability) for column in pair),
        pa.DictionaryArray.from_arrays(verdict, pa.array(VERDICTS)),
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def digest_of(path: Path) -> str:
    """SHA-256 of a file. UnreadableError; those of ABSENT."""
    with reading(path), regular_file(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_label_table(path: Path, manifest_digest: str, videos: int) -> LabelProbabilities:
    """The probabilities in a labels.parquet of a data set with this digest and so many training videos, read piece by
    piece.

    DataError if it is damaged or of another data set; UnreadableError; those of ABSENT.
    """
    count, last, at = np.zeros(videos + 1, dtype=np.int64), 0, 0
    with _opened(path) as pieces, _as_damage(path):
        _require_manifest(pieces, manifest_digest)
        probability = np.empty((pieces.metadata.num_rows, 2), dtype=np.float32)
        for number in range(pieces.num_row_groups):
            table = pieces.read_row_group(number, columns=list(NEEDED))
            video, *both = (table.column(name).to_numpy() for name in NEEDED)
            if len(video):
                if not (video[0] >= last and video[-1] < videos and (np.diff(video) >= 0).all()):
                    raise ValueError("it is of other videos")
                last = video[-1]
            np.add.at(count, video + 1, 1)
            probability[at : at + len(video)] = np.stack(both, axis=1)
            at += len(video)
        if not ((probability >= 0) & (probability <= 1)).all():
            raise ValueError("it holds what is no probability")
    return LabelProbabilities(np.cumsum(count), probability)


def read_label_rows(path: Path, categories: CategorySet, manifest_digest: str) -> LabelRows:
    """All rows of a labels.parquet of a data set with these categories and this digest. DataError if it is damaged or
    of another data set; UnreadableError; those of ABSENT."""
    with _opened(path) as pieces, _as_damage(path):
        _require_manifest(pieces, manifest_digest)
        table = pieces.read()
        names = table.column("category").combine_chunks()
        column_of = np.array([categories.index(name) for name in names.dictionary.to_pylist()], dtype=np.int64)
        pairs = (
            np.stack([table.column(f"{name}{what}").to_numpy() for name in MODALITIES])
            for what in ("_logit", "_probit", "")
        )
        keys = np.array(table.column("key").to_pylist(), dtype=np.bytes_)
        video, fold = (table.column(name).to_numpy() for name in ("video", "fold"))
        rows = LabelRows(video, keys, column_of[names.indices.to_numpy()], fold, *pairs)
        if not ((rows.probability >= 0) & (rows.probability <= 1)).all():
            raise ValueError("it holds what is no probability")
    return rows
