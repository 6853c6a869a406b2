"""The scores of a network in training on the split `val`."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from jomold_dist.config import TrainConfig
from jomold_dist.data.reading.loader import Loader
from jomold_dist.models.network import Network
from jomold_dist.training.evaluate import evaluate
from jomold_dist.training.passes import COMPUTE_DTYPES
from jomold_dist.training.run import Run


class Validation:
    """Scores weights by a network of their form, beside the one that an engine trains and may hold in parts."""

    def __init__(self, run: Run, train: TrainConfig, network: Network, dtype: torch.dtype, loader: Loader) -> None:
        self.network = network.to(run.world.device, dtype)
        self.network.compute_dtype = COMPUTE_DTYPES[train.precision]
        self._run, self._loader = run, loader

    def scores(self, weights: Mapping[str, Tensor]) -> dict[str, float]:
        """Collective: the scores on val. StoppedError on every rank."""
        self.network.load_state_dict(weights)
        run, videos = self._run, self._loader.videos
        names = run.manifest.categories.names
        return evaluate(self.network, run.batches(self._loader), videos, run.world, names).scores
