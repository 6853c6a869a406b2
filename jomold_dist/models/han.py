"""The hybrid attention network in its JoMoLD form, and its attentive pooling over time and modality.

Shapes: B videos, T segments, D = 512 features, C categories. Where the first size is 2B, the B videos' audio comes
first and their visual modality after it, so that one product serves both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jomold_dist.errors import UserError
from jomold_dist.models.dropout import dropout

WIDTH = 512


@dataclass(frozen=True)
class FeatureSizes:
    """Length of one segment's feature vector per kind; motion may be absent."""

    audio: int = 128
    frames: int = 2048
    motion: int | None = 512


class Parsing(NamedTuple):
    """What the network says of a batch: probabilities in at least float32, and audio-visual similarities."""

    video_prob: Tensor  # (B, C); may exceed 1
    audio_prob: Tensor  # (B, C)
    visual_prob: Tensor  # (B, C)
    segment_prob: Tensor  # (B, T, 2, C)
    similarity: Tensor  # (B, T, T); audio segment against visual segment


class Attended(NamedTuple):
    """Attention weights before dropout and the values they weigh: what two passes over one input can share."""

    weights: Tensor  # (2B, T, T)
    values: Tensor  # (2B, T, D)


class Begun(NamedTuple):
    """The projected features and the first layer's self-attention over them."""

    x: Tensor  # (2B, T, D)
    attended: Attended


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x·Wᵀ + b in the dtype of x, whatever the parameters are stored in."""
    return F.linear(x, weight.to(x.dtype), bias.to(x.dtype))


class Attention(nn.Module):
    """Single-head attention over the segments of a video; rows of `in_weight` are query, key, value."""

    def __init__(self) -> None:
        super().__init__()
        self.in_weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(3 * WIDTH, WIDTH)))
        self.in_bias = nn.Parameter(torch.zeros(3 * WIDTH))
        self.out = nn.Linear(WIDTH, WIDTH)
        nn.init.zeros_(self.out.bias)

    def attend(self, x: Tensor, other: Tensor) -> Attended:
        """Attention of the segments of x over those of `other`, both (2B, T, D)."""
        if other is x:
            query, key, value = linear(x, self.in_weight, self.in_bias).chunk(3, dim=-1)
        else:
            query = linear(x, self.in_weight[:WIDTH], self.in_bias[:WIDTH])
            key, value = linear(other, self.in_weight[WIDTH:], self.in_bias[WIDTH:]).chunk(2, dim=-1)
        scores = torch.bmm(query, key.transpose(1, 2)) * WIDTH**-0.5
        return Attended(scores.softmax(-1), value)

    def mix(self, attended: Attended, drop: float) -> Tensor:
        """The weighted values, projected: (2B, T, D)."""
        mixed = torch.bmm(dropout(attended.weights, drop), attended.values)
        return linear(mixed, self.out.weight, self.out.bias)


class EncoderLayer(nn.Module):
    """Self-attention and cross-modal attention side by side, then a feed-forward part; one set of weights for both
    modalities, each of which reads the other's layer input."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attention = Attention()
        self.cross_attention = Attention()
        self.feed_in = nn.Linear(WIDTH, WIDTH)
        self.feed_out = nn.Linear(WIDTH, WIDTH)
        self.attention_norm = nn.LayerNorm(WIDTH)
        self.feed_norm = nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor, attended: Attended, cross_modal: bool, drop: float) -> Tensor:
        """x (2B, T, D) and its self-attention -> (2B, T, D); `drop` is 0 outside training."""
        h = x + dropout(self.self_attention.mix(attended, drop), drop)
        if cross_modal:
            crossed = self.cross_attention.attend(x, torch.cat(x.chunk(2)[::-1]))
            h = h + dropout(self.cross_attention.mix(crossed, drop), drop)
        h = _norm(h, self.attention_norm)
        fed = dropout(linear(h, self.feed_in.weight, self.feed_in.bias).relu(), drop)
        fed = linear(fed, self.feed_out.weight, self.feed_out.bias)
        return _norm(h + dropout(fed, drop), self.feed_norm)


def _norm(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    return F.layer_norm(x, norm.normalized_shape, norm.weight.to(x.dtype), norm.bias.to(x.dtype), norm.eps)


def _cosine(audio: Tensor, visual: Tensor) -> Tensor:
    """Cosine of every audio segment with every visual one: (B, T, D) x2 -> (B, T, T)."""
    norms = torch.linalg.vector_norm(audio, dim=-1)[:, :, None] * torch.linalg.vector_norm(visual, dim=-1)[:, None]
    return torch.matmul(audio, visual.transpose(-2, -1)) / norms.clamp(min=1e-12)


class HybridAttentionNetwork(nn.Module):
    """The parsing network: feature projections, encoder, three heads shared by both modalities, attentive pooling.

    `compute_dtype` None computes in the parameters' dtype; bfloat16 runs the encoder in bfloat16, with heads, softmax
    over time and everything after it in float32.
    """

    def __init__(
        self,
        num_classes: int = 25,
        feature_sizes: FeatureSizes | None = None,
        layers: int = 1,
        temperature: float = 0.2,
        attention_dropout: float = 0.1,
        classifier_dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.feature_sizes = feature_sizes or FeatureSizes()
        self.temperature = temperature
        self.attention_dropout = attention_dropout
        self.classifier_dropout = classifier_dropout
        self.compute_dtype: torch.dtype | None = None
        sizes = self.feature_sizes
        self.audio_projection = nn.Linear(sizes.audio, WIDTH)
        self.frames_projection = nn.Linear(sizes.frames, WIDTH)
        if sizes.motion is not None:
            self.motion_projection = nn.Linear(sizes.motion, WIDTH)
            self.fusion = nn.Linear(2 * WIDTH, WIDTH)
        self.layers = nn.ModuleList(EncoderLayer() for _ in range(layers))
        self.event_head = nn.Linear(WIDTH, num_classes)
        self.time_head = nn.Linear(WIDTH, num_classes)
        self.modality_head = nn.Linear(WIDTH, num_classes)

    def forward(self, audio: Tensor, frames: Tensor, motion: Tensor | None = None, cross_modal: bool = True) -> Parsing:
        """Features of B videos -> Parsing.

        audio (B, T, ·); frames (B, T, ·) or (B, 8T, ·), any whole number of frames a segment; motion (B, T, ·), or
        None where its size is None.
        """
        return self.parse(self.begin(audio, frames, motion), cross_modal)

    def begin(self, audio: Tensor, frames: Tensor, motion: Tensor | None = None) -> Begun:
        """The part in which the gradient pass and the ranking pass do not differ: the features' projections and the
        first layer's self-attention before dropout."""
        x = self._project(audio, frames, motion)
        return Begun(x, self._encoder()[0].self_attention.attend(x, x))

    def parse(self, begun: Begun, cross_modal: bool = True) -> Parsing:
        """The rest of the gradient pass, and of inference."""
        audio, visual = self._encode(begun, cross_modal, self.training)
        similarity = _cosine(audio, visual) / self.temperature  # before the dropout of the heads
        heads = (self.event_head, self.time_head, self.modality_head)
        probability, over_time, modality_scores = self._heads(audio, visual, heads, self.training)
        weighted = over_time * probability  # (2, B, T, C)
        audio_prob, visual_prob = weighted.sum(2)
        video_prob = (modality_scores.softmax(0) * weighted).sum((0, 2))
        return Parsing(video_prob, audio_prob, visual_prob, probability.permute(1, 2, 0, 3), similarity)

    @torch.no_grad()
    def rank(self, begun: Begun, with_dropout: bool) -> tuple[Tensor, Tensor]:
        """The rest of the ranking pass: audio and visual probabilities (B, C), without cross-modal attention and
        without gradient."""
        audio, visual = self._encode(begun, False, with_dropout)
        probability, over_time, _ = self._heads(audio, visual, (self.event_head, self.time_head), with_dropout)
        audio_prob, visual_prob = (over_time * probability).sum(2)
        return audio_prob, visual_prob

    def _encoder(self) -> list[EncoderLayer]:
        return cast(list[EncoderLayer], list(self.layers))

    def _project(self, audio: Tensor, frames: Tensor, motion: Tensor | None) -> Tensor:
        dtype = self.compute_dtype or self.audio_projection.weight.dtype
        videos, segments = audio.shape[:2]
        per_segment = frames.shape[1] // segments
        if per_segment > 1:  # projection and mean are both linear: pooling first is the same and much cheaper
            wide = frames if frames.dtype == torch.float64 else frames.float()
            frames = wide.view(videos, segments, per_segment, -1).mean(2)
        x_audio = linear(audio.to(dtype), self.audio_projection.weight, self.audio_projection.bias)
        x_visual = linear(frames.to(dtype), self.frames_projection.weight, self.frames_projection.bias)
        if self.feature_sizes.motion is not None:
            if motion is None:
                raise ValueError("this network was built with motion features; pass them, or build it with motion=None")
            x_motion = linear(motion.to(dtype), self.motion_projection.weight, self.motion_projection.bias)
            x_visual = linear(torch.cat([x_visual, x_motion], dim=-1), self.fusion.weight, self.fusion.bias)
        return torch.cat([x_audio, x_visual])

    def _encode(self, begun: Begun, cross_modal: bool, training: bool) -> tuple[Tensor, Tensor]:
        """Audio and visual (B, T, D), at least float32."""
        drop = self.attention_dropout if training else 0.0
        x, attended = begun
        for number, layer in enumerate(self._encoder()):
            if number:
                attended = layer.self_attention.attend(x, x)
            x = layer(x, attended, cross_modal, drop)
        audio, visual = (x if x.dtype == torch.float64 else x.float()).chunk(2)
        return audio, visual

    def _heads(
        self, audio: Tensor, visual: Tensor, heads: tuple[nn.Linear, ...], training: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Event probabilities, attention over time and the last head's scores, each (2, B, T, C): one product a
        modality. Dropout is on the visual features alone."""
        visual = dropout(visual, self.classifier_dropout if training else 0.0)
        weight = torch.cat([h.weight for h in heads]).to(audio.dtype)
        bias = torch.cat([h.bias for h in heads]).to(audio.dtype)
        scores = torch.stack([F.linear(x, weight, bias) for x in (audio, visual)])
        scores = scores.unflatten(-1, (len(heads), self.num_classes))
        return scores[..., 0, :].sigmoid(), scores[..., 1, :].softmax(2), scores[..., -1, :]

    def load_released(self, state: Mapping[str, Tensor]) -> None:
        """Load parameters in the layout of the released checkpoints, on any device or dtype.

        UserError names what is missing, unknown or of another shape; nothing is loaded then. The layout's
        `hat_encoder.norm1` and `norm2` are never used by the network and are passed over.
        """
        names = released_names(len(self.layers))
        own = self.state_dict()
        problems = [f"missing {theirs}" for mine, theirs in names.items() if mine in own and theirs not in state]
        known = set(names.values()) | {f"hat_encoder.norm{n}.{kind}" for n in (1, 2) for kind in ("weight", "bias")}
        problems += [f"unknown {name}" for name in state if name not in known]
        problems += [
            f"{theirs} has shape {tuple(state[theirs].shape)}, this network needs {tuple(own[mine].shape)}"
            for mine, theirs in names.items()
            if mine in own and theirs in state and state[theirs].shape != own[mine].shape
        ]
        if problems:
            raise UserError("the checkpoint does not fit the network: " + "; ".join(problems))
        self.load_state_dict({mine: state[names[mine]] for mine in own})


def released_names(layers: int) -> dict[str, str]:
    """This network's parameter names -> those of the released checkpoint layout."""
    parts = {
        "audio_projection": "fc_a",
        "frames_projection": "fc_v",
        "motion_projection": "fc_st",
        "fusion": "fc_fusion",
        "event_head": "fc_prob",
        "time_head": "fc_frame_att",
        "modality_head": "fc_av_att",
    }
    for n in range(layers):
        ours, theirs = f"layers.{n}", f"hat_encoder.layers.{n}"
        parts |= {
            f"{ours}.self_attention.out": f"{theirs}.self_attn.out_proj",
            f"{ours}.cross_attention.out": f"{theirs}.cm_attn.out_proj",
            f"{ours}.feed_in": f"{theirs}.linear1",
            f"{ours}.feed_out": f"{theirs}.linear2",
            f"{ours}.attention_norm": f"{theirs}.norm1",
            f"{ours}.feed_norm": f"{theirs}.norm2",
        }
    names = {f"{a}.{kind}": f"{b}.{kind}" for a, b in parts.items() for kind in ("weight", "bias")}
    for n in range(layers):
        for ours, theirs in (("self_attention", "self_attn"), ("cross_attention", "cm_attn")):
            for kind in ("weight", "bias"):
                names[f"layers.{n}.{ours}.in_{kind}"] = f"hat_encoder.layers.{n}.{theirs}.in_proj_{kind}"
    return names
