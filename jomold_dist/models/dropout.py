"""Dropout whose random numbers cost little: on a CPU, drawing one float a value takes a tenth of a training step."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

STEPS = 1 << 16


def dropout(x: Tensor, p: float) -> Tensor:
    """x with each value zeroed with probability p and the others scaled by 1/(1−p); p = 0 gives x itself.

    On a CPU, p is rounded to 1/65536 and four values share one 64-bit random number, from a generator that
    torch's default one seeds; the scale is that of the rounded p, so the expectation is exactly x.
    """
    if p == 0:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, p)
    dropped = round(p * STEPS)
    generator = np.random.SFC64(int(torch.randint((1 << 63) - 1, ())))  # three times as fast as torch's own
    words = torch.from_numpy(generator.random_raw((x.numel() + 3) // 4).view(np.int16))
    keep = words[: x.numel()].view(x.shape) >= dropped - STEPS // 2
    scale = torch.tensor(STEPS / (STEPS - dropped), dtype=x.dtype)
    return x * torch.where(keep, scale, scale.new_zeros(()))
