"""Taking and bringing back the state of a training, over all ranks."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import NoReturn

import torch

from jomold_dist.config import CheckpointConfig
from jomold_dist.distributed.world import agree_on_errors, broadcast_object
from jomold_dist.errors import RunFolderError, StoppedError
from jomold_dist.training.keeper import Keeper
from jomold_dist.training.progress import Due, Progress
from jomold_dist.training.removals import RemovalRecord
from jomold_dist.training.run import Run
from jomold_dist.training.step import TrainStep
from jomold_dist.training.step_metrics import StepMetrics

logger = logging.getLogger(__name__)


class Saver:
    """Checkpoints of what a training is made of."""

    def __init__(
        self,
        run: Run,
        stage: str,
        steps: int,
        step: TrainStep,
        removals: RemovalRecord,
        metrics: StepMetrics,
        keeper: Keeper,
        config: CheckpointConfig,
    ) -> None:
        """`steps` are those of an epoch."""
        self._run, self._stage, self._steps = run, stage, steps
        self._step, self._removals, self._metrics, self.keeper = step, removals, metrics, keeper
        self._due = Due(config)

    def after_step(self) -> bool:
        """Whether a checkpoint is due after the step that begins now; for rank 0 to ask at every step."""
        return self._due.after_step()

    def restore(self) -> Progress:
        """Collective: go on from the newest checkpoint, which rank 0 reads; without one, start."""
        run, found = self._run, None
        with agree_on_errors(run.world):
            if run.world.is_main:
                found = self.keeper.read()
                if found is not None:
                    self._removals.load_state(found.removals)
                with run.folder.writes():
                    run.folder.write_history(self._stage, found.state["history"] if found else [])
        memory = found.memory if found is not None else {}
        if found is not None:  # large ones that rank 0 alone has use for
            found = replace(found, removals={}, memory={})
        found = broadcast_object(found, run.world)
        if found is None:
            self._metrics.begin_after(0, mid_epoch=False)
            return Progress()
        self._step.method.load_state(memory, run.world)
        state = found.state
        self._step.load_state(
            {
                "weights": found.weights,
                "optimizer": found.optimizer,
                "sums": torch.tensor(state["sums"], dtype=torch.float64),
                **{name: state[name] for name in ("loss_scale", "skipped_in_a_row")},
            }
        )
        progress = Progress.of(state, found.best_weights)
        self._metrics.load_state(state["metrics"])
        self._metrics.begin_after(progress.epoch * self._steps + progress.step, mid_epoch=progress.step > 0)
        if run.world.is_main:
            logger.info(
                "%s: going on in epoch %d, after step %d of %d",
                self._stage, progress.epoch + 1, progress.step, self._steps,
            )  # fmt: skip
        return progress

    def save(self, progress: Progress) -> str | None:
        """Collective: a checkpoint of this moment; on every rank, why it could not be written, or None."""
        run = self._run
        step, memory = self._step.state(), self._step.method.state(run.world)
        self._removals.collect(run.world)
        run.bad_videos.collect()
        problem = None
        if run.world.is_main:
            step |= {"metrics": self._metrics.state()}
            problem = self.keeper.write(progress, step, self._removals.state(), memory)
        self._due.taken()
        return broadcast_object(problem, run.world)

    def save_and_stop(self, progress: Progress) -> NoReturn:
        """Collective: the agreed end of a run that was asked to stop."""
        problem = self.save(progress)
        where = f"{self._stage}: stopped in epoch {progress.epoch + 1} after step {progress.step}"
        with agree_on_errors(self._run.world):
            if problem:
                raise RunFolderError(f"{where}, but no checkpoint could be written: {problem}")
        raise StoppedError(f"{where} of {self._steps}, with a checkpoint; the same command goes on from there")
