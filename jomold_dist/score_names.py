"""The names of the F-scores of audio-visual video parsing, and which of them the modalities of a network have."""

from __future__ import annotations

from collections.abc import Sequence

from jomold_dist.labels import MODALITIES

LEVELS = ("segment", "event")
_KINDS = {"audio": "A", "visual": "V", "av": "AV", "type": "Type", "event": "Event"}
_OF_CATEGORIES = ("audio", "visual", "av")


def score_names(modalities: Sequence[str]) -> tuple[str, ...]:
    """The scores that predictions of these modalities have: all ten of both, one a level of a single one, as what is
    audible and visible at once, and the means over both, are not defined there.

    ValueError for anything else than one or both of MODALITIES.
    """
    return tuple(f"{level}_{kind}" for level in LEVELS for kind in _kinds(modalities, tuple(_KINDS)))


def category_score_names(modalities: Sequence[str]) -> tuple[str, ...]:
    """As `score_names`, for the scores of a single category."""
    return tuple(f"{level}_{kind}" for level in LEVELS for kind in _kinds(modalities, _OF_CATEGORIES))


def _kinds(modalities: Sequence[str], of_both: tuple[str, ...]) -> tuple[str, ...]:
    found = tuple(modality for modality in MODALITIES if modality in modalities)
    if not found or len(found) != len(modalities):
        raise ValueError(f"modalities must be one or both of {', '.join(MODALITIES)}, not {', '.join(modalities)}")
    return of_both if found == MODALITIES else found


SCORE_NAMES = score_names(MODALITIES)
CATEGORY_SCORE_NAMES = category_score_names(MODALITIES)


def heading(score: str) -> str:
    """What a score is called in tables: `seg A` … `ev Event`."""
    level, kind = score.split("_", 1)
    return f"{'seg' if level == 'segment' else 'ev'} {_KINDS[kind]}"
