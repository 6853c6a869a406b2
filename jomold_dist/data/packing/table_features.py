"""Features that lie in columns of tables, a video a row: `--table GLOB --feature audio=clap`.

A cell may be a list of rows (as Hugging Face's Array2D is kept), a tensor of Arrow's, one flat list of all numbers,
which is cut into T rows or into as many as `COLUMN:ROWS` says, or the bytes of an `.npy` file.

Legend: T segments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from jomold_dist.data.packing.feature_sources import NOTHING, npy_array
from jomold_dist.data.packing.table_files import Tables
from jomold_dist.errors import DataError


@dataclass(frozen=True)
class ColumnName:
    """A column, and into how many rows a flat list in it is cut; None for the segments."""

    name: str
    rows: int | None

    @classmethod
    def parse(cls, text: str) -> ColumnName:
        """Of `COLUMN` or `COLUMN:ROWS`."""
        name, colon, rows = text.rpartition(":")
        return cls(name, int(rows)) if colon and rows.isdecimal() and int(rows) else cls(text, None)


class TableColumn:
    """A column of some tables: a FeatureSource. Flat lists are cut into so many `rows`."""

    extraction: Mapping[str, Any] = NOTHING
    seconds: float | None = None

    def __init__(self, tables: Tables, column: str, rows: int) -> None:
        self._tables, self._column, self._rows = tables, column, rows

    def keys(self) -> list[str]:
        """As the protocol says."""
        if not len(self._tables.keys):
            raise DataError(f"{self._tables.files[0].path} … hold no rows")
        return [key.decode() for key in self._tables.keys.tolist()]

    def problems(self, keys: Sequence[str]) -> list[str]:
        """Of a column of another type than features have."""
        return [
            f"{file.path}: the column {self._column!r} holds {kind}, expected lists of floating-point numbers, lists "
            "of such lists, or bytes of .npy files"
            for file in self._tables.files
            if not _is_feature(kind := file.table.schema.field(self._column).type)
        ]

    def shape(self, key: str) -> tuple[int, int]:
        """As the protocol says."""
        rows, width = self.read(key).shape  # a view of the mapped file, whose numbers are not touched
        return rows, width

    def read(self, key: str) -> np.ndarray:
        """As the protocol says."""
        found = self._tables.find(key)
        if found is None:
            raise DataError(f"the tables hold no video {key}")
        file, row = found
        cell = file.table[self._column][row]
        if not cell.is_valid:
            raise DataError(f"{self.where(key)}: is empty")
        try:
            return _array(cell, self._rows, self.where(key))
        except pa.ArrowException as error:
            raise DataError(f"{self.where(key)}: cannot be read ({error})") from None

    def where(self, key: str) -> str:
        """The table, the video and the column."""
        found = self._tables.find(key)
        return f"{'the tables' if found is None else found[0].path}: {self._column} of {key}"

    def stamp(self, key: str) -> str:
        """The table's size and time of change, and the row in it."""
        found = self._tables.find(key)
        if found is None:
            return "missing"
        file, row = found
        try:
            state = file.path.stat()
        except FileNotFoundError:
            return "missing"
        except OSError as error:
            raise DataError(f"{file.path}: cannot be read ({error.strerror})") from None
        return f"{state.st_size} {state.st_mtime_ns} {row} {self._column} {self._rows}"


def table_sources(tables: Tables, columns: Mapping[str, ColumnName], segments: int) -> dict[str, TableColumn]:
    """A source for each feature, by the column that holds it."""
    return {feature: TableColumn(tables, column.name, column.rows or segments) for feature, column in columns.items()}


def _is_feature(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.FixedShapeTensorType):
        in_order = kind.permutation in (None, [0, 1])
        return len(kind.shape) == 2 and in_order and bool(pa.types.is_floating(kind.value_type))
    if _is_list(kind):
        inner = kind.value_type
        return bool(pa.types.is_floating(inner) or (_is_list(inner) and pa.types.is_floating(inner.value_type)))
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _array(cell: pa.Scalar, rows: int, where: str) -> np.ndarray:
    """A cell as an array (rows, width), a view where it is one of numbers."""
    if isinstance(cell, pa.ExtensionScalar):  # of a tensor
        cell, rows = cell.value, cell.type.shape[0]
    if not isinstance(cell, pa.ListScalar | pa.LargeListScalar | pa.FixedSizeListScalar):
        return npy_array(cell.as_py(), where)
    values = cell.values
    if _is_list(values.type):
        widths = np.unique(values.value_lengths().to_numpy(zero_copy_only=False))
        if len(widths) != 1 or values.null_count:
            raise DataError(f"{where}: its {len(values)} rows are not all of one width")
        rows, values = len(values), values.flatten()
    elif len(values) % rows:
        raise DataError(f"{where}: {len(values)} numbers in one list cannot be cut into {rows} rows (say COLUMN:ROWS)")
    if values.null_count:
        raise DataError(f"{where}: {values.null_count} of its numbers are missing (null)")
    if not len(values):
        raise DataError(f"{where}: holds no numbers")
    return np.asarray(values.to_numpy(zero_copy_only=True).reshape(rows, -1))
