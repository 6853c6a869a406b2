"""The best row of a sweep, and how a sweep ends: its table, that row, and where everything lies."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jomold_dist.comparing.paired import PairedMean, difference, values
from jomold_dist.score_names import SCORE_NAMES
from jomold_dist.tuning.results import CONTROL, RowResult, SweepResults

CAUTION = "It was chosen by the very score that it is told with, which flatters it: the more, the more rows there are."


@dataclass(frozen=True)
class BestRow:
    """The row with the highest mean of the sweep's score on test."""

    name: str
    metric: str
    score: PairedMean
    """The mean over its seeds with its 95 % interval."""
    baseline: str
    difference: PairedMean | None
    """From the baseline, paired by seed; None where they share no seed, or the row is the baseline."""
    among: int
    """How many rows it is the best of."""
    means: Mapping[str, float]
    """Of all scores that it has, over its seeds, in percent."""

    @property
    def tags(self) -> dict[str, str]:
        """What the sweep's run in MLflow is called by."""
        return {"best_row": self.name, "best_by": self.metric, "best_baseline": self.baseline}

    @property
    def numbers(self) -> dict[str, float]:
        """Its metrics there."""
        told: dict[str, float | None] = {"best/score": self.score.mean, "best/seeds": self.score.seeds}
        if self.difference is not None:
            told |= {"best/delta": self.difference.mean, "best/delta_half_width": self.difference.half}
        told |= {f"test/{name}": value for name, value in self.means.items()}
        return {name: value for name, value in told.items() if value is not None}

    def __str__(self) -> str:
        half, among = self.score.half, "1 row" if self.among == 1 else f"{self.among} rows"
        found = "one seed" if half is None else f"95 % interval, n = {self.score.seeds}"
        interval = "" if half is None else f" ± {half:.1f}"
        text = f"best of {among} by {self.metric} on test: {self.name}, {self.score.mean:.1f}{interval} ({found})"
        if self.difference is not None:
            text += f"; Δ {self.baseline} {self.difference}, {self.difference.verdict}"
        return f"{text}\n{CAUTION}"


def best_row(results: SweepResults) -> BestRow | None:
    """The best of the rows that are no controls, or of the controls where there are no others; None without a score."""
    rows = [row for row in results.scored if row.kind != CONTROL] or results.scored
    if not rows:
        return None
    best = max(rows, key=lambda row: statistics.mean(values(row, results.metric)))
    score = PairedMean.of(values(best, results.metric))
    assert score is not None  # `scored` rows have one
    found = {name: values(best, name) for name in SCORE_NAMES}
    means = {name: statistics.mean(scores) for name, scores in found.items() if scores}
    return BestRow(best.name, results.metric, score, results.baseline.name, _over(best, results), len(rows), means)


def closing(results: SweepResults, files: Sequence[Path], address: str | None) -> str:
    """What a sweep ends with: its table, which is the first of the files, the best row, and where to look. `address` is
    MLflow's, if it was recorded there."""
    best = best_row(results)
    parts = [files[0].read_text(encoding="utf-8").rstrip(), str(best) if best else "no row has a score on test"]
    written = [f"written: {file}" for file in files]
    return "\n\n".join([*parts, "\n".join([*written, *([f"in MLflow: {address}"] if address else [])])])


def _over(row: RowResult, results: SweepResults) -> PairedMean | None:
    return None if row is results.baseline else difference(row, results.baseline, results.metric)
