"""PURE: the choices of the controls, beside which a denoiser's gain has to be seen.

Legend: N videos or rows, C categories, modality 0 is audio, 1 is visual.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from jomold_dist.denoising.draws import draws
from jomold_dist.denoising.ranking import ByCategory


def placebo(labels: np.ndarray, ratios: np.ndarray, seed: int) -> np.ndarray:
    """As many labels as the ratios say, but any: labels bool (N, C), ratios float64 (2, C) -> bool (2, N, C).

    Of the n labels of a category exactly round(ratio × n), half to even, leave each modality: those with the lowest
    draws by (seed, video, category, modality). A label may leave both.
    """
    removed = np.zeros((len(ratios), *labels.shape), dtype=bool)
    for modality, category in np.ndindex(ratios.shape):
        video = np.flatnonzero(labels[:, category])
        count = round(float(ratios[modality, category]) * len(video))
        order = np.argsort(draws(seed, video, category, modality), kind="stable")
        removed[modality, video[order[:count]], category] = True
    return removed


def large_loss_share(epoch: int, growth: float, most: float) -> float:
    """The share of labels that are dropped in an epoch, from 0 in the first one: growth × epoch, up to `most`."""
    return min(growth * epoch, most)


def drop_large_losses(position: Tensor, category: Tensor, valid: Tensor, loss: Tensor, share: float) -> Tensor:
    """The trunc(share × n) largest of the n losses (N,) of one modality, whatever their categories: bool (N,).

    After "Large Loss Matters in Weakly Supervised Multi-Label Classification" (Kim et al., 2022), but over positive
    labels. Of equal losses the later video's goes, and of one video's that of the later category.
    """
    order = position.argsort(stable=True)  # rows of one video ascend by category before and after
    whole = ByCategory.of(torch.zeros_like(category), valid[order], 1)
    dropped = whole.share(loss.new_full((1,), share, dtype=torch.float64))
    large = whole.rank(loss[order]) >= whole.count[0] - dropped
    return torch.empty_like(valid).scatter_(0, order, large) & valid
