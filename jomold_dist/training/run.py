"""What all stages of a run share: config, data set, ranks, folder, and whom to report to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from jomold_dist.config import Config
from jomold_dist.data.loader import Loader
from jomold_dist.data.manifest import Manifest
from jomold_dist.distributed.world import World
from jomold_dist.models.weights import WeightsInfo
from jomold_dist.training.recorder import NullRecorder, Recorder
from jomold_dist.training.run_folder import RunFolder

T = TypeVar("T")


def no_progress(items: Iterable[T], total: int, description: str) -> Iterable[T]:
    """Shows nothing."""
    return items


def never() -> bool:
    """Nobody asks to stop."""
    return False


@dataclass(frozen=True)
class Run:
    """One run on one rank. `progress` wraps an iterable to show how far it is; `stop_asked` tells whether this
    process was asked to stop."""

    config: Config
    manifest: Manifest
    world: World
    folder: RunFolder
    recorder: Recorder = field(default_factory=NullRecorder)
    progress: Callable[[Iterable[Any], int, str], Iterable[Any]] = no_progress
    stop_asked: Callable[[], bool] = never

    def loader(self, split: str, shuffle: bool) -> Loader:
        """This rank's videos of a split, in the canonical order of each epoch or in the manifest's order."""
        data = self.config.data
        return Loader(
            Path(data.shards),
            self.manifest,
            split,
            batch_size=self.config.train.batch_size,
            rank=self.world.rank,
            world=self.world.size,
            seed=self.config.run.seed,
            streams=data.streams,
            block=data.block,
            threads=data.threads,
            shuffle=shuffle,
            resident=data.resident,
            cache=None if data.cache is None else Path(data.cache),
        )

    def weights_info(self, cross_modal: bool, notes: dict[str, str]) -> WeightsInfo:
        """What a weights file of this run says beside the weights."""
        return WeightsInfo(self.manifest.categories.names, self.manifest.segments, cross_modal, notes)
