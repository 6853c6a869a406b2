"""Metrics of steps: every so many of them, what they brought, to the recorder and into the run's steps.jsonl.

No step waits for them: what is told of all ranks has travelled with the next step's exchange, and is read back with
what that step reads back anyway. So a step's metrics come one step later, or with the end of its epoch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any

import numpy as np

from jomold_dist.distributed.memory import memory_gigabytes
from jomold_dist.times import now_iso
from jomold_dist.training.listeners import StepDone, StepListener
from jomold_dist.training.recorder import STEP
from jomold_dist.training.run import Run
from jomold_dist.training.step_file import StepFile
from jomold_dist.training.step_sums import Since, StepSums


@dataclass
class Last:
    """What is known of the last step on its own, and how long the steps since the last metrics took."""

    gradient_norm: float = math.nan
    learning_rate: float = math.nan
    seconds: float = 0.0


class StepMetrics(StepListener):
    """Records a stage's steps on rank 0.

    Losses are means over the videos of all steps since the last metrics, and removals their sum; gradient norm and
    learning rate are those of the step itself.
    """

    def __init__(self, run: Run, stage: str, sums: StepSums) -> None:
        self._run, self._sums = run, sums
        self._every = run.config.metrics.every_steps if run.world.is_main else None
        self._since, self._last = Since(len(sums)), Last()
        self._file = StepFile(run.folder.steps, stage)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def begin_after(self, step: int, mid_epoch: bool) -> None:
        """Training goes on after so many steps of the stage; in the middle of an epoch, the last one's metrics are
        still to come."""
        if self._run.world.is_main:
            self._file.begin_after(step - 1 if mid_epoch else step)

    def after_step(self, done: StepDone) -> None:
        if (done.step - 1) % done.steps_per_epoch:  # else the epoch's end has told of the step before
            self._record(done.step - 1, done.report.sums)
        last = self._last
        self._last = Last(done.report.gradient_norm, done.learning_rate, last.seconds + done.seconds)

    def after_epoch(self, step: int, sums: np.ndarray) -> None:
        self._record(step, sums)
        self._since.end_epoch(sums)

    def validated(self, step: int, scores: Mapping[str, float]) -> None:
        """Scores on val after so many steps of the stage, which are recorded also where metrics of steps are not."""
        if self._run.world.is_main:
            self._tell(step, {f"val_{name}": value for name, value in scores.items()})

    def state(self) -> dict[str, Any]:
        """What brings it back, as JSON."""
        return {"since": self._since.state(), **asdict(self._last)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        last = dict(state)
        self._since.load_state(last.pop("since"))
        self._last = Last(**last)

    def _record(self, step: int, running: np.ndarray) -> None:
        """The metrics of a step, if they are due; `running` are the epoch's sums up to it."""
        if self._every is None or step % self._every:
            return
        new, last = self._since.take(running).tolist(), self._last
        videos = new[self._sums.videos]
        values = self._sums.losses(new) if videos > 0 else {}
        values |= {"grad_norm": last.gradient_norm, "learning_rate": last.learning_rate}
        values |= self._sums.removed(new)
        values["videos_per_second"] = videos / last.seconds if last.seconds > 0 else math.nan
        values["memory_gigabytes"] = memory_gigabytes(self._run.world.device)
        last.seconds = 0.0
        self._tell(step, values)

    def _tell(self, step: int, values: Mapping[str, float]) -> None:
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        self._file.append(step, {"time": now_iso(), **finite})
        self._run.recorder.metrics({f"{STEP}{name}": value for name, value in finite.items()}, step=step)
