"""The ten F-scores of audio-visual video parsing, and their breakdown by category.

The convention is the field's: F1 per video and category that has truth or prediction, mean over those categories, then
mean over videos; a video with neither truth nor prediction counts 1. On the segment level a segment is right or wrong;
on the event level an event (a maximal run of segments) is found if it meets one with IoU >= 0.5. `av` scores what is
audible AND visible in the same segment, `type` is the mean of audio, visual and av, and `event` adds the counts of
audio and visual per category before F1.

Shapes: N videos, C categories, T segments. Counts are integers, and the two sums of fractions (over categories, over
videos) are exact up to one rounding, so no score depends on how the videos were split over ranks or ordered.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from jomold_dist.errors import DataError
from jomold_dist.evaluation.parsing import run_edges
from jomold_dist.labels import MODALITIES
from jomold_dist.score_names import CATEGORY_SCORE_NAMES, SCORE_NAMES, category_score_names, score_names

# An F1 in [0, 1] is summed over categories as a multiple of this unit in int64: exact in every order, and finer than
# 1e-14, below 2**15 categories. A float sum's last bits depend on how the tensor lies in memory, hence on the split.
_UNIT = 2.0**-48


def parsing_scores(audio: Tensor, visual: Tensor, audio_truth: Tensor, visual_truth: Tensor) -> dict[str, float]:
    """The ten scores in percent, keyed by SCORE_NAMES; arguments as in `video_scores`.

    Raises:
        DataError: there is no video.
        ValueError: the shapes differ.
    """
    return mean_scores(video_scores(audio, visual, audio_truth, visual_truth))


def video_scores(audio: Tensor, visual: Tensor, audio_truth: Tensor, visual_truth: Tensor) -> Tensor:
    """The ten scores of each video as fractions: float64 (N, 10), columns as SCORE_NAMES.

    Args:
        audio, visual: what is predicted, bool or 0/1 (N, C, T), e.g. from `threshold_parsing`.
        audio_truth, visual_truth: the dense labels, same shape.

    Raises:
        ValueError: the shapes differ.
    """
    counts = _count(audio, visual, audio_truth, visual_truth)  # (2, 3, N, C, 3)
    both = counts[:, :1] + counts[:, 1:2]  # the `event` score: audio's and visual's counts together
    means = _mean_over_categories(torch.cat([counts, both], dim=1))  # (2, 4, N)
    by_audio, by_visual, by_av, by_event = means.unbind(1)
    kinds = torch.full_like(by_audio, 3)  # by a number, a GPU multiplies with its reciprocal: other last bits
    by_type = (by_audio + by_visual + by_av) / kinds
    scores = torch.stack([by_audio, by_visual, by_av, by_type, by_event], dim=1)  # (2, 5, N)
    return scores.flatten(0, 1).T.contiguous()


def mean_scores(scores: Tensor, modalities: Sequence[str] = MODALITIES) -> dict[str, float]:
    """The scores in percent that predictions of these modalities have, from the rows (N, 10) of `video_scores`,
    gathered over ranks in any order.

    Raises:
        DataError: there is no row.
    """
    if scores.shape[0] == 0:
        raise DataError("there is no video to score; evaluate a split that has videos with dense labels")
    columns = scores.detach().to("cpu", torch.float64).T.tolist()
    # fsum rounds once, after the exact sum: the same bits in every order.
    means = (math.fsum(column) / scores.shape[0] for column in columns)
    found = {name: 100.0 * mean for name, mean in zip(SCORE_NAMES, means, strict=True)}
    return {name: found[name] for name in score_names(modalities)}


def category_counts(audio: Tensor, visual: Tensor, audio_truth: Tensor, visual_truth: Tensor) -> Tensor:
    """True positives, false positives and false negatives over the videos: int64 (6, C, 3).

    The first axis is CATEGORY_SCORE_NAMES; segments are counted on its first half, events on its second. Counts of
    different videos (batches, ranks) may be added. Arguments and errors as in `video_scores`.
    """
    return _count(audio, visual, audio_truth, visual_truth).sum(dim=2).flatten(0, 1)


def category_scores(counts: Tensor, modalities: Sequence[str] = MODALITIES) -> dict[str, list[float | None]]:
    """F1 of each category in percent from its counts (6, C, 3) over all videos, keyed by the category score names that
    predictions of these modalities have.

    Unlike the ten scores, counts are added over videos before F1. A category with neither truth nor prediction in any
    video has None: there is nothing to score.
    """
    f1, counted = _f1(counts)
    found = {
        name: [value if there else None for value, there in zip(values, some, strict=True)]
        for name, values, some in zip(CATEGORY_SCORE_NAMES, (100.0 * f1).tolist(), counted.tolist(), strict=True)
    }
    return {name: found[name] for name in category_score_names(modalities)}


def _count(audio: Tensor, visual: Tensor, audio_truth: Tensor, visual_truth: Tensor) -> Tensor:
    """TP, FP, FN on the last axis: int64 (2, 3, N, C, 3), levels as LEVELS, then audio, visual, av."""
    shapes = [tuple(x.shape) for x in (audio, visual, audio_truth, visual_truth)]
    if len(shapes[0]) != 3 or any(shape != shapes[0] for shape in shapes):
        raise ValueError(f"predictions and truth must all be (N, C, T) of one shape, not {shapes}")
    predicted, truth = _with_av(audio, visual), _with_av(audio_truth, visual_truth)  # (3, N, C, T)
    return torch.stack([_segment_counts(predicted, truth), _event_counts(predicted, truth)])


def _with_av(audio: Tensor, visual: Tensor) -> Tensor:
    audio, visual = audio.bool(), visual.bool()
    return torch.stack([audio, visual, audio & visual])


def _segment_counts(predicted: Tensor, truth: Tensor) -> Tensor:
    """TP, FP, FN of segments: bool (..., T) x2 -> int64 (..., 3)."""
    return _from_totals((predicted & truth).sum(-1), predicted.sum(-1), truth.sum(-1))


def _event_counts(predicted: Tensor, truth: Tensor) -> Tensor:
    """TP, FP, FN of events: bool (..., T) x2 -> int64 (..., 3).

    No assignment has to be solved: runs of one parsing are disjoint with a gap between them, so no event can share
    half of its union with two others, and the pairs with IoU >= 0.5 are one to one.
    """
    predicted_first, predicted_last = run_edges(predicted)
    truth_first, truth_last = run_edges(truth)
    predicted_onset, predicted_offset = _run_bounds(predicted_first, predicted_last)
    truth_onset, truth_offset = _run_bounds(truth_first, truth_last)
    # Where both are present the two runs overlap, so their union is one interval.
    shared = torch.minimum(predicted_offset, truth_offset) - torch.maximum(predicted_onset, truth_onset)
    union = torch.maximum(predicted_offset, truth_offset) - torch.minimum(predicted_onset, truth_onset)
    # Every overlapping pair is looked at once: at the first segment of its overlap, where one of the two begins.
    overlap_begins = predicted & truth & (predicted_first | truth_first)
    found = overlap_begins & (2 * shared >= union)  # IoU >= 0.5 in integers
    return _from_totals(found.sum(-1), predicted_first.sum(-1), truth_first.sum(-1))


def _from_totals(true_positives: Tensor, predicted: Tensor, truth: Tensor) -> Tensor:
    return torch.stack([true_positives, predicted - true_positives, truth - true_positives], dim=-1)


def _run_bounds(first: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
    """Onset and offset (exclusive) of the run that each segment belongs to: int32 (..., T); arbitrary outside runs."""
    segments = first.shape[-1]
    number = torch.arange(segments, dtype=torch.int32, device=first.device)
    onset = torch.where(first, number, 0).cummax(dim=-1).values
    end = torch.where(last, number + 1, segments)
    offset = end.flip(-1).cummin(dim=-1).values.flip(-1)
    return onset, offset


def _f1(counts: Tensor) -> tuple[Tensor, Tensor]:
    """F1 as float64 (...) from counts (..., 3), and where there is truth or prediction, bool (...)."""
    true_positives, false_positives, false_negatives = counts.unbind(-1)
    total = 2 * true_positives + false_positives + false_negatives
    return (2 * true_positives).double() / total.clamp(min=1).double(), total > 0


def _mean_over_categories(counts: Tensor) -> Tensor:
    """Mean F1 over the categories with truth or prediction, 1 where there is none: (..., C, 3) -> float64 (...)."""
    f1, counted = _f1(counts)  # F1 is 0 where nothing counts
    total = (f1 / _UNIT).round().long().sum(-1).double() * _UNIT
    categories = counted.sum(-1)
    return torch.where(categories > 0, total / categories.clamp(min=1), 1.0)
