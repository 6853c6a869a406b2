"""CMCS: visual events from several classifiers that are driven to look at different segments.

Source: Liu, Jiang and Wang, "Completeness Modeling and Context Separation for Weakly Supervised Temporal Action
Localization" (2019). The released program trains with a softmax over the categories and keeps the segments whose curve
(softmax over the categories of the mean of the branches, scaled from 0 to 1 over time) exceeds a multiple of its mean,
one multiple a data set. Videos here hold several events at once: sigmoids stand for the softmax, and a segment counts
from a probability of 0.5 on. The softmax within the diversity loss, over the categories and not over time as the paper
has it, is the released program's. Its widths are those for ActivityNet; its context videos are left out.

Shapes: B videos, T segments, C categories, K branches.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from jomold_dist.config import LossConfig
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.models.dropout import dropout
from jomold_dist.models.network import FeatureSizes, Network, Parsing, plain_form
from jomold_dist.models.precision import Convolution, Linear, at_least_float32
from jomold_dist.models.projection import given_motion, pool_frames, segments_of

BASE, HIDDEN = 256, 128  # channels


class CmcsOutputs(NamedTuple):
    """Scores before the sigmoid."""

    branches: Tensor  # (K, B, T, C)
    attention: Tensor  # (B, T), of sum 1 over the segments

    @property
    def average(self) -> Tensor:
        """The mean of the branches, (B, T, C)."""
        return self.branches.mean(0)

    @property
    def video(self) -> Tensor:
        """The average's mean over the segments, weighted by the attention: (B, C)."""
        return (self.attention.unsqueeze(-1) * self.average).sum(1)


class Cmcs(Network):
    """A shared layer, K branches of one convolution and one classifier each, and attention over the segments.

    Own terms: `diversity`, how alike the branches' curves over time are, and `norm`, how unlike their sizes are.
    `segments` is how many videos have that are without audio and motion.
    """

    modalities = ("visual",)
    needs = ("frames",)
    own_terms = ("diversity", "norm")
    configured_terms = own_terms
    reads = ("model.options", "loss.diversity", "loss.norm")

    def __init__(
        self,
        num_classes: int,
        feature_sizes: FeatureSizes,
        branches: int = 4,
        channel_dropout: float = 0.5,
        segments: int | None = None,
    ) -> None:
        super().__init__()
        if branches < 2:
            raise ValueError(f"branches is {branches}; there must be at least 2 to differ from each other")
        self.num_classes = num_classes
        self.feature_sizes = feature_sizes
        self.segments = segments
        self.channel_dropout = channel_dropout
        self.base = Linear(feature_sizes.of("frames") + (feature_sizes.motion or 0), BASE)
        self.branches = nn.ModuleList(Convolution(BASE, HIDDEN, 3) for _ in range(branches))
        self.heads = nn.ModuleList(Linear(HIDDEN, num_classes) for _ in range(branches))
        self.attention_hidden = Linear(BASE, HIDDEN)
        self.attention_head = Linear(HIDDEN, 1, bias=False)  # the softmax that follows takes no notice of one

    @classmethod
    def data_form(cls, manifest: Manifest) -> dict[str, Any]:
        return {"segments": manifest.segments}

    def form(self) -> dict[str, Any]:
        return plain_form(
            num_classes=self.num_classes,
            feature_sizes=self.feature_sizes,
            branches=len(self.branches),
            channel_dropout=self.channel_dropout,
            segments=self.segments,
        )

    def finish(self, begun: dict[str, Tensor]) -> CmcsOutputs:
        """The features by name -> scores, at least float32. In training, dropout takes whole channels of a video."""
        segments = segments_of(begun, self.segments)
        x = pool_frames(begun["frames"], segments).to(self.compute_dtype or self.base.weight.dtype)
        if self.feature_sizes.motion is not None:
            x = torch.cat([x, given_motion(begun.get("motion")).to(x.dtype)], dim=-1)
        if self.training:
            x = x * dropout(x.new_ones(len(x), 1, x.shape[-1]), self.channel_dropout)
        base = self.base(x).relu()
        hidden = [at_least_float32(branch(base).relu()) for branch in self.branches]
        scores = torch.stack([head(h) for head, h in zip(self.heads, hidden, strict=True)])
        attention = self.attention_head(at_least_float32(self.attention_hidden(base).relu())).squeeze(-1)
        return CmcsOutputs(scores, attention.softmax(1))

    def parsing(self, outputs: CmcsOutputs) -> Parsing:
        """What the network sees is all that it says of the video."""
        prob, segments = outputs.video.sigmoid(), outputs.average.sigmoid()
        return Parsing(prob, None, prob, torch.stack([torch.zeros_like(segments), segments], dim=2))

    def terms(self, outputs: CmcsOutputs, loss: LossConfig) -> dict[str, Tensor]:
        """The own terms that have a weight."""
        terms = {}
        if loss.diversity:
            terms["diversity"] = diversity(outputs.branches)
        if loss.norm:
            terms["norm"] = norm_deviation(outputs.branches)
        return terms


def diversity(branches: Tensor) -> Tensor:
    """Cosine of two branches' curves over time, the mean over ordered pairs and categories: (K, B, T, C) -> (B,).

    A curve is a category's share in the softmax over the categories.
    """
    curves = branches.softmax(-1)
    norms = torch.linalg.vector_norm(curves, dim=2)  # (K, B, C)
    cosine = torch.einsum("kbtc,lbtc->klbc", curves, curves) / (norms[:, None] * norms + 1e-6)
    others = 1 - torch.eye(len(branches), dtype=cosine.dtype, device=cosine.device)
    pairs = len(branches) * (len(branches) - 1)
    return torch.einsum("klbc,kl->bc", cosine, others).mean(-1) / pairs


def norm_deviation(branches: Tensor) -> Tensor:
    """How far a branch's mean size over time is from that of all branches, the mean over branches and categories:
    (K, B, T, C) -> (B,)."""
    size = branches.abs().mean(2)  # (K, B, C)
    return (size - size.mean(0)).abs().mean((0, 2))
