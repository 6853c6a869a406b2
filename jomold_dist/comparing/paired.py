"""Rows of a table against each other, paired by seed: the arithmetic alone, of scores and removals by seed."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

FEWEST_SEEDS = 5
"""Fewer seeds carry no claim. Student's t multiplies the standard error by 12.7 for two seeds, 4.3 for three and 2.8
for five. With the spread of paired differences that was measured on 2,000 simulated videos (1.4 to 1.6 points of
segment_type), three seeds tell differences of 3.4 to 4 points from none, and five those of 1.7 to 2."""

NEXT_TO_NOTHING = 0.005
"""A row that takes out less than this share of its labels, in every modality, is `han` in effect. In simulation, to
take out all noise (a third of LLP's visual labels) is worth some 13 points of segment_type, so that half a percent is
worth some 0.2, a sixth or less of the standard deviation that `han` has over seeds."""


class Results(Protocol):
    """A row of a table: the finished runs that differ in nothing but their seeds."""

    @property
    def name(self) -> str: ...

    @property
    def scores(self) -> Mapping[int, Mapping[str, float]]:
        """The scores on test in percent, by seed; those that its network has."""

    @property
    def removals(self) -> Mapping[int, Mapping[str, Any]]:
        """What removals.json holds, by seed."""


@dataclass(frozen=True)
class PairedMean:
    """The mean over the seeds that two rows share, and half of the 95 % interval of Student's t; None for one seed."""

    mean: float
    half: float | None
    seeds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> PairedMean | None:
        """Of a value a seed; None if there is none."""
        count = len(values)
        if count < 2:
            return cls(values[0], None, 1) if values else None
        from scipy import stats  # takes a second, and most who read runs have one seed

        error = statistics.stdev(values) / count**0.5
        return cls(statistics.mean(values), float(stats.t.ppf(0.975, count - 1)) * error, count)

    @property
    def verdict(self) -> str:
        """`above` or `below` if the interval leaves 0 out, else `open`; with the number of seeds if they are too few
        for a claim."""
        told = self.half is not None and abs(self.mean) > self.half
        found = ("above" if self.mean > 0 else "below") if told else "open"
        few = f"{self.seeds} seed{'s' * (self.seeds > 1)}"
        return found if self.seeds >= FEWEST_SEEDS else f"{found}, {few}"

    def __str__(self) -> str:
        """As in `+1.2 ± 0.7`."""
        mean = f"{self.mean:+.1f}".replace("-", "−")
        return mean if self.half is None else f"{mean} ± {self.half:.1f}"


def values(row: Results, score: str) -> list[float]:
    """A score of every seed; nothing if the row's network does not have it."""
    return [found[score] for found in row.scores.values() if score in found]


def difference(row: Results, baseline: Results, score: str) -> PairedMean | None:
    """How much better a row is than the baseline; None where they share no seed, or one lacks the score."""
    return PairedMean.of([one - other for one, other in _paired(score, row, baseline)])


def gap_closed(row: Results, floor: Results, ceiling: Results, score: str) -> PairedMean | None:
    """(row − floor) / (ceiling − floor) in percent, each of one seed. None where the three share no seed, one lacks the
    score, or a seed's ceiling is not above its floor, so that there is no gap."""
    found = _paired(score, row, floor, ceiling)
    if any(top <= bottom for _, bottom, top in found):
        return None
    return PairedMean.of([100 * (one - bottom) / (top - bottom) for one, bottom, top in found])


def mask_names(rows: Sequence[Results]) -> list[str]:
    """By which masks labels could be taken out of any of the rows: mostly the modalities."""
    return list(dict.fromkeys(name for row in rows for found in row.removals.values() for name in found["total"]))


def removed_shares(row: Results, mask: str) -> list[float]:
    """Which share of a mask's labels was taken out, over all epochs, of every seed that has the mask and labels."""
    totals = [(removals["total"], removals["epochs"]) for removals in row.removals.values()]
    found = [(total[mask], epochs) for total, epochs in totals if mask in total]
    return [entry["removed"] / (entry["labels"] * epochs) for entry, epochs in found if entry["labels"] * epochs]


def removes_next_to_nothing(row: Results) -> bool:
    """Whether no seed took out more than NEXT_TO_NOTHING of the labels by any mask."""
    shares = [share for mask in mask_names([row]) for share in removed_shares(row, mask)]
    return bool(shares) and max(shares) < NEXT_TO_NOTHING


def _paired(score: str, *rows: Results) -> list[tuple[float, ...]]:
    """The score of all rows, a tuple a seed that all of them have it of."""
    found = []
    for seed in rows[0].scores:
        of_seed = [row.scores.get(seed, {}).get(score) for row in rows]
        known = tuple(value for value in of_seed if value is not None)
        if len(known) == len(rows):
            found.append(known)
    return found
