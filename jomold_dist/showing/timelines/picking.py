"""Which videos of a split are worth a look: the worst of a run, those on which runs differ, or any.

A whole split goes by and only the best so far are kept, so that a split of any size can be picked from.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
import torch

from jomold_dist.evaluation.metrics import video_scores
from jomold_dist.labels import MODALITIES
from jomold_dist.score_names import SCORE_NAMES
from jomold_dist.showing.timelines.parsed import ParsedVideo

AT_ONCE = 256  # videos that are scored together

Parsings = tuple[ParsedVideo, ...]


def segment_scores(videos: Sequence[ParsedVideo]) -> list[float]:
    """The F-score of the segments of each of the videos in percent: type, or of its single modality. The videos are of
    one data set with dense labels, and parsed by one network."""
    modalities = videos[0].modalities
    column = SCORE_NAMES.index("segment_type" if modalities == MODALITIES else f"segment_{modalities[0]}")
    found = torch.from_numpy(np.stack([video.found for video in videos]))  # (n, 2, C, T)
    truth = torch.from_numpy(np.stack([video.truth for video in videos if video.truth is not None]))
    return (100 * video_scores(*found.unbind(1), *truth.unbind(1))[:, column]).tolist()


def score_of(video: ParsedVideo) -> float | None:
    """The score of one video as `segment_scores` has it; None where its truth is not known."""
    return None if video.truth is None else segment_scores([video])[0]


def differing_segments(parsings: Parsings) -> int:
    """How many segments, of a category in a modality, some but not all of the networks that parse the modality find."""
    total = 0
    for number, modality in enumerate(MODALITIES):
        found = [video.found[number] for video in parsings if modality in video.modalities]
        if found:
            total += int((np.any(found, axis=0) & ~np.all(found, axis=0)).sum())
    return total


def pick_worst(split: Iterable[Parsings], count: int) -> list[Parsings]:
    """The videos with the lowest segment scores of the first network, lowest first; of equals those that come first."""
    return _least(split, count, lambda some: segment_scores([parsings[0] for parsings in some]))


def pick_differing(split: Iterable[Parsings], count: int) -> list[Parsings]:
    """The videos on which the networks differ in the most segments, those with most first."""
    return _least(split, count, lambda some: [-differing_segments(parsings) for parsings in some])


def random_numbers(videos: int, count: int, seed: int) -> np.ndarray:
    """The numbers of so many videos of a split, each at most once, int64 (at most count,), ascending."""
    drawn = np.random.default_rng(seed).permutation(videos)[:count]
    return np.sort(drawn).astype(np.int64)


def _least(
    split: Iterable[Parsings], count: int, value_of: Callable[[Sequence[Parsings]], Sequence[float]]
) -> list[Parsings]:
    kept: list[tuple[float, int, Parsings]] = []
    seen = 0
    for some in _parts(split):
        values = value_of(some)
        rows = [(value, seen + n, parsings) for n, (value, parsings) in enumerate(zip(values, some, strict=True))]
        kept = heapq.nsmallest(count, [*kept, *rows], key=lambda row: row[:2])
        seen += len(some)
    return [parsings for _, _, parsings in kept]


def _parts(split: Iterable[Parsings]) -> Iterator[list[Parsings]]:
    rest = iter(split)
    while some := list(islice(rest, AT_ONCE)):
        yield some
