"""Tables 1 and 2 of the JoMoLD paper (ECCV 2022): F-scores on LLP, by the rows of our sweep files.

They are real videos, and tables of simulated ones have no column for them: this is a page of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jomold_dist.score_names import SCORE_NAMES, heading
from jomold_dist.tables import Table, percent

_JOMOLD = (61.3, 63.8, 57.2, 60.8, 59.9)
_ROWS: dict[str, dict[str, tuple[float | None, ...]]] = {  # in the order of SCORE_NAMES; Table 2 is of segments alone
    "table1": {
        "talnet": (50.0, None, None, None, None, 41.7),
        "stpn": (None, 46.5, None, None, None, None, 41.5),
        "cmcs": (None, 48.1, None, None, None, None, 45.1),
        "ave": (49.9, 37.3, 37.0, 41.4, 43.6, 43.6, 32.4, 32.6, 36.2, 37.4),
        "avsdn": (47.8, 52.0, 37.1, 45.7, 50.8, 34.1, 46.3, 26.5, 35.6, 37.7),
        "han-original": (60.1, 52.9, 48.9, 54.0, 55.4, 51.3, 48.9, 43.0, 47.7, 48.0),
        "coteaching-plus": (59.4, 56.7, 52.0, 56.0, 56.3, 50.7, 53.9, 46.6, 50.4, 48.7),
        "jocor": (61.0, 58.2, 53.1, 57.4, 57.7, 52.8, 54.7, 46.7, 51.4, 50.3),
        "ma without contrastive loss": (59.8, 57.5, 52.6, 56.6, 56.6, 52.1, 54.4, 45.8, 50.8, 49.4),
        "ma": (60.3, 60.0, 55.1, 58.9, 57.9, 53.6, 56.4, 49.0, 53.0, 50.6),
        "jomold without contrastive loss": (60.6, 62.2, 56.0, 59.6, 58.6, 53.1, 58.9, 49.4, 53.8, 51.4),
        "jomold": (*_JOMOLD, 53.9, 59.9, 49.6, 54.5, 52.5),
    },
    "table2a": {
        "ratio 0.1": (60.9, 53.9, 51.4, 55.4, 55.4),
        "ratio 0.2": (61.3, 54.4, 52.0, 55.9, 55.9),
        "ratio 0.3": (60.8, 55.2, 51.6, 55.9, 56.1),
        "ratio 0.4": (60.2, 56.6, 53.0, 56.6, 56.2),
        "ratio 0.5": (58.4, 58.3, 53.2, 56.6, 55.9),
        "estimated": _JOMOLD,
    },
    "table2c": {
        "with cross-modal attention": (60.9, 55.9, 52.9, 56.6, 56.3),
        "without cross-modal attention": _JOMOLD,
    },
    "table2d": {"intra-modal": (59.6, 58.5, 51.8, 56.6, 57.8), "joint-modal": _JOMOLD},
    "table2e": {"audio": (61.3, 53.2, 50.3, 54.9, 56.2), "visual": (61.0, 62.7, 56.2, 60.0, 59.2), "both": _JOMOLD},
    "table2f": {
        "none": (60.6, 63.3, 56.3, 60.1, 59.0),
        "linear 0.7": (61.1, 63.6, 56.8, 60.5, 59.7),
        "linear 0.8": (60.9, 63.8, 56.6, 60.4, 59.5),
        "linear 0.9": _JOMOLD,
        "linear 1.0": (61.3, 63.7, 56.8, 60.6, 59.7),
    },
}
_VISUAL = (1.6, 1.7, 1.8, 1.9, 2.0)  # θ^v (the paper's header prints them wrongly)
_THRESHOLDS = {  # of Table 2b, segment_type by θ^a
    0.5: (58.3, 58.9, 60.6, 60.5, 60.0),
    0.6: (58.9, 58.8, 60.8, 60.5, 60.5),
    0.7: (58.5, 59.0, 60.8, 60.7, 60.4),
    0.8: (58.3, 59.3, 60.7, 60.6, 60.4),
}


def paper_scores(sweep: str, row: str, settings: Mapping[str, Any]) -> dict[str, float]:
    """The paper's scores for a row of a sweep, by name; nothing where it has none."""
    if sweep == "table2b":
        audio, visual = (settings.get(f"denoise.{name}_threshold") for name in ("audio", "visual"))
        if audio in _THRESHOLDS and visual in _VISUAL:
            return {"segment_type": _THRESHOLDS[audio][_VISUAL.index(visual)]}
        return {}
    found = _ROWS.get(sweep, {}).get(row)
    known = zip(SCORE_NAMES, found or (), strict=False)
    return {name: value for name, value in known if value is not None}


def paper_table(sweep: str, rows: Mapping[str, Mapping[str, Any]]) -> Table | None:
    """The paper's scores for the rows of a sweep, given by name with their settings; None where it has none."""
    found = {row: paper_scores(sweep, row, settings) for row, settings in rows.items()}
    names = [score for score in SCORE_NAMES if any(score in scores for scores in found.values())]
    if not names:
        return None
    cells = [[row, *(percent(scores.get(name)) for name in names)] for row, scores in found.items() if scores]
    caption = (
        f"{sweep} in the paper: LLP, real videos, one run a row. Compare these rows with each other: neither their "
        "level nor what one has over another is a measure for other data."
    )
    return Table(caption, ["row", *map(heading, names)], cells)
