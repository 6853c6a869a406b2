"""AVSDN: the audio-visual sequence-to-sequence dual network, weakly supervised, as a parser.

Source: Lin, Li and Wang, "Dual-modality Seq2Seq Network for Audio-visual Event Localization" (2019), by way of the port
in the CPSP project; the authors' own program was not at hand. The port multiplies a segment's event probability with
the video's category scores, takes the maximum over time and a softmax over the categories: where a score is negative,
that is the segment least like an event. Here the categories' sigmoids are multiplied, so the maximum is the most likely
segment, and binary cross-entropy is the loss; `event_network` has the branches and the attention over frames.

Shapes: B videos, T segments, C categories, H = 128.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from jomold_dist.models.event_network import HIDDEN, EventNetwork, Streams
from jomold_dist.models.layers import WIDTH
from jomold_dist.models.network import FeatureSizes
from jomold_dist.models.recurrent import BidirectionalLSTM


class EventScores(NamedTuple):
    """Scores of the audio-visual part, before the sigmoid."""

    event: Tensor  # (B, T): is there an event
    category: Tensor  # (B, C): which one


class StateFusion(nn.Module):
    """Fuses the final states of both modalities: each gets a residual from their common mean, crosswise."""

    def __init__(self) -> None:
        super().__init__()
        self.audio = nn.Sequential(nn.Linear(HIDDEN, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, HIDDEN))
        self.visual = nn.Sequential(nn.Linear(HIDDEN, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, HIDDEN))

    def forward(self, audio: Tensor, visual: Tensor) -> Tensor:
        """States (2, B, H) of both modalities -> (2, B, H)."""
        audio, visual = audio.relu(), visual.relu()
        mean = (self.audio(audio) + self.visual(visual)) / 2
        return ((audio + mean).tanh() + (visual + mean).tanh()) / 2


class Avsdn(EventNetwork):
    """The fused final states of both modalities start a recurrent layer over [audio, attended frame], from which come
    one event score a segment and the video's category scores."""

    reads = ("model.options",)

    def __init__(self, num_classes: int, feature_sizes: FeatureSizes, frames_per_segment: int = 1) -> None:
        super().__init__(num_classes, feature_sizes, frames_per_segment)
        self.fusion = StateFusion()
        self.decoder = BidirectionalLSTM(feature_sizes.of("audio") + WIDTH, HIDDEN)
        self.event_head = nn.Linear(2 * HIDDEN, 1)
        self.category_head = nn.Linear(2 * HIDDEN, num_classes)

    def decode(self, audio: Tensor, attended: Tensor, streams: Streams) -> Tensor:
        """The decoder's features, (B, T, 2H)."""
        initial = tuple(self.fusion(a, v) for a, v in zip(streams.audio_states, streams.visual_states, strict=True))
        outputs, _ = self.decoder(torch.cat([audio, attended], dim=-1), initial)
        features: Tensor = outputs.relu()
        return features

    def scores(self, fused: Tensor) -> EventScores:
        """The decoder's features -> scores."""
        return EventScores(self.event_head(fused).squeeze(-1), self.category_head(fused.mean(1)))

    def video_prob(self, audio: Tensor, attended: Tensor, streams: Streams) -> Tensor:
        """See EventNetwork."""
        event, category = self.scores(self.decode(audio, attended, streams))
        return event.amax(1, keepdim=True).sigmoid() * category.sigmoid()  # the maximum over time of the product
