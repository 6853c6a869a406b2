"""Layers that compute in their input's dtype, whatever their parameters are stored in: a network in bfloat16 or float16
casts its features, and what follows is in that type until at_least_float32()."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x·Wᵀ + b in the dtype of x, whatever the parameters are stored in."""
    return F.linear(x, weight.to(x.dtype), bias.to(x.dtype))


def at_least_float32(x: Tensor) -> Tensor:
    """x, in float32 if its dtype is a shorter one."""
    return x if x.dtype == torch.float64 else x.float()


class Linear(nn.Linear):
    """x·Wᵀ + b in the dtype of x."""

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) -> (…, out)."""
        return F.linear(x, self.weight.to(x.dtype)) if self.bias is None else linear(x, self.weight, self.bias)


class Convolution(nn.Conv1d):
    """A convolution over the segments, in the dtype of x. It keeps their number: odd sizes, zeros beyond the ends."""

    def __init__(self, width: int, out: int, size: int) -> None:
        super().__init__(width, out, size, padding=size // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, width) -> (B, T, out)."""
        assert self.bias is not None
        convolved = F.conv1d(x.transpose(1, 2), self.weight.to(x.dtype), self.bias.to(x.dtype), padding=self.padding)
        return convolved.transpose(1, 2)
