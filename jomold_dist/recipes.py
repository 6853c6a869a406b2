"""The recipes: named bundles of settings, below what is given by name."""

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
