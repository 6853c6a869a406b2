"""Running a sweep: estimators, noise ratios, trials, and what is told of them."""

from __future__ import annotations

import json
import math
import os
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from jomold_dist.config import Config
from jomold_dist.config_files import dump_config
from jomold_dist.denoising.noise_ratio import read_predictions
from jomold_dist.errors import DataError, RunFolderError
from jomold_dist.files import problem_of, write_json, write_text
from jomold_dist.locks import LockHeldError, locked
from jomold_dist.tracking.store import handed_on
from jomold_dist.tracking.sweep import SweepRecord, open_sweep
from jomold_dist.training.run_folder import RunFolder
from jomold_dist.tuning.plan import SweepPlan, finished
from jomold_dist.tuning.report import tabulate
from jomold_dist.tuning.results import CELLS
from jomold_dist.tuning.rows import Cell
from jomold_dist.tuning.schedule import SCORE, Ended, Job, cluster, read_epochs, run_jobs
from jomold_dist.tuning.trials import Trial, estimator_config, needs_estimator, trials_of, with_ratios


def run_sweep(plan: SweepPlan, tell: Callable[[str], None]) -> int:
    """Train what is missing of the sweep, and write cells.json, tables and figures. How many cells have failed.

    `tell` hears how it goes, line by line. StoppedError once this process was asked to stop; cells.json says then what
    was reached, unless only estimators have run.
    """
    sweep, folder = plan.sweep, plan.sweep.folder
    with (
        cluster(sweep.sweep),
        _claimed(folder, sweep.trials),
        open_sweep(_any_trial(plan), folder, plan.name, asdict(sweep.sweep), plan.manifest) as record,
    ):
        ended = _ended_early(plan)
        while True:
            trials, results = _train(plan, ended, record, tell)
            further = plan.next_round(_val_scores(plan, trials, ended))
            if further is None:
                break
            plan = further
            tell(f"optuna has made further draws: {len(plan.rows)} rows by now")
        _tell_mlflow(record, trials)
        record.artifacts(tabulate(folder, folder))
    return sum(result["state"] == "failed" for result in results)


def _any_trial(plan: SweepPlan) -> Config:
    """A trial's settings, as far as all trials have the same."""
    config = plan.cells[0].config
    return replace(config, run=replace(config.run, dir=str(plan.sweep.trials / "any")))


def _train(
    plan: SweepPlan, ended: dict[str, Ended], record: SweepRecord, tell: Callable[[str], None]
) -> tuple[list[Trial], list[dict[str, Any]]]:
    """Train what is missing of the plan and write cells.json: its trials, and what became of every cell.

    `ended` has the trials and estimators that are not to be started, by run folder; those that end here are added.
    """
    _train_estimators(plan, ended, record, tell)
    cells, failed = [], {}
    for cell in plan.cells:
        try:
            cells.append(_with_ratios(plan, cell, ended))
        except DataError as error:
            failed[cell.row, cell.seed] = str(error)
    trials = trials_of(cells, plan.manifest.digest, plan.sweep.trials)
    try:
        ended |= _run(plan, [_job(plan, trial, record) for trial in trials if trial.config.run.dir not in ended], tell)
    finally:
        results = _results(plan, trials, ended, failed)
        _write_cells(plan, results)
    return trials, results


@contextmanager
def _claimed(folder: Path, trials: Path) -> Iterator[None]:
    """Makes the folders and keeps other starts of the sweep out. RunFolderError if that cannot be."""
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / ".lock", patience=0))
            for place in (trials / "logs", trials / "configs"):
                place.mkdir(parents=True, exist_ok=True)
        except LockHeldError as holder:
            raise RunFolderError(f"sweep.dir {folder} is in use by {holder}; wait for its end") from None
        except OSError as error:
            raise RunFolderError(f"sweep.dir {folder} cannot be used: {problem_of(error)}") from None
        yield


def _train_estimators(
    plan: SweepPlan, ended: dict[str, Ended], record: SweepRecord, tell: Callable[[str], None]
) -> None:
    """Train the estimators that are missing."""
    jobs = []
    for number, config in enumerate(plan.estimators.values(), 1):
        title = f"estimator {number}, seed {config.run.seed}"
        jobs.append(_prepared(plan, config, title, "estimator", record, ("--until", "noise_ratios")))
    missing = [j for j in jobs if j.folder not in ended and not RunFolder(Path(j.folder)).predictions.exists()]
    asked = replace(plan.sweep.sweep, scheduler="fifo")  # none of them is to be ended early
    ended |= run_jobs(missing, _variables(plan), asked, plan.sweep.estimator.epochs, plan.sweep.folder / "tune", tell)


def _with_ratios(plan: SweepPlan, cell: Cell, ended: Mapping[str, Ended]) -> Cell:
    """The cell with the noise ratios that its estimator's predictions and its thresholds lead to."""
    config, trials = cell.config, plan.sweep.trials
    if not needs_estimator(config):
        return cell
    folder = estimator_config(config, plan.manifest.digest, trials).run.dir
    if (problem := ended.get(folder, Ended()).problem) is not None:
        raise DataError(f"its estimator failed: {problem}")
    denoise = config.denoise
    ratios = read_predictions(RunFolder(Path(folder)).predictions).noise_ratios(
        denoise.audio_threshold, denoise.visual_threshold, denoise.visual_scale
    )
    return replace(cell, config=with_ratios(config, ratios, plan.manifest.categories.names, trials))


def _job(plan: SweepPlan, trial: Trial, record: SweepRecord) -> Job:
    first = trial.cells[0]
    return _prepared(plan, trial.config, f"{first.row}, seed {first.seed}", "model", record)


def _prepared(
    plan: SweepPlan, config: Config, title: str, stage: str, record: SweepRecord, options: tuple[str, ...] = ()
) -> Job:
    """A job with its config file written."""
    folder = Path(config.run.dir)
    config, _ = handed_on(config)
    tracking = replace(config.tracking, name=title, parent=record.run)
    file = folder.parent / "configs" / f"{folder.name}.yaml"
    write_text(file, dump_config(replace(config, tracking=tracking)))
    log = folder.parent / "logs" / f"{folder.name}.txt"
    return Job(title, str(folder), str(file), str(log), stage, plan.sweep.sweep.metric, options)


def _variables(plan: SweepPlan) -> dict[str, str]:
    """Variables of the environment with which trials record where the sweep does."""
    return handed_on(_any_trial(plan))[1]


def _run(plan: SweepPlan, jobs: Sequence[Job], tell: Callable[[str], None]) -> dict[str, Ended]:
    """Run the jobs whose folders hold no finished run."""
    missing = [job for job in jobs if not finished(Path(job.folder))]
    if len(jobs) > len(missing):
        tell(f"{len(jobs) - len(missing)} of {len(jobs)} trials were finished before")
    epochs = max(cell.config.train.epochs for cell in plan.cells)
    return run_jobs(missing, _variables(plan), plan.sweep.sweep, epochs, plan.sweep.folder / "tune", tell)


def _ended_early(plan: SweepPlan) -> dict[str, Ended]:
    """The trials that the scheduler of an earlier start has ended, by run folder; with `fifo` they go on."""
    try:
        trials = json.loads((plan.sweep.folder / CELLS).read_text(encoding="utf-8"))["trials"]
    except (OSError, ValueError, KeyError):
        return {}
    if plan.sweep.sweep.scheduler == "fifo":
        return {}
    return {
        os.path.normpath(plan.sweep.folder / trial["run"]): Ended(None, trial["epochs"])
        for trial in trials
        if trial["state"] == "stopped"
    }


def _results(
    plan: SweepPlan, trials: Sequence[Trial], ended: Mapping[str, Ended], failed: Mapping[tuple[str, int], str]
) -> list[dict[str, Any]]:
    """What cells.json says of every cell."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for trial in trials:
        folder = Path(trial.config.run.dir)
        end = ended.get(str(folder), Ended())
        state, problem = "missing", end.problem
        if finished(folder):
            state, problem = "finished", None
        elif problem is not None:
            state = "failed"
        elif end.stopped_after is not None:
            state, problem = "stopped", f"ended early by {plan.sweep.sweep.scheduler}, after epoch {end.stopped_after}"
        for cell in trial.cells:
            run = os.path.relpath(folder, plan.sweep.folder)
            found[cell.row, cell.seed] = {
                "run": run, "state": state, "problem": problem, "epochs": end.stopped_after
            }  # fmt: skip
    for key, problem in failed.items():
        found[key] = {"run": None, "state": "failed", "problem": problem, "epochs": None}
    return [{"row": cell.row, "seed": cell.seed, **found[cell.row, cell.seed]} for cell in plan.cells]


def _write_cells(plan: SweepPlan, results: Sequence[Mapping[str, Any]]) -> None:
    axes = [name for name in plan.rows[-1].settings if plan.rows[-1].kind == "cell"]
    write_json(
        plan.sweep.folder / CELLS,
        {
            "sweep": plan.name,
            "metric": plan.sweep.sweep.metric,
            "simulated": plan.manifest.simulated is not None,
            "axes": axes,
            "baseline": plan.baseline,
            "rows": [{"name": row.name, "kind": row.kind, "settings": dict(row.settings)} for row in plan.rows],
            "trials": list(results),
        },
    )


def _val_scores(plan: SweepPlan, trials: Sequence[Trial], ended: Mapping[str, Ended]) -> dict[str, float | None]:
    """The sweep's score on val by row: the best epoch's, as the mean over seeds; None where a seed has failed."""
    found: dict[str, list[float]] = {row.name: [] for row in plan.rows}
    for trial in trials:
        folder = trial.config.run.dir
        best = -math.inf
        if ended.get(folder, Ended()).problem is None:
            epochs = read_epochs(Path(folder), "model", plan.sweep.sweep.metric)
            best = max((epoch[SCORE] for epoch in epochs), default=best)
        for cell in trial.cells:
            found[cell.row].append(best)
    seeds = len(plan.sweep.sweep.seeds)
    whole = {row: len(scores) == seeds and all(map(math.isfinite, scores)) for row, scores in found.items()}
    return {row: statistics.mean(scores) if whole[row] else None for row, scores in found.items()}


def _tell_mlflow(record: SweepRecord, trials: Sequence[Trial]) -> None:
    """The scores of all finished trials, so that they can be compared."""
    for trial in trials:
        folder = Path(trial.config.run.dir)
        if finished(folder):
            scores = json.loads(RunFolder(folder).scores.read_text(encoding="utf-8"))["scores"]
            first = trial.cells[0]
            tags = {"row": "; ".join(dict.fromkeys(cell.row for cell in trial.cells)), "seed": str(first.seed)}
            record.trial(folder, trial.config, f"{first.row}, seed {first.seed}", tags, scores)
