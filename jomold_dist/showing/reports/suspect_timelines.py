"""Timelines of the first suspects: what a run's model sees and hears in their videos, with pictures where files are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from jomold_dist.cleaning.suspects import Suspect
from jomold_dist.models.network import Network
from jomold_dist.showing.pages.page import percent
from jomold_dist.showing.timelines.media import file_of, pictures
from jomold_dist.showing.timelines.parsed import Videos, parse_keys
from jomold_dist.showing.timelines.timeline import Timeline
from jomold_dist.showing.timelines.timelines import timeline_of

MOST, MOST_OF_CATEGORY = 12, 2
SYSTEM = "model"


def suspect_timelines(
    suspects: Sequence[Suspect], network: Network, videos: Videos, files: Mapping[str, Path]
) -> list[Timeline]:
    """Of the videos of the first suspects, a few of each category, in their order. `files` are those of videos by
    their names. DataError if a video is not in the data set."""
    notes = _notes(suspects)
    found = []
    for (parsed,) in parse_keys([network], videos, list(notes)):
        file, images, said = file_of(parsed.key, files), list[bytes](), list[str]()
        if file is not None:
            images, said = pictures(file, parsed.segments, parsed.segment_seconds)
        found.append(timeline_of([(SYSTEM, parsed)], notes=[*notes[parsed.key], *said], thumbnails=images))
    return found


def _notes(suspects: Sequence[Suspect]) -> dict[str, list[str]]:
    """The chosen videos' keys, and what is said of their labels."""
    of_category = Counter[str]()
    notes: dict[str, list[str]] = {}
    for suspect in suspects:
        if suspect.key not in notes:
            if len(notes) == MOST or of_category[suspect.category] == MOST_OF_CATEGORY:
                continue
            of_category[suspect.category] += 1
        truth = "" if suspect.there is None else f"; in truth it is {'there' if suspect.there else 'noise'}"
        said = f"{suspect.category}: noise in {suspect.modality}, {percent(suspect.confidence)}{truth}"
        notes.setdefault(suspect.key, []).append(said)
    return notes
