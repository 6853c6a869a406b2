"""From a hidden truth to the features of its videos.

A feature of one second is `rectified(bias + events + nuisance + noise)`. An event adds the sparse prototype of its
category, times the event's loudness, times the video's clarity. Clarity is one number for both modalities: a hard
video is faint in both, so that a high loss in one modality alone, which is what joint ranking looks for, tells more
than a high loss. Audio is shaped like real VGGish (two thirds zeros, much of it common to all videos), frames and
motion like pooled activations of a convolutional network.

Legend: n videos, T segments, C categories, D feature size, K factors of the nuisance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from jomold_dist.simulation.difficulty import EASY, Difficulty
from jomold_dist.simulation.draws import FEATURES, FRAMES, WORLD, video_generator

CLARITY = 0.6  # sd of the logarithm of a video's clarity
LOUDNESS = 0.3  # sd of the logarithm of an event's loudness, drawn for each modality
FRAMES_PER_SEGMENT = 8
_FACTORS = 12  # K
_FLICKER = 0.5  # how much the frames of a second differ from their mean, at most, before they are rescaled


@dataclass(frozen=True)
class Channel:
    """How one feature is made. `modality` is 0 for audio, 1 for visual; `size` is D.

    `active` is the share of the D entries that a prototype touches, `signal` a prototype's norm where the world is
    easy. The nuisance is a video's own: `factors` and `spread` are the sd per entry of its low-rank and of its
    independent part. `noise` is the sd per entry that is drawn anew every second. The bias of an entry is drawn once,
    from N(bias, bias_spread²).
    """

    name: str
    modality: int
    size: int
    active: float
    signal: float
    bias: float
    bias_spread: float
    factors: float
    spread: float
    noise: float


CHANNELS = (
    Channel("audio", 0, 128, 0.30, 1.8, -0.28, 0.34, 0.14, 0.10, 0.21),
    Channel("frames", 1, 2048, 0.10, 10.0, 0.30, 0.25, 0.20, 0.20, 0.25),
    Channel("motion", 1, 512, 0.15, 5.0, 0.40, 0.35, 0.20, 0.20, 0.25),
)


@dataclass(frozen=True)
class _Appearance:
    """The parts of a channel that all videos share: prototypes (C, D), mixing (K, D), bias (D,); float32."""

    prototypes: np.ndarray
    mixing: np.ndarray
    bias: np.ndarray


class FeatureWorld:
    """Synthesises features; the prototypes belong to the seed, each video's chance to the video."""

    def __init__(self, seed: int, categories: int, difficulty: Difficulty = EASY) -> None:
        self.seed = seed
        self.channels = channels = tuple(replace(c, signal=c.signal * difficulty.factors[c.modality]) for c in CHANNELS)
        self._appearance = {
            c.name: _appearance(c, categories, np.random.default_rng([seed, number, 0, WORLD]))
            for number, c in enumerate(channels)
        }

    def features(self, split: str, first: int, dense: np.ndarray) -> dict[str, np.ndarray]:
        """Features of the videos from `first` on with the truth `dense` (n, 2, C, T): float32 (n, T, D) by name."""
        count, _, categories, segments = dense.shape
        sizes = [c.size for c in self.channels]
        loudness = np.empty((count, 2, categories), dtype=np.float32)
        factors = np.empty((count, len(self.channels), _FACTORS), dtype=np.float32)
        chance = np.empty((count, 1 + segments, sum(sizes)), dtype=np.float32)  # row 0: the video's; then the seconds'
        for i in range(count):
            generator = video_generator(self.seed, split, first + i, FEATURES)
            clarity = CLARITY * generator.standard_normal()
            loudness[i] = np.exp(clarity + LOUDNESS * generator.standard_normal((2, categories)))
            generator.standard_normal(dtype=np.float32, out=factors[i])
            generator.standard_normal(dtype=np.float32, out=chance[i])

        # (n, 2, T, C): how loud each category is in each second
        presence = np.swapaxes(dense * loudness[..., None], 2, 3)
        result = {}
        last = 0
        for number, channel in enumerate(self.channels):
            look = self._appearance[channel.name]
            own = chance[:, :, last : last + channel.size]
            last += channel.size
            # Stacked products: each video is a product of its own, the same in whatever company.
            value = np.matmul(presence[:, channel.modality], look.prototypes)
            value += np.matmul(factors[:, number : number + 1], look.mixing)
            value += look.bias
            value += np.float32(channel.spread) * own[:, :1]
            value += np.float32(channel.noise) * own[:, 1:]
            result[channel.name] = np.maximum(value, 0, out=value)
        return result

    def unpooled_frames(self, split: str, first: int, pooled: np.ndarray) -> np.ndarray:
        """The 8 frames (n, 8T, D) of every second whose means are `pooled` (n, T, D)."""
        count, segments, size = pooled.shape
        frames = np.empty((count, segments, FRAMES_PER_SEGMENT, size), dtype=np.float32)
        for i in range(count):
            generator = video_generator(self.seed, split, first + i, FRAMES)
            flicker = 1 + _FLICKER * (2 * generator.random(frames.shape[1:], dtype=np.float32) - 1)
            frames[i] = pooled[i, :, None] * (flicker / flicker.mean(axis=1, keepdims=True))
        return frames.reshape(count, segments * FRAMES_PER_SEGMENT, size)


def _appearance(channel: Channel, categories: int, generator: np.random.Generator) -> _Appearance:
    """Draw what all videos share in one channel."""
    shape = (categories, channel.size)
    prototypes = np.abs(generator.standard_normal(shape)) * (generator.random(shape) < channel.active)
    prototypes *= channel.signal / np.maximum(np.linalg.norm(prototypes, axis=1, keepdims=True), 1e-12)
    mixing = generator.standard_normal((_FACTORS, channel.size)) * (channel.factors / np.sqrt(_FACTORS))
    # The quantiles of a normal, shuffled: a hundred independent draws would give every seed sound of another density.
    quantiles = [NormalDist().inv_cdf((k + 0.5) / channel.size) for k in range(channel.size)]
    bias = channel.bias + channel.bias_spread * generator.permutation(quantiles)
    return _Appearance(*(part.astype(np.float32) for part in (prototypes, mixing, bias)))
