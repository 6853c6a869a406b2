"""The hybrid attention network in its JoMoLD form, and its attentive pooling over time and modality.

Shapes: B videos, T segments, D = 512 features, C categories. Where the first size is 2B, the B videos' audio comes
first and their visual modality after it, so that one product serves both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jomold_dist.config import LossConfig, ModelConfig
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.errors import ConfigError, UserError
from jomold_dist.models.dropout import dropout
from jomold_dist.models.layers import WIDTH, Attended, EncoderLayer
from jomold_dist.models.losses import contrastive_loss
from jomold_dist.models.network import FeatureSizes, Network, Parsing, feature_sizes, plain_form
from jomold_dist.models.precision import at_least_float32, linear
from jomold_dist.models.projection import given_motion, pool_frames


class Begun(NamedTuple):
    """The projected features and the first layer's self-attention over them."""

    x: Tensor  # (2B, T, D)
    attended: Attended


def _cosine(audio: Tensor, visual: Tensor) -> Tensor:
    """Cosine of every audio segment with every visual one: (B, T, D) x2 -> (B, T, T)."""
    norms = torch.linalg.vector_norm(audio, dim=-1)[:, :, None] * torch.linalg.vector_norm(visual, dim=-1)[:, None]
    return torch.matmul(audio, visual.transpose(-2, -1)) / norms.clamp(min=1e-12)


class HybridAttentionNetwork(Network):
    """The parsing network: feature projections, encoder, three heads shared by both modalities, attentive pooling.

    Without `cross_modal` it has no cross-modal attention, as the noise estimator. `similarity` is of the encoded audio
    with the visual features that are `encoded` too (JoMoLD) or only `projected` (MA). `gate`: see `Network`.
    """

    own_terms = ("contrastive",)
    configured_terms = own_terms
    reads = (
        "model.layers", "model.temperature", "model.attention_dropout", "model.classifier_dropout", "model.gate",
        "model.similarity", "loss.contrastive", "loss.contrastive_smoothing", "loss.contrastive_form",
        "estimator.loss.contrastive", "estimator.cross_modal",
    )  # fmt: skip

    def __init__(
        self,
        num_classes: int = 25,
        feature_sizes: FeatureSizes | None = None,
        layers: int = 1,
        temperature: float = 0.2,
        attention_dropout: float = 0.1,
        classifier_dropout: float = 0.5,
        cross_modal: bool = True,
        gate: Literal["own", "video"] = "own",
        similarity: Literal["encoded", "projected"] = "encoded",
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.feature_sizes = feature_sizes or FeatureSizes()
        self.temperature = temperature
        self.attention_dropout = attention_dropout
        self.classifier_dropout = classifier_dropout
        self.cross_modal = cross_modal
        self.gate = gate
        self.similarity = similarity
        sizes = self.feature_sizes
        self.audio_projection = nn.Linear(sizes.of("audio"), WIDTH)
        self.frames_projection = nn.Linear(sizes.of("frames"), WIDTH)
        if sizes.motion is not None:
            self.motion_projection = nn.Linear(sizes.motion, WIDTH)
            self.fusion = nn.Linear(2 * WIDTH, WIDTH)
        self.layers = nn.ModuleList(EncoderLayer(cross_modal) for _ in range(layers))
        self.event_head = nn.Linear(WIDTH, num_classes)
        self.time_head = nn.Linear(WIDTH, num_classes)
        self.modality_head = nn.Linear(WIDTH, num_classes)

    @classmethod
    def build(cls, model: ModelConfig, manifest: Manifest, cross_modal: bool = True) -> HybridAttentionNetwork:
        if model.options:
            raise ConfigError("model.options are for other networks; han's settings stand in the section model itself")
        return cls(
            num_classes=len(manifest.categories),
            feature_sizes=feature_sizes(manifest),
            layers=model.layers,
            temperature=model.temperature,
            attention_dropout=model.attention_dropout,
            classifier_dropout=model.classifier_dropout,
            cross_modal=cross_modal,
            gate=model.gate,
            similarity=model.similarity,
        )

    def form(self) -> dict[str, Any]:
        return plain_form(
            num_classes=self.num_classes,
            feature_sizes=self.feature_sizes,
            layers=len(self.layers),
            temperature=self.temperature,
            attention_dropout=self.attention_dropout,
            classifier_dropout=self.classifier_dropout,
            cross_modal=self.cross_modal,
            gate=self.gate,
            similarity=self.similarity,
        )

    def forward(  # type: ignore[override]
        self, audio: Tensor, frames: Tensor, motion: Tensor | None = None, cross_modal: bool | None = None
    ) -> Parsing:
        """Features of B videos -> Parsing.

        audio (B, T, ·); frames (B, T, ·) or (B, 8T, ·), any whole number of frames a segment; motion (B, T, ·), or
        None where its size is None. `cross_modal=False` leaves the cross-modal attention out that the network has.
        """
        return self.finish(self._begin(audio, frames, motion), cross_modal)

    def begin(self, **features: Tensor) -> Begun:
        """The features' projections and the first layer's self-attention before dropout."""
        return self._begin(features["audio"], features["frames"], features.get("motion"))

    def _begin(self, audio: Tensor, frames: Tensor, motion: Tensor | None) -> Begun:
        x = self._project(audio, frames, motion)
        return Begun(x, self._encoder()[0].self_attention.attend(x, x))

    def finish(self, begun: Begun, cross_modal: bool | None = None) -> Parsing:
        """The rest of the gradient pass, and of inference. ValueError for an attention that the network lacks."""
        crossing = self.cross_modal if cross_modal is None else cross_modal
        if crossing and not self.cross_modal:
            raise ValueError("this network was built without cross-modal attention")
        audio, visual = self._encode(begun, crossing, self.training)
        against = visual if self.similarity == "encoded" else at_least_float32(begun.x.chunk(2)[1])
        similarity = _cosine(audio, against) / self.temperature  # before the dropout of the heads
        heads = (self.event_head, self.time_head, self.modality_head)
        probability, over_time, modality_scores = self._heads(audio, visual, heads, self.training)
        weighted = over_time * probability  # (2, B, T, C)
        audio_prob, visual_prob = weighted.sum(2)
        video_prob = (modality_scores.softmax(0) * weighted).sum((0, 2))
        return Parsing(video_prob, audio_prob, visual_prob, probability.permute(1, 2, 0, 3), similarity)

    def parsing(self, outputs: Parsing) -> Parsing:
        """The outputs are the parsing."""
        return outputs

    def terms(self, outputs: Parsing, loss: LossConfig) -> dict[str, Tensor]:
        """The contrastive loss, as a mean over a video's segments."""
        if loss.contrastive == 0:
            return {}
        assert outputs.similarity is not None
        term = contrastive_loss(outputs.similarity, loss.contrastive_smoothing, "video", loss.contrastive_form)
        return {"contrastive": term}

    @torch.no_grad()
    def rank(self, begun: Begun, with_dropout: bool) -> tuple[Tensor, Tensor]:
        """The ranking pass has no cross-modal attention."""
        audio, visual = self._encode(begun, False, with_dropout)
        probability, over_time, _ = self._heads(audio, visual, (self.event_head, self.time_head), with_dropout)
        audio_prob, visual_prob = (over_time * probability).sum(2)
        return audio_prob, visual_prob

    def _encoder(self) -> list[EncoderLayer]:
        return cast(list[EncoderLayer], list(self.layers))

    def _project(self, audio: Tensor, frames: Tensor, motion: Tensor | None) -> Tensor:
        dtype = self.compute_dtype or self.audio_projection.weight.dtype
        frames = pool_frames(frames, audio.shape[1])  # projection and mean are both linear, and so it is much cheaper
        x_audio = linear(audio.to(dtype), self.audio_projection.weight, self.audio_projection.bias)
        x_visual = linear(frames.to(dtype), self.frames_projection.weight, self.frames_projection.bias)
        if self.feature_sizes.motion is not None:
            x_motion = linear(
                given_motion(motion).to(dtype), self.motion_projection.weight, self.motion_projection.bias
            )
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
        audio, visual = at_least_float32(x).chunk(2)
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
