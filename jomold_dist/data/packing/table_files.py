"""Tables with a row a video: parquet, and Arrow files as Hugging Face's `datasets` keeps them.

Videos are packed in shuffled order, and a row of parquet can be read only with its whole row group. So each parquet
file is written once, without compression, as an Arrow file into a folder for temporary files (TMPDIR), from where rows
are read by mapping it. Arrow files are mapped where they are.
"""

from __future__ import annotations

import glob
import logging
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jomold_dist.data.format.records import KEY_RULE, is_shard_key
from jomold_dist.errors import DataError, nearest, raise_together
from jomold_dist.reading import regular_file

logger = logging.getLogger(__name__)

KEY_COLUMNS = ("key", "video_id", "video", "filename", "id")  # the first that is there, where none is named
SHOWN = 5
_PARQUET, _ARROW_FILE = b"PAR1", b"ARROW1"
_BATCH = 64  # rows: a batch of 80 frames of 2,048 numbers has 42 MB
_BUFFER = 1 << 20  # of a column, where pyarrow would read the whole of it in a row group


def matching_files(patterns: Sequence[tuple[str, str]], option: str) -> list[tuple[str, Path]]:
    """The files of patterns that each have a split, "" for none, in their order. DataError for a pattern of no file."""
    found: list[tuple[str, Path]] = []
    problems = []
    for split, pattern in patterns:
        paths = sorted(glob.glob(pattern, recursive=True))
        if not paths:
            problems.append(f"{option} {pattern} leads to no file")
        found += [(split, Path(path)) for path in paths]
    raise_together(problems)
    return found


@dataclass(frozen=True)
class TableFile:
    """A table, the Arrow file from which its rows are read (its own, or what was made of it), the split that was said
    for it, or "", and which column has the keys."""

    path: Path
    mapped: Path
    split: str
    key_column: str

    @cached_property
    def table(self) -> pa.Table:
        """The table, of which only those parts come from the disk that are looked at."""
        with _readable(self.path):
            return _opened(self.mapped)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "table"}


@dataclass(frozen=True)
class Tables:
    """Tables as one: the keys, sorted S (n,), and of each the number of its table and of its row there, int64 (n,).

    What was made of parquet is removed when the object that has made it goes; copies in other processes only read it.
    """

    files: tuple[TableFile, ...]
    keys: np.ndarray
    file: np.ndarray
    row: np.ndarray
    _made: tempfile.TemporaryDirectory[str] | None = field(default=None, compare=False, repr=False)

    def find(self, key: str) -> tuple[TableFile, int] | None:
        """The table and row of a video; None if there is none."""
        wanted = key.encode()
        at = int(np.searchsorted(self.keys, wanted))
        if at == len(self.keys) or self.keys[at] != wanted:
            return None
        return self.files[self.file[at]], int(self.row[at])

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_made"} | {"_made": None}


def open_tables(files: Sequence[tuple[str, Path]], columns: Sequence[str], key_column: str | None) -> Tables:
    """The tables, each with its split, of which no other columns are wanted than these and that of the keys.

    DataError with every table that cannot be read, is damaged or lacks a column, and with keys that are none or come
    twice.
    """
    made = None
    if any(_is_parquet(path) for _, path in files):
        made = tempfile.TemporaryDirectory(prefix="jomold-tables-")
    tables, problems = [], list[str]()
    for number, (split, path) in enumerate(files):
        try:
            schema = _schema(path)
            name = _key_column(schema, key_column, path)
            wanted = _existing(schema, [name, *columns], path)
            mapped = path
            if made is not None and _is_parquet(path):
                mapped = Path(made.name) / f"{number}.arrow"
                _write_arrow(path, mapped, wanted)
            tables.append(TableFile(path, mapped, split, name))
            with _readable(path):
                tables[-1].table.select(wanted).validate(full=True)  # an offset that is none would end the process
        except DataError as error:
            problems += error.problems
    raise_together(problems)
    keys: list[bytes] = []
    for table in tables:
        found, bad = _keys(table)
        keys += found
        problems += bad
    raise_together(problems)
    array = np.array(keys) if keys else np.zeros(0, "S1")
    order = np.argsort(array, kind="stable")
    sizes = [table.table.num_rows for table in tables]
    numbers = np.repeat(np.arange(len(tables)), sizes)[order]
    rows = np.concatenate([np.arange(size) for size in sizes])[order]
    again = np.flatnonzero(array[order][1:] == array[order][:-1])
    raise_together(
        [
            f"{tables[numbers[n]].path} and {tables[numbers[n + 1]].path}: {keys[order[n]].decode()} comes twice"
            for n in again[:SHOWN].tolist()
        ]
    )
    return Tables(tuple(tables), array[order], numbers, rows, made)


def table_columns(path: Path) -> list[str]:
    """The names of a table's columns. DataError if it cannot be read."""
    return list(_schema(path).names)


def _keys(table: TableFile) -> tuple[list[bytes], list[str]]:
    """The keys of a table, in the order of its rows, and what is wrong with some."""
    column = table.table[table.key_column]
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        return [], [
            f"{table.path}: the column {table.key_column!r} of keys holds {column.type}, not texts; name another with "
            "--key-column, or write it as texts"
        ]
    keys = column.to_pylist()
    bad = [(row, key) for row, key in enumerate(keys, 1) if key is None or not is_shard_key(key)]
    problems = [f"{table.path}, row {row}: {key!r} cannot be packed: {KEY_RULE}" for row, key in bad[:SHOWN]]
    if len(bad) > SHOWN:
        problems.append(f"{table.path}: {len(bad) - SHOWN} more keys of this kind")
    return [] if bad else [key.encode() for key in keys], problems


def _key_column(schema: pa.Schema, given: str | None, path: Path) -> str:
    name = given or next((name for name in KEY_COLUMNS if name in schema.names), None)
    if name is None:
        raise DataError(
            f"{path} has no column {', '.join(KEY_COLUMNS[:-1])} or {KEY_COLUMNS[-1]}; say with --key-column which of "
            f"{', '.join(schema.names)} names the videos"
        )
    return name


def _existing(schema: pa.Schema, columns: Sequence[str], path: Path) -> list[str]:
    """These columns, each once. DataError if some are not there."""
    wanted = list(dict.fromkeys(columns))
    raise_together(
        [
            f"{path} has no column {name!r}{nearest(name, schema.names)}; it has: {', '.join(schema.names)}"
            for name in wanted
            if name not in schema.names
        ]
    )
    return wanted


def _is_parquet(path: Path) -> bool:
    return _beginning(path).startswith(_PARQUET)


def _beginning(path: Path) -> bytes:
    with _readable(path), regular_file(path).open("rb") as file:
        return file.read(8)


def _schema(path: Path) -> pa.Schema:
    parquet = _is_parquet(path)
    with _readable(path):
        return pq.read_schema(path) if parquet else _opened(path).schema


def _opened(path: Path) -> pa.Table:
    """An Arrow file or stream, mapped."""
    source = pa.memory_map(str(regular_file(path)))
    if _beginning(path).startswith(_ARROW_FILE):
        return pa.ipc.open_file(source).read_all()
    return pa.ipc.open_stream(source).read_all()


def _write_arrow(path: Path, target: Path, columns: Sequence[str]) -> None:
    """Some columns of a parquet file as an Arrow file."""
    with _readable(path):
        parquet = pq.ParquetFile(path, buffer_size=_BUFFER)
        groups = range(parquet.metadata.num_row_groups)
        size = sum(
            parquet.metadata.row_group(g).column(c).total_uncompressed_size
            for g in groups
            for c in range(parquet.metadata.num_columns)
            if parquet.metadata.row_group(g).column(c).path_in_schema.partition(".")[0] in columns
        )
        free = shutil.disk_usage(target.parent).free
        if size > free:
            raise DataError(
                f"{path}: takes {size:,} bytes unpacked, and {target.parent.parent} has {free:,} left; set TMPDIR to "
                "a folder on a larger disk"
            )
        logger.info("%s: unpacked once, %s MB, into %s", path, f"{size / 1e6:,.0f}", target.parent)
        writer = None
        try:
            for batch in parquet.iter_batches(_BATCH, columns=list(columns), use_threads=False):
                writer = writer or pa.ipc.new_file(str(target), batch.schema)
                writer.write_batch(batch)
            writer = writer or pa.ipc.new_file(str(target), pq.read_schema(path))
        finally:
            if writer is not None:
                writer.close()


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """What pyarrow raises, as a message."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such table") from None
    except pa.ArrowException as error:
        said = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: is damaged, or neither parquet nor Arrow ({said}); copy it again") from None
    except OSError as error:
        said = error.strerror or " ".join(str(error).split())[:200]
        raise DataError(f"{path}: cannot be read ({said})") from None
