"""The stage that finds, of every training label, how likely it is really there in each modality.

Estimators have been trained, each without one fold of the videos. Here each judges its fold; their logits become
probits by the scale of each estimator and category, and one mixture a category says what they mean. All that crosses
ranks are counts, so the result is the same for any number of them wherever the logits are.

Legend: n labels of this rank's videos, C categories, K folds; modality 0 is audio, 1 is visual.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from jomold_dist.config import Config
from jomold_dist.data.reading.folds import folds_of
from jomold_dist.data.reading.shares import steps_of_pass
from jomold_dist.denoising.evidence import probits
from jomold_dist.denoising.label_probabilities import LabelProbabilities
from jomold_dist.denoising.mixture import MixtureParameters, count_cells, fit_mixture, pattern_probabilities
from jomold_dist.denoising.noise_ratio import NoiseRatios
from jomold_dist.distributed.world import broadcast_object, sum_over_ranks
from jomold_dist.errors import DataError, RunFolderError
from jomold_dist.files import write_json
from jomold_dist.labels import MODALITIES
from jomold_dist.reading import ABSENT, is_there, read_json
from jomold_dist.training.evidence import FoldEvidence, collect_evidence
from jomold_dist.training.label_table import LabelRows, digest_of, read_label_table, read_probits, write_label_table
from jomold_dist.training.run import Run
from jomold_dist.training.stage import Found, Stage, load_trained, results

logger = logging.getLogger(__name__)

PRESENCE = "presence"
PATTERNS = ("both", "audio only", "visual only")
DIGITS = 4
_UNITS = 1 << 24  # of a probability, in sums that are exact for any order: float32 has no finer ones below 1


class FoundLabels(NamedTuple):
    """What the stage has left: the labels by video, and the share of each category's labels that is not there."""

    labels: LabelProbabilities
    ratios: NoiseRatios


class FoundPresence(Stage):
    """Leaves labels.parquet, and mixture.json, which tells whose both are.

    It asks the estimators whose weights have these names: that of number k has not learnt fold k. Of the first of two
    rounds, `presence-1`, it leaves labels-1.parquet and mixture-1.json; the second goes by the mean of both rounds'
    probits, which is better than either. While it judges, a rank holds the evidence of its own videos; what it has
    left takes 8 bytes a label and 8 a video on every rank, until its last reader is done.
    """

    def __init__(
        self,
        weights: Sequence[str],
        name: str = PRESENCE,
        earlier: str | None = None,
        last_reader: str | None = None,
    ) -> None:
        self.weights, self.name, self.last_reader = tuple(weights), name, last_reader
        self._round = name.removeprefix(PRESENCE)
        self._earlier = None if earlier is None else earlier.removeprefix(PRESENCE)

    def _labels(self, run: Run) -> Path:
        return run.folder.labels(self._round)

    def _mixture(self, run: Run) -> Path:
        return run.folder.mixture(self._round)

    def passes(self, config: Config) -> tuple[int, int]:
        return 1, config.estimator_batch_size

    def steps(self, config: Config, videos: int, ranks: int) -> int:
        folds = [int(fold.count(np.array(videos))) for fold in folds_of(videos, len(self.weights))]
        return sum(steps_of_pass(count, self.passes(config)[1], ranks) for count in folds)

    def is_done(self, run: Run) -> bool:
        if not is_there(self._mixture(run)) or not is_there(self._labels(run)):
            return False
        try:
            self.read(run)
        except DataError as error:
            raise RunFolderError(f"{error}; move {self._mixture(run)} away, and both are made anew") from None
        return True

    def do(self, run: Run, found: Found) -> None:
        evidence = []
        folds = folds_of(run.manifest.split("train").videos, len(self.weights))
        for weights, fold in zip(self.weights, folds, strict=True):
            network = load_trained(run, run.folder.weights(weights))
            evidence.append(collect_evidence(run, network, fold, run.config.estimator_batch_size))
        _refuse_unjudged(run, evidence)
        rows = placed_labels(run, evidence)
        if self._earlier is not None:
            before = read_probits(run, run.folder.labels(self._earlier), rows)
            rows.probit[:] = np.where(np.isnan(before), rows.probit, (before + rows.probit) / 2)
        mixture = judge_labels(run, rows)
        ratios = _ratios(run, rows)
        with results(run) as is_main:
            if is_main:
                self._mixture(run).unlink(missing_ok=True)  # of a table that is gone
        write_label_table(run, rows, self._labels(run))
        with results(run) as is_main:
            if is_main:
                whose = {"owner": run.owner, "labels": digest_of(self._labels(run))}
                described = whose | _described(mixture, ratios, run.manifest.categories.names)
                write_json(self._mixture(run), described)  # last: it marks the stage as done

    def read(self, run: Run) -> FoundLabels:
        """DataError if a file is damaged or of another run; UnreadableError."""
        manifest, path = run.manifest, self._mixture(run)
        try:
            found = read_json(path)
            owner, digest, categories = found["owner"], found["labels"], found["categories"]
            ratios = [[float(categories[n]["noise"][m]) for n in manifest.categories.names] for m in MODALITIES]
            if not all(0 <= ratio <= 1 for ratio in (*ratios[0], *ratios[1])):
                raise ValueError("a share of noise is not between 0 and 1")
            same = digest_of(self._labels(run)) == digest
        except (*ABSENT, KeyError, TypeError, ValueError) as error:
            raise DataError(f"the mixture {path} cannot be used: {error!r}") from None
        if owner != run.owner:
            raise DataError(f"{path} belongs to another config, data set or version of the canonical order")
        if not same:
            raise DataError(f"the labels {self._labels(run)} are not those that {path} was written with")
        labels = read_label_table(self._labels(run), manifest.digest, manifest.split("train").videos)
        return FoundLabels(labels, NoiseRatios(*torch.tensor(ratios, dtype=torch.float64)))


def _refuse_unjudged(run: Run, evidence: Sequence[FoldEvidence]) -> None:
    """Collective: DataError on every rank if there is a fold of which no video could be judged; a warning that tells
    how many labels could not, unless only some batches were looked at."""
    own = torch.tensor([[e.judged for e in evidence], [len(e.video) for e in evidence]], device=run.world.device)
    videos, labels = sum_over_ranks(own, run.world).tolist()
    if empty := [fold for fold, count in enumerate(videos) if not count]:
        error = DataError(
            f"there is no video to judge labels by in {len(empty)} of {len(videos)} folds of the training split: each "
            "is damaged, or its prediction is not finite"
        )
        error.agreed = True
        raise error
    total = int(run.manifest.split("train").positives.sum())
    if run.world.is_main and run.most_steps is None and (lacking := total - sum(labels)):
        logger.warning("%d of %d training labels could not be judged: they count as they are", lacking, total)


def placed_labels(run: Run, evidence: Sequence[FoldEvidence]) -> LabelRows:
    """Collective: this rank's labels, each placed among the absents of all ranks by the estimator that judged it."""
    absents = sum_over_ranks(torch.stack([e.absents for e in evidence]), run.world).cpu().numpy()  # (K, 2, C, bins)
    parts = []
    for fold, (own, counts) in enumerate(zip(evidence, absents, strict=True)):
        placed = [probits(count, logit, own.category) for count, logit in zip(counts, own.logit, strict=True)]
        number = np.full(len(own.video), fold, dtype=np.int8)
        probit = np.stack(placed).astype(np.float32)
        parts.append(LabelRows(own.video, own.key, own.category, number, own.logit, probit, np.zeros_like(probit)))
    return LabelRows.joined(parts)


def judge_labels(run: Run, rows: LabelRows) -> MixtureParameters:
    """Collective: the mixture of each category over all ranks' labels; what follows for this rank's labels is put into
    their probabilities."""
    world, categories = run.world, len(run.manifest.categories)
    audio, visual = rows.probit
    cells = torch.from_numpy(count_cells(rows.category, audio, visual, categories)).to(world.device)
    cells = sum_over_ranks(cells, world)
    # numpy's exp differs in its last bit between kinds of processor: one of them decides
    mixture: MixtureParameters = broadcast_object(fit_mixture(cells.cpu().numpy()) if world.is_main else None, world)
    patterns = pattern_probabilities(mixture, rows.category, audio, visual)  # (n, 3): both, audio only, visual only
    rows.probability[:] = patterns[:, 0] + patterns[:, 1], patterns[:, 0] + patterns[:, 2]
    np.clip(rows.probability, 0, 1, out=rows.probability)
    return mixture


def _ratios(run: Run, rows: LabelRows) -> np.ndarray:
    """Collective: the share of each category's labels that is not there, float64 (2, C); 0 without labels."""
    categories = len(run.manifest.categories)
    units = np.rint(rows.probability.astype(np.float64) * _UNITS).astype(np.int64)
    own = np.zeros((3, categories), dtype=np.int64)
    for row, values in zip(own, (*units, np.ones_like(rows.category)), strict=True):
        np.add.at(row, rows.category, values)
    audio, visual, labels = sum_over_ranks(torch.from_numpy(own).to(run.world.device), run.world).cpu().numpy()
    there = np.stack([audio, visual]) / _UNITS
    return np.where(labels > 0, 1 - there / np.maximum(labels, 1), 0.0).clip(0, 1)


def _described(mixture: MixtureParameters, ratios: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """What mixture.json holds of each category: the shares of its labels that are noise, of the patterns, and of each
    modality the mean and standard deviation of the probits of present and of absent events."""

    def gaussian(modality: int, state: int, category: int) -> dict[str, float]:
        parts = {"mean": mixture.mean, "sd": mixture.sd}
        return {name: round(float(values[modality, state, category]), DIGITS) for name, values in parts.items()}

    return {
        "categories": {
            name: {
                "noise": {modality: float(ratios[m, c]) for m, modality in enumerate(MODALITIES)},
                "patterns": {
                    pattern: round(float(share), DIGITS)
                    for pattern, share in zip(PATTERNS, mixture.weights[c], strict=True)
                },
                **{
                    modality: {"present": gaussian(m, 1, c), "absent": gaussian(m, 0, c)}
                    for m, modality in enumerate(MODALITIES)
                },
            }
            for c, name in enumerate(names)
        }
    }
