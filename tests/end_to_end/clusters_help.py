"""Jobs of several processes, as on several nodes: here a node is a launcher process on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from conftest import Finished, Tiny
from launchers_help import ENVIRONMENT, LONG, ROOT, processes_naming

from jomold_dist.training.checkpoint import newest_checkpoint

RESULTS = ("scores.json", "noise_ratios.json", "removed_labels.csv", "removals.json")
BASE = ENVIRONMENT | {"PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))}


class Job:
    """Commands that run as one job, and the folder of its run."""

    def __init__(self, tiny: Tiny, tmp_path: Path) -> None:
        self.folder = tmp_path / "run"
        self.arguments = ["--config", str(tiny.config), f"run.dir={self.folder}", LONG]
        self._log = tmp_path / "said.txt"
        self.processes: list[subprocess.Popen[bytes]] = []

    @property
    def said(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def state(self) -> str:
        return json.loads((self.folder / "status.json").read_text())["state"]

    def start(self, *commands: list[str | Path], environments: list[dict[str, str]]) -> None:
        """Each command as a process of its own, with the run's arguments."""
        with self._log.open("ab") as said:
            self.processes = [
                subprocess.Popen(
                    [*map(str, command), *self.arguments],
                    env=BASE | environment,
                    cwd=ROOT,
                    stdout=said,
                    stderr=said,
                    start_new_session=True,
                )
                for command, environment in zip(commands, environments, strict=True)
            ]

    def wait(self, until: Callable[[], object]) -> None:
        deadline = time.monotonic() + 120
        while not until():
            assert time.monotonic() < deadline, self.said
            assert all(process.poll() is None for process in self.processes), self.said
            time.sleep(0.02)

    def wait_for_training(self) -> None:
        """Its first epochs have been taken."""
        history = self.folder / "history.jsonl"
        self.wait(lambda: history.exists() and history.stat().st_size > 0)

    def end(self) -> list[int]:
        """The exit codes; nothing of the job is left."""
        codes = [process.wait(timeout=120) for process in self.processes]
        deadline = time.monotonic() + 10
        while list(processes_naming(self.folder)) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not list(processes_naming(self.folder)), self.said
        return codes

    def assert_preempted(self) -> None:
        assert self.state == "preempted"
        assert newest_checkpoint(self.folder / "checkpoints", "estimator") is not None, self.said

    def assert_same_as(self, finished: Finished) -> None:
        for name in RESULTS:
            assert (self.folder / name).read_bytes() == (finished.folder / name).read_bytes(), name


@contextmanager
def job_of(tiny: Tiny, tmp_path: Path) -> Iterator[Job]:
    """Whatever the test finds, nothing of the job stays."""
    started = Job(tiny, tmp_path)
    try:
        yield started
    finally:
        for process in started.processes:
            process.kill()
        for pid in processes_naming(started.folder):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in started.processes:
            process.wait()
