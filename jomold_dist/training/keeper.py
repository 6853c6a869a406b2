"""The checkpoints of one training: what goes into one, whose it is, and which to go on from. For rank 0 only."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from jomold_dist.errors import RunFolderError, UserError
from jomold_dist.models.network import Network
from jomold_dist.models.weights import save_model
from jomold_dist.reading import read_json
from jomold_dist.training.checkpoint import (
    BEST,
    Checkpoint,
    checkpoint_name,
    newest_checkpoint,
    prune_checkpoints,
    read_checkpoint,
    write_checkpoint,
)
from jomold_dist.training.progress import Progress
from jomold_dist.training.run import Run

logger = logging.getLogger(__name__)

STEP_STATE = ("sums", "loss_scale", "skipped_in_a_row", "metrics")  # of `TrainStep.state`, and of the steps' metrics
NAMED_AT_MOST = 8


class Keeper:
    """Writes and reads the checkpoints of a stage that trains on so many videos. `network` is of the trained one's
    form."""

    def __init__(self, run: Run, stage: str, epochs: int, batch_size: int, videos: int, network: Network) -> None:
        self._run, self._stage, self._epochs, self._batch_size = run, stage, epochs, batch_size
        self._videos, self._network = videos, network

    def place(self, progress: Progress) -> Path:
        """Where a checkpoint of this moment lies."""
        return self._run.folder.checkpoints / checkpoint_name(self._stage, progress.epoch, progress.step)

    def write(
        self,
        progress: Progress,
        step: Mapping[str, Any],
        removals: Mapping[str, np.ndarray],
        memory: Mapping[str, np.ndarray],
    ) -> str | None:
        """Write a checkpoint and remove old ones; why it could not be written, or None.

        One that cannot be written costs nothing that was there before, and training may go on.
        """
        place, best = self.place(progress), progress.best
        state = progress.state() | self._origin(progress)
        state |= {name: step[name] for name in STEP_STATE} | {"sums": step["sums"].tolist()}
        content = Checkpoint(step["weights"], best.weights, step["optimizer"], removals, memory, state)

        def save_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
            epoch = best.epoch + 1 if path.name == BEST else progress.epoch + (progress.step > 0)
            notes = self._run.notes(self._stage) | {"epoch": str(epoch), "epochs": str(self._epochs)}
            save_model(path, self._network, self._run.weights_info(self._network, notes), weights)

        try:
            write_checkpoint(place.parent, place.name, content, save_weights)
        except (OSError, UserError) as error:
            problem = getattr(error, "strerror", None) or str(error)
            logger.warning("%s cannot be written: %s; earlier checkpoints stay, training goes on", place, problem)
            return problem
        prune_checkpoints(place.parent, self._stage, self._run.owner, place, self._run.config.checkpoint.keep)
        return None

    def read(self) -> Checkpoint | None:
        """The newest usable checkpoint; what lies after it, damaged, is removed. None if training starts anew.

        RunFolderError if it is another run's or version's, or of more epochs than are asked for; UnreadableError if it
        may be good and cannot be read. Nothing is removed then.
        """
        run, folder = self._run, self._run.folder.checkpoints
        place = newest_checkpoint(folder, self._stage)
        if place is None:
            if run.folder.has_history(self._stage):
                logger.warning("%s: no usable checkpoint in %s; starting from its beginning", self._stage, folder)
            return None
        found = read_checkpoint(place)
        self._check_form(place, found)
        if found.state["owner"] != run.owner:
            raise RunFolderError(
                f"checkpoint {place} belongs to another config, data set or version of the canonical order; "
                "move it away, or choose another run.dir"
            )
        done = found.state["epoch"] + (found.state["step"] > 0)
        if done > self._epochs:
            raise RunFolderError(
                f"checkpoint {place} is in epoch {done}: the number of epochs may grow but not shrink to "
                f"{self._epochs}. Choose another run.dir"
            )
        prune_checkpoints(folder, self._stage, run.owner, place, run.config.checkpoint.keep)
        return found

    def _check_form(self, place: Path, found: Checkpoint) -> None:
        """RunFolderError if the checkpoint lacks what training goes on with."""
        shapes = {name: tensor.shape for name, tensor in self._network.state_dict().items()}
        lacking = [name for name in (*STEP_STATE, *Progress().state(), "owner") if name not in found.state]
        lacking += [name for name, shape in shapes.items() if getattr(found.weights.get(name), "shape", None) != shape]
        if lacking:
            raise RunFolderError(
                f"checkpoint {place} is not of this training: it lacks {', '.join(lacking[:NAMED_AT_MOST])}. Move it "
                "away, or choose another run.dir"
            )

    def _origin(self, progress: Progress) -> dict[str, Any]:
        """Whose checkpoint it is, and, for people, MLflow's runs and what wrote it."""
        run, mlflow = self._run, None
        with suppress(OSError, ValueError, UserError):  # trouble with tracking never stops training
            mlflow = read_json(run.folder.path / "mlflow.json")
        return {
            "owner": run.owner,
            "mlflow": mlflow,
            "ranks": run.world.size,
            "engine": run.config.train.engine,
            "videos": progress.epoch * self._videos + min(progress.step * self._batch_size, self._videos),
        }
