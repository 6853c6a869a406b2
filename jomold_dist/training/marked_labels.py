"""Stages that mark labels once for a whole training: what they share, and those of the controls `random` and `true`.

Each leaves refined_labels.npz, which tells of every training video, category and modality whether a label there is to
be removed. Legend: N videos of the split, C categories; modality 0 is audio, 1 is visual.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jomold_dist.data.format.truth_file import truth_name
from jomold_dist.data.reading.loader import Batch, Loader
from jomold_dist.data.reading.truth import read_truth
from jomold_dist.denoising.controls import placebo
from jomold_dist.denoising.noise_ratio import denoised
from jomold_dist.distributed.world import agree_on_errors, gather_objects, gather_to_main
from jomold_dist.errors import DataError, RunFolderError
from jomold_dist.files import writing
from jomold_dist.reading import ABSENT, is_there, read_arrays
from jomold_dist.training.ratio_stage import NOISE_RATIOS
from jomold_dist.training.run import Run
from jomold_dist.training.stage import Found, Stage, results

NAME = "labels"


class SplitLabels(NamedTuple):
    """The labels of a split, bool (N, C), and which videos were served, bool (N,). Those that were not have none."""

    labels: np.ndarray
    served: np.ndarray


class LabelCollector:
    """Collects the labels of this rank's batches."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._index: list[np.ndarray] = []
        self._labels: list[np.ndarray] = []

    def add(self, batch: Batch) -> None:
        """The labels of one batch."""
        self._index.append(batch.index.numpy())
        self._labels.append(np.packbits(batch.labels.numpy(), axis=1))

    def gather(self) -> SplitLabels:
        """Collective: the labels of all ranks' batches, on every rank."""
        return self._together(gather_objects(self._own(), self._run.world))

    def gather_to_main(self) -> SplitLabels | None:
        """Collective: the labels of all ranks' batches, on rank 0; None elsewhere."""
        parts = gather_to_main(self._own(), self._run.world)
        return self._together(parts) if self._run.world.is_main else None

    def _own(self) -> tuple[np.ndarray, np.ndarray]:
        return np.concatenate(self._index), np.concatenate(self._labels)

    def _together(self, parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> SplitLabels:
        manifest = self._run.manifest
        videos, categories = manifest.split("train").videos, len(manifest.categories)
        packed = np.zeros((videos, -(-categories // 8)), dtype=np.uint8)
        served = np.zeros(videos, dtype=bool)
        for index, labels in parts:
            packed[index], served[index] = labels, True
        return SplitLabels(np.unpackbits(packed, axis=1, count=categories).view(bool), served)


class MarkedLabels(Stage):
    """A stage that leaves marked labels: `read` gives them as bits, uint8 (2, N, ⌈C/8⌉)."""

    name = NAME

    def is_done(self, run: Run) -> bool:
        if not is_there(run.folder.refined_labels):
            return False
        try:
            self.read(run)
        except DataError as error:
            raise RunFolderError(f"{error}; move the file away, and it is made anew") from None
        return True

    def do(self, run: Run, found: Found) -> None:
        marked = self.mark(run, found)
        with results(run) as is_main:
            if is_main:
                with writing(run.folder.refined_labels) as aside, aside.open("wb") as file:
                    np.savez(file, marked=np.packbits(marked, axis=2), categories=run.manifest.categories.names)

    @abstractmethod
    def mark(self, run: Run, found: Found) -> np.ndarray:
        """Collective: on rank 0, what is marked: bool (2, N, C). On the others, anything."""

    def read(self, run: Run) -> np.ndarray:
        """DataError if the file is damaged or of other videos or categories; UnreadableError."""
        path, names = run.folder.refined_labels, run.manifest.categories.names
        shape = (2, run.manifest.split("train").videos, -(-len(names) // 8))
        try:
            arrays = read_arrays(path)
            marked = np.asarray(arrays["marked"])
            if marked.shape != shape or marked.dtype != np.uint8 or tuple(arrays["categories"].tolist()) != names:
                raise ValueError("it is of other videos or categories")
        except (*ABSENT, KeyError, ValueError) as error:
            raise DataError(f"the refined labels {path} cannot be used: {error}") from None
        return marked


class RandomLabels(MarkedLabels):
    """Marks as many labels as the noise ratios say, drawn by a hash, of the modalities that are denoised."""

    def mark(self, run: Run, found: Found) -> np.ndarray:
        with run.loader("train", False) as loader:
            split = read_labels(run, loader)
        if split is None:
            return np.zeros(0, dtype=bool)
        ratios = np.stack(denoised(found[NOISE_RATIOS], run.config.denoise.modalities))
        return placebo(split.labels, ratios, run.config.run.seed)


class TrueLabels(MarkedLabels):
    """Marks all labels of what is not really there. DataError where the truth of the training labels is not known."""

    def mark(self, run: Run, found: Found) -> np.ndarray:
        with agree_on_errors(run.world):
            if not run.world.is_main:
                return np.zeros(0, dtype=bool)
            truth = read_truth(run.source, run.manifest, "train")
            if truth is None:
                raise DataError(f"method true needs the truth of the training labels: {truth_name('train')} is missing")
        return np.logical_not(truth.present).swapaxes(0, 1)


def read_labels(run: Run, loader: Loader) -> SplitLabels | None:
    """Collective: the labels of the whole split of a loader that does not shuffle, on rank 0; None elsewhere."""
    collector = LabelCollector(run)
    for batch in run.batches(loader):
        collector.add(batch)
    return collector.gather_to_main()
