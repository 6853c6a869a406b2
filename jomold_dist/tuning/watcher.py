"""What a sweep tells while its trials run, and what it keeps of how they end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jomold_dist.times import duration
from jomold_dist.tuning.outcomes import Ended
from jomold_dist.tuning.progress import Progress
from jomold_dist.tuning.run_results import SCORE


@dataclass(frozen=True)
class Teller:
    """Hears how a sweep goes, line by line."""

    line: Callable[[str], None]
    every_seconds: float
    """While trials run, it hears something at least so often."""

    def __call__(self, text: str) -> None:
        self.line(text)


class Watcher:
    """Keeps how trials end, and tells of them: when they start and end, and now and then how far the whole is. Its
    methods are called as those of Tune's callbacks, of which this is the part that needs no Ray."""

    def __init__(self, competing: Set[str], total: int, metric: str, tell: Teller) -> None:
        """`competing` are the titles of the trials whose scores on val are compared by `metric`."""
        self.ended: dict[str, Ended] = {}
        self._progress = Progress(total, metric if competing else None)
        self._competing, self._teller, self._told = competing, tell, time.monotonic()

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Tune's loop turns several times a second, also where no trial has anything to say."""
        if time.monotonic() - self._told >= self._teller.every_seconds:
            self._tell(self._progress.line(time.monotonic()))

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._progress.start(_title(trial), time.monotonic())
        self._tell(f"{_title(trial)}: started")

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **i: Any) -> None:
        if _title(trial) in self._competing:
            self._progress.score(_title(trial), result[SCORE])

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        result = trial.last_result or {}
        if problem := result.get("problem"):
            self._end(trial, Ended(problem), f"failed: {problem}")
            return
        done = bool(result.get("finished"))
        epoch, job = int(result.get("epoch", 0)), trial.config["job"]
        self._end(trial, Ended(None, None if done else epoch),
                  f"val {job['metric']} {result[SCORE]:.1f}" if done and result.get(SCORE, -math.inf) > -math.inf
                  else "finished" if done else f"stopped by the scheduler, after epoch {epoch}")  # fmt: skip

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        problem = _reason(trial)
        self._end(trial, Ended(problem), f"failed: {problem}")

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._progress.interrupt(_title(trial))
        self._tell(f"{_title(trial)}: failed ({_reason(trial)}), is started again")

    def _end(self, trial: Any, ended: Ended, text: str) -> None:
        self.ended[trial.config["job"]["folder"]] = ended
        took = self._progress.end(_title(trial), time.monotonic(), ended.problem is not None)
        after = "" if took is None else f", in {duration(took)}"
        self._tell(f"{len(self.ended)}/{self._progress.total} {_title(trial)}: {text}{after}")

    def _tell(self, line: str) -> None:
        self._told = time.monotonic()
        self._teller(line)


def _title(trial: Any) -> str:
    return str(trial.config["job"]["title"])


def _reason(trial: Any) -> str:
    """Why a trial failed, in one line."""
    try:
        lines = Path(trial.error_file).read_text(encoding="utf-8").strip().splitlines()
    except (OSError, TypeError):  # no file, or no name of one
        lines = []
    own = [line.split("TrialError: ", 1)[1] for line in lines if "TrialError: " in line]
    return [*(lines or ["its process ended"]), *own][-1].strip()
