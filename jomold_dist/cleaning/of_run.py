"""What a finished run tells of its training labels: by its table of probabilities, or by one look of a network of its.

A run that judges labels unseen has left labels.parquet. Of any other, a network that has learnt the labels looks at
them once more, and the mixture makes probabilities of its logits: less trustworthy, as it may have learnt the noise.

Legend: n labels, C categories; modality 0 is audio, 1 is visual.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from jomold_dist.cleaning.judged import JudgedLabels
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.data.reading.folds import folds_of
from jomold_dist.data.reading.source import Source
from jomold_dist.data.reading.truth import read_truth
from jomold_dist.errors import DataError
from jomold_dist.labels import MODALITIES, CategorySet
from jomold_dist.models.network import Network
from jomold_dist.reading import ABSENT, is_there, reading, regular_file
from jomold_dist.training.evidence import collect_evidence
from jomold_dist.training.label_table import LabelRows, read_label_rows
from jomold_dist.training.presence_stage import judge_labels, placed_labels
from jomold_dist.training.run import Run
from jomold_dist.training.run_folder import RunFolder
from jomold_dist.training.run_reading import read_removals


def table_of(folder: RunFolder, categories: CategorySet, manifest_digest: str) -> JudgedLabels | None:
    """What the run's own table says; None if it has none. DataError if it is damaged, or of another data set than the
    manifest's with this digest; UnreadableError."""
    if not is_there(folder.labels()):
        return None
    return _judged(folder, read_label_rows(folder.labels(), categories, manifest_digest), categories)


def judged_by(network: Network, run: Run) -> JudgedLabels:
    """What this network says, in one pass over the training split. DataError; NonFiniteError."""
    whole = folds_of(run.manifest.split("train").videos, 1)[0]
    rows = placed_labels(run, [collect_evidence(run, network, whole, run.config.train.batch_size)])
    judge_labels(run, rows)
    return _judged(run.folder, rows, run.manifest.categories)


def _judged(folder: RunFolder, rows: LabelRows, categories: CategorySet) -> JudgedLabels:
    loss = np.logaddexp(0, -rows.logit.astype(np.float64)).astype(np.float32)  # of a label that is thought to be right
    removed, epochs = epochs_removed(folder, rows, categories)
    return JudgedLabels(
        categories,
        rows.key.astype(str),
        rows.category,
        rows.probability,
        {"logit": rows.logit, "probit": rows.probit, "loss": loss},
        removed,
        epochs,
    )


def epochs_removed(folder: RunFolder, rows: LabelRows, categories: CategorySet) -> tuple[np.ndarray | None, int]:
    """In how many epochs the run's training removed each label, int64 (2, n), and of how many; None, 0 where nothing
    was removed. Of two networks the larger number counts. DataError if removed_labels.csv is damaged."""
    path = folder.removed_labels
    if not is_there(path):
        return None, 0
    labels = zip(rows.key.tolist(), rows.category.tolist(), strict=True)
    number = {label: place for place, label in enumerate(labels)}
    found, epochs = np.zeros((2, len(rows.key)), dtype=np.int64), 0
    try:
        masks = read_removals(folder)["total"]
        modality_of = {mask: MODALITIES.index(entry["modality"]) for mask, entry in masks.items()}
        with reading(path), regular_file(path).open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                epochs = int(row["epochs"])
                place = number.get((row["filename"].encode(), categories.index(row["category"])))
                if place is not None:
                    modality = modality_of[row["modality"]]
                    found[modality, place] = max(found[modality, place], int(row["epochs_removed"]))
    except (*ABSENT, KeyError, TypeError, ValueError, csv.Error) as error:
        raise DataError(f"{path} is damaged ({error!r}); restore it from a copy, or move it away") from None
    return (found, epochs) if epochs else (None, 0)


def truth_of(judged: JudgedLabels, source: Source, manifest: Manifest) -> np.ndarray | None:
    """Which events are really there, bool (2, n); None where no truth is known. DataError if it is of other videos."""
    truth = read_truth(source, manifest, "train")
    if truth is None:
        return None
    order = np.argsort(truth.keys)
    keys = judged.keys.astype(truth.keys.dtype)
    place = np.minimum(np.searchsorted(truth.keys, keys, sorter=order), len(order) - 1)
    video = order[place]
    if (truth.keys[video] != keys).any():
        raise DataError(f"the truth of {source} is of other videos than the run's labels")
    return truth.present[video, :, judged.category].T


def estimator_of(folder: RunFolder) -> Path | None:
    """The weights of the run's noise estimator, if it has one that has learnt all labels."""
    path = folder.weights("estimator")
    return path if is_there(path) else None
