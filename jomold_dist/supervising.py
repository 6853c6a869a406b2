"""Running a launcher so that its ranks hear of signals, and so that nothing of it stays behind.

`deepspeed` hands no signal on, and the process below it ends rank after rank; `torchrun` turns every exit code into 1.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import FrameType

import psutil

EXIT_CODE_FILE = "JOMOLD_DIST_EXIT_CODE_FILE"
"""Names the file in which rank 0 leaves the training's own exit code."""

POLL_SECONDS = 0.2
NO_RANKS_SECONDS = 10.0  # a launcher without ranks on this machine is told itself after so long
LEFTOVERS_SECONDS = 5.0
SET_DEATH_SIGNAL, SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h


class Supervisor:
    """Runs `command`, whose ranks are the processes that run `program`: a script, or a module and a word, written as
    they are in the command.

    The first SIGTERM or SIGINT is handed on to every rank on this machine, as SIGTERM; a SIGINT after it kills
    everything. Further SIGTERMs change nothing, as schedulers send several. SIGUSR1 is handed on to the ranks each
    time: they tell where they are (see `distributed/stacks.py`).
    """

    def __init__(self, command: Sequence[str], program: Sequence[str], environment: Mapping[str, str]) -> None:
        """`environment` is added to this process's own."""
        self._command, self._program, self._environment = list(command), list(program), os.environ | environment
        self._told: set[psutil.Process] = set()
        self._asked_at: float | None = None
        self._kill = False
        self._asked_for_stacks = False
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def asked(self) -> bool:
        """Whether a signal has come."""
        return self._asked_at is not None

    def run(self) -> int:
        """The command's exit code (128 + the signal that ended it), once all that it began has ended."""
        _prctl(SET_CHILD_SUBREAPER, 1)  # orphans of the launcher stay descendants of this process
        before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, self._on_ask)
        try:
            self._child = subprocess.Popen(
                self._command, env=self._environment, start_new_session=True, preexec_fn=end_with_parent
            )
            while self._wait() or self._ranks():
                if self._asked_for_stacks:
                    self._ask_for_stacks()
                if self._asked_at is not None:
                    self._hand_on(self._asked_at)
            code = self._child.returncode
            return 128 - code if code < 0 else code
        finally:
            _end_all(0.0 if self._kill else LEFTOVERS_SECONDS)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._kill |= self.asked and number == signal.SIGINT
        if self._asked_at is None:
            self._asked_at = time.monotonic()

    def _on_ask(self, number: int, frame: FrameType | None) -> None:
        self._asked_for_stacks = True

    def _ask_for_stacks(self) -> None:
        self._asked_for_stacks = False
        for rank in self._ranks():
            with suppress(psutil.Error):
                rank.send_signal(signal.SIGUSR1)

    def _wait(self) -> bool:
        """Let some time pass; whether the command still runs."""
        assert self._child is not None
        if self._child.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(POLL_SECONDS)
        else:
            time.sleep(POLL_SECONDS)
        return self._child.returncode is None

    def _hand_on(self, asked_at: float) -> None:
        assert self._child is not None
        if self._kill:
            _end_all(0.0)
        for rank in self._ranks():
            if rank not in self._told:
                self._told.add(rank)
                with suppress(psutil.Error):
                    rank.terminate()
        if not self._told and time.monotonic() > asked_at + NO_RANKS_SECONDS:
            with suppress(psutil.Error):
                launcher = psutil.Process(self._child.pid)
                self._told.add(launcher)
                launcher.terminate()

    def _ranks(self) -> list[psutil.Process]:
        return [process for process in _descendants() if _runs(process, self._program)]


def end_with_parent() -> None:
    """Between fork and exec: the kernel ends the launcher if this process is killed, and its ranks notice that. SIGUSR1
    is for ranks, and ends no process before it knows it."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    _prctl(SET_DEATH_SIGNAL, signal.SIGTERM)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        _LIBC.prctl(option, value, 0, 0, 0)


_LIBC = ctypes.CDLL(None)


def _descendants() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _runs(process: psutil.Process, program: list[str]) -> bool:
    """Whether the process runs the program, rather than a launcher which has it among its arguments. (`deepspeed` puts
    `--local_rank` between a module and its first word.)"""
    with suppress(psutil.Error):
        words = [word for word in process.cmdline()[1:] if not word.startswith("-")]
        return words[: len(program)] == program
    return False


def _end_all(patience: float) -> None:
    """Let every descendant end by itself for some seconds, then kill what is left."""
    processes = _descendants()
    until = time.monotonic() + patience
    while processes and time.monotonic() < until:
        time.sleep(POLL_SECONDS)
        processes = _descendants()
    for process in processes:
        with suppress(psutil.Error):
            process.kill()
