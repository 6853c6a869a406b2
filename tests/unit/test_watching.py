"""Signs of life of what takes long."""

from __future__ import annotations

import io
import logging
import re
import threading
import time
from collections.abc import Callable

import pytest

from jomold_dist.times import duration
from jomold_dist.watching import Task, Watch, progress

Logs = pytest.LogCaptureFixture


def wait_for(found: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_slow_step_of_a_long_run_says_something(caplog: Logs) -> None:
    """A million videos in batches of 128: the first step has not come to its end when the first line is due."""
    caplog.set_level(logging.INFO, "jomold_dist")
    with Watch(0.02) as watch, watch.task("train"), watch.task("epoch 1 of 25", 7813, "step") as task:
        wait_for(lambda: caplog.text.count("train, epoch 1 of 25: still in step 1 of 7,813, for 0:00:00") > 1)
        task.more()
        wait_for(lambda: "train, epoch 1 of 25: step 1 of 7,813; 0:" in caplog.text)
        wait_for(lambda: "train, epoch 1 of 25: still in step 2 of 7,813" in caplog.text)  # it waits again
    assert not any(thread.name == "watch" for thread in threading.enumerate())


def test_the_innermost_task_is_told_and_what_has_no_length_too(caplog: Logs) -> None:
    caplog.set_level(logging.INFO, "jomold_dist")
    with Watch(0.02) as watch, watch.task("noise_ratios"):
        wait_for(lambda: "noise_ratios: still at work, 0:00:00 so far" in caplog.text)
        for item in watch.over("abc", 3, "train"):
            wait_for(lambda item=item: f"train: still in batch {'abc'.index(item) + 1} of 3" in caplog.text)  # type: ignore[misc]
        caplog.clear()
        wait_for(lambda: "noise_ratios: still at work" in caplog.text)


def test_what_a_line_says_of_the_time_that_is_left() -> None:
    task = Task("epoch 1 of 2", 10, "step", 4, lambda: "loss 0.5")
    task.more(2)
    now = task._begun + 60
    assert task.text("epoch 1 of 2", now, task._begun - 1) == "epoch 1 of 2: step 6 of 10, loss 0.5; 0:02:00 left"
    assert duration(360_000.4) == "100:00:00"
    epoch = Task("model 1/3", 10, "step", 4, lambda: "loss 0.5", {"epoch": 0, "training": 20})
    epoch.more(2)  # one clock for both, so that an epoch never ends after its training
    assert epoch.text("train, model 1/3", epoch._begun + 60, epoch._begun - 1) == (
        "train, model 1/3: step 6 of 10, loss 0.5; epoch ends in 0:02:00, training ends in 0:12:00"
    )


def test_the_other_ranks_say_nothing(caplog: Logs) -> None:
    caplog.set_level(logging.INFO, "jomold_dist")
    with Watch(None) as watch, watch.task("train", 3) as task:
        assert not any(thread.name == "watch" for thread in threading.enumerate())
        task.more()
    assert not caplog.text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_where_somebody_watches_there_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    epoch = "epoch 1 of 2"
    with Watch(30) as watch, watch.task("train"), watch.task(epoch, 3, describe=lambda: "loss 0.5") as task:
        task.more(2)
        assert task.bar is not None
        task.bar.refresh()
    assert re.search(r"train, epoch 1 of 2:  67%.*2/3.*loss 0.5", screen.getvalue())


def test_where_somebody_watches_a_slow_step_moves_the_bar_and_what_has_no_length_is_a_line(
    monkeypatch: pytest.MonkeyPatch, caplog: Logs
) -> None:
    caplog.set_level(logging.INFO, "jomold_dist")
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    with Watch(0.02) as watch:
        with watch.task("checking the data set"):
            wait_for(lambda: "checking the data set: still at work, 0:00:00 so far" in caplog.text)
        caplog.clear()
        with watch.task("train"), watch.task("model 1/2", 3) as task:
            assert task.bar is not None
            wait_for(lambda: "train, model 1/2:   0%" in screen.getvalue())
            drawn = screen.getvalue().count("0/3")
            wait_for(lambda: screen.getvalue().count("0/3") > drawn + 1)  # in the first step
        assert "model 1/2" not in caplog.text
    assert not any(thread.name == "watch" for thread in threading.enumerate())


def test_a_command_with_one_task_tells_its_end(caplog: Logs) -> None:
    caplog.set_level(logging.INFO, "jomold_dist")
    with progress("checked", 5) as more:
        more(2)
        more(3)
    assert caplog.messages == ["checked: 5 of 5 videos"]
