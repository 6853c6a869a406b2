"""How well an estimator tells the videos with a label from those without it.

Equation 1 calls a label noise if its probability is below θ times the category's mean. Where the estimator has hardly
learnt a category, all probabilities lie near that mean, and a θ above 1 calls nearly every label noise, whatever the
videos hold. The mean alone does not show it: of a frequent category even a perfect prediction is but 1 / mean times the
mean (*Speech*, in half of LLP's videos: less than 2). So labelled videos are compared with the others instead.

Symbols: N videos of a split, n labels, C categories, M = 2 modalities, audio first.
"""

from __future__ import annotations

import torch
from torch import Tensor

from jomold_dist.denoising.noise_ratio import Predictions


def probability_sums(found: Predictions) -> Tensor:
    """Sums of the probabilities of these labels, per category: float64 (2, C). Ranks add theirs up."""
    categories = len(found.audio_mean)
    columns = (found.audio, found.visual)
    return torch.stack([torch.bincount(found.category, p.to(torch.float64), minlength=categories) for p in columns])


def lift(sums: Tensor, labels: Tensor, means: Tensor, videos: int) -> Tensor:
    """Mean probability of the videos with a label over that of the videos without it: float64 (2, C).

    From the sums (2, C) over a category's `labels` (C,) and the means (2, C) over all N videos. 1: the estimator does
    not tell them apart. NaN where no video, or every one, has the label.
    """
    with_label = sums / labels
    without = (videos * means - sums).clamp(min=0) / (videos - labels)
    known = (labels > 0) & (labels < videos)
    return torch.where(known, with_label / without.clamp(min=torch.finfo(torch.float64).tiny), torch.nan)
