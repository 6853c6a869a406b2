"""When a process takes itself for asked to stop."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch

from jomold_dist.distributed.world import World
from jomold_dist.errors import StoppedError
from jomold_dist.stopping import StopRequest, hear_signals, process_age, sigterm_as_ctrl_c

WORLD = World(0, 1, 0, 1, torch.device("cpu"))
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _signals_stay() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_signal_before_training_ends_the_process_with_75(capsys: pytest.CaptureFixture[str]) -> None:
    hear_signals()
    with pytest.raises(SystemExit) as ended:
        signal.raise_signal(signal.SIGTERM)
    assert ended.value.code == 75
    assert "SIGTERM before training began" in capsys.readouterr().err


def train(stop: StopRequest, *signals: signal.Signals) -> None:
    with stop.heeded(WORLD, None):
        assert not stop()
        for number in signals:
            signal.raise_signal(number)
        assert stop()
        raise StoppedError("stopped in step 3")


def test_in_training_a_signal_only_leaves_word_and_afterwards_sigterm_nothing() -> None:
    with pytest.raises(StoppedError, match=r"^stopped in step 3 \(SIGINT\)$"):
        train(hear_signals(), signal.SIGINT, signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN  # also while the interpreter shuts down


def test_a_second_sigint_interrupts() -> None:
    with pytest.raises(KeyboardInterrupt):
        train(hear_signals(), signal.SIGINT, signal.SIGINT)


def test_the_wall_clock_counts_from_the_start_of_the_process() -> None:
    for minutes, asked in ((process_age() / 60 + 60, False), (process_age() / 120, True)):
        stop = StopRequest()
        with stop.heeded(WORLD, minutes):
            assert stop() is asked
    assert stop.reason == "run.wall_minutes have passed"


RUN_CHILD = "import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]])"
DEEPSPEED_LAUNCH = [RUN_CHILD.replace("1:", "2:"), "deepspeed.launcher.launch"]
RANK = """
import sys, time
from jomold_dist.distributed.ancestors import Launcher
if sys.argv[1] == "late":
    print("here", flush=True)
    sys.stdin.readline()
launcher = Launcher()
print(launcher.gone(), flush=True)
while not launcher.gone():
    time.sleep(0.05)
print("gone", flush=True)
"""


@contextmanager
def rank_below(words: list[str], how: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A launcher's process, below it (with `words`) deepspeed's, below that a rank which looks at its ancestors."""
    environment |= {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", *words, RANK, how]
    process = subprocess.Popen(
        command,
        env={k: v for k, v in os.environ.items() if k != "TORCHELASTIC_RUN_ID"} | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    limit = threading.Timer(60, os.killpg, (process.pid, signal.SIGKILL))
    limit.start()
    try:
        yield process
    finally:
        limit.cancel()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


TORCHRUN = ([RUN_CHILD], {"TORCHELASTIC_RUN_ID": "none"})
DEEPSPEED = ([RUN_CHILD, *DEEPSPEED_LAUNCH], {"CROSS_SIZE": "1"})


@pytest.mark.parametrize(("words", "environment"), [TORCHRUN, DEEPSPEED], ids=["torchrun", "deepspeed"])
def test_a_rank_notices_that_its_launcher_has_gone(words: list[str], environment: dict[str, str]) -> None:
    with rank_below(words, "early", **environment) as process:
        assert line(process) == "False"
        process.kill()
        assert line(process) == "gone"


def test_a_rank_notices_a_launcher_that_went_while_it_was_starting() -> None:
    words, environment = DEEPSPEED
    with rank_below(words, "late", **environment) as process:
        assert line(process) == "here"
        process.kill()
        process.wait(10)
        assert process.stdin is not None
        process.stdin.write("look\n")
        process.stdin.flush()
        assert line(process) == "True"


def test_a_process_started_by_hand_may_lose_its_parent() -> None:
    with rank_below([RUN_CHILD], "early") as process:
        assert line(process) == "False"
        process.kill()
        process.wait(10)
        assert process.stdout is not None
        assert not select.select([process.stdout], [], [], 1.0)[0]


@pytest.mark.parametrize("ignored", [False, True])  # in the background of a shell's script, Ctrl-C is
def test_sigterm_as_ctrl_c(ignored: bool) -> None:
    if ignored:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(KeyboardInterrupt), sigterm_as_ctrl_c():
        signal.raise_signal(signal.SIGTERM)
    with sigterm_as_ctrl_c():
        signal.signal(signal.SIGINT, lambda *_: None)  # as Tune does, and does not take back
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
