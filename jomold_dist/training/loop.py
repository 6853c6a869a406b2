"""Training one network: epochs, validation, model selection, its early end, and what is told of each epoch."""

from __future__ import annotations

import logging
import time
import zlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from jomold_dist.data.reading.folds import Fold
from jomold_dist.data.reading.loader import Loader
from jomold_dist.denoising.exchange import row_capacity
from jomold_dist.distributed.world import agree_on_errors, sum_over_ranks
from jomold_dist.errors import RunFolderError, StoppedError
from jomold_dist.methods.base import Method, Moment
from jomold_dist.times import now_iso
from jomold_dist.training.checkpoint import BEST
from jomold_dist.training.epoch_report import epoch_text
from jomold_dist.training.epoch_steps import EpochSteps
from jomold_dist.training.keeper import Keeper
from jomold_dist.training.listeners import StepListener
from jomold_dist.training.profiling import StepProfiler
from jomold_dist.training.progress import Progress
from jomold_dist.training.removals import RemovalRecord
from jomold_dist.training.run import Run
from jomold_dist.training.run_folder import BEST_WITHIN, ENDED_EARLY
from jomold_dist.training.saving import Saver
from jomold_dist.training.schedule import learning_rate
from jomold_dist.training.selection import LAST, selection_of
from jomold_dist.training.step import TrainStep
from jomold_dist.training.step_metrics import StepMetrics
from jomold_dist.training.stopwatch import Stopwatch
from jomold_dist.training.validation import Validation

logger = logging.getLogger(__name__)

Keep = Literal["best", "last"]


def fit(run: Run, method: Method, stage: str, keep: Keep, removals: RemovalRecord, fold: Fold | None = None) -> Path:
    """Collective: train the method's network as its config says, from its newest checkpoint if there is one, on the
    training videos of a fold or on all. Returns where the best weights, or those of the last epoch, lie, for rank 0.
    Its checkpoints are called `stage`.

    Raises StoppedError on every rank, with a checkpoint written, once any rank was asked to stop.
    """
    size = method.config.train.batch_size
    with ExitStack() as stack:
        loader = stack.enter_context(run.loader("train", True, size, fold))
        val = stack.enter_context(run.loader("val", False, size)) if "val" in run.manifest.splits else None
        training = Training(run, method, stage, keep, removals, loader, val)
        listeners = [stack.enter_context(each) for each in (training.metrics, StepProfiler(run, stage))]
        training.resume()
        while training.goes_on():
            training.take_epoch(listeners)
        return training.finish()


class Training:
    """One network's training, from wherever it is to its last epoch."""

    def __init__(
        self,
        run: Run,
        method: Method,
        stage: str,
        keep: Keep,
        removals: RemovalRecord,
        loader: Loader,
        val: Loader | None,
    ) -> None:
        """Collective: the engine is set up."""
        config, world = method.config, run.world
        train, seed = config.train, _stage_seed(config.run.seed, stage)
        if val is None:
            train = replace(train, validate_every_steps=None)
        torch.manual_seed(seed)
        self._selection = selection_of(train.selection, run.manifest)
        self._keeps_last = keep == "last" or self._selection.by == LAST
        self._run, self._stage, self._removals = run, stage, removals
        self._train, self._loader = train, loader
        stopwatch = Stopwatch(world.device)
        with agree_on_errors(world):  # they may be somebody's own; the engine below meets the other ranks
            network = method.network(config, run.manifest)
            judge = method.network(config, run.manifest)  # for validation
        capacity = row_capacity(train.batch_size, world.size, run.manifest.split("train").max_labels)
        step = TrainStep(method, network, world, seed, stopwatch, capacity)
        self._step = step
        dtype = next(step.network.parameters()).dtype
        self._validation = Validation(run, train, judge, dtype, self._selection, val)
        keeper = Keeper(run, stage, train.epochs, train.batch_size, loader.videos, self._validation.network)
        self.metrics = StepMetrics(run, stage, step.sums)
        self._saver = Saver(run, stage, loader.steps, step, removals, self.metrics, keeper, config.checkpoint)
        self._steps = EpochSteps(run, stage, train, loader, step, stopwatch, removals, self._saver)
        self.progress = Progress()

    def resume(self) -> None:
        """Collective: go on from the newest checkpoint; without one, start."""
        self.progress = self._saver.restore()

    def goes_on(self) -> bool:
        """Whether there is an epoch to take."""
        return self.progress.epoch < self._train.epochs and not self._ends_early(self.progress.epoch)

    def take_epoch(self, listeners: Sequence[StepListener]) -> None:
        """Collective: the rest of the current epoch, its validation, and its line in the history."""
        run, progress, steps = self._run, self.progress, self._loader.steps
        speed = self._steps.take(progress, listeners, self._validate_within)
        begun = time.monotonic()
        found = self._validate()
        summed = sum_over_ranks(self._step.take_sums(), run.world).tolist()
        reached = (progress.epoch + 1) * steps
        for listener in listeners:
            listener.after_epoch(reached, np.array(summed))
        if self._train.validate_every_steps is not None:
            self.metrics.validated(reached, found)
        line = self._sum_up(summed) | speed | {f"val/{name}": value for name, value in found.items()}
        progress.seconds += time.monotonic() - begun
        progress.history.append(self._history_line(line))
        with agree_on_errors(run.world):
            if run.world.is_main:
                self._tell(line)
        self._step.method.end_epoch(Moment(reached, steps), run.world)
        progress.end_epoch()

    def finish(self) -> Path:
        """Collective: the last checkpoint, from which more epochs can go on; where the best weights lie."""
        progress, train = self.progress, self._train
        if progress.epoch < train.epochs:
            progress.history[-1][ENDED_EARLY] = True
            with agree_on_errors(self._run.world):
                if self._run.world.is_main:
                    self._write_history()
                    logger.info(
                        "%s: ended after epoch %d of %d: no %s in train.patience = %d epochs",
                        self._stage, progress.epoch, train.epochs, self._selection.better, train.patience,
                    )  # fmt: skip
        problem = self._saver.save(progress)
        with agree_on_errors(self._run.world):
            if problem:
                raise RunFolderError(f"{self._stage}: the result cannot be written: {problem}")
        return self._saver.keeper.place(progress) / BEST

    def _ends_early(self, epochs: int) -> bool:
        """Whether, after so many epochs, none of the last ones was better."""
        patience = None if self._keeps_last else self._train.patience
        return patience is not None and epochs - (self.progress.best.epoch + 1) >= patience

    def _validate_within(self) -> None:
        """Collective: the validation of a moment in the middle of an epoch, which may be the best one."""
        progress = self.progress
        begun = time.monotonic()
        found = self._validate()
        progress.validated = progress.step
        progress.seconds += time.monotonic() - begun
        self.metrics.validated(progress.epoch * self._loader.steps + progress.step, found)

    def _validate(self) -> dict[str, float]:
        """Collective: what the weights as they are now find on val; they are kept if they are the best."""
        progress, within = self.progress, self.progress.step < self._loader.steps
        weights = self._step.weights()
        try:  # nothing is summed up yet: a checkpoint taken here is one after the last step
            found = self._validation.find(weights)
        except StoppedError:
            self._saver.save_and_stop(progress)
        if within and self._keeps_last:
            return found
        ties = "always" if self._keeps_last else self._train.selection_ties
        if progress.best.update(progress.epoch, progress.step, self._selection.score(found), ties):
            progress.best.scores = found
            progress.best.weights = {name: tensor.cpu() for name, tensor in weights.items()}
        return found

    def _sum_up(self, summed: list[float]) -> dict[str, float]:
        """Collective: losses and removals of the epoch's steps, as metrics."""
        progress, steps = self.progress, self._loader.steps
        return {
            "train/learning_rate": learning_rate(self._train, (progress.epoch + 1) * steps - 1, steps),
            **{f"train/{name}": value for name, value in self._step.sums.losses(summed).items()},
            "train/skipped_steps": progress.skipped,
            "train/left_out_videos": progress.left_out,
            **{f"denoise/{name}": value for name, value in self._removals.end_epoch(self._run.world).items()},
        }

    def _history_line(self, line: dict[str, float]) -> dict[str, Any]:
        progress, best, steps = self.progress, self.progress.best, self._loader.steps
        head = {"stage": self._stage, "epoch": progress.epoch + 1}
        within = best.epoch == progress.epoch and best.step < steps
        moment = {BEST_WITHIN: {"step": best.step, "steps": steps, "scores": dict(best.scores)}} if within else {}
        return {**head, "time": now_iso(), "seconds": round(progress.seconds, 3), **moment, **line}

    def _write_history(self) -> None:
        with self._run.folder.writes():
            self._run.folder.write_history(self._stage, self.progress.history)

    def _tell(self, line: dict[str, float]) -> None:
        """The epoch in the history, in the recorder, and in the log."""
        run, progress = self._run, self.progress
        self._write_history()
        run.recorder.metrics(line, step=progress.epoch + 1)
        told = epoch_text(line, self._selection, progress, self._step.method.removes)
        logger.info("%s %d/%d: %s", self._stage, progress.epoch + 1, self._train.epochs, told)


def _stage_seed(seed: int, stage: str) -> int:
    """A seed of its own for every stage of a run."""
    return int(np.random.SeedSequence([seed, zlib.crc32(stage.encode())]).generate_state(1)[0])
