"""Probabilities -> the segments that count -> events.

Shapes: N videos, C categories, T segments. A parsing of one modality is bool (N, C, T).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class EventRuns(NamedTuple):
    """Events, one an entry, all int64 (E,): video number, category number, first segment, segment after the last."""

    video: Tensor
    category: Tensor
    onset: Tensor
    offset: Tensor


def threshold_parsing(
    segment_prob: Tensor,
    audio_prob: Tensor,
    visual_prob: Tensor,
    threshold: float = 0.5,
    video_threshold: float | None = None,
) -> tuple[Tensor, Tensor]:
    """The audio and the visual parsing, each bool (N, C, T), of what the network predicts.

    A segment counts if its probability and the video probability of its *own* modality both reach `threshold`; with
    `video_threshold`, the latter has to reach that. HAN as published is given the whole video's probability for both.

    Args:
        segment_prob: (N, T, 2, C), audio first.
        audio_prob, visual_prob: (N, C).

    Raises:
        ValueError: the shapes do not belong together.
    """
    if segment_prob.dim() != 4 or segment_prob.shape[2] != 2:
        raise ValueError(f"segment_prob must be (N, T, 2, C), not {tuple(segment_prob.shape)}")
    expected = (segment_prob.shape[0], segment_prob.shape[3])
    for name, prob in (("audio_prob", audio_prob), ("visual_prob", visual_prob)):
        if tuple(prob.shape) != expected:
            raise ValueError(f"{name} must be (N, C) = {expected}, not {tuple(prob.shape)}")
    video_prob = torch.stack([audio_prob, visual_prob], dim=1)  # (N, 2, C)
    gate = threshold if video_threshold is None else video_threshold
    present = (segment_prob >= threshold) & (video_prob >= gate)[:, None]  # (N, T, 2, C)
    audio, visual = present.permute(2, 0, 3, 1).contiguous().unbind(0)  # (N, C, T) each
    return audio, visual


def run_edges(parsing: Tensor) -> tuple[Tensor, Tensor]:
    """Where maximal runs along the last axis of a bool (..., T) begin and where they end: two bool (..., T).

    The second marks the last segment that belongs to the run.
    """
    outside = torch.zeros_like(parsing[..., :1])
    first = parsing & ~torch.cat([outside, parsing[..., :-1]], dim=-1)
    last = parsing & ~torch.cat([parsing[..., 1:], outside], dim=-1)
    return first, last


def event_runs(parsing: Tensor | np.ndarray) -> EventRuns:
    """The events of a parsing (N, C, T), bool or 0/1: its maximal runs, ordered by video, category, onset.

    `onset` and `offset` are numbers of segments; `events.in_seconds` tells the times.
    """
    present = torch.as_tensor(parsing).bool()
    if present.dim() != 3:
        raise ValueError(f"a parsing must be (N, C, T), not {tuple(present.shape)}")
    first, last = run_edges(present)
    # Both lists are in (video, category, segment) order and runs do not overlap, so entry i is run i in both.
    video, category, onset = first.nonzero(as_tuple=True)
    return EventRuns(video, category, onset, last.nonzero(as_tuple=True)[2] + 1)
