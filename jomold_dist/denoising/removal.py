"""PURE: which labels of one whole batch are noise (Algorithm 1 of the paper), without a loop over categories.

A *row* is one positive label of a batch: its video's position, its category, and what a method wants to know of it,
here its two losses. Only rows matter to the algorithm, categories are independent, and every order is (loss, position):
ties are settled by position, never by how the rows came together.

Of equal losses the later positions count as the higher ones. Equation 2 of the paper takes the first k of argsort(−L)
for the highest: of equal losses a label would be among the highest and the lowest at once, and removed.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from jomold_dist.denoising.given import check_given
from jomold_dist.denoising.ranking import ByCategory

Rule = Literal["joint", "intra"]


class Rows(NamedTuple):
    """The positives of a batch: N rows, in ascending position within a category. Where `valid` is false a row is
    padding, and the rest of it means nothing but that its category is one of those that there are."""

    position: Tensor  # (N,) int64
    category: Tensor  # (N,) int64
    columns: Tensor  # (N, K) float32
    valid: Tensor  # (N,) bool


class Removal(NamedTuple):
    """Labels taken out of a modality's targets: bool, (N,) by row or (B, C) by video and category."""

    audio: Tensor
    visual: Tensor


class Extremes(NamedTuple):
    """Where each row's losses lie among those of its category, of which k are looked at in a modality: bool (2, N),
    audio first."""

    highest: Tensor
    """Among the k highest losses of the modality."""
    lowest: Tensor
    """Among the k lowest losses of the other modality."""

    def removal(self, rule: Rule) -> Removal:
        """What Algorithm 1 removes of these rows."""
        return Removal(*(self.highest & self.lowest if rule == "joint" else self.highest))


def find_extremes(rows: Rows, audio_ratio: Tensor, visual_ratio: Tensor) -> Extremes:
    """The rows with the highest and the lowest losses of each category: k = trunc(ratio × n) of its n rows, in float64;
    columns are audio and visual losses, ratios float64 (C,)."""
    groups = ByCategory.of(rows.category, rows.valid, audio_ratio.numel())
    rank = torch.stack([groups.rank(loss) for loss in rows.columns.unbind(1)])
    k = torch.stack([groups.at_rows(groups.share(ratio)) for ratio in (audio_ratio, visual_ratio)])
    size = groups.count[groups.category]
    return Extremes((rank >= size - k) & rows.valid, (rank.flip(0) < k) & rows.valid)


def remove_rows(rows: Rows, audio_ratio: Tensor, visual_ratio: Tensor, rule: Rule = "joint") -> Removal:
    """Algorithm 1, lines 4–7, on the rows of a whole batch, whose columns are audio and visual losses; ratios float64
    (C,).

    With n positives of a category and k = trunc(ratio × n) in float64, `joint` removes a label from a modality if its
    loss is among the k highest there and among the k lowest in the other modality; `intra` (InMoLD) drops the second
    condition. Both modalities are decided on the labels as they are before any removal.
    """
    return find_extremes(rows, audio_ratio, visual_ratio).removal(rule)


def count_candidates(rows: Rows, extremes: Extremes, categories: int) -> Tensor:
    """How many labels of each category Algorithm 1 looks at in each modality, those with the highest losses there:
    int64 (2, C)."""
    counts = rows.category.new_zeros((2, categories))
    return counts.scatter_add_(1, rows.category.expand(2, -1), extremes.highest.to(torch.int64))


def select_noisy_labels(
    audio_loss: Tensor,
    visual_loss: Tensor,
    labels: Tensor,
    audio_ratio: Tensor,
    visual_ratio: Tensor,
    rule: Rule = "joint",
) -> Removal:
    """The labels of one whole batch that Algorithm 1 removes: Removal of bool (B, C).

    Losses (B, C) are compared as float32, of the positives only; `labels` (B, C) is multi-hot; ratios (C,) lie in
    [0, 1]. Equal losses are ordered by row. ValueError for shapes or ratios that do not fit, and for
    labels that are not 0 or 1; TypeError for what is no dense tensor of real numbers.
    """
    check_given(labels, audio_loss=audio_loss, visual_loss=visual_loss)
    for name, ratio in (("audio_ratio", audio_ratio), ("visual_ratio", visual_ratio)):
        if ratio.shape != labels.shape[1:]:
            raise ValueError(f"{name} has shape {tuple(ratio.shape)}, expected ({labels.shape[1]},)")
        if not bool(((ratio >= 0) & (ratio <= 1)).all()):
            raise ValueError(f"{name} must lie in [0, 1]")
    if rule not in ("joint", "intra"):
        raise ValueError(f"rule must be 'joint' or 'intra', not {rule!r}")
    device = labels.device
    losses = torch.stack([audio_loss.to(device).flatten(), visual_loss.to(device).flatten()], dim=1)
    number = torch.arange(labels.numel(), device=device)
    rows = Rows(number // labels.shape[1], number % labels.shape[1], losses, labels.bool().flatten())
    removed = remove_rows(rows, audio_ratio.to(device), visual_ratio.to(device), rule)
    return Removal(*(mask.view(labels.shape) for mask in removed))
