"""What the two audio-visual event networks, AVE and AVSDN, share: their front end, and what makes parsers of them.

Both were made for one event a video that is seen and heard at once. To parse videos they get an audio and a visual
branch, a linear layer on a recurrent one, each trained by multiple-instance learning: a video is as probable as its
most probable segment. The audio-visual part is trained by the video's labels in the same way, and its probability of
the video opens the gate for segments of both modalities.

Shapes: B videos, T segments, k frames a segment, C categories, D = 512 projected visual features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from jomold_dist.data.format.manifest import Manifest
from jomold_dist.models.layers import WIDTH
from jomold_dist.models.network import FeatureSizes, Network, Parsing, plain_form
from jomold_dist.models.precision import Linear, at_least_float32
from jomold_dist.models.projection import FrameProjection
from jomold_dist.models.recurrent import ZERO3_PROBLEM, BidirectionalLSTM, States

HIDDEN = 128  # of a recurrent layer, a direction


def frames_per_segment(manifest: Manifest) -> int:
    """k of a data set with frames."""
    return manifest.features["frames"].shape[0] // manifest.segments


def frames_of(form: Mapping[str, Any]) -> int | None:
    """The k that a network, or each of a pair, was built for by its form; None where any will do."""
    found = [one["frames_per_segment"] for one in (form, *form.get("networks", ())) if "frames_per_segment" in one]
    return found[0] if found else None


class EventOutputs(NamedTuple):
    """Probabilities of segments by branch, and of the video by the audio-visual part; at least float32."""

    audio: Tensor  # (B, T, C)
    visual: Tensor  # (B, T, C)
    video: Tensor  # (B, C)


class Streams(NamedTuple):
    """What the recurrent layers make of both modalities, with their final states (h and c, each (2, B, H))."""

    audio: Tensor  # (B, T, 2H)
    visual: Tensor  # (B, T, 2H)
    audio_states: States
    visual_states: States


class FrameAttention(nn.Module):
    """Attention over the k frames (or regions) of a segment, guided by its sound.

    The sound's part of the content differs from frame to frame by the frame's number, so k is part of the form.
    """

    def __init__(self, audio_width: int, frames: int) -> None:
        super().__init__()
        self.visual_hidden = Linear(WIDTH, WIDTH)
        self.audio_hidden = Linear(audio_width, WIDTH)
        self.visual_content = Linear(WIDTH, frames, bias=False)
        self.audio_content = Linear(WIDTH, frames, bias=False)
        self.score = Linear(frames, 1, bias=False)

    def forward(self, audio: Tensor, views: Tensor) -> Tensor:
        """audio (B, T, ·), views (B, T, k, D) -> weights (B, T, k), at least float32, of sum 1 over the frames."""
        seen = self.visual_content(self.visual_hidden(views).relu())  # (B, T, k, k)
        heard = self.audio_content(self.audio_hidden(audio).relu())  # (B, T, k)
        content = at_least_float32((seen + heard.unsqueeze(-1)).tanh())
        weights: Tensor = self.score(content).squeeze(-1).softmax(-1)
        return weights


class EventNetwork(Network):
    """Base of AVE and AVSDN. `frames_per_segment` is k; with k = 1 there is nothing to attend to, and no attention."""

    zero3_problem = ZERO3_PROBLEM
    gate = "video"

    def __init__(self, num_classes: int, feature_sizes: FeatureSizes, frames_per_segment: int = 1) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.feature_sizes = feature_sizes
        self.frames_per_segment = frames_per_segment
        self.projection = FrameProjection(feature_sizes)
        audio = feature_sizes.of("audio")
        self.attention = FrameAttention(audio, frames_per_segment) if frames_per_segment > 1 else None
        self.audio_recurrent = BidirectionalLSTM(audio, HIDDEN)
        self.visual_recurrent = BidirectionalLSTM(WIDTH, HIDDEN)
        self.audio_head = nn.Linear(2 * HIDDEN, num_classes)
        self.visual_head = nn.Linear(2 * HIDDEN, num_classes)

    @classmethod
    def data_form(cls, manifest: Manifest) -> dict[str, Any]:
        return {"frames_per_segment": frames_per_segment(manifest)}

    def form(self) -> dict[str, Any]:
        return plain_form(
            num_classes=self.num_classes,
            feature_sizes=self.feature_sizes,
            frames_per_segment=self.frames_per_segment,
        )

    def finish(self, begun: dict[str, Tensor]) -> EventOutputs:
        """The features by name -> probabilities. ValueError for another number of frames a segment than built for."""
        dtype = self.compute_dtype or self.projection.frames.weight.dtype
        audio, frames = begun["audio"].to(dtype), begun["frames"].to(dtype)
        motion = begun["motion"].to(dtype) if "motion" in begun else None
        attended = self.attend(audio, self.projection(frames, motion, audio.shape[1]))
        streams = self.encode(audio, attended)
        by_audio, by_visual = self.audio_head(streams.audio).sigmoid(), self.visual_head(streams.visual).sigmoid()
        return EventOutputs(by_audio, by_visual, self.video_prob(audio, attended, streams))

    def attend(self, audio: Tensor, views: Tensor) -> Tensor:
        """The attended frame of every segment: audio (B, T, ·), views (B, T, k, D) -> (B, T, D)."""
        if views.shape[2] != self.frames_per_segment:
            raise ValueError(
                f"{views.shape[2]} frames a segment, and this network was built for {self.frames_per_segment}"
            )
        if self.attention is None:
            return views.squeeze(2)
        attended: Tensor = (self.attention(audio, views).unsqueeze(-1) * views).sum(2)
        return attended

    def encode(self, audio: Tensor, attended: Tensor) -> Streams:
        """audio (B, T, ·), attended (B, T, D) -> Streams."""
        heard, audio_states = self.audio_recurrent(audio)
        seen, visual_states = self.visual_recurrent(attended)
        return Streams(heard, seen, audio_states, visual_states)

    def video_prob(self, audio: Tensor, attended: Tensor, streams: Streams) -> Tensor:
        """The audio-visual part's probabilities of the videos, (B, C)."""
        raise NotImplementedError

    def parsing(self, outputs: EventOutputs) -> Parsing:
        """A modality's probability of the video is that of its most probable segment."""
        segments = torch.stack([outputs.audio, outputs.visual], dim=2)
        audio_prob, visual_prob = segments.amax(1).unbind(1)
        return Parsing(outputs.video, audio_prob, visual_prob, segments)
