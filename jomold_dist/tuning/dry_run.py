"""What a start of a sweep would do: row by row what is done and what is missing, and what that may cost."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from jomold_dist.config import Config
from jomold_dist.denoising.noise_ratio import Predictions, read_predictions
from jomold_dist.methods.registry import essential
from jomold_dist.secrets import blotted_value
from jomold_dist.tables import markdown_table, value_text
from jomold_dist.training.run_folder import RunFolder
from jomold_dist.tuning.config import SweepConfig
from jomold_dist.tuning.costs import cost_of, forecast
from jomold_dist.tuning.plan import SweepPlan
from jomold_dist.tuning.rows import Row
from jomold_dist.tuning.run_results import has_predictions, identity, is_finished
from jomold_dist.tuning.trials import estimator_config, found_ratios, needs_estimator, run_name, with_ratios


def dry_run(plan: SweepPlan) -> str:
    """The rows as a table, and what is missing with its cost. Reads what is there and writes nothing. UnreadableError;
    DataError for damaged predictions or histories."""
    predictions = _predictions(plan)
    finished: dict[Path, bool] = {}
    done: dict[str, list[bool]] = {row.name: [] for row in plan.rows}
    for cell in plan.cells:
        config, is_known = _as_trained(plan, cell.config, predictions)
        folder = plan.sweep.trials / run_name(config, plan.manifest.digest)
        if folder not in finished:
            asked = identity(essential(config), plan.manifest.digest)
            finished[folder] = is_known and is_finished(folder, asked)
        done[cell.row].append(finished[folder])
    rows = [
        [row.name, changes(row), str(len(found)), str(sum(found)), str(len(found) - sum(found))]
        for row, found in zip(plan.rows, done.values(), strict=True)
    ]
    at_once, room = trials_at_once(plan.sweep.sweep)
    trainings = [folder for folder, is_done in finished.items() if is_done]
    estimators = [folder for folder, found in predictions.items() if found is not None]
    parts = [markdown_table(["row", "changes", "seeds", "done", "missing"], rows, texts=2), f"at once: {room}"]
    for what, folders, total in (("estimator", estimators, len(predictions)), ("training", trainings, len(finished))):
        if total:
            costs = [cost for folder in folders if (cost := cost_of(folder)) is not None]
            parts.append(forecast(what, total - len(folders), costs, at_once))
    return "\n\n".join([parts[0], "\n".join(parts[1:])])


def changes(row: Row) -> str:
    """What a row has of its own, on top of the sweep's file."""
    own = [row.config] if row.config is not None else []
    settings = (f"{name}={blotted_value(name, value_text(value))}" for name, value in row.settings.items())
    return " ".join([*own, *settings]) or "nothing"


def trials_at_once(asked: SweepConfig) -> tuple[int | None, str]:
    """How many trials there is room for, None where only the cluster knows; and that in words."""
    elsewhere = asked.address not in (None, "local") or (asked.address is None and "RAY_ADDRESS" in os.environ)
    if elsewhere:
        most = "" if asked.concurrent is None else f", at most {asked.concurrent} (sweep.concurrent)"
        return None, f"as many trials as the Ray cluster has room for{most}"
    cores, gpus = os.cpu_count() or 1, torch.cuda.device_count()
    room = cores // (asked.workers * asked.cpus)
    if asked.gpus:
        room = min(room, int(gpus / (asked.workers * asked.gpus)))
    if asked.concurrent is not None:
        room = min(room, asked.concurrent)
    devices = f"{cores} cores" + (f" and {gpus} GPUs" if asked.gpus else "")
    return max(
        room, 1
    ), f"{room} trial{'' if room == 1 else 's'} on this machine ({devices}), or what a cluster has room for"


def _predictions(plan: SweepPlan) -> dict[Path, Predictions | None]:
    """What the estimators that the sweep needs have predicted, by run folder; None of those that are missing."""
    found: dict[Path, Predictions | None] = {}
    for config in plan.estimators.values():
        folder = Path(config.run.dir)
        there = has_predictions(folder, identity(config, plan.manifest.digest))
        found[folder] = read_predictions(RunFolder(folder).predictions) if there else None
    return found


def _as_trained(plan: SweepPlan, config: Config, found: dict[Path, Predictions | None]) -> tuple[Config, bool]:
    """A cell's config as its trial has it, with the noise ratios of its estimator; and whether those are known yet."""
    if not needs_estimator(config):
        return config, True
    trials, digest = plan.sweep.trials, plan.manifest.digest
    own = found[Path(estimator_config(config, digest, trials).run.dir)]
    if own is None:
        return config, False
    return with_ratios(config, found_ratios(config, own), plan.manifest.categories.names, trials), True
