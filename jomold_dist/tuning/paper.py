"""Table 2 of the JoMoLD paper (ECCV 2022): segment-level F-scores on LLP, by the rows of our sweep files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LEVELS = ("segment_audio", "segment_visual", "segment_av", "segment_type", "segment_event")

_JOMOLD = (61.3, 63.8, 57.2, 60.8, 59.9)
_ROWS: dict[str, dict[str, tuple[float, ...]]] = {
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
    return {} if found is None else dict(zip(LEVELS, found, strict=True))
