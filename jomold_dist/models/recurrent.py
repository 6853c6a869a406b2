"""Bidirectional recurrent layers over the segments of a video.

Shapes: B videos, T segments, H features a direction.
"""

from __future__ import annotations

from torch import Tensor, nn

ZERO3_PROBLEM = "cuDNN reads the weights of a recurrent layer as one piece of memory, which stage 3 takes apart"

States = tuple[Tensor, Tensor]


class BidirectionalGRU(nn.GRU):
    """(B, T, width) -> (B, T, 2H), forward first, in the parameters' dtype: rounding would add up along the segments,
    and layers as small as these gain nothing from a shorter type."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__(width, hidden, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """See the class."""
        outputs: Tensor = super().forward(_in_dtype_of(self, x))[0]
        return outputs


class BidirectionalLSTM(nn.LSTM):
    """(B, T, width) -> outputs (B, T, 2H), forward first, and final states h and c, each (2, B, H); in the parameters'
    dtype, as the GRU."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__(width, hidden, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor, initial: States | None = None) -> tuple[Tensor, States]:  # type: ignore[override]
        """The states start at `initial`, or at 0."""
        outputs, states = super().forward(_in_dtype_of(self, x), initial)
        return outputs, states


def _in_dtype_of(layer: nn.RNNBase, x: Tensor) -> Tensor:
    return x.to(next(layer.parameters()).dtype)
