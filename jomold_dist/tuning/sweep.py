"""Running a sweep: estimators, noise ratios, trials, and what is told of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from jomold_dist.config import Config
from jomold_dist.config_files import dump_config
from jomold_dist.denoising.noise_ratio import read_predictions
from jomold_dist.denoising.separation import probability_sums
from jomold_dist.errors import ConfigError, DataError, RunFolderError, UserError
from jomold_dist.files import problem_of, write_text
from jomold_dist.locks import LockHeldError, locked
from jomold_dist.methods.estimator import ESTIMATOR
from jomold_dist.ray_cluster import working_copy
from jomold_dist.tracking import ui_command
from jomold_dist.tracking.store import handed_on, sqlite_path, store_uri
from jomold_dist.tracking.sweep import SweepRecord, open_sweep
from jomold_dist.training.advice import estimator_advice
from jomold_dist.training.ratio_stage import NOISE_RATIOS
from jomold_dist.training.run_folder import RunFolder
from jomold_dist.training.run_reading import read_scores
from jomold_dist.training.trained import MODEL
from jomold_dist.tuning.best import best_row, closing
from jomold_dist.tuning.outcomes import Ended, outcomes, stopped_by_scheduler, val_scores, write_cells
from jomold_dist.tuning.plan import SweepPlan, has_metric
from jomold_dist.tuning.report import tabulate
from jomold_dist.tuning.results import read_results
from jomold_dist.tuning.rows import Cell
from jomold_dist.tuning.run_results import has_predictions, identity, is_finished
from jomold_dist.tuning.schedule import Job, cluster, run_jobs
from jomold_dist.tuning.trials import (
    Trial,
    estimator_config,
    found_ratios,
    keep_ratios,
    needs_estimator,
    trials_of,
    with_ratios,
)
from jomold_dist.tuning.watcher import Teller


@dataclass(frozen=True)
class Ran:
    """How a sweep ended: how many of its cells have failed, and what to print of all that it found."""

    failed: int
    text: str


def run_sweep(plan: SweepPlan, tell: Teller) -> Ran:
    """Train what is missing of the sweep, and write cells.json, tables and figures.

    `tell` hears how it goes. StoppedError once this process was asked to stop; cells.json says then what was reached,
    unless only estimators have run.
    """
    sweep, folder = plan.sweep, plan.sweep.folder
    with ExitStack() as stack:
        stack.enter_context(cluster(sweep.sweep))
        _refuse_copy(plan)
        stack.enter_context(_claimed(folder, sweep.trials))
        asked = asdict(sweep.sweep)
        record = stack.enter_context(open_sweep(_any_trial(plan), folder, plan.name, asked, plan.manifest))
        ended, warned = stopped_by_scheduler(plan, tell), set[str]()
        while True:
            trials, results = _train(plan, ended, warned, record, tell)
            further = plan.next_round(val_scores(plan, trials, ended))
            if further is None:
                break
            plan = further
            tell(f"optuna has made further draws: {len(plan.rows)} rows by now")
        _tell_mlflow(plan, record, trials, results)
        files, found = tabulate(folder, folder), read_results(folder)
        record.artifacts(files)
        if (best := best_row(found)) is not None:
            record.best(best.tags, best.numbers)
        address = ui_command(_any_trial(plan), folder) if record.run is not None else None
    return Ran(sum(result["state"] == "failed" for result in results), closing(found, files, address))


def _any_trial(plan: SweepPlan) -> Config:
    """A trial's settings, as far as all trials have the same."""
    config = plan.cells[0].config
    return replace(config, run=replace(config.run, dir=str(plan.sweep.trials / "any")))


def _train(
    plan: SweepPlan, ended: dict[str, Ended], warned: set[str], record: SweepRecord, tell: Teller
) -> tuple[list[Trial], list[dict[str, Any]]]:
    """Train what is missing of the plan and write cells.json: its trials, and what became of every cell.

    `ended` has the trials and estimators that are not to be started, by run folder; those that end here are added. So
    are, to `warned`, the rows of which it was told that their estimator is too weak, and the very words.
    """
    _train_estimators(plan, ended, record, tell)
    cells, failed = [], {}
    for cell in plan.cells:
        try:
            cells.append(_with_ratios(plan, cell, ended, warned, tell))
        except UserError as error:
            failed[cell.row, cell.seed] = str(error)
    trials = trials_of(cells, plan.manifest.digest, plan.sweep.trials)
    try:
        ended |= _run(plan, [trial for trial in trials if trial.config.run.dir not in ended], record, tell)
    finally:
        results = outcomes(plan, trials, ended, failed)
        with _writes("sweep.dir", plan.sweep.folder):
            write_cells(plan, results)
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


def _train_estimators(plan: SweepPlan, ended: dict[str, Ended], record: SweepRecord, tell: Teller) -> None:
    """Train the estimators that are missing."""
    jobs = []
    for number, config in enumerate(plan.estimators.values(), 1):
        missing = not has_predictions(Path(config.run.dir), identity(config, plan.manifest.digest))
        if missing and config.run.dir not in ended:
            title = f"estimator {number}, seed {config.run.seed}"
            jobs.append(_job(plan, config, title, ESTIMATOR, record, ("--until", NOISE_RATIOS)))
    asked = replace(plan.sweep.sweep, scheduler="fifo")  # none of them is to be stopped
    ended |= run_jobs(jobs, _variables(plan), asked, plan.sweep.estimator.epochs, plan.sweep.folder / "tune", tell)


def _with_ratios(plan: SweepPlan, cell: Cell, ended: Mapping[str, Ended], warned: set[str], tell: Teller) -> Cell:
    """The cell with the noise ratios that its estimator's predictions and its thresholds lead to. An estimator that is
    too weak for them is told once a row, and in the same words once."""
    config, trials = cell.config, plan.sweep.trials
    if not needs_estimator(config):
        return cell
    folder = estimator_config(config, plan.manifest.digest, trials).run.dir
    if (problem := ended.get(folder, Ended()).problem) is not None:
        raise DataError(f"its estimator failed: {problem}")
    found = read_predictions(RunFolder(Path(folder)).predictions)
    ratios, names = found_ratios(config, found), plan.manifest.categories.names
    if cell.row not in warned:
        for warning in estimator_advice(found, probability_sums(found), ratios, config, plan.manifest):
            if warning not in warned:
                tell(f"row {cell.row!r}, seed {cell.seed}: {warning}")
            warned |= {cell.row, warning}
    keep_ratios(ratios, names, trials)
    return replace(cell, config=with_ratios(config, ratios, names, trials))


def _job(
    plan: SweepPlan, config: Config, title: str, stage: str, record: SweepRecord, options: tuple[str, ...] = ()
) -> Job:
    """A job with its config file written. RunFolderError if that cannot be."""
    folder = Path(config.run.dir)
    config, _ = handed_on(config)
    tracking = replace(config.tracking, name=title, parent=record.run)
    file = folder.parent / "configs" / f"{folder.name}.yaml"
    with _writes("sweep.trials", folder.parent):
        write_text(file, dump_config(replace(config, tracking=tracking)))
    log = folder.parent / "logs" / f"{folder.name}.txt"
    metric = plan.sweep.sweep.metric
    has_it = has_metric(config, plan.manifest, metric)
    shown = metric if has_it else config.train.selection  # fifo alone, which does not judge by it
    return Job(title, str(folder), str(file), str(log), stage, shown, options)


def _variables(plan: SweepPlan) -> dict[str, str]:
    """Variables of the environment with which trials record where the sweep does."""
    return handed_on(_any_trial(plan))[1]


def _run(plan: SweepPlan, trials: Sequence[Trial], record: SweepRecord, tell: Teller) -> dict[str, Ended]:
    """Run the trials whose folders do not hold them finished."""
    digest = plan.manifest.digest
    missing = [t for t in trials if not is_finished(Path(t.config.run.dir), identity(t.config, digest))]
    if len(trials) > len(missing):
        tell(f"{len(trials) - len(missing)} of {len(trials)} trials were finished before")
    firsts = [(trial.config, trial.cells[0]) for trial in missing]
    jobs = [_job(plan, config, f"{first.row}, seed {first.seed}", MODEL, record) for config, first in firsts]
    epochs = max(cell.config.train.epochs for cell in plan.cells)
    return run_jobs(jobs, _variables(plan), plan.sweep.sweep, epochs, plan.sweep.folder / "tune", tell)


@contextmanager
def _writes(name: str, place: Path) -> Iterator[None]:
    """Tells of a full disk and the like inside the block as a RunFolderError."""
    try:
        yield
    except OSError as error:
        raise RunFolderError(f"{name} {place} cannot be written: {problem_of(error)}") from None


def _refuse_copy(plan: SweepPlan) -> None:
    """ConfigError if the sweep would write into a submitted job's copy of the working directory."""
    copy, store = working_copy(), sqlite_path(store_uri(_any_trial(plan)))
    places = {"sweep.dir": plan.sweep.folder, "sweep.trials": plan.sweep.trials, "the store of MLflow": store}
    for name, place in places.items():
        if copy is not None and place is not None and place.is_relative_to(copy):
            raise ConfigError(
                f"{name} {place} is in this job's copy of the working directory, which only lasts as long as the job; "
                "give an absolute path that every node can see"
            )


def _tell_mlflow(
    plan: SweepPlan, record: SweepRecord, trials: Sequence[Trial], results: Sequence[Mapping[str, Any]]
) -> None:
    """The scores of all finished trials, so that they can be compared."""
    states = {(result["row"], result["seed"]): result["state"] for result in results}
    for trial in trials:
        first, folder = trial.cells[0], Path(trial.config.run.dir)
        if states[first.row, first.seed] == "finished":
            scores = read_scores(RunFolder(folder)).found.scores
            tags = {"row": "; ".join(dict.fromkeys(cell.row for cell in trial.cells)), "seed": str(first.seed)}
            record.trial(folder, trial.config, f"{first.row}, seed {first.seed}", tags, scores)
