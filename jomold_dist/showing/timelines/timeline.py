"""What a picture of a video shows: the truth and every system side by side, in rows of categories and modalities.

A picture has a group of rows a category, a row a modality, and in it a lane for the truth and one for each system. The
PNG and the page are drawn from the same `Timeline`, which also says everything in words.
"""

from __future__ import annotations

import base64
import re
import zlib
from dataclasses import dataclass, field

import numpy as np

from jomold_dist.labels import MODALITIES

TRUTH = "truth"
MOST_TICKS = 10
STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600)  # seconds


@dataclass(frozen=True)
class Event:
    """A category that is heard (audio) or seen (visual) from one second to another; the mean probability of its
    segments, None in the truth."""

    category: str
    modality: str
    onset: float
    offset: float
    probability: float | None = None

    def __str__(self) -> str:
        sure = "" if self.probability is None else f" ({self.probability:.2f})"
        return f"{seconds(self.onset)}–{seconds(self.offset)} s{sure}"


@dataclass(frozen=True)
class Lane:
    """What the truth or a system says of a category in a modality: its events, and, of a system, the probabilities of
    the T segments."""

    name: str
    events: tuple[Event, ...]
    shade: tuple[float, ...] = ()

    @property
    def is_truth(self) -> bool:
        """Whether these are the dense labels."""
        return not self.shade


@dataclass(frozen=True)
class Row:
    """The lanes of one modality."""

    modality: str
    lanes: tuple[Lane, ...]


@dataclass(frozen=True)
class Group:
    """The rows of a category, and whether the video has its label."""

    category: str
    labelled: bool
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class System:
    """A run, or whatever else has parsed the video: its name, what its lanes are called, all its events, and how well
    they meet the truth in percent, where that is known."""

    name: str
    short: str
    events: tuple[Event, ...]
    score: float | None = None


@dataclass(frozen=True)
class Timeline:
    """All that a picture of a video shows. `labels` and `truth` are None where they are not known; `thumbnails` are
    JPEG files from the middles of equal parts, or none at all; `notes` is what else has to be said."""

    key: str
    segments: int
    segment_seconds: float
    groups: tuple[Group, ...]
    systems: tuple[System, ...]
    labels: tuple[str, ...] | None
    truth: tuple[Event, ...] | None
    notes: tuple[str, ...] = ()
    thumbnails: tuple[bytes, ...] = field(default=(), repr=False)

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.segments * self.segment_seconds

    @property
    def anchor(self) -> str:
        """Its key as files and links may be called, another one for each key."""
        name = re.sub(r"[^\w.-]+", "-", self.key)
        return name if name == self.key else f"{name}-{zlib.crc32(self.key.encode('utf-8', 'surrogateescape')):08x}"

    @property
    def ticks(self) -> tuple[float, ...]:
        """The seconds that the axis names, from 0 on."""
        step = next((step for step in STEPS if self.seconds / step <= MOST_TICKS), self.seconds)
        return tuple(float(tick) for tick in np.round(np.arange(0, self.seconds + step / 1000, step), 6))

    @property
    def lane_names(self) -> tuple[str, ...]:
        """The truth, where it is known, and the systems."""
        return (*([] if self.truth is None else [TRUTH]), *(system.name for system in self.systems))

    @property
    def tick_texts(self) -> tuple[str, ...]:
        """What the axis says at its ticks; the unit is said once."""
        *others, last = map(seconds, self.ticks)
        return (*others, f"{last} s")

    @property
    def modalities(self) -> tuple[str, ...]:
        """Those that have rows."""
        return tuple(row.modality for row in self.groups[0].rows)

    @property
    def longer(self) -> list[System]:
        """The systems whose lanes are called otherwise than they are."""
        return [system for system in self.systems if system.short != system.name]

    @property
    def scored(self) -> bool:
        """Whether any system has a score."""
        return any(system.score is not None for system in self.systems)

    @property
    def thumbnail_uris(self) -> list[str]:
        """The thumbnails as a page holds them."""
        return [f"data:image/jpeg;base64,{base64.b64encode(image).decode()}" for image in self.thumbnails]

    def share(self, time: float) -> str:
        """How much of the whole a time is, in percent."""
        return f"{100 * time / self.seconds:.6g}"

    def summary(self) -> str:
        """One sentence in place of the picture."""
        shown = ", ".join(group.category for group in self.groups)
        return f"Timeline of {self.key}, {seconds(self.seconds)} seconds, by {', '.join(self.lane_names)}: {shown}"

    def words(self) -> list[str]:
        """The picture as sentences: labels, then truth and systems with every event."""
        if self.labels is None:
            said = ["Its labels are not known."]
        else:
            said = [f"Labels: {', '.join(self.labels)}." if self.labels else "It has no label."]
        if self.truth is not None:
            said.append(f"Truth: {_told(self.truth)}.")
        for system in self.systems:
            score = "" if system.score is None else f", segment score {system.score:.0f} %"
            said.append(f"{system.name}{score}: {_told(system.events)}.")
        return [*said, *self.notes]


def seconds(time: float) -> str:
    """A time as texts say it."""
    return f"{time:g}"


def _told(events: tuple[Event, ...]) -> str:
    """Events in words, those of a category and modality together."""
    together: dict[tuple[str, str], list[str]] = {}
    for event in events:
        verb = "heard" if event.modality == MODALITIES[0] else "seen"
        together.setdefault((event.category, verb), []).append(str(event))
    return (
        "; ".join(f"{category} {verb} {', '.join(times)}" for (category, verb), times in together.items()) or "nothing"
    )
