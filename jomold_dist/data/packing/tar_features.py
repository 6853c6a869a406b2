"""Features that lie as `.npy` members in plain WebDataset tars: `--tars GLOB --feature audio=audio.npy`."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jomold_dist.data.packing.feature_sources import NOTHING, NPY_HEADER_BYTES, npy_array, npy_shape
from jomold_dist.data.packing.member_index import Member, MemberIndex, read_member
from jomold_dist.errors import DataError


class TarMembers:
    """The members of one ending: a FeatureSource. Those of the other features share the index."""

    extraction: Mapping[str, Any] = NOTHING
    seconds: float | None = None

    def __init__(self, index: MemberIndex, ending: str) -> None:
        self._index, self._ending = index, ending

    def keys(self) -> list[str]:
        """As the protocol says."""
        return self._index.keys(self._ending)

    def problems(self, keys: Sequence[str]) -> list[str]:
        """None: the index has looked at all tars."""
        return []

    def shape(self, key: str) -> tuple[int, int]:
        """As the protocol says."""
        member = self._member(key)
        beginning = self._content(member, key, NPY_HEADER_BYTES)
        return npy_shape(io.BytesIO(beginning), member.size, self.where(key))

    def read(self, key: str) -> np.ndarray:
        """As the protocol says."""
        return npy_array(self._content(self._member(key), key), self.where(key))

    def where(self, key: str) -> str:
        """The tar, and the member in it."""
        member = self._index.find(self._ending, key)
        return f"{'the tars' if member is None else member.tar}: {key}.{self._ending}"

    def stamp(self, key: str) -> str:
        """The tar's size and time of change, and where in it the member lies."""
        member = self._index.find(self._ending, key)
        if member is None:
            return "missing"
        try:
            file = member.tar.stat()
        except FileNotFoundError:
            return "missing"
        except OSError as error:
            raise DataError(f"{member.tar}: cannot be read ({error.strerror})") from None
        return f"{file.st_size} {file.st_mtime_ns} {member.offset} {member.size}"

    def _member(self, key: str) -> Member:
        member = self._index.find(self._ending, key)
        if member is None:
            raise DataError(f"the tars hold no {key}.{self._ending}")
        return member

    def _content(self, member: Member, key: str, length: int | None = None) -> bytes:
        try:
            return read_member(member, length)
        except EOFError:
            raise DataError(f"{self.where(key)}: the tar has become shorter; start again when it is whole") from None
        except OSError as error:
            raise DataError(f"{self.where(key)}: cannot be read ({error.strerror})") from None


def tar_sources(index: MemberIndex, endings: Mapping[str, str]) -> dict[str, TarMembers]:
    """A source for each feature, by the ending of its members."""
    return {feature: TarMembers(index, ending) for feature, ending in endings.items()}
