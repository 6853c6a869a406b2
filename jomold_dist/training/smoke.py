"""A run of one optimizer batch a stage, from the first stage to the scores, to try a config and a data set.

It is a run like any other, over the first batch of each split instead of all. Its folder is a temporary one.
"""

from __future__ import annotations

import logging
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from jomold_dist.config import Config
from jomold_dist.data.reading.source import source_of
from jomold_dist.distributed.world import World, agree_on_errors, broadcast_object
from jomold_dist.errors import RunFolderError
from jomold_dist.training.banner import tell_start
from jomold_dist.training.preflight import prepare_run
from jomold_dist.training.recorder import NullRecorder
from jomold_dist.training.run import Run
from jomold_dist.training.run_folder import RunFolder
from jomold_dist.training.stages import run_stages
from jomold_dist.watching import Watch

logger = logging.getLogger(__name__)


class StageTimes(NullRecorder):
    """Records how long each stage takes, and nothing else."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, of_model: bool = False) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - begun


def shortened(config: Config, folder: str) -> Config:
    """The config of the smoke run: an epoch a stage, and nothing is kept, decoded or read as a whole."""
    return replace(
        config,
        run=replace(config.run, dir=folder),
        data=replace(config.data, resident=False, verify="size"),
        estimator=replace(config.estimator, epochs=1),
        refine=replace(config.refine, epochs=1),
        train=replace(config.train, epochs=1, patience=None, validate_every_steps=None),
        tracking=replace(config.tracking, enabled=False),
        metrics=replace(config.metrics, every_steps=1),
        profile=replace(config.profile, steps=None),
    )


def _new_folder() -> str:
    """RunFolderError where there is no room for temporary files."""
    try:
        return tempfile.mkdtemp(prefix="jomold_dist-smoke-")
    except OSError as error:
        raise RunFolderError(
            f"a smoke run needs a folder for temporary files, and none can be made: {error.strerror or error}. Make "
            "room, or name another place with the environment variable TMPDIR"
        ) from None


def smoke_run(config: Config, world: World, watch: Watch, stop_asked: Callable[[], bool]) -> str:
    """Collective: the run; what held, and how long each part took. Its folder is gone however it ends."""
    with agree_on_errors(world):
        made = _new_folder() if world.is_main else None
    place = Path(broadcast_object(made, world))  # elsewhere it may not be there: only rank 0 writes into it
    times = StageTimes()
    try:
        begun = time.perf_counter()
        short = shortened(config, str(place))
        manifest = prepare_run(short, world)
        times.seconds["data set"] = time.perf_counter() - begun
        run = Run(short, manifest, world, RunFolder(place), times, watch, stop_asked, most_steps=1)
        tell_start(run, None)
        logger.info("smoke run: one batch a stage, so what is said of losses, scores and labels means nothing")
        with agree_on_errors(world):
            if world.is_main:
                run.folder.checkpoints.mkdir()
        run_stages(run)
    finally:
        if world.is_main:
            shutil.rmtree(place, ignore_errors=True)
    return closing_text(config, times.seconds)


def closing_text(config: Config, seconds: Mapping[str, float]) -> str:
    """What held, how many seconds each part took, and what was not looked at."""
    parts = ", ".join(f"{name} {took:.1f} s" for name, took in seconds.items())
    held = f"smoke run held, one batch a stage: {parts}; nothing is left of it"
    if source_of(config.data).is_remote:  # a shard is checked when it comes
        return held
    commands = " and ".join(f"jomold verify {shlex.quote(place)}" for place in config.data.places)
    return f"{held}. Shards were compared by size alone: {commands} reads them"
