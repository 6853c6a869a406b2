"""Training one network: epochs, validation, model selection, checkpoints, and what is told of each epoch."""

from __future__ import annotations

import logging
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, NoReturn

import numpy as np
import torch
from torch import Tensor

from jomold_dist.data.folds import Fold
from jomold_dist.data.loader import Batch, Loader
from jomold_dist.denoising.exchange import row_capacity
from jomold_dist.distributed.signals import Ask
from jomold_dist.distributed.world import agree_on_errors, broadcast_object, sum_over_ranks
from jomold_dist.errors import DataError, RunFolderError, StoppedError
from jomold_dist.methods.base import Method, Moment
from jomold_dist.training.checkpoint import BEST
from jomold_dist.training.evaluate import evaluate
from jomold_dist.training.keeper import Keeper
from jomold_dist.training.passes import COMPUTE_DTYPES
from jomold_dist.training.progress import Due, Progress
from jomold_dist.training.removals import RemovalRecord
from jomold_dist.training.run import Run
from jomold_dist.training.schedule import learning_rate
from jomold_dist.training.step import TrainStep
from jomold_dist.training.stopwatch import Stopwatch

logger = logging.getLogger(__name__)

REMOVED = "denoise/removed_"  # of the metrics' names

Keep = Literal["best", "last"]


def fit(run: Run, method: Method, stage: str, keep: Keep, removals: RemovalRecord, fold: Fold | None = None) -> Path:
    """Collective: train the method's network as its config says, from its newest checkpoint if there is one, on the
    training videos of a fold or on all. Returns where the weights of the best epoch, or of the last one, lie, for rank
    0. Its checkpoints are called `stage`.

    Raises StoppedError on every rank, with a checkpoint written, once any rank was asked to stop.
    """
    size = method.config.train.batch_size
    with run.loader("train", True, size, fold) as loader, run.loader("val", False, size) as validation:
        training = Training(run, method, stage, keep, removals, loader, validation)
        training.resume()
        while training.progress.epoch < method.config.train.epochs:
            training.take_epoch()
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
        validation: Loader,
    ) -> None:
        """Collective: the engine is set up."""
        config, world = method.config, run.world
        train, seed = config.train, _stage_seed(config.run.seed, stage)
        torch.manual_seed(seed)
        self._run, self._stage, self._keep, self._removals = run, stage, keep, removals
        self._train = train
        self._loader, self._validation = loader, validation
        self._stopwatch = Stopwatch(world.device)
        with agree_on_errors(world):  # they may be somebody's own; the engine below meets the other ranks
            network = method.network(config, run.manifest)
            judge = method.network(config, run.manifest)  # for validation
        self._step = TrainStep(
            method,
            network,
            world,
            seed,
            self._stopwatch,
            capacity=row_capacity(train.batch_size, world.size, run.manifest.split("train").max_labels),
        )
        self._judge = judge.to(world.device, next(self._step.network.parameters()).dtype)
        self._judge.compute_dtype = COMPUTE_DTYPES[train.precision]
        self._keeper = Keeper(run, stage, train.epochs, train.batch_size, loader.videos, self._judge)
        self.progress = Progress()
        self._due = Due(config.checkpoint)
        self._failure: DataError | None = None

    def resume(self) -> None:
        """Collective: go on from the newest checkpoint, which rank 0 reads; without one, start."""
        run, found = self._run, None
        with agree_on_errors(run.world):
            if run.world.is_main:
                found = self._keeper.read()
                if found is not None:
                    self._removals.load_state(found.removals)
                with run.folder.writes():
                    run.folder.write_history(self._stage, found.state["history"] if found else [])
        memory = found.memory if found is not None else {}
        if found is not None:  # large ones that rank 0 alone has use for
            found = replace(found, removals={}, memory={})
        found = broadcast_object(found, run.world)
        if found is None:
            return
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
        self.progress = Progress.of(state, found.best_weights)
        if run.world.is_main:
            logger.info(
                "%s: going on in epoch %d, after step %d of %d",
                self._stage, self.progress.epoch + 1, self.progress.step, self._loader.steps,
            )  # fmt: skip

    def take_epoch(self) -> None:
        """Collective: the rest of the current epoch, its scores, and its line in the history."""
        run, progress = self._run, self.progress
        speed = self._take_steps()
        weights = self._step.weights()
        try:  # nothing of the epoch is summed up yet: a checkpoint taken here is one after its last step
            scores = self._scores(weights)
        except StoppedError:
            self._save_and_stop()
        selected = scores[self._train.selection]
        if progress.best.update(
            progress.epoch, selected, "always" if self._keep == "last" else self._train.selection_ties
        ):
            progress.best.weights = {name: tensor.cpu() for name, tensor in weights.items()}
        line = self._sum_up() | speed | {f"val/{name}": value for name, value in scores.items()}
        progress.history.append({"stage": self._stage, "epoch": progress.epoch + 1, **line})
        with agree_on_errors(run.world):
            if run.world.is_main:
                self._tell(line)
        steps = self._loader.steps
        self._step.method.end_epoch(Moment((progress.epoch + 1) * steps, steps), run.world)
        progress.end_epoch()

    def finish(self) -> Path:
        """Collective: the last checkpoint, from which more epochs can go on; where the best weights lie."""
        problem = self._save()
        with agree_on_errors(self._run.world):
            if problem:
                raise RunFolderError(f"{self._stage}: the result cannot be written: {problem}")
        return self._keeper.place(self.progress) / BEST

    def _take_steps(self) -> dict[str, float]:
        """Collective: the steps that this epoch still lacks; how fast they went, as metrics."""
        run, progress, loader = self._run, self.progress, self._loader
        rate = learning_rate(self._train, progress.epoch)
        self._stopwatch.take()
        waited, start, videos = loader.wait_seconds, time.perf_counter(), 0
        title = f"{self._stage} {progress.epoch + 1}/{self._train.epochs}"
        left = loader.steps - progress.step
        for batch in run.progress(self._batches(), left, title):
            moment = Moment(progress.epoch * loader.steps + progress.step, loader.steps)
            report = self._step(batch, moment, rate, self._ask())
            self._removals.add(report)
            progress.step += 1
            progress.skipped += report.skipped
            progress.left_out += batch.total - report.videos
            videos += report.videos
            run.bad_videos.add(batch)
            if report.ask == Ask.FAIL:
                self._fail_together()
            if run.bad_videos.too_many("train", progress.left_out):
                run.bad_videos.collect()
                run.bad_videos.refuse_too_many("train")
            if report.ask == Ask.STOP:
                self._save_and_stop()
            if report.ask == Ask.SAVE:
                self._save()
        spans = self._stopwatch.take()  # waits for the GPU, so that the clock below is right
        seconds = time.perf_counter() - start
        return {
            "perf/videos_per_second": videos / seconds,
            "perf/share_data_wait": (loader.wait_seconds - waited) / seconds,
            "perf/share_ranking": spans.get("ranking", 0.0) / seconds,
            "perf/share_exchange": spans.get("exchange", 0.0) / seconds,
        }

    def _batches(self) -> Iterator[Batch]:
        """This rank's batches that the epoch still lacks. One that cannot be read is empty, and `_ask` tells of it:
        all ranks must meet in its step."""
        taken = self._loader.epoch(self.progress.epoch, self.progress.step)
        for step in range(self.progress.step, self._loader.steps):
            try:
                yield next(taken)
            except DataError as error:
                self._failure = error
                yield self._loader.nothing(step)

    def _fail_together(self) -> NoReturn:
        """Collective: the DataError of the ranks that met one, on every rank."""
        with agree_on_errors(self._run.world):
            if (failure := self._failure or self._step.failure) is not None:
                raise failure
        raise AssertionError("no rank has met an error")

    def _sum_up(self) -> dict[str, float]:
        """Collective: losses and removals of the epoch's steps, as metrics; what was summed starts anew."""
        *sums, counted = sum_over_ranks(self._step.take_sums(), self._run.world).tolist()
        weights = self._step.loss_weights
        losses = dict(zip(weights, (s / max(counted, 1) for s in sums), strict=True))
        return {
            "train/learning_rate": learning_rate(self._train, self.progress.epoch),
            "train/loss": sum(weights[name] * value for name, value in losses.items()),
            **{f"train/loss_{name}": value for name, value in losses.items()},
            "train/skipped_steps": self.progress.skipped,
            "train/left_out_videos": self.progress.left_out,
            **{f"denoise/{name}": value for name, value in self._removals.end_epoch(self._run.world).items()},
        }

    def _ask(self) -> Ask:
        """What this rank asks of all at the end of the step that begins now."""
        if self._failure is not None:
            return Ask.FAIL
        if self._run.stop_asked():
            return Ask.STOP
        return Ask.SAVE if self._run.world.is_main and self._due.after_step() else Ask.NOTHING

    def _scores(self, weights: Mapping[str, Tensor]) -> dict[str, float]:
        """Collective: the scores on val."""
        self._judge.load_state_dict(weights)
        run = self._run
        batches, videos = run.batches(self._validation), self._validation.videos
        return evaluate(self._judge, batches, videos, run.world, run.manifest.categories.names).scores

    def _save(self) -> str | None:
        """Collective: a checkpoint of this moment; on every rank, why it could not be written, or None."""
        step, memory = self._step.state(), self._step.method.state(self._run.world)
        self._removals.collect(self._run.world)
        self._run.bad_videos.collect()
        problem = None
        if self._run.world.is_main:
            problem = self._keeper.write(self.progress, step, self._removals.state(), memory)
        self._due.taken()
        return broadcast_object(problem, self._run.world)

    def _save_and_stop(self) -> NoReturn:
        """Collective: the agreed end of a run that was asked to stop."""
        problem, progress = self._save(), self.progress
        where = f"{self._stage}: stopped in epoch {progress.epoch + 1} after step {progress.step}"
        with agree_on_errors(self._run.world):
            if problem:
                raise RunFolderError(f"{where}, but no checkpoint could be written: {problem}")
        raise StoppedError(f"{where} of {self._loader.steps}, with a checkpoint; the same command goes on from there")

    def _tell(self, line: dict[str, float]) -> None:
        """The epoch in the history, in the recorder, and in the log."""
        run, progress, selection = self._run, self.progress, self._train.selection
        with run.folder.writes():
            run.folder.write_history(self._stage, progress.history)
        run.recorder.metrics(line, step=progress.epoch + 1)
        removed = "".join(
            f", removed {name.removeprefix(REMOVED)} {count:.0f}"
            for name, count in line.items()
            if name.startswith(REMOVED)
        )
        logger.info(
            "%s %d/%d: loss %.4f, %s %.1f (%s %.1f in epoch %d)%s; %.0f videos/s, "
            "waiting for data %.0f %%, ranking %.0f %%, exchanging %.0f %%",
            self._stage,
            progress.epoch + 1,
            self._train.epochs,
            line["train/loss"],
            selection,
            line[f"val/{selection}"],
            "kept" if self._keep == "last" else "best",
            progress.best.score,
            progress.best.epoch + 1,
            removed,
            line["perf/videos_per_second"],
            *(100 * line[f"perf/share_{name}"] for name in ("data_wait", "ranking", "exchange")),
        )


def _stage_seed(seed: int, stage: str) -> int:
    """A seed of its own for every stage of a run."""
    return int(np.random.SeedSequence([seed, zlib.crc32(stage.encode())]).generate_state(1)[0])
