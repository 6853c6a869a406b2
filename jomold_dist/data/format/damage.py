"""Damage: files that are not what the manifest says, and the videos that cannot be used for it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import astuple, dataclass, field, fields

from jomold_dist.errors import DataError


class DamagedError(DataError):
    """A file is missing, or is not what the manifest says. Other DataErrors tell of what lies between it and us."""


class MissingError(DamagedError):
    """There is no such file."""


class AlteredError(DamagedError):
    """A file is there, and holds something else."""


def unreadable(what: str, error: OSError) -> DataError:
    """The problem of a file that cannot be read: it may be good, and is never taken for damaged."""
    return DataError(
        f"cannot read {what}: {error.strerror or error}; make it readable, or look after the disk or the file system"
    )


@dataclass(frozen=True, order=True)
class BadVideo:
    """One video that is left out of its batches. Two are equal if they are the same video, whatever was said of it."""

    split: str
    shard: str
    """Below the data set's folder."""
    number: int
    """In its shard, from 0."""
    key: str = field(compare=False)
    """Empty where the shard does not tell it any more."""
    problem: str = field(compare=False)

    def __str__(self) -> str:
        return f"video {self.number} of {self.shard} ({self.key or 'of no readable key'}): {self.problem}"


COLUMNS = tuple(column.name for column in fields(BadVideo))


def to_csv(videos: Iterable[BadVideo]) -> str:
    """The videos as a table with a header, in the order of their shards."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(astuple(video) for video in sorted(videos))
    return text.getvalue()


def from_csv(text: str) -> set[BadVideo]:
    """The inverse of `to_csv`. ValueError for another table."""
    try:
        header, *rows = csv.reader(io.StringIO(text))
    except csv.Error as error:
        raise ValueError(str(error)) from None
    if tuple(header) != COLUMNS:
        raise ValueError(f"the columns are {header}, not {list(COLUMNS)}")
    return {BadVideo(split, shard, int(number), key, problem) for split, shard, number, key, problem in rows}
