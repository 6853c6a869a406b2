"""Tables as people have them: CSV or TSV with a header, or parquet, read a row at a time by the names of their columns.

A column may have one of several names; the other columns are passed over, and named once. A cell of text may stand in
double quotes and ends in its line. Cells of parquet are texts, fractions, or lists of texts; a whole number is a text.
Rows count as lines do: the header of a text is line 1, and the first row of a parquet file is row 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow
import pyarrow.parquet

from jomold_dist.data.packing.label_files import TableReport, fields_of, text_lines
from jomold_dist.reading import regular_file

DELIMITERS = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "bars"}

PARQUET_ERRORS = (OSError, ValueError, pyarrow.ArrowException)
"""What pyarrow makes of a file that it cannot read; of bytes that are no text, Python a ValueError."""

_MAGIC = b"PAR1"  # how every parquet file begins
_ROWS = 1 << 14  # of a parquet file that are read at a time

Cell = str | float | list[str]


@dataclass(frozen=True)
class Table:
    """A table whose header is known: `columns` are the names by which it calls what is asked of it."""

    report: TableReport
    columns: dict[str, str]
    delimiter: str | None
    places: tuple[int, ...]
    width: int

    def rows(self) -> Iterator[tuple[int, list[Cell]]]:
        """Line and cells of every row, the cells in the order of `columns`; what is wrong goes to the report."""
        if self.delimiter is None:
            yield from self._parquet_rows()
            return
        lines = text_lines(self.report)
        next(lines, None)
        empty = True
        for number, line in lines:
            empty = False
            fields = fields_of(self.report, number, line, self.delimiter)
            if fields is None:
                continue
            if len(fields) != self.width:
                quotes = "; a cell that holds them stands in double quotes" if len(fields) > self.width else ""
                between = f"{self.width} cells between {DELIMITERS[self.delimiter]}, as its header"
                self.report.problem(f"the row does not have {between}{quotes}", number, line)
                continue
            yield number, [fields[place].strip() for place in self.places]
        if empty and self.report.sound:
            self.report.problem("the file is empty below its header")

    def _parquet_rows(self) -> Iterator[tuple[int, list[Cell]]]:
        number = 0
        names = list(self.columns.values())
        try:
            with pyarrow.parquet.ParquetFile(self.report.path, pre_buffer=False) as file:
                for batch in file.iter_batches(batch_size=_ROWS, columns=names, use_threads=False):
                    columns = [batch.column(name).to_pylist() for name in names]
                    for values in zip(*columns, strict=True):
                        number += 1
                        cells = [_cell(value) for value in values]
                        yield number, cells
        except PARQUET_ERRORS as error:
            self.report.refuse(f"cannot be read ({_first_line(error)})")
        if not number and self.report.sound:
            self.report.problem("the table has no rows")


def open_table(report: TableReport, wanted: Mapping[str, tuple[str, ...]], needed: tuple[str, ...]) -> Table | None:
    """The table of the report's file. `wanted` has, for what is asked of it, the names that a column of it may have,
    and `needed` is what must be there. None, and a problem in the report, if it is not."""
    try:
        with regular_file(report.path).open("rb") as file:
            magic = file.read(len(_MAGIC))
    except OSError as error:
        report.refuse(
            "the file does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        )
        return None
    header = _parquet_header(report) if magic == _MAGIC else _text_header(report, wanted[needed[0]])
    if header is None:
        return None
    delimiter, names = header
    columns = {}
    for what, aliases in wanted.items():
        if found := next((alias for alias in aliases if alias in names), None):
            columns[what] = found
    if missing := [" or ".join(wanted[what]) for what in needed if what not in columns]:
        report.problem(f"its columns are {', '.join(names)}; there is none called {', and none called '.join(missing)}")
        return None
    if twice := sorted({name for name in columns.values() if names.count(name) > 1}):
        report.problem(f"two columns are called {twice[0]}")
        return None
    if delimiter is None and (strange := _strange_columns(report, list(columns.values()))):
        report.problem(strange)
        return None
    if extra := [name or "without a name" for name in names if name not in columns.values()]:
        said = "column" if len(extra) == 1 else "columns"
        report.findings.append(f"{report.path.name}: the {said} {', '.join(extra)}, which nothing is made of")
    return Table(report, columns, delimiter, tuple(names.index(name) for name in columns.values()), len(names))


def _text_header(report: TableReport, first: tuple[str, ...]) -> tuple[str, list[str]] | None:
    """What separates the cells of a text, and its columns; it is that with which there is a column of these names."""
    number, line = next(text_lines(report), (0, ""))
    if not number:
        if report.sound:
            report.problem("the file is empty")
        return None
    for delimiter in DELIMITERS:
        fields = [field.strip() for field in fields_of(report, number, line, delimiter) or []]
        if set(first) & set(fields):
            return delimiter, fields
        if not report.sound:
            return None
    report.problem(f"the header {line[:100]!r} names no column {' or '.join(first)}", number)
    return None


def _parquet_header(report: TableReport) -> tuple[None, list[str]] | None:
    try:
        with pyarrow.parquet.ParquetFile(report.path) as file:
            return None, list(file.schema_arrow.names)
    except PARQUET_ERRORS as error:
        report.refuse(f"is no readable parquet file ({_first_line(error)})")
        return None


def _strange_columns(report: TableReport, names: list[str]) -> str:
    """What is wrong with the first of some columns of a parquet file whose values are no cells, "" if all are."""
    try:
        schema = pyarrow.parquet.read_schema(report.path)
    except PARQUET_ERRORS as error:
        return f"is no readable parquet file ({_first_line(error)})"
    for name in names:
        kind = schema.field(name).type
        kind = kind.value_type if _is_list(kind) or pyarrow.types.is_dictionary(kind) else kind
        if pyarrow.types.is_nested(kind) or _is_bytes(kind):
            return f"the column {name} holds {schema.field(name).type}, expected texts, numbers, or lists of texts"
    return ""


def _is_list(kind: pyarrow.DataType) -> bool:
    types = pyarrow.types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _is_bytes(kind: pyarrow.DataType) -> bool:
    types = pyarrow.types
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind))


def _cell(value: Any) -> Cell:
    if value is None:
        return ""
    if isinstance(value, list):
        return [str(item).strip() for item in value if item is not None]
    if isinstance(value, float):
        return value
    return str(value).strip()  # of a whole number as well, so that it is what it would be in a text


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
