"""What estimators say of labels that they have not learnt: one pass of each over its fold.

Legend: n labels of this rank's videos, C categories; modality 0 is audio, 1 is visual.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from jomold_dist.data.reading.folds import Fold
from jomold_dist.denoising.evidence import AbsentCounts
from jomold_dist.models.losses import CLAMP
from jomold_dist.models.network import Network
from jomold_dist.training.columns import ColumnBuffer
from jomold_dist.training.evaluate import finite_predictions, parse_videos, refuse_non_finite
from jomold_dist.training.run import Run

STEPS_OF_ONE = 4096
"""Logits are rounded to steps of 1/4096. From equal logits everything that follows is equal, on any number of ranks.
Batches of other sizes, or other kernels, may give a probability another last bit. That moves a logit that lies at the
border of two steps, and one whose probability is so near 1 that its last bit is more than a step; no others."""


class FoldEvidence(NamedTuple):
    """The labels of this rank's videos in one fold, by video and category, and the absents beside them."""

    video: np.ndarray
    """Numbers in the split, int64 (n,), ascending."""
    key: np.ndarray
    """The videos' keys, ASCII (n,)."""
    category: np.ndarray
    """int64 (n,)."""
    logit: np.ndarray
    """float32 (2, n)."""
    absents: Tensor
    """Histograms of the logits of the videos without a label, int64 (2, C, bins)."""
    judged: int
    """How many videos the estimator has looked at, with labels or without."""


def collect_evidence(run: Run, network: Network, fold: Fold, batch_size: int) -> FoldEvidence:
    """Collective: the evidence of this rank's videos in the fold. Raises on every rank: NonFiniteError, which names
    videos whose prediction is NaN or infinity, unless `train.non_finite` lets them be left out."""
    device, categories, judged = run.world.device, len(run.manifest.categories), 0
    buffer, absents = ColumnBuffer(), [AbsentCounts(categories, device) for _ in range(2)]
    buffer.add(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 2))
    keys = [np.zeros(0, dtype="S1")]  # what a rank without labels has
    strange: list[str] = []
    with run.loader("train", False, batch_size, fold) as loader:
        for batch, parsing in parse_videos(network, run.batches(loader), device):
            audio, visual, finite = finite_predictions(batch, parsing, strange)
            judged += int(finite.sum())
            logits = rounded_logits(torch.stack([audio, visual]))  # (2, b, C)
            labels = batch.labels.to(device, non_blocking=True)
            for modality, logit in zip(absents, logits, strict=True):
                modality.add(logit[finite], labels[finite])
            place, category = (labels & finite[:, None]).nonzero(as_tuple=True)
            place, category, logit = place.cpu(), category.cpu(), logits[:, place, category].T.cpu()
            buffer.add(batch.index[place], category, logit)
            keys.append(np.array(batch.keys, dtype=np.bytes_)[place.numpy()])
    refuse_non_finite("the estimator's prediction", strange, run.world, run.config.train.non_finite == "skip")
    video, category, logit = buffer.columns()
    counts = torch.stack([each.counts for each in absents])
    return FoldEvidence(video.numpy(), np.concatenate(keys), category.numpy(), logit.T.numpy(), counts, judged)


def rounded_logits(probability: Tensor) -> Tensor:
    """Logits of probabilities, clamped as in the losses, in steps of 1/4096: float32 of the same shape; NaN stays."""
    clamped = probability.to(torch.float64).clamp(CLAMP, 1 - CLAMP)
    return ((clamped.logit() * STEPS_OF_ONE).round() / STEPS_OF_ONE).to(torch.float32)
