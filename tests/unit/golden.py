"""The figures that the released code gave, and the inputs they were computed on (tests/golden/inputs.json)."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from jomold_dist.models.han import HybridAttentionNetwork

FOLDER = Path(__file__).resolve().parents[1] / "golden"
INPUTS = json.loads((FOLDER / "inputs.json").read_text())
SEED = INPUTS["seed"]


def figures(name: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / f"{name}.npz") as file:
        return dict(file)


def parameters() -> dict[str, Tensor]:
    """Parameters in the released layout."""

    def make(name: str, shape: list[int]) -> Tensor:
        values = np.random.default_rng([SEED, zlib.crc32(name.encode())]).standard_normal(shape).astype(np.float32)
        return torch.from_numpy(values * np.float32(0.04) + np.float32("norm" in name and name.endswith("weight")))

    return {name: make(name, shape) for name, shape in INPUTS["parameter_shapes"].items()}


def network(**form: float) -> HybridAttentionNetwork:
    net = HybridAttentionNetwork(**form)  # type: ignore[arg-type]
    net.load_released(parameters())
    return net


def videos(count: int, seed: int) -> tuple[dict[str, Tensor], Tensor]:
    """Features by name, frames unpooled, and labels bool (count, 25)."""
    shapes = {"audio": (10, 128), "frames": (80, 2048), "motion": (10, 512)}
    features = {
        name: torch.from_numpy(
            np.maximum(np.random.default_rng([seed, n]).standard_normal((count, *shape)), 0).astype(np.float32)
        )
        for n, (name, shape) in enumerate(shapes.items(), start=1)
    }
    labels = np.random.default_rng([seed, 4]).random((count, 25)) < np.linspace(0.55, 0.05, 25)
    return features, torch.from_numpy(labels)
