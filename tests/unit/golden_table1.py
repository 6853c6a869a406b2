"""Inputs of the figures for the other systems of Table 1: parameters by the released names, mapped to ours.

A system's own names come from `NAMES`: ours -> theirs, by prefix, the longest first. Scales are by their prefix.
"""

from __future__ import annotations

import zlib

import numpy as np
import torch
from golden import SEED, videos
from torch import Tensor, nn

from jomold_dist.models.network import FeatureSizes

SIZES = FeatureSizes()
FRONT = {
    "audio_projection": "fc_a",
    "projection.frames": "fc_v",
    "projection.motion": "fc_st",
    "projection.fusion": "fc_fusion",
}
ATTENTION = {
    "attention.visual_hidden": "affine_video",
    "attention.audio_hidden": "affine_audio",
    "attention.visual_content": "affine_v",
    "attention.audio_content": "affine_g",
    "attention.score": "affine_h",
    "audio_recurrent": "lstm_audio",
    "visual_recurrent": "lstm_video",
}
NAMES = {
    "talnet": {"recurrent": "gru", "event_head": "fc_prob", "attention_head": "fc_att"},
    "stpn": {
        f"{stream}{ours}": f"{stream}{theirs}"
        for stream in ("frames.", "motion.")
        for ours, theirs in {
            "attention_hidden": "att1",
            "attention_head": "att2",
            "classifier": "cls",
            "bias": "cls.bias",
        }.items()
    },
    "cmcs": {  # the branch's number is in its folder's name and in its own
        "base": "base.base_conv_0",
        **{f"branches.{k}": f"cls_bottoms.{k}.cls_b{k}_conv_0" for k in range(4)},
        **{f"heads.{k}": f"cls_heads.{k}" for k in range(4)},
        "attention_hidden": "att_bottom.att_conv_0",
        "attention_head": "att_head",
    },
    "ave": {**ATTENTION, "event_head.1": "L1", "event_head.3": "L2"},
    "avsdn": {
        **ATTENTION,
        **{f"fusion.{m}.{n}": f"U_{m[0]}.{n}" for m in ("audio", "visual") for n in (0, 2)},
        "decoder": "lstm_a_v",
        "event_head": "event_classifier.0",
        "category_head": "category_classifier.0",
    },
}
NAMES["ave49"] = NAMES["ave"]
AVE_SCALES = {"lstm_": 0.1, "affine_h": 0.5, "L1": 0.1, "L2": 0.3}
SCALES = {
    "talnet": {"gru": 0.1, "fc_": 0.2},
    "stpn": {"frames.att2": 0.25, "motion.att2": 0.25},
    "cmcs": {"cls_heads": 0.2, "att_head": 0.2},
    "ave": AVE_SCALES,
    "ave49": AVE_SCALES,
    "avsdn": {"lstm_": 0.1, "U_": 0.1, "affine_h": 0.5, "event_classifier": 0.2, "category_classifier": 0.2},
}


def parameter(name: str, shape: torch.Size, scale: float = 0.04) -> Tensor:
    values = np.random.default_rng([SEED, zlib.crc32(name.encode())]).standard_normal(tuple(shape))
    return torch.from_numpy(values.astype(np.float32) * np.float32(scale))


def load(network: nn.Module, system: str) -> None:
    """Give the network the figures' parameters; those of parts that the released program lacks stay as they are."""
    state = network.state_dict()
    for ours, value in state.items():  # a convolution of width 1 is a linear layer of ours: the same numbers
        if theirs := _renamed(ours, FRONT):
            value.copy_(parameter(theirs, value.shape))
        elif theirs := _renamed(ours, NAMES[system]):
            scale = next((s for prefix, s in SCALES[system].items() if theirs.startswith(prefix)), 0.04)
            value.copy_(parameter(f"{system}.{theirs}", value.shape, scale))


def _renamed(name: str, names: dict[str, str]) -> str | None:
    for ours in sorted(names, key=len, reverse=True):
        if name == ours or name.startswith(f"{ours}."):
            return names[ours] + name.removeprefix(ours)
    return None


def inputs(dtype: torch.dtype = torch.float32) -> tuple[dict[str, Tensor], Tensor]:
    """Features of the four videos by name, and labels in `dtype` (4, 25)."""
    features, labels = videos(4, SEED)
    return {name: value.to(dtype) for name, value in features.items()}, labels.to(dtype)


def regions() -> Tensor:
    """The image regions of the first two videos, (2, 10, 49, 512)."""
    values = np.maximum(np.random.default_rng([SEED, 49]).standard_normal((2, 10, 7, 7, 512)), 0)
    return torch.from_numpy(values.astype(np.float32)).flatten(2, 3)
