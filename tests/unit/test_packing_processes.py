"""Shards written by several processes: the same bytes, the same messages, and nobody left behind whatever ends them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

from jomold_dist.data.packing import workers
from jomold_dist.data.packing.repair import repair_shards
from jomold_dist.data.packing.shard_writer import BadVideosError
from jomold_dist.data.packing.splits import SplitSource
from jomold_dist.errors import PREEMPTED, DataError
from tests.packing_videos import (
    CATEGORIES,
    FEATURES,
    SEGMENTS,
    VIDEOS_PER_SHARD,
    MadeVideos,
    contents,
    pack,
    sources,
)

pytestmark = pytest.mark.lengthy

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Packed by one process."""
    folder = tmp_path_factory.mktemp("undisturbed") / "set"
    pack(folder, sources())
    return contents(folder)


@pytest.fixture
def _always(monkeypatch: pytest.MonkeyPatch) -> None:
    """However little there is to do, processes are started for it."""
    monkeypatch.setattr(workers, "PAYS_SECONDS", 0.0)


def writers(pid: int) -> list[psutil.Process]:
    """The processes that have been started by one to write shards."""
    found = []
    for child in psutil.Process(pid).children():
        with suppress(psutil.NoSuchProcess):
            if "multiprocessing.spawn" in " ".join(child.cmdline()):
                found.append(child)
    return found


@pytest.mark.usefixtures("_always")
def test_the_bytes_are_the_same_whatever_the_number(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    """That no process has imported torch, the videos say themselves."""
    for jobs in (2, 3):
        pack(tmp_path / f"{jobs}", sources(), jobs=jobs)
        assert contents(tmp_path / f"{jobs}") == undisturbed
    assert writers(os.getpid()) == []


def test_no_process_is_started_for_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers.Workers, "_divided", lambda *arguments: pytest.fail("a process was started"))
    pack(tmp_path / "set", sources(), jobs=2)


@pytest.mark.usefixtures("_always")
def test_bad_videos_and_repeated_keys_of_all_shards_come_together(tmp_path: Path) -> None:
    """In the words of one process; what is good is kept."""
    train = MadeVideos("train", bad=(3, 17, 40), keys={22: "train-0005"})
    val = MadeVideos("val", bad=(8,), keys={2: "train-0030"})
    splits = [SplitSource("train", train), SplitSource("val", val, True)]
    said = []
    for jobs in (1, 2):
        with pytest.raises(BadVideosError) as error:
            pack(tmp_path / f"{jobs}", splits, jobs=jobs)
        said.append(error.value.problems)
        kept = tmp_path / f".{jobs}.partial" / "set"
        assert len(list((kept / "train").glob("*.tar"))) >= 11 - 4
    named = ("train-0003", "train-0017", "train-0005", "train-0040", "train-0030", "val-0008")
    assert sorted(said[0]) == sorted(said[1])
    assert [sum(key in text for text in said[0]) for key in named] == [1] * len(named)


@pytest.mark.usefixtures("_always")
def test_repair_by_two(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    pack(tmp_path / "set", sources())
    gone = tmp_path / "set" / "train" / "shard-000007.tar"
    cut = tmp_path / "set" / "val" / "shard-000001.tar"
    gone.unlink()
    os.truncate(cut, 700)
    result = repair_shards(
        tmp_path / "set",
        sources(),
        categories=CATEGORIES,
        segments=SEGMENTS,
        features=FEATURES,
        videos_per_shard=VIDEOS_PER_SHARD,
        jobs=2,
    )
    assert result.rewritten == ("train/shard-000007.tar", "val/shard-000001.tar")
    assert len(result.whole) == 12
    assert contents(tmp_path / "set") == undisturbed


@pytest.mark.usefixtures("_always")
def test_videos_that_cannot_be_handed_over_are_refused_at_once(tmp_path: Path) -> None:
    videos = MadeVideos("train")
    videos.open_file = open(os.devnull)  # type: ignore[attr-defined]  # noqa: SIM115
    with videos.open_file, pytest.raises(DataError, match=r"cannot be given to other processes .*or pack with jobs=1"):  # type: ignore[attr-defined]
        pack(tmp_path / "set", [SplitSource("train", videos)], jobs=2)


class Killer(MadeVideos):
    """Its process is killed at a video, as one that takes too much memory is."""

    def video(self, number: int):  # type: ignore[no-untyped-def]
        if number == 21:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().video(number)


@pytest.mark.usefixtures("_always")
def test_a_process_that_is_killed_is_one_message_and_work_is_kept(
    tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    with pytest.raises(DataError, match=r"a process that was packing has ended .* start again with fewer --jobs"):
        pack(tmp_path / "set", [SplitSource("train", Killer("train"))], jobs=2)
    assert writers(os.getpid()) == []


def started(out: Path, seconds: float) -> subprocess.Popen[str]:
    """The program, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.packing_videos", str(out), "2", str(seconds)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def shards(out: Path) -> int:
    return len(list(out.with_name(f".{out.name}.partial").rglob("shard-*.tar")))


def wait_for(condition: object, seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < until
        time.sleep(0.005)


def group(leader: int) -> list[int]:
    """The processes of a group that are not zombies."""
    found = []
    for process in psutil.process_iter(["pid", "status"]):
        try:
            if os.getpgid(process.pid) == leader and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except ProcessLookupError:
            pass
    return found


@pytest.mark.parametrize(("number", "whole_group"), [(signal.SIGINT, True), (signal.SIGTERM, False)])
def test_a_signal_ends_all_processes_with_75(
    tmp_path: Path, undisturbed: dict[str, bytes], number: signal.Signals, whole_group: bool
) -> None:
    """Ctrl-C, which goes to all; what a scheduler sends."""
    process = started(tmp_path / "set", 0.1)
    wait_for(lambda: shards(tmp_path / "set") >= 3)
    (os.killpg if whole_group else os.kill)(process.pid, number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == PREEMPTED
    assert said == f"stopped by {number.name}\n"
    wait_for(lambda: group(process.pid) == [])
    assert 3 <= shards(tmp_path / "set") < 14
    pack(tmp_path / "set", sources())
    assert contents(tmp_path / "set") == undisturbed


def killed_again_and_again(out: Path, times: int) -> int:
    """Killed at random moments, sometimes the first process alone and sometimes all, and started again at once: how
    often that was before it was done."""
    draw = np.random.default_rng(time.time_ns())
    for number in range(times):
        process = started(out, 0.05)
        time.sleep(float(draw.uniform(0.2, 1.2)))
        (os.kill if number % 2 else os.killpg)(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
        if out.exists():
            return number
    assert started(out, 0.0).wait(timeout=60) == 0
    return times


@pytest.fixture
def quiet() -> Iterator[None]:
    yield
    assert writers(os.getpid()) == []


@pytest.mark.parametrize("times", [3, pytest.param(10, marks=pytest.mark.slow)])
@pytest.mark.usefixtures("quiet")
def test_killed_at_random_moments_it_ends_with_the_same_bytes(
    tmp_path: Path, undisturbed: dict[str, bytes], times: int
) -> None:
    killed_again_and_again(tmp_path / "set", times)
    assert contents(tmp_path / "set") == undisturbed
    assert {path.name for path in tmp_path.iterdir()} <= {"set", ".set.partial"}


def test_nobody_begins_before_the_last_process_of_a_killed_packing_has_left(
    tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    """One that hangs, as in a disk that does not answer, may still write when it goes on."""
    process = started(tmp_path / "set", 0.2)
    wait_for(lambda: len(writers(process.pid)) == 2 and shards(tmp_path / "set") >= 2)
    hanging = writers(process.pid)[0]
    hanging.suspend()
    os.kill(process.pid, signal.SIGKILL)
    try:
        with pytest.raises(DataError, match=rf"is being packed or repaired by process {process.pid} on "):
            pack(tmp_path / "set", sources(0.2))
    finally:
        hanging.resume()
    pack(tmp_path / "set", sources())
    process.communicate(timeout=60)
    assert group(process.pid) == []
    assert contents(tmp_path / "set") == undisturbed
