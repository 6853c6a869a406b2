"""The settings of which labels are removed, and of the loss that the others are trained with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from jomold_dist.config_fields import number, place
from jomold_dist.config_methods import StaticLabels


@dataclass(frozen=True)
class DenoiseConfig:
    """Which labels count as noise: noise ratios, what is ranked together, how removals begin."""

    audio_threshold: float = number(0.6, 0)
    """θ^a of equation 1: a label is counted as noise if its probability over the category's mean is below it."""
    visual_threshold: float = number(1.8, 0)
    """θ^v of equation 1."""
    visual_scale: float = number(1.0, 0, above=True)
    """Factor on the visual numerator of equation 1 (`released`: 0.95)."""
    mean_batch_size: int | None = number(None, 1)
    """Equation 1's mean as a mean of batch means of this size. None: exact (`released`: `train.batch_size`)."""
    warmup: Literal["linear", "released"] = "linear"
    """How noise ratios grow: gradually, as the paper says without a formula, or by the step that the released code
    really takes."""
    warmup_epochs: float | None = number(0.9, 0, above=True)
    """Length of the warm-up in epochs. None: full ratios from the first step."""
    ranking_dropout: bool = False
    """Dropout in the ranking pass (`released`: true)."""
    rule: Literal["joint", "intra"] = "joint"
    """`joint`: a removed label has a high loss in its modality and a low one in the other. `intra`: a high one only."""
    scope: Literal["batch", "window", "dataset"] = "batch"
    """What `jomold` ranks together: a batch (the paper), `window_steps` batches, or the training split (methods.md)."""
    window_steps: int = number(16, 1)
    """Optimizer steps that are ranked together with `scope: window`, the present one included."""
    modalities: Literal["both", "audio", "visual"] = "both"
    """The modalities from which labels are removed."""
    ratios: Literal["estimated", "mixture", "constant", "file"] = "estimated"
    """Where noise ratios come from: an estimator trained first and equation 1, the mixture of `method: mixture`, which
    has no θ, `ratio_constant`, or `ratio_file`."""
    ratio_constant: float | None = number(None, 0, 1)
    """The noise ratio of every category and both modalities, with `ratios: constant`."""
    ratio_file: str | None = place(None)
    """An .npz with `audio` and `visual`, or a run's noise_ratios.json, with `ratios: file`. Its `categories`, if it has
    them, tell whose ratio is which; without them the order is the data set's."""
    static_labels: StaticLabels = field(default_factory=StaticLabels)
    cleaned_labels: str | None = place(None)
    """A table (CSV) of the training labels that are heard and seen, as `jomold labels` writes it: what `method:
    cleaned` trains on."""


@dataclass(frozen=True)
class LossConfig:
    """Weights and forms of the terms of the loss."""

    audio: float = number(2.0, 0)
    """Weight of the audio loss. The paper gives no weights; these are the released code's."""
    visual: float = number(1.0, 0)
    """Weight of the visual loss."""
    video: float = number(1.0, 0)
    """Weight of the loss of the whole video's prediction, whose labels are never removed."""
    contrastive: float = number(1.0, 0)
    """Weight of the contrastive loss. 0 leaves it out: the paper's rows without CL."""
    contrastive_smoothing: float = number(0.1, 0, 0.99)
    """Share of the contrastive target that is spread over the other segments."""
    contrastive_form: Literal["log_of_sum", "sum_of_logs"] = "log_of_sum"
    """The contrastive loss as JoMoLD's released code has it, or as MA has it."""
    sparsity: float = number(1e-4, 0)
    """Weight of the attention's sparsity (stpn)."""
    diversity: float = number(0.2, 0)
    """Weight of the branches' likeness (cmcs)."""
    norm: float = number(0.2, 0)
    """Weight of the difference of the branches' norms (cmcs)."""
    segment: float = number(1.0, 0)
    """Weight of the loss of segments, where a method has targets for them."""
    visual_smoothing: float = number(1.0, 0.01, 1)
    """s in the visual targets s·y + (1−s)/2 (`released`: 0.9). A removed label's target is 0 all the same."""
