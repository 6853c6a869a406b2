"""The record of what was removed: per category and mask (mostly a modality), per video, and, where the truth is known,
how rightly."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jomold_dist.data.format.manifest import Manifest
from jomold_dist.data.format.truth_file import REMEDY, truth_name
from jomold_dist.data.reading.source import Source
from jomold_dist.data.reading.truth import read_truth
from jomold_dist.distributed.world import World, gather_to_main
from jomold_dist.errors import DataError
from jomold_dist.labels import MODALITIES
from jomold_dist.methods.base import Method
from jomold_dist.training.step import StepReport


class Labels(NamedTuple):
    """Removed labels as columns (n,): some 20 bytes a label, for there are millions in a large set."""

    key: np.ndarray
    """The video's key, ASCII, in as many bytes as the longest one has."""
    mask: np.ndarray
    """int8: out of which of the method's masks."""
    category: np.ndarray
    """int32."""
    epochs: np.ndarray
    """In how many epochs, int32."""

    @classmethod
    def none(cls) -> Labels:
        return cls(np.empty(0, "S1"), np.empty(0, np.int8), np.empty(0, np.int32), np.empty(0, np.int32))


def joined(parts: Sequence[Labels]) -> Labels:
    """The rows of all parts."""
    return Labels(*[np.concatenate(columns) for columns in zip(Labels.none(), *parts, strict=True)])


def counted(labels: Labels) -> Labels:
    """Each label once with the sum of its epochs, in the order of key, mask and category."""
    order = np.lexsort((labels.category, labels.mask, labels.key))
    rows = Labels(*(column[order] for column in labels))
    differs = [column[1:] != column[:-1] for column in rows[:3]]
    first = np.flatnonzero(np.concatenate([np.ones(min(1, len(order)), bool), np.logical_or.reduce(differs)]))
    if not len(first):
        return rows
    once = Labels(*(column[first] for column in rows))
    return once._replace(epochs=np.add.reduceat(rows.epochs, first))


def removed_from_both(labels: Labels, categories: int) -> np.ndarray:
    """How many labels of each category stand in these rows for both of two masks, int64 (C,). A label stands once for
    each mask in the rows of one epoch, which has one step for each video."""
    order = np.lexsort((labels.mask, labels.category, labels.key))
    key, category = labels.key[order], labels.category[order]
    twice = (key[1:] == key[:-1]) & (category[1:] == category[:-1])
    return np.bincount(category[1:][twice], minlength=categories)


class RemovalRecord:
    """Collects the removals of one training. Complete on rank 0 after every `collect` and `end_epoch`."""

    def __init__(
        self,
        manifest: Manifest,
        present: Mapping[str, np.ndarray] | None,
        method: type[Method],
        counts_candidates: bool = True,
    ) -> None:
        """`present` maps a training video's key to what is really there, bool (2, C), audio first; None: not known.
        Nothing is gathered of a method that never `removes`. One that does not choose never looks at a label before it
        takes it out, and has no candidates to be counted."""
        split = manifest.split("train")
        self._names = manifest.categories.names
        self._labels = split.positives  # (C,)
        self._noise = self._noise_per_category(present)
        self._present = present
        self._masks, self._removes = tuple(method.masks), method.removes
        self._counts_candidates = counts_candidates and method.columns > 0
        self._one_each = [mask.modality for mask in self._masks] == [*range(len(MODALITIES))]
        self._epochs = 0
        self._pending: list[Labels] = []  # of this rank's steps
        self._candidates = np.zeros((len(self._masks), len(self._names)), dtype=np.int64)
        self._removed = np.zeros_like(self._candidates)  # in whole epochs
        self._rightly = np.zeros_like(self._removed)
        self._both = np.zeros(len(self._names), dtype=np.int64)  # removed from both modalities at a step
        self._epoch_removed = np.zeros_like(self._removed)  # in this epoch
        self._epoch_rightly = np.zeros_like(self._removed)
        self._by_label = Labels.none()  # each once
        self._collected: list[Labels] = []  # since they were last counted

    def add(self, report: StepReport) -> None:
        """One step's removals on this rank."""
        self._candidates += report.candidates
        if report.keys:
            keys = np.array(report.keys, dtype=np.bytes_)
            once = np.ones(len(keys), dtype=np.int32)
            self._pending.append(Labels(keys, report.mask.astype(np.int8), report.category.astype(np.int32), once))

    def collect(self, world: World) -> None:
        """Collective: brings the removals added so far to rank 0."""
        gathered = gather_to_main(joined(self._pending), world) if self._removes else []
        self._pending = []
        if not world.is_main:
            return
        for labels in gathered:
            np.add.at(self._epoch_removed, (labels.mask, labels.category), 1)
            if self._one_each:
                self._both += removed_from_both(labels, len(self._names))
            if self._present is not None and len(labels.key):
                present = np.stack([self._present[key.decode()] for key in labels.key.tolist()])
                modality = np.array([mask.modality for mask in self._masks])[labels.mask]
                there = present[np.arange(len(present)), modality, labels.category]
                np.add.at(self._epoch_rightly, (labels.mask, labels.category), ~there)
        self._collected += gathered

    def end_epoch(self, world: World) -> dict[str, float]:
        """Collective: collects the epoch's removals, and tells them as metrics on rank 0 (elsewhere nothing)."""
        self.collect(world)
        if not world.is_main:
            return {}
        self._epochs += 1
        metrics: dict[str, float] = {}
        for number, (name, modality) in enumerate(self._masks):
            removed, rightly = (int(counts[number].sum()) for counts in (self._epoch_removed, self._epoch_rightly))
            metrics[f"removed_{name}"] = float(removed)
            if self._noise is not None:
                precision, recall = _quality(rightly, removed, int(self._noise[modality].sum()))
                if precision is not None:
                    metrics[f"precision_{name}"] = precision
                if recall is not None:
                    metrics[f"recall_{name}"] = recall
        self._count()
        self._removed += self._epoch_removed
        self._rightly += self._epoch_rightly
        self._epoch_removed[:], self._epoch_rightly[:] = 0, 0
        return metrics

    def state(self) -> dict[str, np.ndarray]:
        """What brings the record back, on rank 0 after `collect`: counts (M, C), and a row a removed label."""
        self._count()
        return {
            "epochs": np.array(self._epochs),
            "candidates": self._candidates,
            "removed": self._removed,
            "rightly": self._rightly,
            "both": self._both,
            "epoch_removed": self._epoch_removed,
            "epoch_rightly": self._epoch_rightly,
            **{f"label_{name}": column for name, column in self._by_label._asdict().items()},
        }

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """The inverse of `state`, on rank 0. DataError if it is no state of this record's categories."""
        now = self.state()
        if wrong := [name for name, array in now.items() if not _alike(state.get(name), array)]:
            raise DataError(f"the checkpoint's record of removals is not of this training: {', '.join(wrong)}")
        self._epochs = int(state["epochs"])
        self._candidates = state["candidates"].copy()
        self._removed, self._rightly = state["removed"].copy(), state["rightly"].copy()
        self._both = state["both"].copy()
        self._epoch_removed, self._epoch_rightly = state["epoch_removed"].copy(), state["epoch_rightly"].copy()
        self._by_label = Labels(*(state[f"label_{name}"] for name in Labels._fields))
        self._collected = []

    def summary(self) -> dict[str, Any]:
        """What removals.json holds: per mask in total, and per category.

        modality: of whose targets the mask takes labels out. A label counts once an epoch in which it was removed.
        candidates: labels that the method has looked at, for jomold trunc(ratio × labels of a batch) over all batches;
        None of a method that decides without a look. precision: share of the removals that hit noise; recall: share of
        the noise, over all epochs, that was removed; None where there is nothing to divide by. both: labels that a step
        has removed from both modalities, by category where there are any; None unless there is one mask for each. The
        paper holds that no event is noise in both; Algorithm 1 allows it where a category's ratios add up to more
        than 1.
        """

        def entry(mask: int, category: int | slice) -> dict[str, Any]:
            removed = int(self._removed[mask, category].sum())
            modality = self._masks[mask].modality
            found: dict[str, Any] = {
                "modality": MODALITIES[modality],
                "labels": int(self._labels[category].sum()),
                "candidates": int(self._candidates[mask, category].sum()) if self._counts_candidates else None,
                "removed": removed,
            }
            if self._noise is not None:
                noise = int(self._noise[modality, category].sum())
                rightly = int(self._rightly[mask, category].sum())
                found["noise"] = noise
                found["precision"], found["recall"] = _quality(rightly, removed, noise * self._epochs)
            return found

        everything = slice(None)
        both = {self._names[at]: int(self._both[at]) for at in np.flatnonzero(self._both)}
        return {
            "epochs": self._epochs,
            "total": {mask.name: entry(number, everything) for number, mask in enumerate(self._masks)},
            "both": both if self._one_each else None,
            "categories": {
                category: {mask.name: entry(number, at) for number, mask in enumerate(self._masks)}
                for at, category in enumerate(self._names)
            },
        }

    def ledger(self) -> str:
        """removed_labels.csv: filename, modality, category, in how many of the epochs its label was removed."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("filename", "modality", "category", "epochs_removed", "epochs"))
        self._count()
        for key, mask, category, epochs in zip(*(column.tolist() for column in self._by_label), strict=True):
            writer.writerow((key.decode(), self._masks[mask].name, self._names[category], epochs, self._epochs))
        return text.getvalue()

    def _count(self) -> None:
        """Counts what was collected."""
        if self._collected:
            self._by_label = counted(joined([self._by_label, *self._collected]))
            self._collected = []

    def _noise_per_category(self, present: Mapping[str, np.ndarray] | None) -> np.ndarray | None:
        """Labels that are not really there, int64 (2, C)."""
        if present is None:
            return None
        there = np.stack(list(present.values())).sum(0, dtype=np.int64)  # events are a subset of the labels
        return self._labels - there


def read_present(source: Source, manifest: Manifest) -> dict[str, np.ndarray] | None:
    """What the videos of the training split really hold: key -> bool (2, C); None where no truth is known."""
    truth = read_truth(source, manifest, "train")
    if truth is None:
        return None
    if (truth.present.sum(0) > manifest.split("train").positives).any():
        raise DataError(
            f"{source}/{truth_name('train')} is damaged (it has more events than there are labels); {REMEDY}"
        )
    present = dict(zip((key.decode("ascii") for key in truth.keys.tolist()), truth.present, strict=True))
    if len(present) < len(truth.keys):
        raise DataError(f"some videos of the training split are in several of the data sets {source}; take one of them")
    return present


def _alike(array: np.ndarray | None, other: np.ndarray) -> bool:
    """Whether an array is there, with the type and shape of another, the number of labels aside."""
    if array is None or array.dtype.kind != other.dtype.kind:
        return False
    return array.shape == other.shape or array.ndim == other.ndim == 1


def _quality(rightly: int, removed: int, noise: int) -> tuple[float | None, float | None]:
    return (float(rightly / removed) if removed else None), (float(rightly / noise) if noise else None)
