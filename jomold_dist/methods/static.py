"""The labels of `denoise.static_labels` are always removed: the control beside every denoiser's gain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from jomold_dist.config import Config, DenoiseConfig
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.data.reading.loader import Batch
from jomold_dist.errors import nearest
from jomold_dist.methods.base import Moment
from jomold_dist.methods.han import Han


class Static(Han):
    """What somebody who knows the data would remove by hand."""

    removes = True
    han_without_removals = True

    def __init__(self, config: Config, manifest: Manifest, found: Mapping[str, Any], device: torch.device) -> None:
        super().__init__(config, manifest, found, device)
        named = config.denoise.static_labels
        masks = [torch.from_numpy(manifest.categories.encode(names)) for names in (named.audio, named.visual)]
        self._masks = torch.stack(masks).to(device, torch.bool)  # (2, C)

    @classmethod
    def problems(cls, config: Config, manifest: Manifest) -> list[str]:
        known, named = manifest.categories, config.denoise.static_labels
        return [
            f"denoise.static_labels.{modality} names {name!r}, which the data set does not have"
            + nearest(name, known.names)
            for modality, names in (("audio", named.audio), ("visual", named.visual))
            for name in names
            if name not in known
        ]

    @classmethod
    def essential(cls, config: Config) -> Config:
        return replace(super().essential(config), denoise=DenoiseConfig(static_labels=config.denoise.static_labels))

    def masks_of(self, batch: Batch, labels: Tensor, moment: Moment) -> Tensor:
        return labels & self._masks[:, None]
