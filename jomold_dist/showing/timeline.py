"""What a picture of a video shows: which categories and in which order, the truth and every system side by side.

A picture has a group of rows a category, a row a modality, and in it a lane for the truth and one for each system. The
PNG and the page are drawn from the same `Timeline`, which also says everything in words.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from jomold_dist.evaluation.events import event_rows
from jomold_dist.labels import MODALITIES
from jomold_dist.showing.parsed import ParsedVideo
from jomold_dist.wording import number_of

TRUTH = "truth"
MOST_CATEGORIES = 12
MOST_PROBABLE = 3  # categories that are shown where nothing is labelled, true or found
MOST_TICKS = 10
LONG_NAME = 16  # characters; systems whose names are longer have letters beside their lanes
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
    JPEG files, one a segment, or none at all; `notes` is what else has to be said."""

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
    def ticks(self) -> tuple[float, ...]:
        """The seconds that the axis names, from 0 on."""
        step = next((step for step in STEPS if self.seconds / step <= MOST_TICKS), self.seconds)
        return tuple(float(tick) for tick in np.round(np.arange(0, self.seconds + step / 1000, step), 6))

    @property
    def lane_names(self) -> tuple[str, ...]:
        """The truth, where it is known, and the systems."""
        return (*([] if self.truth is None else [TRUTH]), *(system.name for system in self.systems))

    @property
    def modalities(self) -> tuple[str, ...]:
        """Those that have rows."""
        return tuple(row.modality for row in self.groups[0].rows)

    @property
    def lettered(self) -> bool:
        """Whether lanes are called by letters."""
        return any(system.short != system.name for system in self.systems)

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


def timeline_of(
    systems: Sequence[tuple[str, ParsedVideo]],
    scores: Sequence[float | None] = (),
    notes: Sequence[str] = (),
    thumbnails: Sequence[bytes] = (),
) -> Timeline:
    """The picture of a video that one or several systems have parsed, by their names. `scores`: see `System`."""
    video = systems[0][1]
    truth = None if video.truth is None else tuple(_events(video, video.truth.astype(np.float32), video.truth, sure=False))
    found = [tuple(_events(parsed, parsed.probability, parsed.found)) for _, parsed in systems]
    short = short_names([name for name, _ in systems])
    numbers, more = shown_categories([parsed for _, parsed in systems])
    modalities = [m for m in MODALITIES if any(m in parsed.modalities for _, parsed in systems)]
    names, labels = video.categories, video.labels
    return Timeline(
        key=video.key,
        segments=video.segments,
        segment_seconds=video.segment_seconds,
        groups=tuple(
            Group(
                names[number],
                labels is not None and bool(labels[number]),
                tuple(Row(m, tuple(_lanes(number, m, truth, systems, short, found))) for m in modalities),
            )
            for number in numbers
        ),
        systems=tuple(
            System(name, brief, events, score)
            for (name, _), brief, events, score in zip(
                systems, short, found, scores or [None] * len(systems), strict=True
            )
        ),
        labels=None if labels is None else tuple(names[number] for number in np.flatnonzero(labels)),
        truth=truth,
        notes=(*more, *_lacking(systems), *notes),
        thumbnails=tuple(thumbnails),
    )


def shown_categories(videos: Sequence[ParsedVideo]) -> tuple[list[int], list[str]]:
    """The numbers of the categories that are drawn of one video's parsings, and what has to be said about them:
    labelled or true ones first, then those that are found, each in the order of the data set."""
    first, count = videos[0], len(videos[0].categories)
    labelled = np.zeros(count, bool) if first.labels is None else first.labels
    true = np.zeros(count, bool) if first.truth is None else first.truth.any((0, 2))
    found = np.any([video.found.any((0, 2)) for video in videos], axis=0)
    numbers = [*np.flatnonzero(labelled | true).tolist(), *np.flatnonzero(found & ~labelled & ~true).tolist()]
    if not numbers:
        best = np.nan_to_num(np.max([video.probability.max((0, 2)) for video in videos], axis=0))
        numbers = np.argsort(-best, kind="stable")[:MOST_PROBABLE].tolist()
        return numbers, ["Nothing is labelled or found; shown are the most probable categories."]
    if (more := len(numbers) - MOST_CATEGORIES) > 0:
        return numbers[:MOST_CATEGORIES], [f"Not drawn, but told in words: {number_of(more, 'more categor', 'ies')}."]
    return numbers, []


def short_names(names: Sequence[str]) -> list[str]:
    """What the lanes of systems are called: their names, or letters where a name is long."""
    if all(len(name) <= LONG_NAME for name in names):
        return list(names)
    return [chr(ord("A") + n) if n < 26 else str(n + 1) for n in range(len(names))]


def seconds(time: float) -> str:
    """A time as texts say it."""
    return f"{time:g}"


def _lanes(
    number: int,
    modality: str,
    truth: Sequence[Event] | None,
    systems: Sequence[tuple[str, ParsedVideo]],
    short: Sequence[str],
    found: Sequence[Sequence[Event]],
) -> list[Lane]:
    """The lanes of a category in a modality; none of a system that lacks the modality."""
    category, kind = systems[0][1].categories[number], MODALITIES.index(modality)

    def own(events: Sequence[Event]) -> tuple[Event, ...]:
        return tuple(event for event in events if (event.category, event.modality) == (category, modality))

    lanes = [] if truth is None else [Lane(TRUTH, own(truth))]
    for (_, video), name, events in zip(systems, short, found, strict=True):
        if modality in video.modalities:
            shade = np.nan_to_num(video.probability[kind, number].astype(np.float64)).clip(0, 1).round(3)
            lanes.append(Lane(name, own(events), tuple(shade.tolist())))
    return lanes


def _events(video: ParsedVideo, probability: np.ndarray, present: np.ndarray, sure: bool = True) -> list[Event]:
    """The events of segments that count, bool (2, C, T), by modality, category and onset."""
    audio, visual = torch.from_numpy(present)[:, None].unbind(0)  # (1, C, T) each
    segment_prob = torch.from_numpy(probability).permute(2, 0, 1)[None]  # (1, T, 2, C)
    rows = event_rows(audio, visual, segment_prob, video.segment_seconds)
    return [
        Event(video.categories[category], MODALITIES[modality], onset, offset, mean if sure else None)
        for _, onset, offset, category, modality, mean in zip(*(column.tolist() for column in rows), strict=True)
    ]


def _lacking(systems: Sequence[tuple[str, ParsedVideo]]) -> list[str]:
    return [
        f"{name} parses {' and '.join(video.modalities)} only." for name, video in systems if video.modalities != MODALITIES
    ]


def _told(events: Sequence[Event]) -> str:
    """Events in words, those of a category and modality together."""
    together: dict[tuple[str, str], list[str]] = {}
    for event in events:
        verb = "heard" if event.modality == MODALITIES[0] else "seen"
        together.setdefault((event.category, verb), []).append(str(event))
    return "; ".join(f"{category} {verb} {', '.join(times)}" for (category, verb), times in together.items()) or "nothing"
