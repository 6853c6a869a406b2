"""The passes that a step takes over a network, in the one forward call that engines know."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from jomold_dist.models.han import HybridAttentionNetwork, Parsing
from jomold_dist.training.stopwatch import Stopwatch

COMPUTE_DTYPES = {"float32": None, "bf16": torch.bfloat16, "float16": torch.float16, "float64": None}
PREFIX = "network."  # of the parameters' names inside Passes
Features = tuple[Tensor, Tensor, Tensor | None]  # audio, frames, motion


class Passes(nn.Module):
    """The passes over a network in one forward call, as engines need it, with the ranking pass timed."""

    def __init__(self, network: HybridAttentionNetwork, stopwatch: Stopwatch) -> None:
        super().__init__()
        self.network = network
        self._stopwatch = stopwatch

    def forward(
        self, features: Features, cross_modal: bool | None, ranking: bool, dropout: bool
    ) -> tuple[Parsing | None, tuple[Tensor, Tensor] | None]:
        """The gradient pass, unless `cross_modal` is None, and, if `ranking`, the ranking pass's probabilities
        (b, C). Together they share what they have in common."""
        begun = self.network.begin(*features)
        ranked = None
        if ranking:
            with self._stopwatch.span("ranking"):
                ranked = self.network.rank(begun, dropout)
        return None if cross_modal is None else self.network.parse(begun, cross_modal), ranked


def in_order(features: dict[str, Tensor], part: slice) -> Features:
    motion = features.get("motion")
    return features["audio"][part], features["frames"][part], None if motion is None else motion[part]
