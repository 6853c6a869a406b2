"""The settings of single methods: sections of a run's config, each looked at by the methods that it names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jomold_dist.config_fields import number


@dataclass(frozen=True)
class StaticLabels:
    audio: tuple[str, ...] = ()
    """Categories whose labels the `static` method always removes from the audio modality."""
    visual: tuple[str, ...] = ()
    """Categories whose labels the `static` method always removes from the visual modality."""


@dataclass(frozen=True)
class SmallLossConfig:
    gradual_epochs: float = number(10.0, 0, above=True)
    """Epochs over which the share of forgotten labels grows from 0 to the noise ratios (`jocor`, `coteaching-plus`)."""
    agreement: float = number(0.1, 0, 1)
    """λ of `jocor`'s loss (1−λ)·(both networks' losses) + λ·(the divergence between them)."""
    agreeing: Literal["drop", "keep", "rank"] = "drop"
    """What `coteaching-plus` does with labels on which both networks agree: they are dropped as in the program of
    Co-teaching+, keep their weight, or are ranked with the others (plain Co-teaching)."""


@dataclass(frozen=True)
class RefineConfig:
    epochs: int = number(12, 1)
    """Epochs of the network by which `ma` refines labels; its last epoch counts."""
    video_target: Literal["labels", "audio"] = "labels"
    """The target of the whole video's prediction in `ma`: the labels, or the refined audio labels, which is a defect of
    the released program."""


@dataclass(frozen=True)
class LargeLossConfig:
    growth: float = number(0.05, 0, 1)
    """Share of a modality's labels by which `large-loss` drops more in every epoch, after none in the first."""
    audio_most: float = number(0.05, 0, 1)
    """The largest share of audio labels that `large-loss` drops."""
    visual_most: float = number(0.25, 0, 1)
    """The largest share of visual labels that `large-loss` drops."""
