"""Stacks of a process's threads: when they are written, where they go, and that they never do harm."""

from __future__ import annotations

import itertools
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch.distributed as dist

from jomold_dist.distributed import liveness, stacks
from jomold_dist.distributed.stacks import StackWriter, keep_nccl_traces
from jomold_dist.errors import LostRankError

pytestmark = pytest.mark.lengthy

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacks, "LOOK_SECONDS", 0.02)


def wait_until(reached: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not reached():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_rank_that_does_not_move_leaves_its_stacks(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def a_long_wait() -> None:
        wait_until(lambda: "most recent call first" in writer.path.read_text())

    folder = tmp_path / "stacks"
    with caplog.at_level(logging.WARNING), StackWriter(folder, 3, 8, 0.2, lambda: "model, step 17") as writer:
        wait_until(writer.path.exists)
        waiting = threading.Thread(target=a_long_wait, name="somebody who waits")
        waiting.start()
        waiting.join()
    text = (tmp_path / "stacks" / "rank-3.txt").read_text()
    assert re.search(rf"==== rank 3 of 8, host \S+, pid {os.getpid()}, started \d{{4}}-", text)
    assert re.search(r"\S+ \[model, step 17\] nothing has moved for 0.1 s\n", text)
    assert "in a_long_wait" in text
    assert "somebody who waits" in text
    assert text.count("nothing has moved") == 1  # once for one wait
    assert f"[model, step 17]: the stacks of this rank are in {writer.path}" in caplog.text


def test_a_rank_that_moves_leaves_nothing(tmp_path: Path) -> None:
    steps = itertools.count()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "owner.json").touch()
    with StackWriter(tmp_path / "run" / "stacks", 0, 1, 0.2, lambda: f"step {next(steps)}") as writer:
        wait_until(writer.path.exists)
        wait_until(lambda: next(steps) > 100)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["owner.json"]


def test_on_another_machine_s_disk_ranks_leave_no_folder_of_the_run_behind(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    for run, order in (("runs/one", (0,)), ("two", (0, 1)), ("three", (1, 0))):  # in which they leave
        writers = [StackWriter(tmp_path / run / "stacks", 8 + rank, 16, None, str) for rank in sorted(order)]
        for writer in writers:
            writer.__enter__()
            wait_until(writer.path.exists)
        for rank in order:
            writers[rank].__exit__(None, None, None)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_signal_and_a_reason(tmp_path: Path) -> None:
    earlier = tmp_path / "rank-0.txt"
    earlier.write_text("of an earlier start\n")
    with StackWriter(tmp_path, 0, 1, None, lambda: "step 5") as writer:
        wait_until(lambda: "==== rank 0" in earlier.read_text())
        os.kill(os.getpid(), signal.SIGUSR1)
        wait_until(lambda: "asked for by SIGUSR1" in earlier.read_text())
        writer.write("because")
    text = earlier.read_text()
    assert text.startswith("of an earlier start\n\n==== rank 0 of 1")
    assert re.search(r"in test_a_signal_and_a_reason[^^]*\^ asked for by SIGUSR1 at \S+ \[step 5\]\n", text)
    assert re.search(r"\S+ \[step 5\] because\nThreads: [^\n]*MainThread[^\n]*\n.*most recent call", text)
    with StackWriter(tmp_path, 0, 1, None, str):
        wait_until(lambda: earlier.read_text().count("==== rank 0") == 2)
    assert earlier.read_text() == text


@pytest.mark.parametrize("trouble", ["a file in its place", "a folder in the file's place"])
def test_a_folder_that_cannot_be_used_is_told_of(
    trouble: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "stacks"
    if trouble == "a file in its place":
        folder.write_text("mine")
    else:
        (folder / "rank-0.txt").mkdir(parents=True)
    with caplog.at_level(logging.INFO), StackWriter(folder, 0, 2, 0.1, str) as writer:
        writer.write("because")
    assert "stacks go to stderr" in caplog.text


def test_a_file_that_does_not_open_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "rank-0.txt")  # opening it for writing waits for a reader
    monkeypatch.setattr(stacks, "LEAVE_SECONDS", 0.1)
    with StackWriter(tmp_path, 0, 2, 0.1, str) as writer:
        writer.write("because")
    os.close(os.open(tmp_path / "rank-0.txt", os.O_RDONLY | os.O_NONBLOCK))
    writer._thread.join(30)
    assert not writer._thread.is_alive()


@pytest.mark.parametrize("usable", [True, False])
def test_who_misses_a_rank_tells_where_stacks_are(
    usable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "SILENT_SECONDS", 0.0)
    folder = tmp_path / "stacks"
    if not usable:
        folder.write_text("mine")

    def miss_a_rank() -> None:
        with liveness.naming_lost_ranks(liveness.Liveness(dist.HashStore(), 0, 2), writer.write):
            raise dist.DistError("a collective")

    with StackWriter(folder, 0, 2, None, str) as writer:
        wait_until(writer.path.exists if usable else lambda: not writer._thread.is_alive())
        with pytest.raises(LostRankError) as lost:
            miss_a_rank()
    where = f"; the stacks of the ranks that waited are in {folder}" if usable else ""
    assert str(lost.value) == f"rank 1 never came{where}"


CRASH = """
import faulthandler, sys, time
from pathlib import Path
from jomold_dist.distributed.stacks import StackWriter, answer_signals

answer_signals()

def somewhere_deep():
    faulthandler._sigsegv()

if len(sys.argv) > 1:
    with StackWriter(Path(sys.argv[1]), 0, 1, None, str) as writer:
        while not writer.path.exists() or not writer.path.read_text():
            time.sleep(0.01)
        time.sleep(0.1)
        somewhere_deep()
somewhere_deep()
"""


@pytest.mark.parametrize("claimed", [True, False])
def test_a_crash_leaves_its_stacks(claimed: bool, tmp_path: Path) -> None:
    words = [str(tmp_path / "stacks")] if claimed else []
    done = subprocess.run(
        [sys.executable, "-c", CRASH, *words],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGSEGV
    text = (tmp_path / "stacks" / "rank-0.txt").read_text() if claimed else done.stderr
    assert "Segmentation fault" in text
    assert "in somewhere_deep" in text


def test_what_nccl_is_told(tmp_path: Path) -> None:
    variables: dict[str, str] = {}
    keep_nccl_traces(tmp_path, variables)
    assert variables == {
        "TORCH_FR_BUFFER_SIZE": "2000",
        "TORCH_NCCL_DUMP_ON_TIMEOUT": "1",
        "TORCH_FR_DUMP_TEMP_FILE": f"{tmp_path}/nccl-rank-",
    }
    own = {"TORCH_NCCL_TRACE_BUFFER_SIZE": "0", "TORCH_NCCL_DEBUG_INFO_TEMP_FILE": "/mine", "A": "b"}
    variables = own | {"TORCH_NCCL_DUMP_ON_TIMEOUT": "0"}
    keep_nccl_traces(tmp_path, variables)
    assert variables == own | {"TORCH_NCCL_DUMP_ON_TIMEOUT": "0"}
