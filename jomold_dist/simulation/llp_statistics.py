"""The figures of LLP's public annotations that its worlds are drawn from (`llp_statistics.json`).

Legend: C categories, in the order of the label columns; modality 0 is audio, 1 is visual.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from jomold_dist.labels import LLP_CATEGORIES
from jomold_dist.simulation.statistics import (
    MODALITIES,
    EventStatistics,
    IntervalHistograms,
    Odds,
    integer_keys,
    read_shipped,
)

_SHARES = ("audible", "visible", "both")


@dataclass(frozen=True)
class SplitStatistics:
    """One split: its videos, how many of them carry k labels, and the labels per category, int64 (C,)."""

    videos: int
    sizes: dict[int, int]
    counts: np.ndarray


@dataclass(frozen=True)
class LlpStatistics:
    """All figures. `pairs` are training videos that carry both categories; `pooled` the odds over the labels of all
    categories together, the same for each; `overlap_segments` the mean overlap of an event's sound and sight."""

    splits: dict[str, SplitStatistics]
    pairs: dict[tuple[int, int], int]
    odds: Odds
    pooled: Odds
    events: EventStatistics
    overlap_segments: float


@cache
def llp_statistics() -> LlpStatistics:
    """The table that ships with the package, for `LLP_CATEGORIES`."""
    data = read_shipped("llp")
    rows = [data["categories"][name] for name in LLP_CATEGORIES.names]
    audio, visual = (IntervalHistograms.from_json(data["intervals"][m]) for m in MODALITIES)
    return LlpStatistics(
        splits={
            name: SplitStatistics(split["videos"], integer_keys(split["sizes"]), np.array(split["counts"]))
            for name, split in data["splits"].items()
        },
        pairs={(LLP_CATEGORIES.index(a), LLP_CATEGORIES.index(b)): count for a, b, count in data["pairs"]},
        odds=Odds(*(np.array([row[key] for row in rows]) for key in _SHARES)),
        pooled=Odds(*(np.full(len(rows), data["all"][key]) for key in _SHARES)),
        events=EventStatistics(
            segments=np.array([row["segments"] for row in rows]).T,
            intervals=np.array([row["intervals"] for row in rows]).T,
            histograms=(audio, visual),
        ),
        overlap_segments=data["all"]["overlap_segments"],
    )
