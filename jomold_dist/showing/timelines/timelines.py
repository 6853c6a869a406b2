"""Timelines of parsed videos: which categories are drawn and in which order, and how systems are called in them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from jomold_dist.evaluation.events import event_rows
from jomold_dist.labels import MODALITIES
from jomold_dist.showing.timelines.parsed import ParsedVideo
from jomold_dist.showing.timelines.timeline import TRUTH, Event, Group, Lane, Row, System, Timeline

MOST_CATEGORIES = 12
MOST_PROBABLE = 3  # categories that are shown where nothing is labelled, true or found
LONG_NAME = 16  # characters; longer ones do not fit beside lanes


def timeline_of(
    systems: Sequence[tuple[str, ParsedVideo]],
    scores: Sequence[float | None] = (),
    notes: Sequence[str] = (),
    thumbnails: Sequence[bytes] = (),
) -> Timeline:
    """The picture of a video that one or several systems have parsed, by their names. `scores`: see `System`."""
    video = systems[0][1]
    truth = None if video.truth is None else tuple(_events(video, video.truth))
    found = [tuple(_events(parsed, parsed.found, parsed.probability)) for _, parsed in systems]
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
        return numbers[:MOST_CATEGORIES], [
            f"Not drawn, but told in words: {more} more categor{'y' if more == 1 else 'ies'}."
        ]
    return numbers, []


def short_names(names: Sequence[str]) -> list[str]:
    """What the lanes of systems are called: by their names; where one is long, by what comes before its comma, which of
    runs is the method; by letters where that does not tell them apart."""
    for called in (list(names), [name.partition(",")[0] for name in names]):
        if all(len(name) <= LONG_NAME for name in called) and len(set(called)) == len(called):
            return called
    return [chr(ord("A") + n) if n < 26 else str(n + 1) for n in range(len(names))]


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


def _events(video: ParsedVideo, present: np.ndarray, probability: np.ndarray | None = None) -> list[Event]:
    """The events of segments that count, bool (2, C, T), by modality, category and onset; with their probabilities,
    float32 (2, C, T), unless they are the truth."""
    audio, visual = torch.from_numpy(present)[:, None].unbind(0)  # (1, C, T) each
    values = present.astype(np.float32) if probability is None else probability
    segment_prob = torch.from_numpy(values).permute(2, 0, 1)[None]  # (1, T, 2, C)
    rows = event_rows(audio, visual, segment_prob, video.segment_seconds)
    return [
        Event(video.categories[category], MODALITIES[modality], onset, offset, None if probability is None else mean)
        for _, onset, offset, category, modality, mean in zip(*(column.tolist() for column in rows), strict=True)
    ]


def _lacking(systems: Sequence[tuple[str, ParsedVideo]]) -> list[str]:
    lacking = [(name, video) for name, video in systems if video.modalities != MODALITIES]
    return [f"{name} parses {' and '.join(video.modalities)} only." for name, video in lacking]
