"""The stage that refines MA's labels: a trained network judges videos whose audio was exchanged.

Legend: b videos of a batch, C categories; modality 0 is audio, 1 is visual.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from jomold_dist.config import Config
from jomold_dist.data.reading.loader import Loader
from jomold_dist.denoising.refinement import count_errors, error_weights, partners, refine
from jomold_dist.distributed.world import gather_to_main, sum_over_ranks
from jomold_dist.errors import DataError
from jomold_dist.models.network import Network, Parsing
from jomold_dist.training.evaluate import parse_videos
from jomold_dist.training.marked_labels import LabelCollector, MarkedLabels, SplitLabels
from jomold_dist.training.run import Run
from jomold_dist.training.stage import Found, load_trained

logger = logging.getLogger(__name__)


class RefinedLabels(MarkedLabels):
    """Marks the labels that MA's refinement removes, from the network whose weights have this name."""

    def __init__(self, weights: str) -> None:
        self.weights = weights

    def passes(self, config: Config) -> tuple[int, int]:
        return 3, config.train.batch_size

    def mark(self, run: Run, found: Found) -> np.ndarray:
        network = load_trained(run, run.folder.weights(self.weights))
        with run.loader("train", False) as loader:
            split, weights = judge(run, network, loader)
            index, removed = exchange_and_judge(run, network, loader, split, weights)
        parts = gather_to_main((index, np.packbits(removed, axis=2)), run.world)
        if not run.world.is_main:
            return np.zeros(0, dtype=bool)
        marked = np.zeros((2, *split.labels.shape), dtype=bool)
        for place, bits in parts:
            marked[:, place] = np.unpackbits(bits, axis=2, count=split.labels.shape[1]).view(bool)
        shares = marked.sum((1, 2)) / max(1, split.labels.sum())
        logger.info("refined labels: removed audio %.3f, visual %.3f of all labels", *shares)
        return marked


def judge(run: Run, network: Network, loader: Loader) -> tuple[SplitLabels, Tensor]:
    """Collective: all labels, and the weights (2, C) of MA's error rates, on every rank."""
    collector, device = LabelCollector(run), run.world.device
    errors = torch.zeros(2, len(run.manifest.categories), dtype=torch.int64, device=device)
    for batch, parsing in parse_videos(network, run.batches(loader), device):
        collector.add(batch)
        errors += count_errors(_both(parsing), batch.labels.to(device))
    split, errors = collector.gather(), sum_over_ranks(errors, run.world)
    videos = int(split.served.sum())
    return split, torch.stack([error_weights(one, videos) for one in errors])


def exchange_and_judge(
    run: Run, network: Network, loader: Loader, split: SplitLabels, weights: Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """Collective: numbers (n,) of this rank's videos, and the labels that leave their targets: bool (2, n, C).

    A video without a partner keeps its labels.
    """
    indices, found = [np.zeros(0, dtype=np.int64)], [np.zeros((2, 0, split.labels.shape[1]), dtype=bool)]
    for batch in run.batches(loader):
        index = batch.index.numpy()
        partner = partners(index, split.labels, split.served, run.config.run.seed)
        foreign = take_features(run, loader, partner[partner >= 0])
        has = torch.from_numpy(partner >= 0)
        own = {name: tensor[has] for name, tensor in batch.features.items()}
        foreign_audio = _parse(run, network, own | {"audio": foreign["audio"]})
        foreign_visual = _parse(run, network, foreign | {"audio": own["audio"]})
        removed = refine(batch.labels[has].to(weights.device), foreign_audio, foreign_visual, weights)
        indices.append(index[has.numpy()])
        found.append(removed.cpu().numpy())
    return np.concatenate(indices), np.concatenate(found, axis=1)


def take_features(run: Run, loader: Loader, index: np.ndarray) -> dict[str, Tensor]:
    """Collective: features of the videos with these numbers. A DataError of any rank's is raised on every rank."""
    features, failure = {}, None
    try:
        batch = loader.take(index)
        if batch.bad:
            raise DataError(f"{batch.bad[0]}; it could be read before")
        features = batch.features
    except DataError as error:
        failure = error
    run.raise_if_stopped(failure)
    return features


def _parse(run: Run, network: Network, features: Mapping[str, Tensor]) -> Tensor:
    """Audio and visual probabilities (2, b, C) in eval mode."""
    network.eval()
    with torch.inference_mode():
        return _both(network.parse(**{name: tensor.to(run.world.device) for name, tensor in features.items()}))


def _both(parsing: Parsing) -> Tensor:
    """Audio and visual probabilities (2, b, C), clamped as in the losses."""
    assert parsing.audio_prob is not None  # the method refuses other networks
    assert parsing.visual_prob is not None
    return torch.stack([parsing.audio_prob, parsing.visual_prob])
