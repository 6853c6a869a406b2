"""What a world's labels and events are drawn from, whichever data set was counted, and the tables that ship.

Legend: C categories, in the order of the label columns; modality 0 is audio, 1 is visual.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np

SEGMENTS = 10
MODALITIES = ("audio", "visual")


@dataclass(frozen=True)
class Odds:
    """Shares of the labelled videos in which a category is audible, visible, and both: arrays (C,)."""

    audible: np.ndarray
    visible: np.ndarray
    both: np.ndarray

    @property
    def audio_only(self) -> np.ndarray:
        return np.maximum(self.audible - self.both, 0.0)

    @property
    def visual_only(self) -> np.ndarray:
        return np.maximum(self.visible - self.both, 0.0)


@dataclass(frozen=True)
class IntervalHistograms:
    """One modality's events: how many have k intervals, and how many intervals last k segments."""

    per_event: dict[int, int]
    length: dict[int, int]

    @classmethod
    def from_json(cls, data: Mapping[str, Mapping[str, int]]) -> IntervalHistograms:
        return cls(integer_keys(data["per_event"]), integer_keys(data["length"]))

    @property
    def events(self) -> int:
        return sum(self.per_event.values())

    @property
    def mean_segments(self) -> float:
        """Of an event."""
        return sum(k * n for k, n in self.length.items()) / self.events

    @property
    def mean_intervals(self) -> float:
        """Of an event."""
        return sum(k * n for k, n in self.per_event.items()) / self.events


@dataclass(frozen=True)
class EventStatistics:
    """When events are heard and seen: the means of one event of each category, `segments` and `intervals` (2, C), and
    the histograms over all events of a modality."""

    segments: np.ndarray
    intervals: np.ndarray
    histograms: tuple[IntervalHistograms, IntervalHistograms]

    def for_any(self, categories: int) -> EventStatistics:
        """The same for each of so many categories: all have the means of the histograms."""
        segments = np.array([[h.mean_segments] for h in self.histograms])
        intervals = np.array([[h.mean_intervals] for h in self.histograms])
        return EventStatistics(segments.repeat(categories, 1), intervals.repeat(categories, 1), self.histograms)


def integer_keys(counts: Mapping[str, int]) -> dict[int, int]:
    """JSON has texts for keys."""
    return {int(k): int(v) for k, v in counts.items()}


def read_shipped(name: str) -> dict[str, Any]:
    """The table `name`_statistics.json that ships with the package."""
    text = resources.files(__package__).joinpath(f"{name}_statistics.json").read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text)
    return table
