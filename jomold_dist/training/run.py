"""What all stages of a run share: config, data set, ranks, folder, and whom to report to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from jomold_dist.config import Config
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.data.reading.folds import Fold
from jomold_dist.data.reading.loader import Batch, Loader
from jomold_dist.data.reading.source import Source, source_of
from jomold_dist.distributed.world import World, agree_on_errors, sum_over_ranks
from jomold_dist.errors import DataError, StoppedError
from jomold_dist.models.network import Network, feature_sizes
from jomold_dist.models.registry import form_of
from jomold_dist.models.weights import WeightsInfo
from jomold_dist.training.bad_videos import BadVideoRecord
from jomold_dist.training.recorder import NullRecorder, Recorder
from jomold_dist.training.run_folder import RunFolder
from jomold_dist.watching import Watch


def never() -> bool:
    """Nobody asks to stop."""
    return False


@dataclass(frozen=True)
class Run:
    """One run on one rank. `watch` tells how far it is, on rank 0; `stop_asked` whether this process was asked to
    stop."""

    config: Config
    manifest: Manifest
    world: World
    folder: RunFolder
    recorder: Recorder = field(default_factory=NullRecorder)
    watch: Watch = field(default_factory=lambda: Watch(None))
    stop_asked: Callable[[], bool] = never
    records: bool = True
    """Whether bad videos are recorded in the folder."""
    most_steps: int | None = None
    """How many batches of each split are looked at. None: all."""

    def loader(self, split: str, shuffle: bool, batch_size: int | None = None, fold: Fold | None = None) -> Loader:
        """This rank's videos of a split, or of a fold of it, in the canonical order of each epoch or in the manifest's
        order, in batches of `train.batch_size` unless another size is given."""
        most = self.most_steps
        return make_loader(self.config, self.manifest, split, self.source, self.world, shuffle, batch_size, fold, most)

    @property
    def source(self) -> Source:
        """Where the data set lies."""
        return source_of(self.config.data)

    @cached_property
    def bad_videos(self) -> BadVideoRecord:
        """The videos that were left out of batches."""
        file = self.folder.bad_videos if self.records else None
        return BadVideoRecord(self.manifest, self.world, file, self.config.data.max_bad_fraction)

    def batches(self, loader: Loader) -> Iterator[Batch]:
        """Collective: all batches of a split that is not shuffled, its bad ones recorded.

        Raises on every rank: a DataError of any rank's reading or of too many bad videos, and StoppedError.
        """
        taken, failure = loader.epoch(0), None
        with self.watch.task(loader.split, loader.steps, "batch") as task:
            for step in range(loader.steps):
                try:
                    batch = next(taken)
                except DataError as error:
                    failure, batch = error, loader.empty_batch(step)
                self.raise_if_stopped(failure)
                self.bad_videos.add(batch)
                yield batch
                task.more()
        self.bad_videos.collect()
        self.bad_videos.refuse_too_many(loader.split)

    def raise_if_stopped(self, failure: DataError | None = None) -> None:
        """Collective: on every rank the DataError of any of them, or StoppedError if any of them was asked to stop."""
        failed, asked = failure is not None, self.stop_asked()
        if self.world.size > 1:  # one rank alone need not wait for its GPU
            flags = torch.tensor([failed, asked], dtype=torch.int64, device=self.world.device)
            failed, asked = sum_over_ranks(flags, self.world).tolist()
        if failed:
            with agree_on_errors(self.world):
                if failure is not None:
                    raise failure
        if asked:
            raise StoppedError("stopped on request")

    @property
    def owner(self) -> dict[str, Any]:
        """To whom its folder, its checkpoints and its weights belong."""
        return self.folder.owner(self.config, self.manifest.digest)

    def notes(self, stage: str) -> dict[str, str]:
        """What the weights files of a stage note of whose they are."""
        return {"stage": stage, "owner": json.dumps(self.owner, sort_keys=True)}

    def weights_info(self, network: Network, notes: dict[str, str]) -> WeightsInfo:
        """What the weights file of a network of this run says beside the weights."""
        manifest = self.manifest
        form = form_of(network)
        sizes, seconds = feature_sizes(manifest), manifest.segment_seconds
        names, how = manifest.categories.names, manifest.extraction
        return WeightsInfo(names, manifest.segments, seconds, sizes, form, notes, how)


def make_loader(
    config: Config,
    manifest: Manifest,
    split: str,
    source: Source,
    world: World,
    shuffle: bool,
    batch_size: int | None = None,
    fold: Fold | None = None,
    most_steps: int | None = None,
) -> Loader:
    """A rank's loader of a split of a data set, as the config's `data` section says."""
    data = config.data
    return Loader(
        source,
        manifest,
        split,
        batch_size=batch_size or config.train.batch_size,
        rank=world.rank,
        world=world.size,
        seed=config.run.seed,
        streams=data.streams,
        block=data.block,
        threads=data.threads,
        shuffle=shuffle,
        resident=data.resident,
        cache=None if data.cache is None else Path(data.cache),
        mask=data.on_bad_video == "mask",
        prefetch=data.prefetch_shards,
        fold=fold,
        most_steps=most_steps,
    )
