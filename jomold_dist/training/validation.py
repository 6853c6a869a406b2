"""What a network in training finds on the split `val`: the scores, or the loss where there are no dense labels."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from jomold_dist.config import TrainConfig
from jomold_dist.data.reading.loader import Loader
from jomold_dist.models.network import Network
from jomold_dist.training.evaluate import evaluate, parse_videos
from jomold_dist.training.label_loss import LabelLoss
from jomold_dist.training.passes import COMPUTE_DTYPES
from jomold_dist.training.run import Run
from jomold_dist.training.selection import LOSS, Selection


class Validation:
    """Judges weights by a network of their form, beside the one that an engine trains and may hold in parts. Without a
    loader of val there is nothing to find."""

    def __init__(
        self,
        run: Run,
        train: TrainConfig,
        network: Network,
        dtype: torch.dtype,
        selection: Selection,
        loader: Loader | None,
    ) -> None:
        self.network = network.to(run.world.device, dtype)
        self.network.compute_dtype = COMPUTE_DTYPES[train.precision]
        self._run, self._loader, self._skip = run, loader, train.non_finite == "skip"
        self._dense = loader is not None and run.manifest.split(loader.split).dense
        self._loss = selection.by == LOSS or not self._dense

    def find(self, weights: Mapping[str, Tensor]) -> dict[str, float]:
        """Collective: by name, the scores on val where it has dense labels; LOSS where it has none, or is selected by
        it. StoppedError and NonFiniteError on every rank."""
        if self._loader is None:
            return {}
        self.network.load_state_dict(weights)
        run, videos, loss = self._run, self._loader.videos, LabelLoss()
        batches, found = run.batches(self._loader), dict[str, float]()
        if self._dense:
            names = run.manifest.categories.names
            heed = [loss.add] if self._loss else []
            found |= evaluate(self.network, batches, videos, run.world, names, *heed).scores
        else:
            for batch, parsing in parse_videos(self.network, batches, run.world.device):
                loss.add(batch, parsing)
        return found | ({LOSS: loss.mean(videos, run.world, self._skip)} if self._loss else {})
