"""Where a training is, and what it has found so far."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from torch import Tensor

from jomold_dist.config import CheckpointConfig


@dataclass
class Best:
    """The best moment so far by what is selected by, and its weights: after so many steps of an epoch. Of a loss, the
    score is its negative."""

    epoch: int = -1
    step: int = 0
    score: float = float("-inf")
    scores: Mapping[str, float] = field(default_factory=dict)
    """All that was found on val then, by name."""
    weights: Mapping[str, Tensor] | None = None

    def update(self, epoch: int, step: int, score: float, ties: str) -> bool:
        """Whether this moment is the best one now; of equal ones the `first` or the `last` is. `always`: it is,
        whatever its score."""
        if ties == "always" or score > self.score or (score == self.score and ties == "last"):
            self.epoch, self.step, self.score = epoch, step, score
            return True
        return False


@dataclass
class Progress:
    """Epochs that are trained and scored, steps taken in the one after them, and what both have brought."""

    epoch: int = 0
    step: int = 0
    skipped: int = 0  # of these steps, because something was not finite
    left_out: int = 0  # videos of these steps that could not be used
    validated: int = 0  # the last of these steps after which was validated
    seconds: float = 0.0  # that these steps, and what is done between them, have taken over all starts
    best: Best = field(default_factory=Best)
    history: list[dict[str, Any]] = field(default_factory=list)  # the line of each scored epoch

    def end_epoch(self) -> None:
        self.epoch += 1
        self.step = self.skipped = self.left_out = self.validated = 0
        self.seconds = 0.0

    def validation_due(self, every_steps: int | None) -> bool:
        """Whether it is time to validate, before the next step of the epoch is taken."""
        return every_steps is not None and self.step > self.validated and self.step % every_steps == 0

    def state(self) -> dict[str, Any]:
        """All but the best weights, as JSON."""
        kept = self.best
        best = {f.name: getattr(kept, f.name) for f in fields(kept) if f.name != "weights"} if kept.epoch >= 0 else None
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        return own | {"best": best, "history": self.history}

    @classmethod
    def of(cls, state: Mapping[str, Any], best_weights: Mapping[str, Tensor] | None) -> Progress:
        """The inverse of `state`."""
        best = Best() if state["best"] is None else Best(**state["best"], weights=best_weights)
        own = {f.name: state[f.name] for f in fields(cls)}
        return cls(**own | {"best": best})


class Due:
    """Tells when the next checkpoint is due, by the clock or by steps, counted since the last."""

    def __init__(self, config: CheckpointConfig) -> None:
        self._config = config
        self.taken()

    def taken(self) -> None:
        """A checkpoint was taken now."""
        self._since, self._steps = time.monotonic(), 0

    def after_step(self) -> bool:
        """Whether one is due after the step that begins now."""
        self._steps += 1
        minutes, steps = self._config.every_minutes, self._config.every_steps
        by_clock = minutes is not None and time.monotonic() - self._since >= 60 * minutes
        return by_clock or (steps is not None and self._steps >= steps)
