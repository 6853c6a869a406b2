"""Category sets and multi-hot labels; the 25 categories of LLP."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from jomold_dist.errors import DataError, nearest

MODALITIES = ("audio", "visual")  # in the order in which dense labels hold them

DENSE_COLUMNS = ("filename", "onset", "offset", "event_labels")
"""Of a table of events, as LLP's dense label files have them."""


@dataclass(frozen=True)
class CategorySet:
    """The categories of a data set, in the order of the label columns."""

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.names:
            raise DataError("a category set must name at least one category")
        if strange := next((name for name in self.names if any(letter < " " for letter in name)), None):
            raise DataError(f"the category {strange!r} holds a control character")
        if len(set(self.names)) != len(self.names):
            raise DataError("a category set names a category twice")

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.names)}

    def __contains__(self, name: str) -> bool:
        return name in self._numbers

    def index(self, name: str) -> int:
        """The column of `name`; DataError with the nearest known name if there is none."""
        try:
            return self._numbers[name]
        except KeyError:
            raise DataError(f"unknown category {name!r}{nearest(name, self.names)}") from None

    def encode(self, names: Iterable[str]) -> np.ndarray:
        """Multi-hot bool (C,) of the named categories."""
        row = np.zeros(len(self), dtype=bool)
        for name in names:
            row[self.index(name)] = True
        return row


LLP_CATEGORIES = CategorySet(
    (
        "Speech",
        "Car",
        "Cheering",
        "Dog",
        "Cat",
        "Frying_(food)",
        "Basketball_bounce",
        "Fire_alarm",
        "Chainsaw",
        "Cello",
        "Banjo",
        "Singing",
        "Chicken_rooster",
        "Violin_fiddle",
        "Vacuum_cleaner",
        "Baby_laughter",
        "Accordion",
        "Lawn_mower",
        "Motorcycle",
        "Helicopter",
        "Acoustic_guitar",
        "Telephone_bell_ringing",
        "Baby_cry_infant_cry",
        "Blender",
        "Clapping",
    )
)
