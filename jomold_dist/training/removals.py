"""The record of what was removed: per category and modality, per video, and, where the truth is known, how rightly."""

from __future__ import annotations

import csv
import io
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jomold_dist.data.manifest import Manifest
from jomold_dist.data.remote import MissingError
from jomold_dist.data.source import Source
from jomold_dist.distributed.world import World, gather_objects
from jomold_dist.errors import DataError
from jomold_dist.training.recorder import Cell
from jomold_dist.training.step import StepReport

MODALITIES = ("audio", "visual")
TRUTH = "truth/train.npz"


class RemovalRecord:
    """Collects the removals of one training. Complete on rank 0 after every `collect` and `end_epoch`."""

    def __init__(self, manifest: Manifest, present: Mapping[str, np.ndarray] | None) -> None:
        """`present` maps a training video's key to what is really there, bool (2, C), audio first; None: not known."""
        split = manifest.split("train")
        self._names = manifest.categories.names
        self._labels = split.positives  # (C,)
        self._noise = self._noise_per_category(present)
        self._present = present
        self._epochs = 0
        self._pending: list[tuple[tuple[str, ...], np.ndarray, np.ndarray]] = []  # keys, modality, category of a step
        self._removed = np.zeros((2, len(self._names)), dtype=np.int64)  # in whole epochs
        self._rightly = np.zeros_like(self._removed)
        self._epoch_removed = np.zeros_like(self._removed)  # in this epoch
        self._epoch_rightly = np.zeros_like(self._removed)
        self._by_label: Counter[tuple[str, int, int]] = Counter()  # (key, modality, category)

    def add(self, report: StepReport) -> None:
        """One step's removals on this rank."""
        if report.keys:
            self._pending.append((report.keys, report.visual.astype(np.int64), report.category))

    def collect(self, world: World) -> None:
        """Collective: brings the removals added so far to rank 0."""
        gathered = gather_objects(self._pending, world)
        self._pending = []
        if not world.is_main:
            return
        for keys, modality, category in (step for steps in gathered for step in steps):
            np.add.at(self._epoch_removed, (modality, category), 1)
            self._by_label.update(zip(keys, modality.tolist(), category.tolist(), strict=True))
            if self._present is not None:
                there = np.stack([self._present[k] for k in keys])[np.arange(len(keys)), modality, category]
                np.add.at(self._epoch_rightly, (modality, category), ~there)

    def end_epoch(self, world: World) -> dict[str, float]:
        """Collective: collects the epoch's removals, and tells them as metrics on rank 0 (elsewhere nothing)."""
        self.collect(world)
        if not world.is_main:
            return {}
        self._epochs += 1
        metrics: dict[str, float] = {}
        for number, name in enumerate(MODALITIES):
            removed, rightly = (int(counts[number].sum()) for counts in (self._epoch_removed, self._epoch_rightly))
            metrics[f"removed_{name}"] = float(removed)
            if self._noise is not None:
                precision, recall = _quality(rightly, removed, int(self._noise[number].sum()))
                if precision is not None:
                    metrics[f"precision_{name}"] = precision
                if recall is not None:
                    metrics[f"recall_{name}"] = recall
        self._removed += self._epoch_removed
        self._rightly += self._epoch_rightly
        self._epoch_removed[:], self._epoch_rightly[:] = 0, 0
        return metrics

    def state(self) -> dict[str, np.ndarray]:
        """What brings the record back, on rank 0 after `collect`: counts (2, C), and a row a removed label."""
        rows = sorted(self._by_label.items())
        return {
            "epochs": np.array(self._epochs),
            "removed": self._removed,
            "rightly": self._rightly,
            "epoch_removed": self._epoch_removed,
            "epoch_rightly": self._epoch_rightly,
            "label_key": np.array([key for (key, _, _), _ in rows], dtype=np.str_),
            "label_modality": np.array([modality for (_, modality, _), _ in rows], dtype=np.int8),
            "label_category": np.array([category for (_, _, category), _ in rows], dtype=np.int32),
            "label_epochs": np.array([epochs for _, epochs in rows], dtype=np.int32),
        }

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """The inverse of `state`, on rank 0."""
        self._epochs = int(state["epochs"])
        self._removed, self._rightly = state["removed"].copy(), state["rightly"].copy()
        self._epoch_removed, self._epoch_rightly = state["epoch_removed"].copy(), state["epoch_rightly"].copy()
        labels = (state[f"label_{name}"].tolist() for name in ("key", "modality", "category"))
        self._by_label = Counter(dict(zip(zip(*labels, strict=True), state["label_epochs"].tolist(), strict=True)))

    def summary(self) -> dict[str, Any]:
        """What removals.json holds: per modality in total, and per category.

        A label counts once an epoch in which it was removed. precision: share of these removals that hit noise;
        recall: share of the noise, over all epochs, that was removed; None where there is nothing to divide by.
        """

        def entry(modality: int, category: int | slice) -> dict[str, Any]:
            removed = int(self._removed[modality, category].sum())
            found: dict[str, Any] = {"labels": int(self._labels[category].sum()), "removed": removed}
            if self._noise is not None:
                noise = int(self._noise[modality, category].sum())
                rightly = int(self._rightly[modality, category].sum())
                found["noise"] = noise
                found["precision"], found["recall"] = _quality(rightly, removed, noise * self._epochs)
            return found

        everything = slice(None)
        return {
            "epochs": self._epochs,
            "total": {name: entry(number, everything) for number, name in enumerate(MODALITIES)},
            "categories": {
                category: {name: entry(number, at) for number, name in enumerate(MODALITIES)}
                for at, category in enumerate(self._names)
            },
        }

    def table(self) -> dict[str, Sequence[Cell]]:
        """The summary as a table's columns, one row a category and modality."""
        rows = [
            {"category": category, "modality": modality, **entry}
            for category, entries in self.summary()["categories"].items()
            for modality, entry in entries.items()
        ]
        return {name: [row[name] for row in rows] for name in rows[0]}

    def ledger(self) -> str:
        """removed_labels.csv: video, modality, category, in how many of the epochs its label was removed."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("video", "modality", "category", "epochs_removed", "epochs"))
        for (key, modality, category), epochs in sorted(self._by_label.items()):
            writer.writerow((key, MODALITIES[modality], self._names[category], epochs, self._epochs))
        return text.getvalue()

    def _noise_per_category(self, present: Mapping[str, np.ndarray] | None) -> np.ndarray | None:
        """Labels that are not really there, int64 (2, C)."""
        if present is None:
            return None
        there = np.stack(list(present.values())).sum(0, dtype=np.int64)  # events are a subset of the labels
        return self._labels - there


def read_truth(source: Source, manifest: Manifest) -> dict[str, np.ndarray] | None:
    """What a simulated training split really holds: key -> bool (2, C); None where no truth is known."""
    if manifest.simulated is None:
        return None
    try:
        content = source.read(TRUTH)
    except MissingError:
        return None
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return dict(zip(file["keys"].tolist(), file["dense"].any(-1), strict=True))
    except (EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{source}/{TRUTH} is damaged ({error}); simulate the data set again, or remove it") from None


def _quality(rightly: int, removed: int, noise: int) -> tuple[float | None, float | None]:
    return (float(rightly / removed) if removed else None), (float(rightly / noise) if noise else None)
