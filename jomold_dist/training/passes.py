"""The passes that a step takes over a network, in the one forward call that engines know."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from jomold_dist.methods.base import Method
from jomold_dist.models.network import Network
from jomold_dist.training.stopwatch import Stopwatch

COMPUTE_DTYPES = {"float32": None, "bf16": torch.bfloat16, "float16": torch.float16, "float64": None}
PREFIX = "network."  # of the parameters' names inside Passes


class Passes(nn.Module):
    """The passes over a network in one forward call, as engines need it, with the ranking timed."""

    def __init__(self, network: Network, method: Method, stopwatch: Stopwatch) -> None:
        super().__init__()
        self.network = network
        self._method, self._stopwatch = method, stopwatch

    def forward(self, features: dict[str, Tensor], learn: bool, score: bool) -> tuple[Any, tuple[Tensor, ...]]:
        """The gradient pass's outputs, if it is to `learn`, and the scores that the method ranks by, if asked for.
        Together they share what they have in common."""
        begun = self.network.begin(**features)
        outputs = self.network.finish(begun) if learn else None
        scored: tuple[Tensor, ...] = ()
        if score:
            with torch.no_grad(), self._stopwatch.span("ranking"):
                scored = self._method.score(self.network, begun, outputs)
        return outputs, scored
