"""TALNet: sound events from audio alone, with a recurrent network and a pooling of its segment probabilities.

Source: Wang, Li and Metze, "A Comparison of Five Multiple Instance Learning Pooling Functions for Sound Event
Detection with Weak Labeling" (2019). The released network reads 400 × 64 log-mel frames through convolutions, pools
its frames to seconds and compares them with a threshold per category that is tuned on validation data. VGGish features
are one a second: here a linear projection stands for the convolutions, and every category has the threshold 0.5.

Shapes: B videos, T segments, C categories.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from jomold_dist.models.layers import WIDTH
from jomold_dist.models.losses import CLAMP
from jomold_dist.models.network import FeatureSizes, Network, Parsing, plain_form
from jomold_dist.models.precision import Linear, at_least_float32
from jomold_dist.models.recurrent import ZERO3_PROBLEM, BidirectionalGRU

Pooling = Literal["max", "ave", "lin", "exp", "att"]


class TalNetOutputs(NamedTuple):
    """Probabilities of segments and videos."""

    segment_prob: Tensor  # (B, T, C)
    audio_prob: Tensor  # (B, C)


def pool_probabilities(prob: Tensor, pooling: Pooling, attention: Tensor | None = None) -> Tensor:
    """The five pooling functions: segment probabilities (B, T, C) -> video probabilities (B, C).

    The largest, the mean, or a mean weighted by the probabilities themselves (lin), by their exponentials (exp) or by
    `attention` (att; (B, T, C), of sum 1 over the segments).
    """
    if pooling == "max":
        return prob.amax(1)
    if pooling == "ave":
        return prob.mean(1)
    if pooling == "att":
        assert attention is not None
        return (attention * prob).sum(1)
    weight = prob if pooling == "lin" else prob.exp()
    return (weight * prob).sum(1) / weight.sum(1)


class TalNet(Network):
    """Audio -> projection -> bidirectional GRU -> sigmoid -> pooling over the segments; theirs is `lin`."""

    modalities = needs = ("audio",)
    reads = ("model.options",)
    zero3_problem = ZERO3_PROBLEM

    def __init__(self, num_classes: int, feature_sizes: FeatureSizes, pooling: Pooling = "lin") -> None:
        super().__init__()
        if pooling not in get_args(Pooling):
            raise ValueError(f"pooling is {pooling!r}; it must be one of {', '.join(get_args(Pooling))}")
        self.num_classes = num_classes
        self.feature_sizes = feature_sizes
        self.pooling = pooling
        self.audio_projection = Linear(feature_sizes.of("audio"), WIDTH)
        self.recurrent = BidirectionalGRU(WIDTH, WIDTH // 2)
        self.event_head = Linear(WIDTH, num_classes)
        if pooling == "att":
            self.attention_head = Linear(WIDTH, num_classes, bias=False)  # the softmax takes no notice of one

    def form(self) -> dict[str, Any]:
        return plain_form(num_classes=self.num_classes, feature_sizes=self.feature_sizes, pooling=self.pooling)

    def finish(self, begun: dict[str, Tensor]) -> TalNetOutputs:
        """The features by name -> probabilities, at least float32."""
        audio = begun["audio"].to(self.compute_dtype or self.audio_projection.weight.dtype)
        x = at_least_float32(self.recurrent(self.audio_projection(audio)))
        prob = self.event_head(x).sigmoid().clamp(CLAMP, 1 - CLAMP)
        attention = self.attention(x) if self.pooling == "att" else None
        return TalNetOutputs(prob, pool_probabilities(prob, self.pooling, attention))

    def attention(self, x: Tensor) -> Tensor:
        """The weights of `att` pooling: the GRU's outputs (B, T, 512) -> (B, T, C), of sum 1 over the segments."""
        weights: Tensor = self.attention_head(x).softmax(1)
        return weights

    def parsing(self, outputs: TalNetOutputs) -> Parsing:
        """What the network hears is all that it says of the video."""
        segments = torch.stack([outputs.segment_prob, torch.zeros_like(outputs.segment_prob)], dim=2)
        return Parsing(outputs.audio_prob, outputs.audio_prob, None, segments)
