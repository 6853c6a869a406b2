"""PURE: which moments of a video its features speak of. Seconds are counted from where its earliest stream begins."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

from jomold_dist.errors import ConfigError

MOST_SEGMENTS, MOST_SECONDS, MOST_FRAMES = 10_000, 3600.0, 1000
MOST_OF_A_VIDEO = 20_000  # frames, which are held at once: 5 GB of 224 × 398 pixels each


@dataclass(frozen=True)
class Sampling:
    """The first `segments` · `segment_seconds` seconds of a video: what lies behind them is not looked at, and what a
    video lacks of them is made up (see `media_notes.py`). ConfigError, of all that is wrong."""

    segments: int = 10
    """How many rows of features a video has: T."""
    segment_seconds: float = 1.0
    """How many seconds of the video each segment covers."""
    frames_per_segment: int = 8
    """How many frames stand for a segment: k."""

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {value}, and must be {wanted}"
            for name, value, good, wanted in (
                ("segments", self.segments, 1 <= self.segments <= MOST_SEGMENTS, f"from 1 to {MOST_SEGMENTS}"),
                (
                    "segment_seconds",
                    self.segment_seconds,
                    0.0 < self.segment_seconds <= MOST_SECONDS,
                    f"above 0 and at most {MOST_SECONDS:g}",
                ),
                (
                    "frames_per_segment",
                    self.frames_per_segment,
                    1 <= self.frames_per_segment <= MOST_FRAMES,
                    f"from 1 to {MOST_FRAMES}",
                ),
            )
            if not good
        ]
        if not problems and self.segments * self.frames_per_segment > MOST_OF_A_VIDEO:
            problems.append(
                f"{self.segments:,} segments of {self.frames_per_segment} frames are more than the {MOST_OF_A_VIDEO:,} "
                "frames that are taken of a video; take fewer frames_per_segment, or cut the videos"
            )
        if problems:
            raise ConfigError("; ".join(problems))

    @property
    def duration(self) -> Fraction:
        """Seconds of all segments, exactly as written: 0.96 is 24/25."""
        return self.segments * self._segment

    @property
    def seconds(self) -> float:
        """Seconds of all segments."""
        return float(self.duration)

    @property
    def _segment(self) -> Fraction:
        return Fraction(str(self.segment_seconds))

    def frame_times(self) -> tuple[Fraction, ...]:
        """The seconds at which frames are taken, in ascending order, k a segment: each segment is cut into k equal
        parts, and the centre of each is taken. Exact, so that no rounding decides between two frames."""
        part = self._segment / self.frames_per_segment
        count = self.segments * self.frames_per_segment
        return tuple((number + Fraction(1, 2)) * part for number in range(count))

    def samples(self, rate: int) -> int:
        """How many samples of sound all segments have together, at `rate` Hz."""
        return _rounded(self.duration * rate)

    def segment_samples(self, rate: int) -> tuple[slice, ...]:
        """Which of these samples belong to each segment. They cover all, none twice; their lengths differ by one at
        most, where a segment is no whole number of samples."""
        edges = [_rounded(number * self._segment * rate) for number in range(self.segments + 1)]
        return tuple(slice(begin, end) for begin, end in pairwise(edges))

    def describe(self) -> dict[str, Any]:
        """What a fingerprint says of the moments that features speak of."""
        return {
            "segments": self.segments,
            "segment_seconds": float(self.segment_seconds),
            "frames_per_segment": self.frames_per_segment,
            "frames_at": "centres of equal parts",
            "from": "start of the earliest stream",
        }


def _rounded(value: Fraction) -> int:
    """To the nearest whole number, halves upward (`round` would go to the even one)."""
    return math.floor(value + Fraction(1, 2))
