"""From predictions to events and to the ten scores."""

from jomold_dist.evaluation.metrics import (
    CATEGORY_SCORE_NAMES,
    SCORE_NAMES,
    category_counts,
    category_scores,
    mean_scores,
    parsing_scores,
    video_scores,
)
from jomold_dist.evaluation.parsing import EventRuns, event_runs, threshold_parsing

__all__ = [
    "CATEGORY_SCORE_NAMES",
    "SCORE_NAMES",
    "EventRuns",
    "category_counts",
    "category_scores",
    "event_runs",
    "mean_scores",
    "parsing_scores",
    "threshold_parsing",
    "video_scores",
]
