"""AVE: the weakly supervised audio-visual event network, as a parser.

Source: Tian, Shi, Li, Duan and Xu, "Audio-Visual Event Localization in Unconstrained Videos" (2018). The released
network attends to the 7 × 7 regions of a second's image, scores every second, takes the maximum over time and a softmax
over the categories, and trains with a sigmoid loss on top of that softmax, which cannot come near 0. Here the frames of
a second stand for its regions, and sigmoids with binary cross-entropy stand for both; `event_network` has the branches.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from jomold_dist.models.event_network import HIDDEN, EventNetwork, Streams
from jomold_dist.models.network import FeatureSizes


class Ave(EventNetwork):
    """A head on both recurrent layers' outputs side by side scores every segment; the largest score is the video's."""

    reads = ("model.options",)

    def __init__(self, num_classes: int, feature_sizes: FeatureSizes, frames_per_segment: int = 1) -> None:
        super().__init__(num_classes, feature_sizes, frames_per_segment)
        self.event_head = nn.Sequential(nn.ReLU(), nn.Linear(4 * HIDDEN, 64), nn.ReLU(), nn.Linear(64, num_classes))

    def segment_scores(self, streams: Streams) -> Tensor:
        """Scores of the audio-visual part, before the sigmoid: (B, T, C)."""
        scores: Tensor = self.event_head(torch.cat([streams.audio, streams.visual], dim=-1))
        return scores

    def video_prob(self, audio: Tensor, attended: Tensor, streams: Streams) -> Tensor:
        """See EventNetwork."""
        return self.segment_scores(streams).amax(1).sigmoid()
