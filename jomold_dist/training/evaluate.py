"""Running a network over a split: predictions, and the ten scores, exact over ranks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from jomold_dist.data.loader import Batch
from jomold_dist.distributed.world import World, gather_rows, sum_over_ranks
from jomold_dist.evaluation.metrics import category_counts, category_scores, mean_scores, video_scores
from jomold_dist.evaluation.parsing import threshold_parsing
from jomold_dist.models.han import HybridAttentionNetwork, Parsing


@dataclass(frozen=True)
class Evaluation:
    """The ten scores in percent, and F1 per category in percent by metric and category's name."""

    scores: dict[str, float]
    per_category: dict[str, dict[str, float]]

    def to_json(self, split: str) -> dict[str, Any]:
        """What scores.json holds."""
        return {"split": split, "scores": self.scores, "per_class": self.per_category}


def parse_videos(
    network: HybridAttentionNetwork, batches: Iterable[Batch], device: torch.device, cross_modal: bool
) -> Iterator[tuple[Batch, Parsing]]:
    """Each batch with its parsing, in eval mode and without gradient. The network's mode is put back at the end."""
    before = network.training
    network.eval()
    try:
        for batch in batches:
            features = {k: v.to(device, non_blocking=True) for k, v in batch.features.items()}
            with torch.inference_mode():
                parsing = network(features["audio"], features["frames"], features.get("motion"), cross_modal)
            yield batch, parsing
    finally:
        network.train(before)


def evaluate(
    network: HybridAttentionNetwork,
    batches: Iterable[Batch],
    videos: int,
    world: World,
    cross_modal: bool,
    categories: tuple[str, ...],
) -> Evaluation:
    """Collective: the scores of a split of so many videos with dense labels. Every rank comes with its own batches;
    videos that are in none of them do not count.
    """
    rows, indices = [], []
    counts: Tensor | None = None
    for batch, parsing in parse_videos(network, batches, world.device, cross_modal):
        if batch.dense is None:
            raise ValueError("only a split with dense labels can be evaluated")
        audio, visual = threshold_parsing(parsing.segment_prob, parsing.audio_prob, parsing.visual_prob)
        audio_truth, visual_truth = batch.dense.to(world.device).bool().unbind(1)
        rows.append(video_scores(audio, visual, audio_truth, visual_truth))
        indices.append(batch.index)
        found = category_counts(audio, visual, audio_truth, visual_truth)
        counts = found if counts is None else counts + found
    assert counts is not None  # every rank takes at least one step
    scores = _gather_videos(torch.cat(rows), torch.cat(indices).to(world.device), videos, world)
    per_metric = category_scores(sum_over_ranks(counts, world).cpu())
    return Evaluation(
        mean_scores(scores.cpu()),
        {metric: dict(zip(categories, values, strict=True)) for metric, values in per_metric.items()},
    )


@dataclass(frozen=True)
class Probabilities:
    """Video-level probabilities and labels of a split's good videos in manifest order: (N, C) each."""

    audio: Tensor
    visual: Tensor
    labels: Tensor


def predict_probabilities(
    network: HybridAttentionNetwork,
    batches: Iterable[Batch],
    videos: int,
    world: World,
    cross_modal: bool,
) -> Probabilities:
    """Collective: audio and visual probabilities of a split of so many videos, on every rank; arguments as in
    `evaluate`."""
    rows, indices = [], []
    for batch, parsing in parse_videos(network, batches, world.device, cross_modal):
        labels = batch.labels.to(world.device, parsing.audio_prob.dtype)
        rows.append(torch.stack([parsing.audio_prob, parsing.visual_prob, labels], dim=1))
        indices.append(batch.index)
    whole = _gather_videos(torch.cat(rows), torch.cat(indices).to(world.device), videos, world)
    audio, visual, labels = whole.cpu().unbind(1)
    return Probabilities(audio, visual, labels.bool())


def _gather_videos(rows: Tensor, index: Tensor, videos: int, world: World) -> Tensor:
    """Collective: the rows of all ranks' videos in the order of their index: (at most `videos`, ...)."""
    most = -(-videos // world.size)
    padded = rows.new_zeros((most, *rows.shape[1:]))
    padded[: len(rows)] = rows
    where = index.new_full((most,), videos)  # padding goes to one row past the last, which is cut off
    where[: len(index)] = index
    whole = rows.new_empty((videos + 1, *rows.shape[1:]))
    everywhere = gather_rows(where, world).flatten()
    whole[everywhere] = gather_rows(padded, world).flatten(0, 1)
    there = torch.zeros(videos + 1, dtype=torch.bool, device=rows.device)
    there[everywhere] = True
    return whole[:videos][there[:videos]]
