"""A rank that dies, leaves or hangs is named by the others; a good run is never ended."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
from ranks import run_ranks

from jomold_dist.distributed import liveness
from jomold_dist.distributed.world import World, barrier, gather_objects
from jomold_dist.errors import LostRankError

HOST = re.escape(socket.gethostname())


def lost_message(world: World) -> str:
    """Collective: what a survivor says when the barrier fails."""
    assert world.liveness is not None
    try:
        with liveness.naming_lost_ranks(world.liveness):
            barrier(world)
    except LostRankError as error:
        return str(error)
    return "nothing was lost"


def survive(world: World, folder: Path, lost: int, how: str) -> None:
    """Rank `lost` goes in one of several ways; the others write down what they say of it."""
    pids = gather_objects(os.getpid(), world)
    (folder / "pid").write_text(str(pids[lost]))
    if world.rank == lost:
        if how == "leaves":
            raise ValueError("no more bread")
        if how == "hangs":
            wait_for(folder, world)
            return
        os.kill(os.getpid(), signal.SIGKILL if how == "dies" else signal.SIGSTOP)
    try:
        (folder / f"said{world.rank}").write_text(lost_message(world))
    finally:
        wait_for(folder, world)
        if how == "is stopped":
            os.kill(pids[lost], signal.SIGKILL)


def wait_for(folder: Path, world: World) -> None:
    """Until every survivor has spoken, as the store of the survivors lives in one of them."""
    until = time.monotonic() + 60
    while len(list(folder.glob("said*"))) < world.size - 1 and time.monotonic() < until:
        time.sleep(0.05)


def said(folder: Path, size: int, lost: int, how: str, patience: float = 40) -> tuple[list[str], str]:
    folder.mkdir(exist_ok=True)
    with pytest.raises(AssertionError):  # a rank without a result
        run_ranks(survive, size, folder / "ranks", folder, lost, how, timeout=45, patience=patience)
    rank = rf"rank {lost} \(host {HOST}, pid {(folder / 'pid').read_text()}\)"
    return [path.read_text() for path in sorted(folder.glob("said*"))], rank


@pytest.mark.parametrize(("lost", "size"), [(0, 2), (2, 3)])  # rank 0 holds the store here
def test_a_killed_rank_is_named(lost: int, size: int, tmp_path: Path) -> None:
    messages, rank = said(tmp_path, size, lost, "dies")
    assert len(messages) == size - 1
    for message in messages:
        assert re.match(rank, message), message
        assert "has gone" in message if lost == 0 else "has died or was stopped" in message


def test_a_rank_that_leaves_with_an_error_is_named_with_it(tmp_path: Path) -> None:
    messages, rank = said(tmp_path, 3, 1, "leaves")
    assert len(messages) == 2
    for message in messages:
        assert re.fullmatch(rf"{rank} has left: ValueError: no more bread", message), message


@pytest.mark.parametrize(("how", "what"), [("is stopped", "has died or was stopped"), ("hangs", "hangs at ")])
def test_a_rank_that_keeps_the_others_waiting_is_named(how: str, what: str, tmp_path: Path) -> None:
    messages, rank = said(tmp_path, 2, 1, how, patience=5)
    assert len(messages) == 1
    assert re.match(rf"{rank} {what}", messages[0]), messages


def without_store(world: World, folder: Path) -> str:
    """Collective: the ranks' common store goes away in the middle of a good run."""
    assert world.liveness is not None
    world.liveness._store = BrokenStore()  # type: ignore[assignment]
    beats = world.liveness._sign.beat
    while any(t.name == "liveness" for t in threading.enumerate()) and world.liveness._sign.beat < beats + 5:
        time.sleep(0.05)
    return lost_message(world)


class BrokenStore:
    def __getattr__(self, name: str) -> object:
        raise RuntimeError("Connection reset by peer")


def test_a_good_run_does_not_need_the_store(tmp_path: Path) -> None:
    assert run_ranks(without_store, 2, tmp_path / "ranks", tmp_path) == ["nothing was lost"] * 2


def stand_still(world: World, folder: Path) -> None:
    """Rank 1 waits in a collective while every rank is stopped for longer than its patience, and then goes on."""
    pids = gather_objects(os.getpid(), world)
    if world.rank == 0:
        (folder / "pids").write_text(" ".join(map(str, pids)))
        wait_for(folder, world)
    else:
        (folder / "said1").write_text(lost_message(world))


def stop_for_a_while(folder: Path) -> None:
    until = time.monotonic() + 60
    while not (folder / "pids").exists() and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(2)
    pids = [int(pid) for pid in (folder / "pids").read_text().split()]
    for number, pause in ((signal.SIGSTOP, 10.0), (signal.SIGCONT, 0.0)):
        for pid in pids:
            os.kill(pid, number)
        time.sleep(pause)


def test_ranks_that_stood_still_say_so(tmp_path: Path) -> None:
    suspend = threading.Thread(target=stop_for_a_while, args=(tmp_path,))
    suspend.start()
    with pytest.raises(AssertionError):  # the ranks cannot leave together any more
        run_ranks(stand_still, 2, tmp_path / "ranks", tmp_path, timeout=45, patience=6)
    suspend.join()
    message = (tmp_path / "said1").read_text()
    assert re.search(rf"rank 1 \(host {HOST}, pid \d+\) stood still for \d+ s", message), message
