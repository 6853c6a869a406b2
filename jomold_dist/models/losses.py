"""Losses: clamped binary cross-entropy, per label and per video, and the audio-visual contrastive loss."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

CLAMP = 1e-7


def binary_cross_entropy(probability: Tensor, target: Tensor | float) -> Tensor:
    """Per-label loss −y·log p − (1−y)·log(1−p), with p clamped to [1e-7, 1−1e-7]; any shape, at least float32.

    Probabilities of whole videos are sums that may exceed 1; the clamp brings them back, with no gradient beyond it.
    """
    p = probability.clamp(CLAMP, 1 - CLAMP)
    return -(target * p.log() + (1 - target) * (1 - p).log())


def bernoulli_divergence(first: Tensor, second: Tensor) -> Tensor:
    """KL(p‖q) of the coin with p from the coin with q, p = `first` and q = `second` clamped as above; any shape."""
    p, q = (probability.clamp(CLAMP, 1 - CLAMP) for probability in (first, second))
    return p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()


def smooth_targets(labels: Tensor, smoothing: float) -> Tensor:
    """s·y + (1−s)/2, float32 or the dtype of floating `labels`."""
    labels = labels if labels.is_floating_point() else labels.float()
    return labels if smoothing == 1 else smoothing * labels + (1 - smoothing) / 2


def label_loss(probability: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean over a video's labels of weight × binary cross-entropy: (b, ..., C) -> (b,)."""
    loss = binary_cross_entropy(probability, target)
    return (loss if weight is None else loss * weight).flatten(1).mean(1)


def contrastive_loss(
    similarity: Tensor,
    smoothing: float = 0.1,
    reduction: Literal["mean", "sum", "video"] = "mean",
    form: Literal["log_of_sum", "sum_of_logs"] = "log_of_sum",
) -> Tensor:
    """The contrastive loss over the rows of `similarity` (B, T, T), audio segments against visual ones.

    q is 1 − smoothing for the visual segment of the same second, and the rest spread evenly over the others; s the
    softmax of a row. `log_of_sum`: −log Σ_τ q_τ·s_τ, as JoMoLD's released code has it. `sum_of_logs`:
    −Σ_τ q_τ·log s_τ, as in MA, which proposed the loss. `reduction` over all rows, or `video`: means (B,).
    """
    segments = similarity.shape[-1]
    others = smoothing / (segments - 1) if segments > 1 else 0.0
    mine = 1 - smoothing - others  # what the same second has more than the others
    if form == "log_of_sum":
        same = similarity.softmax(-1).diagonal(dim1=-2, dim2=-1)  # (B, T)
        loss = -(mine * same + others).log()  # a softmax row sums to 1
    else:
        logs = similarity.log_softmax(-1)
        loss = -(mine * logs.diagonal(dim1=-2, dim2=-1) + others * logs.sum(-1))
    if reduction == "video":
        return loss.mean(-1)
    return loss.mean() if reduction == "mean" else loss.sum()
