"""The figures of LLP's public annotations that a simulated world is drawn from (`llp_statistics.json`).

Legend: C categories, in the order of the label columns; modality 0 is audio, 1 is visual.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np

from jomold_dist.labels import LLP_CATEGORIES

SEGMENTS = 10
MODALITIES = ("audio", "visual")


@dataclass(frozen=True)
class Odds:
    """Shares of the labelled videos in which a category is audible, visible, and both; floats or arrays (C,)."""

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
class SplitStatistics:
    """One split: its videos, how many of them carry k labels, and the labels per category, int64 (C,)."""

    videos: int
    sizes: dict[int, int]
    counts: np.ndarray


@dataclass(frozen=True)
class IntervalStatistics:
    """One modality's events: how many have k intervals, and how many intervals last k seconds."""

    per_event: dict[int, int]
    length: dict[int, int]

    @property
    def events(self) -> int:
        return sum(self.per_event.values())


@dataclass(frozen=True)
class Statistics:
    """All figures. `pairs` are training videos that carry both categories; `segments` and `intervals` the means (2, C)
    of one event; `pooled` the odds over the labels of all categories together."""

    splits: dict[str, SplitStatistics]
    pairs: dict[tuple[int, int], int]
    odds: Odds
    pooled: Odds
    segments: np.ndarray
    intervals: np.ndarray
    histograms: tuple[IntervalStatistics, IntervalStatistics]
    overlap_segments: float


def _integer_keys(counts: dict[str, int]) -> dict[int, int]:
    return {int(k): int(v) for k, v in counts.items()}


@cache
def llp_statistics() -> Statistics:
    """The table that ships with the package, for `LLP_CATEGORIES`."""
    text = resources.files(__package__).joinpath("llp_statistics.json").read_text(encoding="utf-8")
    data = json.loads(text)
    rows = [data["categories"][name] for name in LLP_CATEGORIES.names]
    odds = Odds(*(np.array([row[key] for row in rows]) for key in ("audible", "visible", "both")))
    pooled = Odds(*(np.full(len(rows), data["all"][key]) for key in ("audible", "visible", "both")))
    return Statistics(
        splits={
            name: SplitStatistics(split["videos"], _integer_keys(split["sizes"]), np.array(split["counts"]))
            for name, split in data["splits"].items()
        },
        pairs={(LLP_CATEGORIES.index(a), LLP_CATEGORIES.index(b)): count for a, b, count in data["pairs"]},
        odds=odds,
        pooled=pooled,
        segments=np.array([row["segments"] for row in rows]).T,
        intervals=np.array([row["intervals"] for row in rows]).T,
        histograms=tuple(  # type: ignore[arg-type]
            IntervalStatistics(
                _integer_keys(data["intervals"][m]["per_event"]), _integer_keys(data["intervals"][m]["length"])
            )
            for m in MODALITIES
        ),
        overlap_segments=data["all"]["overlap_segments"],
    )
