"""From predictions to events and to the ten scores."""

from jomold_dist.evaluation.events import EventRows, event_rows
from jomold_dist.evaluation.metrics import (
    category_counts,
    category_scores,
    mean_scores,
    parsing_scores,
    video_scores,
)
from jomold_dist.evaluation.parsing import EventRuns, event_runs, threshold_parsing
from jomold_dist.score_names import CATEGORY_SCORE_NAMES, SCORE_NAMES, category_score_names, score_names

__all__ = [
    "CATEGORY_SCORE_NAMES",
    "SCORE_NAMES",
    "EventRows",
    "EventRuns",
    "category_counts",
    "category_score_names",
    "category_scores",
    "event_rows",
    "event_runs",
    "mean_scores",
    "parsing_scores",
    "score_names",
    "threshold_parsing",
    "video_scores",
]
