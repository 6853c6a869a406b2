"""What a finished run's folder holds, brought onto its run in MLflow: scores, tables and files, the report among them.

All of it comes from the folder, so that a run whose process was killed before MLflow knew is whole after its next
start, and nothing is told twice.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jomold_dist.data.format.manifest import Manifest
from jomold_dist.models.weights import read_info
from jomold_dist.reading import is_there
from jomold_dist.tracking.about import DIGEST, metric_name
from jomold_dist.tracking.metric_queue import as_metrics
from jomold_dist.training.recorder import Cell
from jomold_dist.training.run_folder import BEST_WITHIN, RunFolder
from jomold_dist.training.run_reading import QUALITY, best_scores, read_history, read_removals, read_scores
from jomold_dist.training.scores import RunScores, ScoredModel
from jomold_dist.training.trained import MODEL

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

SCORES = ("test/", "val/best_")
LARGEST_FILE = 64 << 20
"""Bytes of a file of the folder that is kept in MLflow as well. labels.parquet of millions of videos stays where it
is."""


def log_results(
    client: MlflowClient, run: str, folder: RunFolder, manifest: Manifest, model: str | None = None
) -> None:
    """Everything that is there. `model`: the URI of the model in MLflow that the scores are of, to have them as well.
    What MLflow raises; UserError for a file that cannot be used."""
    scores, removals, history, epoch = _read(folder)
    numbers = score_numbers(scores, history, epoch) | removal_numbers(removals)
    client.log_batch(run, metrics=final_metrics(client, run, numbers, manifest, model))
    log_missing_epochs(client, run, history)
    for name, columns in {"scores_per_category": score_columns(scores), "removals": removal_columns(removals)}.items():
        if columns:
            log_table(client, run, name, columns, list(zip(*columns.values(), strict=True)))
    for file in kept_files(folder):
        client.log_artifact(run, str(file))


def log_missing_epochs(client: MlflowClient, run: str, history: Sequence[Mapping[str, Any]]) -> None:
    """The epochs of the history that the run's curves lack, because a process was killed before they were sent, or
    belong to another run, of whose folder this one is a copy."""
    told = {metric.step for metric in client.get_metric_history(run, "train/loss")}
    for line in history:
        if line["epoch"] not in told:
            numbers = {name: value for name, value in line.items() if "/" in name and value is not None}
            client.log_batch(run, metrics=as_metrics(numbers, line["epoch"]))


def run_numbers(folder: RunFolder) -> dict[str, float]:
    """What a run is judged by, as far as its folder has it. UserError for a file that cannot be used."""
    scores, removals, history, epoch = _read(folder)
    return score_numbers(scores, history, epoch) | removal_numbers(removals)


def score_numbers(
    scores: RunScores | None, history: Sequence[Mapping[str, Any]], epoch: int | None
) -> dict[str, float]:
    """The scores on test, if any; what was found on val at the moment of the model's weights, in which epoch that was,
    and if it was within it, after which of its steps."""
    found = {} if scores is None else {f"test/{name}": value for name, value in scores.found.scores.items()}
    best = next((line for line in history if line["epoch"] == epoch), None)
    if best is None:
        return found
    moment = {"best_epoch": best["epoch"]} | ({"best_step": best[BEST_WITHIN]["step"]} if BEST_WITHIN in best else {})
    return found | {f"val/best_{name}": value for name, value in best_scores(best).items()} | moment


def removal_numbers(removals: Mapping[str, Any] | None) -> dict[str, float]:
    """Candidates and removals over all epochs by mask, and where the truth is known, how rightly."""
    total = {} if removals is None else removals["total"]
    return {
        f"removals/{name}_{mask}": float(entry[name])
        for mask, entry in total.items()
        for name in ("candidates", "removed", *QUALITY)
        if entry.get(name) is not None
    }


def score_columns(scores: RunScores | None) -> dict[str, Sequence[Cell]]:
    """The F-scores by category, with how many videos of test have it; a category without any has no score."""
    if scores is None:
        return {}
    found = scores.found
    columns: dict[str, Sequence[Cell]] = {"category": list(next(iter(found.per_category.values())))}
    columns |= {f"videos_{modality}": [*counts.values()] for modality, counts in found.videos.items()}
    return columns | {metric: [*values.values()] for metric, values in found.per_category.items()}


def removal_columns(removals: Mapping[str, Any] | None) -> dict[str, Sequence[Cell]]:
    """What was removed, a row a category and mask."""
    categories = {} if removals is None else removals["categories"]
    rows = [
        {"category": category, "mask": mask, **entry}
        for category, entries in categories.items()
        for mask, entry in entries.items()
    ]
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}


def begun_files(folder: RunFolder) -> list[Path]:
    """The files that tell how a run was started."""
    return [file for file in (folder.config, folder.environment) if file.is_file()]


def kept_files(folder: RunFolder) -> list[Path]:
    """The files of the folder that a user looks for in MLflow, those that are there and not too large."""
    named = [folder.report, folder.scores, folder.removals, folder.removed_labels, folder.noise_ratios, folder.history]
    named += [folder.labels(), folder.mixture(), folder.bad_videos]
    return [file for file in named if file.is_file() and file.stat().st_size <= LARGEST_FILE]


def log_table(
    client: MlflowClient,
    run: str,
    name: str,
    columns: Sequence[str] | Mapping[str, Any],
    rows: Sequence[Sequence[Cell]],
) -> None:
    """A table as the artifact tables/<name>.json; one of that name that is there already is replaced."""
    file = f"tables/{metric_name(name).replace('/', '_').replace(' ', '_')}.json"
    cells = [[rounded(cell) for cell in row] for row in rows]
    if any(artifact.path == file for artifact in client.list_artifacts(run, "tables")):
        client.log_dict(run, {"columns": [*columns], "data": cells}, file)  # log_table would append
    else:
        client.log_table(run, dict(zip(columns, map(list, zip(*cells, strict=True)), strict=False)), file)


def rounded(cell: Cell) -> Cell:
    """A number with four significant digits, or without decimals: nobody reads more of a table."""
    if not isinstance(cell, float):
        return cell
    return round(cell) if abs(cell) >= 1000 else float(f"{cell:.4g}")


def final_metrics(
    client: MlflowClient,
    run: str,
    numbers: Mapping[str, float],
    manifest: Manifest | None = None,
    model: str | None = None,
) -> list[Metric]:
    """Numbers of the end of a run, those that it does not have yet; scores are of the model and the data set, too."""
    from mlflow.entities import Metric

    now, known = int(time.time() * 1000), client.get_run(run).data.metrics
    of_model: dict[str, Any] = {}
    if model is not None and manifest is not None:
        of_model = {"model_id": model.rsplit("/", 1)[-1]}
        of_model |= {"dataset_name": manifest.name, "dataset_digest": manifest.digest[:DIGEST]}
    return [
        Metric(metric_name(name), float(value), now, 0, **(of_model if name.startswith(SCORES) else {}))
        for name, value in numbers.items()
        if known.get(metric_name(name)) != value
    ]


def _read(
    folder: RunFolder,
) -> tuple[RunScores | None, dict[str, Any] | None, list[dict[str, Any]], int | None]:
    """Scores, removals, the epochs of the model's training, and after which of them the finished model was, as far as
    they are there."""
    scores = read_scores(folder) if is_there(folder.scores) else None
    removals = read_removals(folder) if is_there(folder.removals) else None
    weights, model = folder.weights(MODEL), None if scores is None else scores.model
    if model is None and is_there(weights):
        model = ScoredModel.of(weights.name, read_info(weights).notes)
    return scores, removals, read_history(folder, MODEL), None if model is None else model.epoch
