"""What a split is made from: videos by number, or one after the other, and what tells that they have changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Protocol, runtime_checkable

from jomold_dist.data.packing.shard_writer import Video
from jomold_dist.errors import DataError

Origin = Callable[[slice], str]


@runtime_checkable
class Videos(Protocol):
    """Videos by number: a list of them, or what makes them when they are asked for. A slice may be read once.

    While it is read it may raise DataError, with a problem for every video of it that cannot be had. Several processes
    pack it at once if it can be pickled; large arrays in it are then shared among them.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> Iterable[Video]: ...


@dataclass(frozen=True)
class SplitSource:
    """A split that can be written, and parts of it again: the arguments of DatasetWriter.write_split."""

    name: str
    videos: Videos
    dense: bool = False
    max_labels: int | None = None
    origin: Origin | None = None
    shuffled: int | None = None


def shard_name(split: str, number: int) -> str:
    """The path of a split's shard below the data set's folder."""
    return f"{split}/shard-{number:06d}.tar"


class OnePass:
    """Videos of unknown number that come once, by the parts in which they are asked for, from the first on."""

    def __init__(self, videos: Iterable[Video]) -> None:
        self._videos = iter(videos)

    def parts(self, size: int) -> Iterator[slice]:
        """A slice of `size` for each part, as long as there is a video for it, or a DataError that it raises when it
        is read."""
        first = 0
        while True:
            try:
                video = next(self._videos, None)
            except DataError as error:
                self._videos = _failing(error)
            else:
                if video is None:
                    return
                self._videos = chain([video], self._videos)
            yield slice(first, first + size)
            first += size

    def __getitem__(self, part: slice) -> Iterator[Video]:
        return islice(self._videos, part.stop - part.start)


def _failing(error: DataError) -> Iterator[Video]:
    raise error
    yield  # which makes it an iterator
