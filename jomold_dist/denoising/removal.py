"""PURE: which labels of one whole batch are noise (Algorithm 1 of the paper), without a loop over categories.

A *row* is one positive label of a batch: its video's position, its category, and its two losses. Only rows matter to
the algorithm, categories are independent, and every order is (loss, position): ties are settled by position, never by
how the rows came together.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

Rule = Literal["joint", "intra"]


class Rows(NamedTuple):
    """The positives of a batch, N rows in ascending position. A row of category C (one past the last) is padding."""

    position: Tensor  # (N,) int64
    category: Tensor  # (N,) int64
    audio_loss: Tensor  # (N,) float32
    visual_loss: Tensor  # (N,) float32


class Removal(NamedTuple):
    """Labels taken out of a modality's targets: bool, (N,) by row or (B, C) by video and category."""

    audio: Tensor
    visual: Tensor


def remove_rows(rows: Rows, audio_ratio: Tensor, visual_ratio: Tensor, rule: Rule = "joint") -> Removal:
    """Algorithm 1, lines 4–7, on the rows of a whole batch; ratios float64 (C,).

    With n positives of a category and k = trunc(ratio × n) in float64, `joint` removes a label from a modality if its
    loss is among the k highest there and among the k lowest in the other modality; `intra` (InMoLD) drops the second
    condition. Both modalities are decided on the labels as they are before any removal.
    """
    count = _count(rows.category, audio_ratio.numel())
    audio_rank = _rank_in_category(rows.category, rows.audio_loss, count)
    visual_rank = _rank_in_category(rows.category, rows.visual_loss, count)
    size = count[rows.category]
    audio_k = _candidates(audio_ratio, count)[rows.category]
    visual_k = _candidates(visual_ratio, count)[rows.category]
    audio, visual = audio_rank >= size - audio_k, visual_rank >= size - visual_k
    if rule == "joint":
        audio, visual = audio & (visual_rank < audio_k), visual & (audio_rank < visual_k)
    return Removal(audio, visual)


def count_candidates(rows: Rows, audio_ratio: Tensor, visual_ratio: Tensor) -> Tensor:
    """How many labels of each category Algorithm 1 looks at in each modality, the k of `remove_rows`: int64 (2, C)."""
    count = _count(rows.category, audio_ratio.numel())
    return torch.stack([_candidates(ratio, count) for ratio in (audio_ratio, visual_ratio)])[:, :-1]


def _count(category: Tensor, categories: int) -> Tensor:
    """Positives per category, and padding after them: int64 (C + 1,)."""
    zeros = torch.zeros(categories + 1, dtype=torch.int64, device=category.device)
    return zeros.scatter_add_(0, category, torch.ones_like(category))


def _candidates(ratio: Tensor, count: Tensor) -> Tensor:
    """k per category, with 0 for the padding category: int64 (C + 1,)."""
    with_padding = torch.cat([ratio.to(torch.float64), ratio.new_zeros(1, dtype=torch.float64)])
    return (with_padding * count).to(torch.int64)


def _rank_in_category(category: Tensor, loss: Tensor, count: Tensor) -> Tensor:
    """Each row's place in its category's order by (loss, position), from 0: int64 (N,)."""
    bits = loss.to(torch.float32).add(0.0).view(torch.int32)  # adding 0 turns -0 into 0
    ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).to(torch.int64)  # integers in the order of the floats
    order = ((category << 32) + ordered).argsort(stable=True)
    first = count.cumsum(0) - count  # (C + 1,) where each category begins in the order
    place = torch.arange(len(order), device=order.device) - first[category[order]]
    return torch.empty_like(place).scatter_(0, order, place)


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
    [0, 1]. Equal losses are ordered by row. All are brought to the labels' device. ValueError for shapes or ratios that
    do not fit.
    """
    if not audio_loss.shape == visual_loss.shape == labels.shape or labels.dim() != 2:
        raise ValueError(
            f"audio_loss {tuple(audio_loss.shape)}, visual_loss {tuple(visual_loss.shape)} and labels "
            f"{tuple(labels.shape)} must have one shape (videos, categories)"
        )
    for name, ratio in (("audio_ratio", audio_ratio), ("visual_ratio", visual_ratio)):
        if ratio.shape != labels.shape[1:]:
            raise ValueError(f"{name} has shape {tuple(ratio.shape)}, expected ({labels.shape[1]},)")
        if not bool(((ratio >= 0) & (ratio <= 1)).all()):
            raise ValueError(f"{name} must lie in [0, 1]")
    if rule not in ("joint", "intra"):
        raise ValueError(f"rule must be 'joint' or 'intra', not {rule!r}")
    audio_loss, visual_loss, audio_ratio, visual_ratio = (
        tensor.to(labels.device) for tensor in (audio_loss, visual_loss, audio_ratio, visual_ratio)
    )
    position, category = labels.bool().nonzero(as_tuple=True)
    rows = Rows(position, category, audio_loss[position, category], visual_loss[position, category])
    removed = remove_rows(rows, audio_ratio, visual_ratio, rule)
    return scatter_rows(removed, position, category, labels.shape)


def scatter_rows(removed: Removal, video: Tensor, category: Tensor, shape: torch.Size | tuple[int, int]) -> Removal:
    """Removal by row -> Removal (B, C); `video` and `category` (N,) say where each row lies."""

    def dense(mask: Tensor) -> Tensor:
        return torch.zeros(shape, dtype=torch.bool, device=mask.device).index_put_((video, category), mask)

    return Removal(dense(removed.audio), dense(removed.visual))
