"""How a training ends that does not finish: asked to stop, or because a rank has gone. No process stays behind."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import Tiny
from launchers_help import ENVIRONMENT, command, files_below, processes_naming, run_here, run_process

HOST = re.escape(socket.gethostname())
ENDLESS = ("method=han", "train.epochs=100000", "tracking.enabled=true")
TERM, INT, KILL, STOP = signal.SIGTERM, signal.SIGINT, signal.SIGKILL, signal.SIGSTOP


class Training:
    """A training under a launcher, as real processes."""

    def __init__(self, launcher: str, tiny: Tiny, tmp_path: Path, *overrides: str) -> None:
        self.folder = tmp_path / "runs" / "run"
        self._said = tmp_path / "said"
        arguments = ("--config", tiny.config, f"run.dir={self.folder}", *ENDLESS, *overrides)
        with self._said.open("wb") as said:
            self.process = subprocess.Popen(
                command(launcher, "train", *arguments),
                env=ENVIRONMENT,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        return self._said.read_text()

    @property
    def status(self) -> dict[str, Any]:
        return json.loads((self.folder / "status.json").read_text())

    @property
    def mlflow_statuses(self) -> set[str]:
        with sqlite3.connect(self.folder.parent / "mlflow.db") as database:
            return {status for (status,) in database.execute("select status from runs")}

    def processes(self) -> list[int]:
        return list(processes_naming(self.folder))

    def ranks(self) -> dict[int, int]:
        """Process ids by rank."""
        found = {}
        for pid in self.processes():
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            program, then, *_ = [word for word in words[1:] if not word.startswith("-")]
            if program.endswith("train.py") or (program, then) == ("jomold_dist", "train"):
                environment = dict(e.partition("=")[::2] for e in Path(f"/proc/{pid}/environ").read_text().split("\0"))
                found[int(environment.get("RANK", 0))] = pid
        return found

    def wait(self, until: Callable[[], object], seconds: float = 90) -> None:
        deadline = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < deadline, self.said
            time.sleep(0.05)

    def wait_for_epochs(self) -> None:
        def trains() -> bool:
            assert self.process.poll() is None, self.said
            history = self.folder / "history.jsonl"
            return history.exists() and history.stat().st_size > 0

        self.wait(trains)

    def end(self, seconds: float = 90) -> int:
        """The launcher's exit code, once every process has gone."""
        code = self.process.wait(seconds)
        self.wait(lambda: not self.processes(), seconds)
        return code


@contextmanager
def training(launcher: str, tiny: Tiny, tmp_path: Path, *overrides: str) -> Iterator[Training]:
    """A training that runs until it is stopped; whatever the test finds, nothing of it stays."""
    started = Training(launcher, tiny, tmp_path, *overrides)
    try:
        yield started
    finally:
        started.process.kill()
        for pid in started.processes():
            os.kill(pid, signal.SIGKILL)
        started.process.wait()


def assert_preempted(run: Training, why: str) -> None:
    """The run ended as agreed: a complete checkpoint, and everybody knows."""
    from jomold_dist.training.checkpoint import newest_checkpoint

    assert newest_checkpoint(run.folder / "checkpoints", "model") is not None
    status = run.status
    assert (status["state"], status["exit_code"]) == ("preempted", 75), run.said
    assert why in status["message"]
    assert run.mlflow_statuses == {"KILLED"}
    assert run.said.count("error: ") == 1
    assert status["message"] in run.said
    assert 'train.py", line' not in run.said  # torchrun prints a traceback of its own


def everything(run: Training) -> list[int]:
    return run.processes()


def one_rank(run: Training) -> list[int]:
    return [run.ranks()[max(run.ranks())]]


def launcher_only(run: Training) -> list[int]:
    return [run.process.pid]


CODES = {  # of the process that was started; raw launchers have ways of their own
    ("torchrun", "launcher"): 1, ("torchrun", "rank"): 1, ("torchrun", "all"): 1,
    ("deepspeed", "launcher"): -15, ("deepspeed", "rank"): 75, ("deepspeed", "all"): -15,
}  # fmt: skip
TARGETS = {"launcher": launcher_only, "rank": one_rank, "all": everything}
QUICK = {("python", "launcher"), ("torchrun", "rank"), ("deepspeed", "launcher"), ("start deepspeed", "all")}
LAUNCHERS = ("python", "torchrun", "deepspeed")


def cases() -> Iterator[Any]:
    for launcher in (*LAUNCHERS, *(f"start {name}" for name in LAUNCHERS)):
        for target in TARGETS:
            if launcher == "python" and target != "launcher":
                continue  # one process
            marks = () if (launcher, target) in QUICK else (pytest.mark.slow,)
            yield pytest.param(launcher, target, marks=marks, id=f"{launcher}-{target}".replace(" ", "-"))


@pytest.mark.parametrize(("launcher", "target"), list(cases()))
def test_sigterm(launcher: str, target: str, tiny: Tiny, tmp_path: Path) -> None:
    with training(launcher, tiny, tmp_path) as run:
        run.wait_for_epochs()
        if launcher.startswith("start "):  # what is asked of `jomold start`, every rank tells, and goes on
            stacks = [run.folder / "stacks" / f"rank-{rank}.txt" for rank in run.ranks()]
            run.process.send_signal(signal.SIGUSR1)
            run.wait(lambda: all("asked for by SIGUSR1" in path.read_text() for path in stacks))
        for pid in TARGETS[target](run):
            os.kill(pid, TERM)
        assert run.end() == CODES.get((launcher, target), 75), run.said
        why = "the launcher has gone" if (launcher, target) == ("deepspeed", "launcher") else "SIGTERM"
        assert_preempted(run, why)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["python", "torchrun", "start deepspeed"])
def test_ctrl_c(launcher: str, tiny: Tiny, tmp_path: Path) -> None:
    with training(launcher, tiny, tmp_path) as run:
        run.wait_for_epochs()
        os.killpg(run.process.pid, INT)
        assert run.end() == CODES.get((launcher, "launcher"), 75), run.said
        assert_preempted(run, "SIGTERM" if launcher == "start deepspeed" else "SIGINT")


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["torchrun", "deepspeed", "start torchrun"])
def test_a_killed_launcher(launcher: str, tiny: Tiny, tmp_path: Path) -> None:
    with training(launcher, tiny, tmp_path) as run:
        run.wait_for_epochs()
        run.process.kill()
        run.end()
        assert_preempted(run, "SIGTERM" if launcher.startswith("start") else "the launcher has gone")


@pytest.mark.slow
def test_a_second_ctrl_c_kills(tiny: Tiny, tmp_path: Path) -> None:
    with training("start deepspeed", tiny, tmp_path) as run:
        run.wait_for_epochs()
        os.kill(run.ranks()[1], STOP)  # so that the ranks cannot agree
        run.process.send_signal(TERM)
        run.process.send_signal(TERM)  # schedulers send several
        time.sleep(1)
        assert run.process.poll() is None
        run.process.send_signal(INT)
        assert run.end(10) == 1


@pytest.mark.slow
def test_the_wall_clock_limit(tiny: Tiny, tmp_path: Path) -> None:
    with training("start python", tiny, tmp_path, "run.wall_minutes=0.2") as run:
        assert run.end() == 75, run.said
        assert_preempted(run, "run.wall_minutes")


def deaths() -> Iterator[Any]:
    for launcher in ("torchrun", "deepspeed", "start deepspeed"):
        for lost in (0, 1):
            marks = () if (launcher, lost) == ("start deepspeed", 1) else (pytest.mark.slow,)
            yield pytest.param(launcher, lost, marks=marks, id=f"{launcher}-{lost}".replace(" ", "-"))


@pytest.mark.parametrize(("launcher", "lost"), list(deaths()))
def test_a_killed_rank(launcher: str, lost: int, tiny: Tiny, tmp_path: Path) -> None:
    with training(launcher, tiny, tmp_path) as run:
        run.wait_for_epochs()
        pid = run.ranks()[lost]
        os.kill(pid, KILL)
        code = run.end()
        assert code == {"torchrun": 1, "deepspeed": 256 - 9}.get(launcher, 1), run.said
        assert_lost(run, lost, pid)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["torchrun", "deepspeed"])
def test_a_rank_that_hangs(launcher: str, tiny: Tiny, tmp_path: Path) -> None:
    """Both launchers wait half a minute before they kill it; the other rank has ended long before."""
    with training(launcher, tiny, tmp_path, "distributed.timeout_seconds=15") as run:
        run.wait_for_epochs()
        pid = run.ranks()[1]
        os.kill(pid, STOP)
        assert run.end() == 1, run.said
        assert_lost(run, 1, pid)


def assert_lost(run: Training, lost: int, pid: int) -> None:
    """The survivor named the rank, and nothing was written as if it had been agreed."""
    name = rf"rank {lost} \(host {HOST}, pid {pid}\) has"
    assert len(re.findall(name, run.said)) == 1, run.said
    assert 'train.py", line' not in run.said  # torchrun prints a traceback of its own
    assert not list((run.folder / "checkpoints").iterdir()) or "preempted" not in run.said
    if lost != 0:
        assert (run.status["state"], run.status["exit_code"]) == ("failed", 1)
        assert re.match(name, run.status["message"])
        assert run.mlflow_statuses == {"FAILED"}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_signal_while_the_launcher_starts(launcher: str, tiny: Tiny, tmp_path: Path) -> None:
    with training(f"start {launcher}", tiny, tmp_path) as run:
        run.wait(lambda: len(run.processes()) > 1)
        run.process.send_signal(TERM)
        assert run.end() == 75, run.said
        assert not run.folder.exists()


@pytest.mark.parametrize("launcher", [pytest.param(name, marks=pytest.mark.slow) for name in LAUNCHERS])
def test_a_mistake_is_told_once(launcher: str, tiny: Tiny, tmp_path: Path) -> None:
    for start in (launcher, f"start {launcher}"):
        outcome = run_process(start, "train", "--config", tiny.config, f"run.dir={tmp_path / 'run'}", "train.epoch=3")
        assert outcome.code == (1 if start == "torchrun" else 2), outcome
        assert outcome.err.count("did you mean 'train.epochs'") == 1
        assert not files_below(tmp_path)


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        (["--help"], 0, "-m jomold_dist train --config"),
        (["torchrum", "launchers/train.py"], 2, "no program 'torchrum'"),
        (["torchrun", "--nproc-per-node=2"], 2, "no training after 'torchrun'"),
        (["torchrun", "launchers/train.py", "--config", "nowhere.yaml"], 2, "nowhere.yaml"),
        (["torchrun", "-m", "jomold_dist", "train", "--config", "nowhere.yaml"], 2, "nowhere.yaml"),
        (["torchrun", "-m", "jomold_dist", "evaluate", "--run", "runs/one"], 2, "not jomold_dist evaluate"),
    ],
)
def test_start_explains_itself(words: list[str], code: int, part: str, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run_here(capsys, "start", *words)
    assert outcome.code == code, outcome
    assert part in outcome.out + outcome.err
