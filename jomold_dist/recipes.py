"""The recipes: named bundles of settings, below what is given by name; and what the paper leaves open."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jomold_dist.config import TrainConfig


def _batch_size(settings: Mapping[str, Any]) -> int:
    """`train.batch_size`"""
    return settings.get("train.batch_size", TrainConfig.batch_size)


# Recipe `paper` is the defaults. A callable reads the settings that were given; its docstring says what it takes.
RECIPES: dict[str, dict[str, Any]] = {
    "paper": {},
    "released": {
        "denoise.warmup": "released",
        "denoise.ranking_dropout": True,
        "denoise.visual_scale": 0.95,
        "denoise.mean_batch_size": _batch_size,
        "loss.visual_smoothing": 0.9,
        "train.selection": "event_audio",
        "train.selection_ties": "last",
    },
}

# Settings of which the paper does not tell, and where the value of recipe `paper` comes from.
LEFT_OPEN: dict[str, str] = {
    "loss.audio": "The released code; the paper gives no weights of the loss terms.",
    "loss.visual": "As above.",
    "loss.video": "As above.",
    "loss.contrastive": (
        "The released code. The paper names MA's loss; the released code takes the logarithm of the weighted sum over "
        "segments where MA sums logarithms, and compares features after the encoder on both sides."
    ),
    "loss.contrastive_form": "The released code; MA sums logarithms.",
    "model.similarity": "The released code; MA compares with the visual features before the encoder.",
    "model.gate": "The released code; HAN gates both modalities by the whole video's probability.",
    "estimator.loss.contrastive": (
        "The released code. The paper changes nothing of the estimator but cross-modal attention, and says that the "
        "contrastive loss is not used in label denoising."
    ),
    "estimator.epochs": "The released code: as many as the model's, with the same batch size and learning rate.",
    "model.classifier_dropout": "The released code, on the visual features alone; HAN has none.",
    "model.attention_dropout": "HAN and the released code.",
    "denoise.warmup": "The paper says that ratios grow gradually, and gives no formula: a ramp, in `released` a step.",
    "train.selection": "HAN; `released` has its own, and says so above.",
}
