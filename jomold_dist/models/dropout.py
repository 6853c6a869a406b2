"""Dropout whose random numbers cost little: on a CPU, drawing one float a value takes a tenth of a training step."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

STEPS = 1 << 16


def dropout(x: Tensor, p: float) -> Tensor:
    """x with each value zeroed with probability p and the others scaled by 1/(1−p); p = 0 gives x itself.

    On a CPU, p is rounded to 1/65536 and four values share one 64-bit random number of torch's default generator; the
    scale is that of the rounded p, so the expectation is exactly x.
    """
    if p == 0:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, p)
    dropped = round(p * STEPS)
    words = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(1 << 63), None)
    keep = words.view(torch.int16)[: x.numel()].view(x.shape) >= dropped - STEPS // 2
    scale = torch.tensor(STEPS / (STEPS - dropped), dtype=x.dtype)
    return x * torch.where(keep, scale, scale.new_zeros(()))
