"""What trials have cost, which the sweep itself notes, and what those that are missing may cost."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from jomold_dist.files import write_json
from jomold_dist.reading import ABSENT, read_json
from jomold_dist.times import duration
from jomold_dist.training.forecast_report import amount
from jomold_dist.training.run_folder import OWNER
from jomold_dist.tuning.progress import time_left

TIME = "trial.json"
SECONDS = "seconds"


@dataclass(frozen=True)
class Cost:
    """What a finished trial took: seconds of all its starts together, and bytes of its folder."""

    seconds: float
    bytes: int


def add_time(folder: Path, seconds: float) -> None:
    """Note how long a start of a trial has taken, on top of those before. A folder that cannot be written, or that the
    trial has not made its own, is left as it is: only an estimate is lost."""
    if (folder / OWNER).exists():
        with suppress(OSError):
            write_json(folder / TIME, {SECONDS: _time(folder) + seconds})


def cost_of(folder: Path) -> Cost | None:
    """The cost of a finished trial; None where no sweep has noted its time. UnreadableError."""
    seconds = _time(folder)
    if not seconds:
        return None
    sizes = [os.lstat(Path(place) / name).st_size for place, _, names in os.walk(folder) for name in names]
    return Cost(seconds, sum(sizes))


def forecast(what: str, missing: int, costs: Sequence[Cost], at_once: int | None) -> str:
    """What `missing` trainings of a kind may take, by those that are finished. `at_once` is None where the number is
    not known beforehand."""
    plural = "" if missing == 1 else "s"
    if not costs:
        return (
            f"{missing} {what}{plural} missing; time and disk are unknown, as none has finished: start the sweep, and "
            "ask again once one has (what is finished is kept)"
        )
    seconds, size = (statistics.mean(getattr(cost, name) for cost in costs) for name in ("seconds", "bytes"))
    took = f"one took {duration(seconds)} and {amount(round(size))} (mean of {len(costs)})"
    if not missing:
        return f"no {what} missing; {took}"
    times = duration(missing * seconds) + (" one after another" if missing > 1 else "")
    if at_once is not None and min(at_once, missing) > 1:
        times += f", {duration(time_left(seconds, [], missing, at_once))} with {at_once} at once"
    return f"{missing} {what}{plural} missing; {took}: {times}; {amount(round(missing * size))} more on disk"


def _time(folder: Path) -> float:
    try:
        found = read_json(folder / TIME)[SECONDS]
    except (*ABSENT, ValueError, KeyError, TypeError):
        return 0.0
    return float(found) if isinstance(found, int | float) else 0.0
