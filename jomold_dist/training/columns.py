"""Rows of several columns that come batch by batch."""

from __future__ import annotations

from torch import Tensor

FIRST_ROWS = 4096


class ColumnBuffer:
    """Rows of several columns that come batch by batch and are kept in few large pieces of memory.

    A small piece a batch, kept while the next batch's large tensors come and go, would leave the heap full of holes: it
    grew by megabytes a batch.
    """

    def __init__(self) -> None:
        self._columns: tuple[Tensor, ...] = ()
        self._count = 0

    def add(self, *columns: Tensor) -> None:
        """Further rows (b, ...) of every column."""
        end = self._count + len(columns[0])
        if not self._columns or end > len(self._columns[0]):
            room = max(FIRST_ROWS, 2 * end)
            grown = tuple(column.new_empty((room, *column.shape[1:])) for column in columns)
            for new, old in zip(grown, self._columns, strict=False):  # nothing at first
                new[: self._count] = old[: self._count]
            self._columns = grown
        for kept, column in zip(self._columns, columns, strict=True):
            kept[self._count : end] = column
        self._count = end

    def columns(self) -> tuple[Tensor, ...]:
        """All rows so far."""
        return tuple(column[: self._count] for column in self._columns)
