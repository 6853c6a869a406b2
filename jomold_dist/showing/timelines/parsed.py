"""What networks make of the videos of a data set: of a few, or of a whole split, one video after another.

Legend: B videos of a batch, C categories, T segments; modality 0 is audio, 1 is visual.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from jomold_dist.config import Config
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.data.looking.lookup import find_videos
from jomold_dist.data.reading.loader import Batch, Loader
from jomold_dist.data.reading.source import Source
from jomold_dist.distributed.world import World
from jomold_dist.labels import MODALITIES
from jomold_dist.models.network import Network, Parsing
from jomold_dist.training.evaluate import decide_events, parse_videos
from jomold_dist.training.run import make_loader


@dataclass(frozen=True)
class ParsedVideo:
    """A video and what one network says of it. Its arrays are its own: keeping one video keeps no batch."""

    key: str
    categories: tuple[str, ...]
    segment_seconds: float
    probability: np.ndarray = field(repr=False)
    """Of each segment, float32 (2, C, T); 0 in a modality that the network lacks."""
    found: np.ndarray = field(repr=False)
    """The segments that count, bool (2, C, T)."""
    truth: np.ndarray | None = field(default=None, repr=False)
    """Dense labels, bool (2, C, T); None where they are not known."""
    labels: np.ndarray | None = field(default=None, repr=False)
    """Weak labels, bool (C,); None for a video that was never packed."""
    modalities: tuple[str, ...] = MODALITIES
    """Those that the network parses."""

    @property
    def segments(self) -> int:
        """T."""
        return int(self.found.shape[-1])


@dataclass(frozen=True)
class Videos:
    """A data set whose videos networks parse, in one process: where it lies, and how a run's config reads it."""

    config: Config
    source: Source
    manifest: Manifest
    world: World

    def loader(self, split: str) -> Loader:
        """The split in the manifest's order. Nothing is decoded into a file for it."""
        config = replace(self.config, data=replace(self.config.data, resident=False))
        return make_loader(config, self.manifest, split, self.source, self.world, shuffle=False)


def parse_batch(
    network: Network, batch: Batch, manifest: Manifest, device: torch.device, threshold: float | None = None
) -> list[ParsedVideo]:
    """The videos of a batch, parsed. `threshold` as for `decide_events`."""
    ((_, parsing),) = parse_videos(network, [batch], device)
    labels, dense = batch.labels.numpy(), None if batch.dense is None else batch.dense.numpy().astype(bool)
    names, seconds = manifest.categories.names, manifest.segment_seconds
    return [
        replace(video, labels=labels[n].copy(), truth=None if dense is None else dense[n].copy())
        for n, video in enumerate(parsed(network, parsing, batch.keys, names, seconds, threshold))
    ]


def parsed(
    network: Network,
    parsing: Parsing,
    keys: Sequence[str],
    categories: tuple[str, ...],
    segment_seconds: float,
    threshold: float | None = None,
) -> list[ParsedVideo]:
    """The videos of a parsing by itself, without labels."""
    found = torch.stack(decide_events(network, parsing, threshold), dim=1).cpu().numpy()  # (B, 2, C, T)
    probability = _by_modality(parsing.segment_prob)
    return [
        ParsedVideo(
            key, categories, segment_seconds, probability[n].copy(), found[n].copy(), modalities=network.modalities
        )
        for n, key in enumerate(keys)
    ]


def parse_split(
    networks: Sequence[Network],
    videos: Videos,
    split: str,
    threshold: float | None = None,
    progress: Callable[[int], object] = lambda count: None,
) -> Iterator[tuple[ParsedVideo, ...]]:
    """Every video of a split that can be used, in the manifest's order, as each of the networks parses it. A batch is
    in memory at a time, and each is read once. `progress` is called with how many more videos are done."""
    with videos.loader(split) as loader:
        yield from _each(networks, loader.epoch(0), videos, threshold, progress)


def parse_numbers(
    networks: Sequence[Network], videos: Videos, split: str, numbers: np.ndarray, threshold: float | None = None
) -> Iterator[tuple[ParsedVideo, ...]]:
    """The videos with these numbers int64 (n,) of a split, in their order, as each of the networks parses them. Those
    that cannot be used are missing."""
    size = videos.config.train.batch_size
    with videos.loader(split) as loader:
        parts = (loader.take(numbers[first : first + size]) for first in range(0, len(numbers), size))
        yield from _each(networks, parts, videos, threshold)


def parse_keys(
    networks: Sequence[Network], videos: Videos, keys: Sequence[str], threshold: float | None = None
) -> Iterator[tuple[ParsedVideo, ...]]:
    """The videos of these keys, in their order, wherever in the data set they lie. DataError with the nearest keys for
    those that are not there."""
    places = find_videos(videos.source, videos.manifest, keys)
    numbers = {key: videos.manifest.split(at.split).first_of(at.shard) + at.number for key, at in places.items()}
    found: dict[str, tuple[ParsedVideo, ...]] = {}
    for split in dict.fromkeys(place.split for place in places.values()):
        wanted = np.array([numbers[key] for key, place in places.items() if place.split == split], dtype=np.int64)
        found |= {some[0].key: some for some in parse_numbers(networks, videos, split, wanted, threshold)}
    return (found[key] for key in dict.fromkeys(keys) if key in found)


def _each(
    networks: Sequence[Network],
    batches: Iterable[Batch],
    videos: Videos,
    threshold: float | None,
    progress: Callable[[int], object] = lambda count: None,
) -> Iterator[tuple[ParsedVideo, ...]]:
    for batch in batches:
        by_network = [parse_batch(net, batch, videos.manifest, videos.world.device, threshold) for net in networks]
        yield from zip(*by_network, strict=True)
        progress(len(batch.keys) + len(batch.bad))


def _by_modality(segment_prob: Tensor) -> np.ndarray:
    """float32 (B, 2, C, T) of (B, T, 2, C)."""
    return segment_prob.float().cpu().numpy().transpose(0, 2, 3, 1)
