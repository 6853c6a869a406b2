"""A run by category: its scores beside a baseline's, what was removed and how rightly, and its noise ratios.

Categories with most support come first, for few videos make a score that means little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from jomold_dist.denoising.noise_ratio import NoiseRatios
from jomold_dist.labels import MODALITIES
from jomold_dist.training.scores import RunScores


@dataclass(frozen=True)
class Score:
    """An F-score in percent, and by how much it is above the baseline's; None where there is none. `videos`: in how
    many videos the category is, where that is told of a modality."""

    metric: str
    value: float | None
    difference: float | None
    videos: int | None


@dataclass(frozen=True)
class CategoryScores:
    """The scores of a category, and how many videos have it, over the modalities."""

    category: str
    support: int
    scores: tuple[Score, ...]


@dataclass(frozen=True)
class Removal:
    """What was removed of a category's labels by one mask, mostly a modality: counts over so many epochs, each of which
    has all labels. None: not known, or nothing to divide by; of the candidates, that the method decides without."""

    category: str
    mask: str
    labels: int
    epochs: int
    candidates: int | None
    removed: int
    noise: int | None
    precision: float | None
    recall: float | None

    @property
    def each_epoch(self) -> float:
        """Removed labels of an epoch, in the mean."""
        return self.removed / max(self.epochs, 1)

    def share(self, count: float) -> float:
        """A count of an epoch as a share of the labels."""
        return min(count / self.labels, 1.0) if self.labels else 0.0

    @property
    def rightly(self) -> float:
        """Of the removed labels of an epoch, those that are noise."""
        return self.each_epoch * (self.precision or 0.0)

    @property
    def without_candidate(self) -> bool:
        """Whether the method has looked at none of these labels, so that none could be removed."""
        return self.candidates == 0 and not self.removed


@dataclass(frozen=True)
class Ratio:
    """The share of labels that a run holds to be noise in a modality, and the true one, where known."""

    modality: str
    estimated: float
    true: float | None


@dataclass(frozen=True)
class CategoryRatios:
    """The noise ratios of a category by modality, and how many labels it has, where known."""

    category: str
    labels: int | None
    ratios: tuple[Ratio, ...]


def category_scores(scores: RunScores, level: str, baseline: Sequence[RunScores] | None = None) -> list[CategoryScores]:
    """The scores by category on a level, segment or event, those with most videos first. The baseline's score is the
    mean over its runs that have one."""
    found = scores.found
    metrics = [metric for metric in found.per_category if metric.startswith(f"{level}_")]
    names = list(next(iter(found.per_category.values()), ()))
    rows = [
        CategoryScores(
            name,
            sum(counts.get(name, 0) for counts in found.videos.values()),
            tuple(_score(scores, metric, name, baseline or ()) for metric in metrics),
        )
        for name in names
    ]
    return sorted(rows, key=lambda row: -row.support)


def removal_rows(removals: Mapping[str, Any]) -> list[Removal]:
    """By category and mask, those with most labels first; masks by which nothing could be removed are left out, and
    categories without labels."""
    epochs = int(removals["epochs"])
    possible = {total.mask for total in removal_totals(removals) if not total.without_candidate}
    rows = [
        _removal(category, mask, entry, epochs)
        for category, entries in removals["categories"].items()
        for mask, entry in entries.items()
        if mask in possible and entry["labels"]
    ]
    return sorted(rows, key=lambda row: -row.labels)


def removal_totals(removals: Mapping[str, Any]) -> list[Removal]:
    """By mask, over all categories."""
    return [_removal("", mask, entry, int(removals["epochs"])) for mask, entry in removals["total"].items()]


def ratio_rows(ratios: NoiseRatios, names: Sequence[str], removals: Mapping[str, Any] | None) -> list[CategoryRatios]:
    """By category, those with most labels first, as far as labels are known; those without any are left out."""
    entries = {} if removals is None else removals["categories"]
    rows = []
    for at, name in enumerate(names):
        masks = entries.get(name, {})
        labels = next((entry["labels"] for entry in masks.values()), None)
        found = [_ratio(modality, float(own[at]), masks) for modality, own in zip(MODALITIES, ratios, strict=True)]
        rows.append(CategoryRatios(name, labels, tuple(found)))
    return sorted((row for row in rows if row.labels != 0), key=lambda row: -(row.labels or 0))


def _score(scores: RunScores, metric: str, category: str, baseline: Sequence[RunScores]) -> Score:
    value = scores.found.per_category[metric].get(category)
    others = [run.found.per_category.get(metric, {}).get(category) for run in baseline]
    known = [other for other in others if other is not None]
    difference = value - mean(known) if value is not None and known else None
    videos = scores.found.videos.get(metric.partition("_")[2], {}).get(category)
    return Score(metric, value, difference, videos)


def _ratio(modality: str, estimated: float, masks: Mapping[str, Mapping[str, Any]]) -> Ratio:
    entry = masks.get(modality, {})
    known = entry.get("noise") is not None and entry["labels"]
    return Ratio(modality, estimated, entry["noise"] / entry["labels"] if known else None)


def _removal(category: str, mask: str, entry: Mapping[str, Any], epochs: int) -> Removal:
    numbers = ("labels", "removed", "candidates", "noise", "precision", "recall")
    labels, removed, candidates, noise, precision, recall = (entry.get(name) for name in numbers)
    return Removal(category, mask, int(labels or 0), epochs, candidates, int(removed or 0), noise, precision, recall)
