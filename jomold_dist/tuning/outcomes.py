"""What became of the cells of a sweep: cells.json, from which tables are made and with which a further start begins."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jomold_dist.errors import UserError
from jomold_dist.files import write_json
from jomold_dist.reading import ABSENT, read_json
from jomold_dist.training.scores import ScoredData
from jomold_dist.training.trained import MODEL
from jomold_dist.tuning.plan import SweepPlan
from jomold_dist.tuning.results import CELLS
from jomold_dist.tuning.run_results import SCORE, identity, is_finished, read_epochs
from jomold_dist.tuning.trials import Trial, keeps_last


@dataclass(frozen=True)
class Ended:
    """How a trial ended: with a problem, by the scheduler's will after some epochs, or finished."""

    problem: str | None = None
    stopped_after: int | None = None


def stopped_by_scheduler(plan: SweepPlan, tell: Callable[[str], None]) -> dict[str, Ended]:
    """The trials that the scheduler of an earlier start has ended, by run folder. Those that it would not have ended as
    it is asked now go on: all of them with `fifo`, with another metric, or with more epochs granted. UnreadableError.

    `tell` hears that the folder's tables are those of another sweep, which are now replaced.
    """
    file, asked = plan.sweep.folder / CELLS, plan.sweep.sweep
    try:
        before = read_json(file)
        if before["sweep"] != plan.name:
            tell(f"{plan.sweep.folder} holds the tables of the sweep {before['sweep']!r}; they are replaced")
        stopped = {
            os.path.normpath(plan.sweep.folder / trial["run"]): Ended(None, trial["epochs"])
            for trial in before["trials"]
            if trial["state"] == "stopped" and trial["epochs"] >= asked.grace_epochs
        }
        return stopped if asked.scheduler != "fifo" and before["metric"] == asked.metric else {}
    except ABSENT:
        return {}
    except (ValueError, KeyError, TypeError) as error:
        tell(f"{file} is damaged ({error!r}); trials that the scheduler stopped are started again")
        return {}


def outcomes(
    plan: SweepPlan, trials: Sequence[Trial], ended: Mapping[str, Ended], failed: Mapping[tuple[str, int], str]
) -> list[dict[str, Any]]:
    """What cells.json says of every cell. `failed` has the problems of those for which there is no trial."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for trial in trials:
        outcome = _outcome(plan, trial, ended.get(trial.config.run.dir, Ended()))
        found |= {(cell.row, cell.seed): outcome for cell in trial.cells}
    for key, problem in failed.items():
        found[key] = {"run": None, "state": "failed", "problem": problem, "epochs": None, "is": None}
    return [{"row": cell.row, "seed": cell.seed, **found[cell.row, cell.seed]} for cell in plan.cells]


def _outcome(plan: SweepPlan, trial: Trial, end: Ended) -> dict[str, Any]:
    folder, asked = Path(trial.config.run.dir), identity(trial.config, plan.manifest.digest)
    state, problem = "missing", end.problem
    try:
        if is_finished(folder, asked):
            state, problem = "finished", None
    except UserError as error:
        problem = str(error)
    if problem is not None:
        state = "failed"
    elif state != "finished" and end.stopped_after is not None:
        state, problem = "stopped", f"stopped by {plan.sweep.sweep.scheduler}, after epoch {end.stopped_after}"
    run = os.path.relpath(folder, plan.sweep.folder)
    return {"run": run, "state": state, "problem": problem, "epochs": end.stopped_after, "is": asked}


def write_cells(plan: SweepPlan, results: Sequence[Mapping[str, Any]]) -> None:
    """Write cells.json. OSError."""
    methods = {cell.row: cell.config.method for cell in plan.cells}
    axes = [name for name in plan.rows[-1].settings if plan.rows[-1].kind == "cell"]
    write_json(
        plan.sweep.folder / CELLS,
        {
            "sweep": plan.name,
            "metric": plan.sweep.sweep.metric,
            "data": asdict(ScoredData.of(plan.manifest)),
            "axes": axes,
            "baseline": plan.baseline,
            "rows": [
                {"name": row.name, "kind": row.kind, "method": methods[row.name], "settings": dict(row.settings)}
                for row in plan.rows
            ],
            "trials": list(results),
        },
    )


def val_scores(plan: SweepPlan, trials: Sequence[Trial], ended: Mapping[str, Ended]) -> dict[str, float | None]:
    """The sweep's score on val by row, as the mean over seeds: the best moment's, or the last epoch's where the method
    keeps that. None where a seed has failed."""
    found: dict[str, list[float]] = {row.name: [] for row in plan.rows}
    for trial in trials:
        folder = trial.config.run.dir
        best = -math.inf
        if ended.get(folder, Ended()).problem is None:
            scores = [epoch[SCORE] for epoch in read_epochs(Path(folder), MODEL, plan.sweep.sweep.metric)]
            best = max(scores[-1:] if keeps_last(trial.config) else scores, default=best)
        for cell in trial.cells:
            found[cell.row].append(best)
    seeds = len(plan.sweep.sweep.seeds)
    whole = {row: len(scores) == seeds and all(map(math.isfinite, scores)) for row, scores in found.items()}
    return {row: statistics.mean(scores) if whole[row] else None for row, scores in found.items()}
