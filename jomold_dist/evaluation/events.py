"""A parsing's events as rows, each with its probability.

Legend: N videos, C categories, T segments, E events; modality 0 is audio, 1 is visual.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from jomold_dist.evaluation.parsing import event_runs


class EventRows(NamedTuple):
    """Events as columns (E,), ordered by video, modality, category and onset."""

    video: np.ndarray
    """The video's number, int64."""
    onset: np.ndarray
    """When it begins, in seconds: int64 where a segment lasts whole seconds, else float64."""
    offset: np.ndarray
    """When it ends, in seconds, likewise."""
    category: np.ndarray
    """int64."""
    modality: np.ndarray
    """int64."""
    probability: np.ndarray
    """The mean of its segments' probabilities, float64."""


def in_seconds(segments: np.ndarray, segment_seconds: float) -> np.ndarray:
    """When segments of these numbers begin: int64 where a segment lasts whole seconds, else float64, to the
    microsecond, so that three segments of 0.1 s end at 0.3 s."""
    if float(segment_seconds).is_integer():
        return segments * int(segment_seconds)
    return np.asarray(np.round(segments * segment_seconds, 6))


def event_rows(audio: Tensor, visual: Tensor, segment_prob: Tensor, segment_seconds: float) -> EventRows:
    """The events, maximal runs of segments of so many seconds, of what was decided: `audio` and `visual`, bool
    (N, C, T), from the probabilities `segment_prob` (N, T, 2, C), audio first. ValueError if the shapes do not belong
    together."""
    videos, categories, segments = audio.shape
    if visual.shape != audio.shape or segment_prob.shape != (videos, segments, 2, categories):
        shapes = [tuple(tensor.shape) for tensor in (audio, visual, segment_prob)]
        raise ValueError(f"parsings must be (N, C, T) and probabilities (N, T, 2, C), not {shapes}")
    runs = event_runs(torch.cat([audio, visual], dim=1))  # (N, 2C, T): audio's categories, then visual's
    prob = segment_prob.to(torch.float64).flatten(2).transpose(1, 2)  # (N, 2C, T)
    sums = torch.cat([torch.zeros_like(prob[..., :1]), prob.cumsum(-1)], dim=-1)  # of the segments before each
    own = sums[runs.video, runs.category]  # (E, T + 1)
    at = torch.stack([runs.onset, runs.offset], dim=1)
    before, until = own.gather(1, at).unbind(1)
    probability = (until - before) / (runs.offset - runs.onset)
    video, category, onset, offset = (column.cpu().numpy() for column in runs)
    onset, offset = (in_seconds(segments, segment_seconds) for segments in (onset, offset))
    kind, modality = category % categories, category // categories
    return EventRows(video, onset, offset, kind, modality, probability.cpu().numpy())
