"""Running a network over a split: predictions, and the scores, exact over ranks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from jomold_dist.data.format.dense_truth import truth_problem
from jomold_dist.data.format.manifest import SplitInfo
from jomold_dist.data.reading.loader import Batch
from jomold_dist.denoising.noise_ratio import Predictions, ProbabilitySums
from jomold_dist.distributed.world import World, gather_objects, gather_rows, sum_over_ranks
from jomold_dist.errors import DataError, NonFiniteError
from jomold_dist.evaluation.metrics import category_counts, category_scores, mean_scores, video_scores
from jomold_dist.evaluation.parsing import threshold_parsing
from jomold_dist.labels import MODALITIES
from jomold_dist.models.network import Network, Parsing
from jomold_dist.training.columns import ColumnBuffer

logger = logging.getLogger(__name__)

NAMED_AT_MOST = 10


@dataclass(frozen=True)
class Evaluation:
    """The scores that the network's modalities have, in percent; by category's name, F1 in percent per metric (None
    where it neither is nor was predicted) and, per modality, in how many videos it really is."""

    scores: dict[str, float]
    per_category: dict[str, dict[str, float | None]]
    videos: dict[str, dict[str, int]]


def parse_videos(network: Network, batches: Iterable[Batch], device: torch.device) -> Iterator[tuple[Batch, Parsing]]:
    """Each batch with its parsing, in eval mode and without gradient. The network's mode is put back at the end."""
    before = network.training
    network.eval()
    try:
        for batch in batches:
            features = {k: v.to(device, non_blocking=True) for k, v in batch.features.items()}
            with torch.inference_mode():
                parsing = network.parse(**features)
            yield batch, parsing
    finally:
        network.train(before)


def decide_events(network: Network, parsing: Parsing, threshold: float | None = None) -> tuple[Tensor, Tensor]:
    """What counts in a network's parsing, audio and visual, bool (B, C, T): by the network's gate, and by a threshold
    for segments and gate alike. None: by the network's own thresholds."""
    video = parsing.video_prob
    audio, visual = (
        video if own is None or network.gate == "video" else own for own in (parsing.audio_prob, parsing.visual_prob)
    )
    thresholds = (network.segment_threshold, network.video_threshold) if threshold is None else (threshold, threshold)
    return threshold_parsing(parsing.segment_prob, audio, visual, *thresholds)


def evaluate(
    network: Network,
    batches: Iterable[Batch],
    videos: int,
    world: World,
    categories: tuple[str, ...],
    heed: Callable[[Batch, Parsing], None] = lambda batch, parsing: None,
) -> Evaluation:
    """Collective: the scores of a split of so many videos with dense labels, those of the modalities that the network
    has. Every rank comes with its own batches; videos that are in none of them do not count. `heed` is handed each
    batch with its parsing.

    DataError on every rank if a modality has no truth in any of the videos: there is nothing to score.
    """
    rows = ColumnBuffer()
    counts: Tensor | None = None
    present = torch.zeros(len(MODALITIES), len(categories), dtype=torch.int64, device=world.device)
    for batch, parsing in parse_videos(network, batches, world.device):
        if batch.dense is None:
            raise ValueError("only a split with dense labels can be evaluated")
        heed(batch, parsing)
        audio, visual = decide_events(network, parsing)
        audio_truth, visual_truth = batch.dense.to(world.device, non_blocking=True).bool().unbind(1)
        rows.add(video_scores(audio, visual, audio_truth, visual_truth))
        found = category_counts(audio, visual, audio_truth, visual_truth)
        counts = found if counts is None else counts + found
        present += torch.stack([truth.any(-1).sum(0) for truth in (audio_truth, visual_truth)])
    assert counts is not None  # every rank takes at least one step
    (own,) = rows.columns()
    scores = gather_videos(own, videos, world)
    totals = sum_over_ranks(counts, world).cpu()
    _refuse_without_truth(totals)
    per_metric = category_scores(totals, network.modalities)
    videos_with = dict(zip(MODALITIES, sum_over_ranks(present, world).tolist(), strict=True))
    return Evaluation(
        mean_scores(scores.cpu(), network.modalities),
        {metric: dict(zip(categories, values, strict=True)) for metric, values in per_metric.items()},
        {modality: dict(zip(categories, values, strict=True)) for modality, values in videos_with.items()},
    )


def predict_labels(
    network: Network,
    batches: Iterable[Batch],
    split: SplitInfo,
    world: World,
    mean_batch_size: int | None,
    skip_non_finite: bool,
) -> Predictions:
    """Collective: the probabilities of the labels of this rank's videos, and the means over all ranks' (see
    `ProbabilitySums`), on the CPU. Arguments as in `evaluate`.

    Of a label a rank keeps its category and two probabilities, and nothing of a video without labels. Raises on every
    rank: NonFiniteError, which names videos whose prediction is NaN or infinity, unless they are to be skipped;
    DataError if no video is left.
    """
    sums = ProbabilitySums(split.videos, len(split.positives), mean_batch_size, world.device)
    rows = ColumnBuffer()
    strange: list[str] = []
    for batch, parsing in parse_videos(network, batches, world.device):
        audio, visual, finite = finite_predictions(batch, parsing, strange)
        sums.add(batch.index.to(world.device, non_blocking=True)[finite], audio[finite], visual[finite])
        video, category = (batch.labels.to(world.device, non_blocking=True) & finite[:, None]).nonzero(as_tuple=True)
        category = category.to(torch.int32)
        rows.add(*(column.cpu() for column in (category, audio[video, category], visual[video, category])))
    refuse_non_finite("the estimator's prediction", strange, world, skip_non_finite)
    sums.sums, sums.counts = sum_over_ranks(sums.sums, world), sum_over_ranks(sums.counts, world)
    if not sums.counts.any():
        error = DataError("there is no video to estimate noise ratios from: none of the training split can be used")
        error.agreed = True
        raise error
    category, audio, visual = rows.columns()
    return Predictions(category, audio, visual, *sums.means())


def finite_predictions(batch: Batch, parsing: Parsing, strange: list[str]) -> tuple[Tensor, Tensor, Tensor]:
    """The audio and visual probabilities (b, C) of a batch, and which of its videos have nothing but finite ones, bool
    (b,). The keys of the others are added to `strange`."""
    audio, visual = parsing.audio_prob, parsing.visual_prob
    assert audio is not None  # methods that judge labels by both modalities refuse other networks
    assert visual is not None
    finite = torch.isfinite(audio).all(1) & torch.isfinite(visual).all(1)
    strange += [key for key, good in zip(batch.keys, finite.tolist(), strict=True) if not good]
    return audio, visual, finite


def _refuse_without_truth(counts: Tensor) -> None:
    """DataError if no segment is positive in a modality, by the counts (6, C, 3) over all ranks' videos."""
    true_positives, _, false_negatives = counts[:2].sum(1).unbind(-1)  # (2,): segments, in audio and visual
    if problem := truth_problem((true_positives + false_negatives > 0).numpy()):
        error = DataError(f"the videos cannot be scored: {problem}")
        error.agreed = True
        raise error


def refuse_non_finite(what: str, keys: list[str], world: World, skip: bool) -> None:
    """Collective: a NonFiniteError, or a warning, that names the videos of all ranks for which `what` is not finite."""
    gathered = gather_objects((len(keys), keys[:NAMED_AT_MOST]), world)
    count = sum(number for number, _ in gathered)
    if not count:
        return
    names = ", ".join([name for _, some in gathered for name in some][:NAMED_AT_MOST])
    problem = f"{what} for {count} videos is not finite (NaN or infinity), for instance {names}"
    if not skip:
        raise NonFiniteError(f"{problem}; mend the videos' features (train.non_finite=skip leaves them out)")
    if world.is_main:
        logger.warning("%s; they are left out", problem)


def gather_videos(rows: Tensor, videos: int, world: World) -> Tensor:
    """Collective: the rows (n, S) of all ranks' videos, rank by rank: (at most `videos`, S)."""
    most = -(-videos // world.size)
    padded = rows.new_zeros((most, rows.shape[1]))
    padded[: len(rows)] = rows
    counts = gather_rows(torch.tensor([len(rows)], device=rows.device), world)  # (W, 1)
    there = torch.arange(most, device=rows.device) < counts  # (W, most)
    return gather_rows(padded, world)[there]
