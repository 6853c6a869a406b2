"""What steps add up, and what came since somebody looked."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from jomold_dist.training.step_file import StepFile
from jomold_dist.training.step_sums import Since, StepSums

SUMS = StepSums({"audio": 2.0, "video": 1.0}, ("audio", "visual"))


def test_losses_are_means_over_videos_and_the_whole_is_weighted() -> None:
    sums = [3.0, 8.0, 4.0, 5.0, 6.0]
    assert len(SUMS) == len(sums)
    assert SUMS.losses(sums) == {"loss": 2 * 0.75 + 2.0, "loss_audio": 0.75, "loss_video": 2.0}
    assert SUMS.removed(sums) == {"removed_audio": 5.0, "removed_visual": 6.0}
    assert SUMS.losses([0.0] * 5)["loss"] == 0


@pytest.mark.parametrize("steps", [1, 3, 5])
@pytest.mark.parametrize("every", [1, 2, 4, 7])
@pytest.mark.parametrize("stop", [None, 2, 6])
def test_every_step_counts_once_over_epochs_and_stops(steps: int, every: int, stop: int | None) -> None:
    """Windows of `every` steps, epochs of `steps`, and another process that goes on after `stop` steps."""
    brought = np.random.default_rng(0).integers(0, 100, (4 * steps, 3)).astype(float)
    since, running, windows = Since(3), np.zeros(3), []
    for number in range(1, len(brought) + 1):
        running = running + brought[number - 1]
        if number % every == 0:
            windows.append(since.take(running))
        if number % steps == 0:
            since.end_epoch(running)
            running = np.zeros(3)
        if number == stop:
            again = Since(3)
            again.load_state(json.loads(json.dumps(since.state())))
            since = again
    for at, window in enumerate(windows):
        np.testing.assert_array_equal(window, brought[at * every : (at + 1) * every].sum(0))


def lines(path: Path) -> list[tuple[str, int]]:
    return [(line["stage"], line["step"]) for line in map(json.loads, path.read_text().splitlines())]


def test_no_step_stands_twice_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "steps.jsonl"
    for stage in ("estimator", "model"):
        file = StepFile(path, stage)
        file.begin_after(0)
        for step in (2, 4, 6):
            file.append(step, {"loss": 0.5})
        file.close()
    with path.open("a") as cut:
        cut.write('{"stage": "model", "st')  # a killed process
    file = StepFile(path, "model")
    file.begin_after(4)
    assert lines(path) == [("estimator", 2), ("estimator", 4), ("estimator", 6), ("model", 2), ("model", 4)]
    file.append(6, {})
    file.close()
    assert lines(path)[-1] == ("model", 6)
    StepFile(path, "estimator").begin_after(0)
    assert {stage for stage, _ in lines(path)} == {"model"}


def test_a_file_that_cannot_be_written_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = StepFile(tmp_path / "gone" / "steps.jsonl", "model")
    for step in range(3):
        file.append(step, {})
    file.close()
    assert caplog.text.count("metrics of steps are not written there") == 1
