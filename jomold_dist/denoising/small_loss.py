"""PURE: which labels two networks forget because their losses are large, as JoCoR and Co-teaching+ do it.

Both were made for one label a sample. Here, as in every multi-label form, the small-loss samples are chosen per
category and modality among the labelled videos alone: a label that is absent is never forgotten. Of n labels those with
the n − ⌊R·n⌋ smallest losses are kept. What is forgotten has weight 0 in the loss; its label does not become 0.

Legend: N rows (positive labels of a whole batch, see `ranking.py`), C categories.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from jomold_dist.denoising.ranking import ByCategory
from jomold_dist.models.losses import bernoulli_divergence, binary_cross_entropy

Agreeing = Literal["keep", "drop", "rank"]
"""What becomes of labels on which both networks agree."""


def joint_loss(first: Tensor, second: Tensor, target: Tensor | float, agreement: float) -> Tensor:
    """JoCoR's loss of labels, any shape: (1−λ)(BCE₁ + BCE₂) + λ(KL(p₁‖p₂) + KL(p₂‖p₁)), with λ the `agreement`.

    `first` and `second` are the networks' probabilities. One number for both networks; no gradient is stopped.
    """
    apart = binary_cross_entropy(first, target) + binary_cross_entropy(second, target)
    divergence = bernoulli_divergence(first, second) + bernoulli_divergence(second, first)
    return (1 - agreement) * apart + agreement * divergence


def disagree(first: Tensor, second: Tensor) -> Tensor:
    """Where two networks decide differently about a label: probabilities -> bool, any shape."""
    return (first >= 0.5) != (second >= 0.5)


def forget_jointly(category: Tensor, valid: Tensor, loss: Tensor, rate: Tensor) -> Tensor:
    """JoCoR's choice in one modality: the ⌊R·n⌋ labels of each category whose joint loss is largest, bool (N,).

    `category`, `valid` and `loss` are (N,), rates R in [0, 1] float64 (C,). Of equal losses the later video goes.
    """
    labelled = ByCategory.of(category, valid, len(rate))
    return valid & ~_small(labelled, loss, rate)


def forget_crosswise(
    category: Tensor, valid: Tensor, losses: Tensor, disagreeing: Tensor, rate: Tensor, agreeing: Agreeing
) -> Tensor:
    """Co-teaching's choice in one modality: what each network forgets is what the *other* one finds hard, bool (2, N).

    `losses` (2, N) are those of network 1 and 2; row k of the result is for training network k. The choice is among the
    n labels of a category on which the networks disagree, `disagreeing` (N,). Those on which they agree keep their
    weight (`keep`), or have no part in the training of either network (`drop`, Co-teaching+ as published; in a category
    without any disagreement all labels are chosen from instead), or are chosen from as well (`rank`, Co-teaching).
    """
    chosen_from = _chosen_from(category, valid, disagreeing, len(rate), agreeing)
    ranked = ByCategory.of(category, chosen_from, len(rate))
    small = torch.stack([_small(ranked, loss, rate) for loss in losses.flip(0)])
    kept = small | ~chosen_from if agreeing == "keep" else small & chosen_from
    return valid & ~kept


def count_forgotten(category: Tensor, valid: Tensor, disagreeing: Tensor, rate: Tensor, agreeing: Agreeing) -> Tensor:
    """How many labels of each category are forgotten for their loss, the ⌊R·n⌋ of `forget_crosswise`: int64 (C,)."""
    chosen_from = _chosen_from(category, valid, disagreeing, len(rate), agreeing)
    return ByCategory.of(category, chosen_from, len(rate)).share(rate)


def _chosen_from(category: Tensor, valid: Tensor, disagreeing: Tensor, categories: int, agreeing: Agreeing) -> Tensor:
    """The rows among which Co-teaching+ chooses, bool (N,)."""
    if agreeing == "rank":
        return valid
    inside = valid & disagreeing
    if agreeing == "keep":
        return inside
    count = ByCategory.of(category, inside, categories).count[:-1]
    return inside | ByCategory.of(category, valid, categories).at_rows(count == 0)


def _small(ranked: ByCategory, loss: Tensor, rate: Tensor) -> Tensor:
    """The small-loss rows of each category, n − ⌊R·n⌋ of them: bool (N,)."""
    kept = ranked.count[:-1] - ranked.share(rate)
    return ranked.rank(loss) < ranked.at_rows(kept)
