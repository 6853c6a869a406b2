"""What the hybrid attention network's encoder is made of.

Shapes: B videos, T segments, D = 512 features. Where the first size is 2B, the B videos' audio comes first and their
visual modality after it, so that one product serves both.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jomold_dist.models.dropout import dropout
from jomold_dist.models.precision import linear

WIDTH = 512


class Attended(NamedTuple):
    """Attention weights before dropout and the values they weigh: what two passes over one input can share."""

    weights: Tensor  # (2B, T, T)
    values: Tensor  # (2B, T, D)


class Attention(nn.Module):
    """Single-head attention over the segments of a video; rows of `in_weight` are query, key, value."""

    def __init__(self) -> None:
        super().__init__()
        self.in_weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(3 * WIDTH, WIDTH)))
        self.in_bias = nn.Parameter(torch.zeros(3 * WIDTH))
        self.out = nn.Linear(WIDTH, WIDTH)
        nn.init.zeros_(self.out.bias)

    def attend(self, x: Tensor, other: Tensor) -> Attended:
        """Attention of the segments of x over those of `other`, both (2B, T, D)."""
        if other is x:
            query, key, value = linear(x, self.in_weight, self.in_bias).chunk(3, dim=-1)
        else:
            query = linear(x, self.in_weight[:WIDTH], self.in_bias[:WIDTH])
            key, value = linear(other, self.in_weight[WIDTH:], self.in_bias[WIDTH:]).chunk(2, dim=-1)
        scores = torch.bmm(query, key.transpose(1, 2)) * WIDTH**-0.5
        return Attended(scores.softmax(-1), value)

    def mix(self, attended: Attended, drop: float) -> Tensor:
        """The weighted values, projected: (2B, T, D)."""
        mixed = torch.bmm(dropout(attended.weights, drop), attended.values)
        return linear(mixed, self.out.weight, self.out.bias)


class EncoderLayer(nn.Module):
    """Self-attention and cross-modal attention side by side, then a feed-forward part; one set of weights for both
    modalities, each of which reads the other's layer input."""

    def __init__(self, cross_modal: bool) -> None:
        super().__init__()
        self.self_attention = Attention()
        if cross_modal:
            self.cross_attention = Attention()
        self.feed_in = nn.Linear(WIDTH, WIDTH)
        self.feed_out = nn.Linear(WIDTH, WIDTH)
        self.attention_norm = nn.LayerNorm(WIDTH)
        self.feed_norm = nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor, attended: Attended, cross_modal: bool, drop: float) -> Tensor:
        """x (2B, T, D) and its self-attention -> (2B, T, D); `drop` is 0 outside training."""
        h = x + dropout(self.self_attention.mix(attended, drop), drop)
        if cross_modal:
            crossed = self.cross_attention.attend(x, torch.cat(x.chunk(2)[::-1]))
            h = h + dropout(self.cross_attention.mix(crossed, drop), drop)
        h = _norm(h, self.attention_norm)
        fed = dropout(linear(h, self.feed_in.weight, self.feed_in.bias).relu(), drop)
        fed = linear(fed, self.feed_out.weight, self.feed_out.bias)
        return _norm(h + dropout(fed, drop), self.feed_norm)


def _norm(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    return F.layer_norm(x, norm.normalized_shape, norm.weight.to(x.dtype), norm.bias.to(x.dtype), norm.eps)
