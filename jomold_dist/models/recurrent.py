"""Bidirectional recurrent layers over the segments of a video.

Shapes: B videos, T segments, H features a direction.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

ZERO3_PROBLEM = "cuDNN reads the weights of a recurrent layer as one piece of memory, which stage 3 takes apart"


def bidirectional(kind: type[nn.RNNBase], width: int, hidden: int) -> nn.RNNBase:
    """A layer that reads (B, T, width), to be run with run_recurrent()."""
    return kind(width, hidden, batch_first=True, bidirectional=True)  # type: ignore[arg-type]


def run_recurrent(layer: nn.RNNBase, x: Tensor, initial: Any = None) -> tuple[Tensor, Any]:
    """Outputs (B, T, 2H), forward first, and final states, each (2, B, H); the states start at `initial`, or at 0.

    It computes in the parameters' dtype even under autocast: rounding would add up along the segments, and layers as
    small as these gain nothing from a shorter type.
    """
    with torch.autocast(x.device.type, enabled=False):
        outputs, states = layer(x.to(layer.weight_ih_l0.dtype), initial)
    return outputs, states
