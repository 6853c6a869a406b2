"""What a run tells of itself while it goes on: sections of its config that decide nothing of its result."""

from __future__ import annotations

from dataclasses import dataclass

from jomold_dist.config_fields import number


@dataclass(frozen=True)
class LogConfig:
    """What a run says on stderr."""

    every_seconds: float = number(30.0, 0, above=True)
    """Seconds between two lines of how far a run is. On a terminal there is a bar instead."""


@dataclass(frozen=True)
class MetricsConfig:
    """What is recorded of single steps."""

    every_steps: int | None = number(50, 1)
    """Optimizer steps between two records of loss, gradient norm, learning rate, videos/s, removals and memory, in
    MLflow and in the run's steps.jsonl. None: only epochs are recorded."""


@dataclass(frozen=True)
class ProfileConfig:
    """What steps are looked at closely: where their time and memory go, in the run's folder `profile`."""

    steps: int | None = number(None, 1, 1000)
    """Optimizer steps of each training that torch's profiler records, on the first eight ranks. They take longer than
    others, and give the same result. None: none."""
    after: int = number(10, 1)
    """Steps of each training before those, in which caches and memory settle; a start that goes on counts anew."""
