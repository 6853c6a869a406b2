"""Where the time and the memory of a training's steps go, as torch's profiler sees it, with `profile.steps`.

A look, no more: a profiler that fails is told of, and training goes on.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from jomold_dist.config_reporting import ProfileConfig
from jomold_dist.files import write_text, writing
from jomold_dist.training.listeners import StepDone, StepListener
from jomold_dist.training.run import Run

logger = logging.getLogger(__name__)

MOST_RANKS = 8  # who waits for whom is to be seen from these; more would fill a disk
MOST_ROWS = 60
QUIET = "6"  # torch's default of 5 leaves nothing but a line on each start and end of a recording
MEMORY_EVENTS = 100_000  # of one snapshot: each takes some kilobytes


def too_short(settings: ProfileConfig, lengths: Mapping[str, int]) -> list[str]:
    """Which trainings, of so many steps, end before there is anything to profile."""
    return [
        f"{name}: no profile to come, as its steps are {steps} and the first profile.after = {settings.after} are left "
        "out: lower profile.after"
        for name, steps in lengths.items()
        if steps <= settings.after
    ]


class StepProfiler(StepListener):
    """Records `profile.steps` steps of a stage's training after the first `profile.after` ones of this start.

    On the first eight ranks it leaves STAGE-rank-N in the run's `profile`: a trace (.json.gz, for ui.perfetto.dev or
    chrome://tracing), tables by operator (.txt), and of a GPU a snapshot of its memory (-memory.pickle, for
    pytorch.org/memory_viz).
    """

    def __init__(self, run: Run, stage: str) -> None:
        self._settings, self._device, self._stage = run.config.profile, run.world.device, stage
        self._place = run.folder.profile / f"{stage}-rank-{run.world.rank}"
        self._taken = 0
        self._profiler: profile | None = None
        if self._settings.steps is not None and run.world.rank < MOST_RANKS:
            os.environ.setdefault("KINETO_LOG_LEVEL", QUIET)  # heeded when the process first profiles
            activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self._cuda else [])]
            self._profiler = profile(
                activities=activities,
                schedule=schedule(
                    skip_first=self._settings.after - 1, wait=0, warmup=1, active=self._settings.steps, repeat=1
                ),
                on_trace_ready=self._write,
                record_shapes=True,
                profile_memory=True,
            )

    def __enter__(self) -> StepProfiler:
        with self._trouble():
            if self._profiler is not None:
                self._profiler.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._profiler is not None and self._taken <= self._settings.after:
            text = "%s: no profile, as there were no steps after the first %d: lower profile.after"
            logger.info(text, self._stage, self._settings.after)
        self._stop()  # what was recorded until here is written

    def before_step(self, step: int) -> None:
        with self._trouble():
            if self._profiler is not None and self._cuda and self._taken == self._settings.after:
                torch.cuda.memory._record_memory_history(max_entries=MEMORY_EVENTS)

    def after_step(self, done: StepDone) -> None:
        self._taken += 1
        with self._trouble():
            if self._profiler is not None:
                self._profiler.step()
        if self._taken == self._settings.after + (self._settings.steps or 0):
            self._stop()

    @property
    def _cuda(self) -> bool:
        return self._device.type == "cuda"

    def _stop(self) -> None:
        profiler = self._profiler
        with self._trouble():
            if profiler is not None:
                profiler.stop()
        self._profiler = None

    def _write(self, found: profile) -> None:
        """Whatever was recorded, as files."""
        if self._taken <= self._settings.after:  # the training ends here
            return
        self._place.parent.mkdir(parents=True, exist_ok=True)
        trace = self._place.with_name(f"{self._place.name}.json.gz")
        with TemporaryDirectory() as folder:  # the profiler goes by a file's ending
            found.export_chrome_trace(str(Path(folder, trace.name)))
            with writing(trace) as aside:
                shutil.copyfile(Path(folder, trace.name), aside)
        averages = found.key_averages()
        orders = ["self_cpu_time_total", "self_cpu_memory_usage"]
        if self._cuda:
            orders = ["self_device_time_total", "self_device_memory_usage", *orders]
        tables = [f"by {order}\n{averages.table(sort_by=order, row_limit=MOST_ROWS)}" for order in orders]
        write_text(self._place.with_name(f"{self._place.name}.txt"), "\n".join(tables))
        if self._cuda:
            with writing(self._place.with_name(f"{self._place.name}-memory.pickle")) as aside:
                torch.cuda.memory._dump_snapshot(str(aside))
            torch.cuda.memory._record_memory_history(enabled=None)
        logger.info("%s: a profile of its steps is in %s", self._stage, trace)

    @contextmanager
    def _trouble(self) -> Iterator[None]:
        """Tells of a profiler that fails (another one is at work, a full disk), which is then done with."""
        try:
            yield
        except (OSError, RuntimeError, AssertionError) as error:
            logger.warning("%s: no profile: %s", self._stage, " ".join(f"{type(error).__name__}: {error}".split()))
            self._profiler = None
