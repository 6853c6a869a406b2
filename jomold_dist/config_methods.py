"""The settings of single methods: sections of a run's config, each looked at by the methods that it names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from jomold_dist.config_fields import number


@dataclass(frozen=True)
class StaticLabels:
    """What the `static` method removes."""

    audio: tuple[str, ...] = ()
    """Categories whose labels the `static` method always removes from the audio modality."""
    visual: tuple[str, ...] = ()
    """Categories whose labels the `static` method always removes from the visual modality."""


@dataclass(frozen=True)
class EstimatorLossConfig:
    """Loss weights of the estimator."""

    audio: float = number(1.0, 0)
    """Weight of the estimator's audio loss."""
    visual: float = number(1.0, 0)
    """Weight of the estimator's visual loss."""
    video: float = number(1.0, 0)
    """Weight of the estimator's loss of the whole video's prediction."""
    contrastive: float = number(1.0, 0)
    """Weight of the estimator's contrastive loss. 0 leaves it out. The paper takes only cross-modal attention from the
    estimator, and does not use this loss in label denoising (Table 1); the released code trains the estimator so."""


@dataclass(frozen=True)
class EstimatorConfig:
    """The estimator, whose probabilities give the noise ratios."""

    cross_modal: bool = False
    """Give the estimator cross-modal attention (the ablation of Table 2c)."""
    epochs: int = number(25, 1)
    """Epochs of the estimator. The paper names none; the released code gives it the model's."""
    batch_size: int | None = number(None, 1)
    """Videos in an optimizer batch of the estimator. None: `train.batch_size`."""
    keep_predictions: bool = False
    """Keep the estimator's probabilities of all training labels in the run's folder, for noise ratios at other
    thresholds. Of the one estimator of `denoise.ratios` = estimated; what those of a mixture say is always kept, in
    labels.parquet."""
    loss: EstimatorLossConfig = field(default_factory=EstimatorLossConfig)


@dataclass(frozen=True)
class SmallLossConfig:
    """Settings of `jocor` and `coteaching-plus`."""

    gradual_epochs: float = number(10.0, 0, above=True)
    """Epochs over which the share of forgotten labels grows from 0 to the noise ratios (`jocor`, `coteaching-plus`)."""
    agreement: float = number(0.1, 0, 1)
    """λ of `jocor`'s loss (1−λ)·(both networks' losses) + λ·(the divergence between them)."""
    agreeing: Literal["drop", "keep", "rank"] = "drop"
    """What `coteaching-plus` does with labels on which both networks agree: they are dropped as in the program of
    Co-teaching+, keep their weight, or are ranked with the others (plain Co-teaching)."""


@dataclass(frozen=True)
class RefineConfig:
    """Settings of `ma`, which refines labels."""

    epochs: int = number(12, 1)
    """Epochs of the network by which `ma` refines labels; its last epoch counts."""
    video_target: Literal["labels", "audio"] = "labels"
    """The target of the whole video's prediction in `ma`: the labels, or the refined audio labels, which is a defect of
    the released program."""


@dataclass(frozen=True)
class LargeLossConfig:
    """Settings of `large-loss`, which drops labels."""

    growth: float = number(0.05, 0, 1)
    """Share of a modality's labels by which `large-loss` drops more in every epoch, after none in the first."""
    audio_most: float = number(0.05, 0, 1)
    """The largest share of audio labels that `large-loss` drops."""
    visual_most: float = number(0.25, 0, 1)
    """The largest share of visual labels that `large-loss` drops."""


@dataclass(frozen=True)
class MixtureConfig:
    """Settings of `mixture`, which judges each label."""

    folds: int = number(2, 2, 16)
    """Into how many parts `mixture` cuts the training videos. Each part is judged by an estimator of its own, which
    learns the others, in as many steps as one of all videos and in smaller batches. All estimators of a round take
    together folds − 1 times as long as that one where time goes with videos, and longer where every step costs alike,
    up to folds times."""
    rounds: Literal[1, 2] = 2
    """How often labels are judged: 2 teaches further estimators by what the first ones have found, and asks them."""
    targets: Literal["weighted", "soft", "hard"] = "weighted"
    """What labels are trained towards. weighted: 1 or 0, whichever is the likelier, with the weight |2P − 1|; soft: the
    probability P that the label is really there; hard: 1 or 0."""
