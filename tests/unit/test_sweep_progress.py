"""What a sweep tells while its trials run: the lines, and how long the rest may take."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from jomold_dist.tuning.progress import Progress, time_left
from jomold_dist.tuning.watcher import Teller, Watcher


def test_a_line_says_what_runs_what_is_done_the_best_and_how_long_the_rest_may_take() -> None:
    progress = Progress(5, "segment_type")
    assert progress.line(0.0) == "0 running, 0 of 5 ended; waiting for room"
    progress.start("one", 0.0)
    progress.start("two", 0.0)
    assert progress.line(40.0) == "2 running, 0 of 5 ended; the first has run for 0:00:40"
    progress.score("one", 60.0)
    progress.score("two", -math.inf)  # no score on val
    progress.end("one", 3600.0)
    progress.end("two", 3600.0, failed=True)  # which says nothing of how long one takes
    progress.start("three", 3600.0)
    progress.start("four", 3600.0)
    progress.score("three", 55.0)
    assert progress.line(5400.0) == (
        "2 running, 2 of 5 ended, 1 of them failed; best so far: one, val segment_type 60.0; one took 1:00:00, about "
        "1:30:00 left"
    )
    progress.interrupt("three")
    assert progress.remaining(5400.0) == 5400.0  # it begins anew at once, and the fifth when the fourth has ended


def test_trainings_that_do_not_compete_have_no_best() -> None:
    progress = Progress(1, None)
    progress.start("estimator 1", 0.0)
    progress.score("estimator 1", 50.0)
    assert "best" not in progress.line(1.0)


@pytest.mark.parametrize(
    ("elapsed", "waiting", "at_once", "expected"),
    [([], 3, 1, 30.0), ([], 3, 2, 20.0), ([4.0], 0, 1, 6.0), ([4.0, 9.0], 1, 2, 11.0), ([40.0], 0, 3, 0.0)],
)
def test_trainings_share_the_places_there_are(
    elapsed: list[float], waiting: int, at_once: int, expected: float
) -> None:
    assert time_left(10.0, elapsed, waiting, at_once) == expected


def trial(title: str, **result: Any) -> SimpleNamespace:
    """As Ray Tune hands it to callbacks, as far as they look at it."""
    return SimpleNamespace(
        config={"job": {"title": title, "folder": f"/runs/{title}", "metric": "event_type"}}, last_result=result
    )


def test_trials_are_told_when_they_start_and_end_and_a_silence_is_broken() -> None:
    told: list[str] = []
    watcher = Watcher({"one"}, 2, "segment_type", Teller(told.append, 3600.0))
    one, two = trial("one", finished=True, score=61.25), trial("two", problem="a NaN")
    for each in (one, two):
        watcher.on_trial_start(0, [], each)
    watcher.on_step_end(1, [])  # too soon to say anything
    watcher.on_trial_result(1, [], one, {"score": 61.25})
    watcher.on_trial_complete(2, [], one)
    watcher.on_trial_complete(2, [], two)
    assert told == [
        "one: started",
        "two: started",
        "1/2 one: val event_type 61.2, in 0:00:00",
        "2/2 two: failed: a NaN",
    ]
    assert [ended.problem for ended in watcher.ended.values()] == [None, "a NaN"]
    impatient = Watcher({"one"}, 2, "segment_type", Teller(told.append, 0.0))
    impatient.on_trial_start(0, [], one)
    impatient.on_step_end(1, [])
    assert told[-1] == "1 running, 0 of 2 ended; the first has run for 0:00:00"
