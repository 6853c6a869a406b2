"""Parsed videos that no network has made, for tests of what is drawn of them."""

from __future__ import annotations

import numpy as np

from jomold_dist.labels import MODALITIES
from jomold_dist.showing.timelines.parsed import ParsedVideo

CATEGORIES = ("Speech", "Dog", "Frying_(food)", "Cello", "Car")


def parsed_video(
    key: str = "clip",
    *,
    found: dict[tuple[str, str], str] | None = None,
    truth: dict[tuple[str, str], str] | None = None,
    labels: tuple[str, ...] | None = (),
    categories: tuple[str, ...] = CATEGORIES,
    segments: int = 10,
    segment_seconds: float = 1.0,
    modalities: tuple[str, ...] = MODALITIES,
) -> ParsedVideo:
    """A video with what is found and true by category and modality, a letter a segment: `##..` are the first two of
    four. Segments that are found have a probability of 0.75, others of 0.1."""

    def drawn(what: dict[tuple[str, str], str]) -> np.ndarray:
        rows = np.zeros((2, len(categories), segments), bool)
        for (category, modality), letters in what.items():
            marks = [letter == "#" for letter in letters.ljust(segments, ".")]
            rows[MODALITIES.index(modality), categories.index(category)] = marks
        return rows

    counts = drawn(found or {})
    probability = np.where(counts, 0.75, 0.1).astype(np.float32)
    for number, modality in enumerate(MODALITIES):
        if modality not in modalities:
            probability[number] = 0
    known = None if labels is None else np.array([name in labels for name in categories])
    return ParsedVideo(
        key,
        categories,
        segment_seconds,
        probability,
        counts,
        None if truth is None else drawn(truth),
        known,
        modalities,
    )


def random_videos(count: int, seed: int, truth: bool = True) -> list[ParsedVideo]:
    """Videos of which anything may be found and true."""
    rng = np.random.default_rng(seed)
    shape = (2, len(CATEGORIES), 4)
    return [
        ParsedVideo(
            f"v{number:04d}",
            CATEGORIES,
            1.0,
            rng.random(shape, np.float32),
            rng.random(shape) < rng.random() * 0.6,
            rng.random(shape) < 0.3 if truth else None,
        )
        for number in range(count)
    ]
