"""The optimizer steps of an epoch, from wherever it is to its last one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

from jomold_dist.config import TrainConfig
from jomold_dist.data.reading.loader import Batch, Loader
from jomold_dist.distributed.signals import Ask
from jomold_dist.distributed.world import agree_on_errors
from jomold_dist.errors import DataError
from jomold_dist.methods.base import Moment
from jomold_dist.training.epoch_report import Pace
from jomold_dist.training.listeners import StepDone, StepListener
from jomold_dist.training.progress import Progress
from jomold_dist.training.removals import RemovalRecord
from jomold_dist.training.run import Run
from jomold_dist.training.saving import Saver
from jomold_dist.training.schedule import learning_rate
from jomold_dist.training.step import StepReport, TrainStep
from jomold_dist.training.stopwatch import Stopwatch


class EpochSteps:
    """Takes a stage's steps, and tells whoever listens of each."""

    def __init__(
        self,
        run: Run,
        stage: str,
        train: TrainConfig,
        loader: Loader,
        step: TrainStep,
        stopwatch: Stopwatch,
        removals: RemovalRecord,
        saver: Saver,
    ) -> None:
        self._run, self._stage, self._train = run, stage, train
        self._loader, self._step, self._stopwatch = loader, step, stopwatch
        self._removals, self._saver = removals, saver
        self._failure: DataError | None = None

    def take(
        self, progress: Progress, listeners: Sequence[StepListener], validate: Callable[[], None]
    ) -> dict[str, float]:
        """Collective: the steps that the epoch still lacks; how fast they went, as metrics. `validate` is called
        between two of them, where `train.validate_every_steps` says so."""
        run, loader = self._run, self._loader
        self._stopwatch.take()
        waited, seconds, videos = loader.wait_seconds, 0.0, 0
        pace = Pace(self._step.sums, run.world.device)
        title = f"{self._stage} {progress.epoch + 1}/{self._train.epochs}"  # as the epoch's own line says it
        ends = {"epoch": 0, "training": (self._train.epochs - progress.epoch - 1) * loader.steps}
        batches = self._batches(progress)
        with run.watch.task(title, loader.steps, "step", progress.step, pace.text, ends) as task:
            while progress.step < loader.steps:
                if progress.validation_due(self._train.validate_every_steps):
                    validate()
                start = time.perf_counter()
                batch = next(batches)
                number = progress.epoch * loader.steps + progress.step
                rate = learning_rate(self._train, number, loader.steps)
                for listener in listeners:
                    listener.before_step(number + 1)
                report = self._step(batch, Moment(number, loader.steps), rate, self._ask())
                taken = time.perf_counter() - start
                seconds, videos = seconds + taken, videos + report.videos
                done = StepDone(number + 1, loader.steps, rate, taken, report)
                self._count(progress, batch, report, taken)
                for listener in (pace, *listeners):
                    listener.after_step(done)
                task.more()
                self._heed(progress, report.ask)
        start = time.perf_counter()
        spans = self._stopwatch.take()  # waits for the GPU, so that the clock below is right
        seconds = max(seconds + time.perf_counter() - start, 1e-9)
        return {
            "perf/videos_per_second": videos / seconds,
            "perf/share_data_wait": (loader.wait_seconds - waited) / seconds,
            "perf/share_ranking": spans.get("ranking", 0.0) / seconds,
            "perf/share_exchange": spans.get("exchange", 0.0) / seconds,
        }

    def _count(self, progress: Progress, batch: Batch, report: StepReport, seconds: float) -> None:
        """What a step has brought."""
        self._removals.add(report)
        self._run.bad_videos.add(batch)
        progress.step += 1
        progress.skipped += report.skipped
        progress.left_out += batch.total - report.videos
        progress.seconds += seconds

    def _heed(self, progress: Progress, ask: Ask) -> None:
        """Collective: what somebody has asked of all ranks in the step just taken."""
        run = self._run
        if ask == Ask.FAIL:
            self._fail_together()
        if run.bad_videos.too_many("train", progress.left_out):
            run.bad_videos.collect()
            run.bad_videos.refuse_too_many("train")
        if ask == Ask.STOP:
            self._saver.save_and_stop(progress)
        if ask == Ask.SAVE:
            self._saver.save(progress)

    def _batches(self, progress: Progress) -> Iterator[Batch]:
        """This rank's batches that the epoch still lacks. One that cannot be read is empty, and `_ask` tells of it:
        all ranks must meet in its step."""
        taken = self._loader.epoch(progress.epoch, progress.step)
        for step in range(progress.step, self._loader.steps):
            try:
                yield next(taken)
            except DataError as error:
                self._failure = error
                yield self._loader.empty_batch(step)

    def _fail_together(self) -> NoReturn:
        """Collective: the DataError of the ranks that met one, on every rank."""
        with agree_on_errors(self._run.world):
            if (failure := self._failure or self._step.failure) is not None:
                raise failure
        raise AssertionError("no rank has met an error")

    def _ask(self) -> Ask:
        """What this rank asks of all at the end of the step that begins now."""
        if self._failure is not None:
            return Ask.FAIL
        if self._run.stop_asked():
            return Ask.STOP
        return Ask.SAVE if self._run.world.is_main and self._saver.after_step() else Ask.NOTHING
