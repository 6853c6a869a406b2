"""Methods that remove the labels which an earlier stage has marked: `ma`, and the controls `random` and `true`.

What is removed does not change during the training.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jomold_dist.config import Config
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.data.reading.loader import Batch
from jomold_dist.methods.base import Method, Moment


class Marked(Method):
    """Its stage `labels` leaves, for each modality, the marked labels of every training video as bits."""

    removes = True

    def __init__(self, config: Config, manifest: Manifest, found: Mapping[str, Any], device: torch.device) -> None:
        super().__init__(config, manifest, found, device)
        self._marked: np.ndarray = found["labels"]  # uint8 (2, N, ⌈C/8⌉)

    def masks_of(self, batch: Batch, labels: Tensor, moment: Moment) -> Tensor:
        bits = np.unpackbits(self._marked[:, batch.index.numpy()], axis=2, count=labels.shape[1])
        return torch.from_numpy(bits.view(bool)).to(labels.device, non_blocking=True) & labels
