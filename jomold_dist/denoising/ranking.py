"""PURE: which place a label has among its batch's labels of the same category, without a loop over categories.

A row is one positive label of a batch. Rows ascend by their video's position within each category, so that a stable
order by value settles ties by position. Shapes depend on no value and nothing is read back from the device.

Legend: N rows, C categories.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ByCategory:
    """Rows by category. Those that do not count have a category of their own, one past the last."""

    category: Tensor  # (N,) int64, 0…C
    count: Tensor  # (C + 1,) int64

    @classmethod
    def of(cls, category: Tensor, counts: Tensor, categories: int) -> ByCategory:
        """Categories (N,) of rows of which those count where `counts` (N,) is true; the others may hold anything."""
        category = category.masked_fill(~counts, categories)
        count = category.new_zeros(categories + 1).scatter_add_(0, category, torch.ones_like(category))
        return cls(category, count)

    def rank(self, value: Tensor) -> Tensor:
        """Each row's place in its category by (value, position), from 0: values (N,), compared as float32 -> (N,).
        The places of rows that do not count mean nothing."""
        bits = value.to(torch.float32).add(0.0).view(torch.int32)  # adding 0 turns -0 into 0
        ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).to(torch.int64)  # integers in the order of the floats
        order = ((self.category << 32) + ordered).argsort(stable=True)
        first = self.count.cumsum(0) - self.count  # (C + 1,) where each category begins in the order
        place = torch.arange(len(order), device=order.device) - first[self.category[order]]
        return torch.empty_like(place).scatter_(0, order, place)

    def share(self, ratio: Tensor) -> Tensor:
        """⌊ratio × n⌋ in float64 for the n rows of each category, ratios (C,) -> int64 (C,)."""
        return (ratio.to(torch.float64) * self.count[:-1]).to(torch.int64)

    def at_rows(self, number: Tensor) -> Tensor:
        """A number of each category (C,) at its rows (N,), and 0 at those that do not count."""
        return torch.cat([number, number.new_zeros(1)])[self.category]
