"""The visual front end: frames grouped or pooled by segment, and the projection of frames and motion.

Shapes: B videos, T segments, k frames a segment, D = 512 projected features.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from jomold_dist.models.layers import WIDTH
from jomold_dist.models.network import FeatureSizes
from jomold_dist.models.precision import Linear, at_least_float32, linear


def group_frames(frames: Tensor, segments: int) -> Tensor:
    """Frames (B, kT, ·) as (B, T, k, ·): frames kt … k(t+1)−1 belong to segment t."""
    return frames.unflatten(1, (segments, frames.shape[1] // segments))


def segments_of(features: Mapping[str, Tensor], segments: int | None) -> int:
    """How many segments videos have: as many as audio or motion have rows; of videos without both, so many as given, or
    a frame each."""
    told = [features[name].shape[1] for name in ("audio", "motion") if name in features]
    return next(iter(told), segments or features["frames"].shape[1])


def pool_frames(frames: Tensor, segments: int) -> Tensor:
    """The mean of each segment's frames: (B, kT, ·) -> (B, T, ·), at least float32 where there is a mean to take."""
    if frames.shape[1] == segments:
        return frames
    return group_frames(at_least_float32(frames), segments).mean(2)


class FrameProjection(nn.Module):
    """Every frame beside its segment's motion, linearly projected. The mean over a segment's frames is what the hybrid
    attention network reads."""

    def __init__(self, sizes: FeatureSizes) -> None:
        super().__init__()
        self.frames = Linear(sizes.of("frames"), WIDTH)
        if sizes.motion is not None:
            self.motion = Linear(sizes.motion, WIDTH)
            self.fusion = Linear(2 * WIDTH, WIDTH)
        self.has_motion = sizes.motion is not None

    def forward(self, frames: Tensor, motion: Tensor | None, segments: int) -> Tensor:
        """Frames (B, kT, ·) and motion (B, T, ·), if the data have it, of one dtype -> (B, T, k, D) of that dtype."""
        projected: Tensor = self.frames(group_frames(frames, segments))
        if not self.has_motion:
            return projected
        for_frames, for_motion = self.fusion.weight.split(WIDTH, dim=1)  # motion is the same for all k frames
        fused = linear(self.motion(given_motion(motion)), for_motion, self.fusion.bias)
        return F.linear(projected, for_frames.to(projected.dtype)) + fused.unsqueeze(2)


def given_motion(motion: Tensor | None) -> Tensor:
    """The motion that a network built with motion features needs; ValueError if it is missing."""
    if motion is None:
        raise ValueError("this network was built with motion features; pass them, or build it with motion=None")
    return motion
