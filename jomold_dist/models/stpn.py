"""STPN: visual events from two streams, frames and motion, with class-agnostic attention that is driven to be sparse.

Source: Nguyen, Liu, Prasad and Han, "Weakly Supervised Action Localization by Sparse Temporal Pooling Network" (2018).
The released program trains one network a stream, considers the categories whose video probability exceeds 0.1, and
makes proposals where a stream's weighted activation reaches 0.05. Here both streams are one network and train together
on the mean of their video probabilities; a segment's probability is the larger of both weighted activations, so it
counts where either stream proposes it; and a category is considered from 0.5 on, as for all systems. The released
non-maximum suppression below one second has nothing to do on segments of a second.

Shapes: B videos, T segments, C categories, D features.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from jomold_dist.config import LossConfig
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.models.network import FeatureSizes, Network, Parsing, plain_form
from jomold_dist.models.precision import Linear, at_least_float32
from jomold_dist.models.projection import given_motion, pool_frames, segments_of

HIDDEN = 256  # of the attention


class StreamOutputs(NamedTuple):
    """What one stream says; the activation is the temporal class activation map."""

    attention: Tensor  # (B, T), between 0 and 1
    activation: Tensor  # (B, T, C), before the sigmoid, without the bias
    logits: Tensor  # (B, C)

    @property
    def weighted_activation(self) -> Tensor:
        """λ·σ(activation), (B, T, C): what is compared with the threshold of segments."""
        return self.attention.unsqueeze(-1) * self.activation.sigmoid()

    def score(self, other: StreamOutputs) -> Tensor:
        """The score of this stream's segments, (B, T, C): λ times the mean of both streams' activations."""
        return self.attention.unsqueeze(-1) * (self.activation + other.activation) / 2


class StpnOutputs(NamedTuple):
    """Both streams; motion is None where the data have none."""

    frames: StreamOutputs
    motion: StreamOutputs | None

    @property
    def streams(self) -> tuple[StreamOutputs, ...]:
        return (self.frames,) if self.motion is None else (self.frames, self.motion)


class Stream(nn.Module):
    """Attention over the segments, and a linear classifier of the video's mean of attended features."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.attention_hidden = Linear(width, HIDDEN)
        self.attention_head = Linear(HIDDEN, 1)
        self.classifier = Linear(width, num_classes, bias=False)
        self.bias = nn.Parameter(torch.zeros(num_classes))  # apart: activations are without it

    def forward(self, x: Tensor) -> StreamOutputs:
        """x (B, T, D) -> StreamOutputs, at least float32."""
        hidden = at_least_float32(self.attention_hidden(x).relu())
        attention = self.attention_head(hidden).squeeze(-1).sigmoid()
        activation = at_least_float32(self.classifier(x))
        logits = (attention.unsqueeze(-1) * activation).mean(1) + self.bias  # the classifier is linear
        return StreamOutputs(attention, activation, logits)


class Stpn(Network):
    """A stream a kind of visual feature. Own term `sparsity`: the attention of a video's segments, summed.

    `segments` is how many videos have that are without audio and motion.
    """

    modalities = ("visual",)
    needs = ("frames",)
    own_terms = ("sparsity",)
    configured_terms = own_terms
    reads = ("model.options", "loss.sparsity")
    segment_threshold = 0.05

    def __init__(self, num_classes: int, feature_sizes: FeatureSizes, segments: int | None = None) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.feature_sizes = feature_sizes
        self.segments = segments
        self.frames = Stream(feature_sizes.of("frames"), num_classes)
        self.motion = None if feature_sizes.motion is None else Stream(feature_sizes.motion, num_classes)

    @classmethod
    def data_form(cls, manifest: Manifest) -> dict[str, Any]:
        return {"segments": manifest.segments}

    def form(self) -> dict[str, Any]:
        return plain_form(
            num_classes=self.num_classes,
            feature_sizes=self.feature_sizes,
            segments=self.segments,
        )

    def finish(self, begun: dict[str, Tensor]) -> StpnOutputs:
        """The features by name -> what the streams say."""
        dtype = self.compute_dtype or self.frames.bias.dtype
        by_frames = self.frames(pool_frames(begun["frames"], segments_of(begun, self.segments)).to(dtype))
        if self.motion is None:
            return StpnOutputs(by_frames, None)
        return StpnOutputs(by_frames, self.motion(given_motion(begun.get("motion")).to(dtype)))

    def parsing(self, outputs: StpnOutputs) -> Parsing:
        """What the network sees is all that it says of the video."""
        prob = torch.stack([s.logits.sigmoid() for s in outputs.streams]).mean(0)
        segments = torch.stack([s.weighted_activation for s in outputs.streams]).amax(0)
        return Parsing(prob, None, prob, torch.stack([torch.zeros_like(segments), segments], dim=2))

    def terms(self, outputs: StpnOutputs, loss: LossConfig) -> dict[str, Tensor]:
        """Sparsity: Σ_t λ_t, the mean over the streams."""
        if not loss.sparsity:
            return {}
        return {"sparsity": torch.stack([s.attention.sum(1) for s in outputs.streams]).mean(0)}
