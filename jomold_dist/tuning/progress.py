"""How far a sweep's trainings are, in a line: what runs, what is done, the best so far, and how long the rest may take.

Times are seconds of any one clock.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from jomold_dist.times import duration


@dataclass
class Progress:
    """The trainings of one round, of which as many run at once as there is room for."""

    total: int
    metric: str | None
    """The score on val that is compared; None where the trainings do not compete."""
    running: dict[str, float] = field(default_factory=dict)
    """When each that runs was started, by title."""
    took: list[float] = field(default_factory=list)
    """How long each took that ended by itself."""
    ended: int = 0
    failed: int = 0
    """Of those that have ended."""
    at_once: int = 1
    """The most that ran at once so far."""
    best: tuple[float, str] = (-math.inf, "")

    def start(self, title: str, now: float) -> None:
        self.running[title] = now
        self.at_once = max(self.at_once, len(self.running))

    def score(self, title: str, value: float) -> None:
        """A score on val after an epoch."""
        self.best = max(self.best, (value, title), key=lambda found: found[0])

    def end(self, title: str, now: float, failed: bool = False) -> float | None:
        """The last that is heard of a training; how long it took, if it ended by itself."""
        began = self.running.pop(title, None)
        self.ended += 1
        self.failed += failed
        if began is None or failed:
            return None
        self.took.append(now - began)
        return now - began

    def interrupt(self, title: str) -> None:
        """It failed, and is to be started again."""
        self.running.pop(title, None)

    def remaining(self, now: float) -> float | None:
        """How long the rest may take, by the mean of what was seen; None before any has ended."""
        if not self.took:
            return None
        waiting = self.total - self.ended - len(self.running)
        return time_left(
            statistics.mean(self.took), [now - began for began in self.running.values()], waiting, self.at_once
        )

    def line(self, now: float) -> str:
        """What a person wants to know who looks in now and then."""
        failed = f", {self.failed} of them failed" if self.failed else ""
        parts = [f"{len(self.running)} running, {self.ended} of {self.total} ended{failed}"]
        value, title = self.best
        if self.metric is not None and value > -math.inf:
            parts.append(f"best so far: {title}, val {self.metric} {value:.1f}")
        left = self.remaining(now)
        if left is None:
            oldest = max((now - began for began in self.running.values()), default=0.0)
            parts.append(f"the first has run for {duration(oldest)}" if self.running else "waiting for room")
        else:
            parts.append(f"one took {duration(statistics.mean(self.took))}, about {duration(left)} left")
        return "; ".join(parts)


def time_left(mean: float, elapsed: Sequence[float], waiting: int, at_once: int) -> float:
    """How long trainings of a mean length take, of which some have run for `elapsed` and others wait for room."""
    ends = sorted([max(mean - time, 0.0) for time in elapsed] + [0.0] * (at_once - len(elapsed)))
    for _ in range(waiting):
        ends.append(ends.pop(0) + mean)
        ends.sort()
    return ends[-1]
