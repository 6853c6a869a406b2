"""What stands beside a run in its report: finished runs on the same data set, as `jomold compare` has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jomold_dist.comparing.report import remarks
from jomold_dist.comparing.rows import Row, compare_runs
from jomold_dist.comparing.score_table import score_table
from jomold_dist.errors import DataError
from jomold_dist.tables import SCORE_HEADERS, Table
from jomold_dist.training.run_folder import RunFolder
from jomold_dist.training.scores import RunScores

SCORE = "segment_type"
"""Whose differences are shown."""


@dataclass(frozen=True)
class Baseline:
    """The runs that a run is compared with by category, and what they are called together."""

    name: str
    folder: RunFolder
    """Of the one that has most in common with the run."""
    scores: tuple[RunScores, ...]


@dataclass(frozen=True)
class Beside:
    """A run and its controls: the table of scores, what is to be said of it, and the baseline; None where all of them
    differ in nothing but their seeds."""

    name: str
    """What the run's row is called."""
    table: Table
    remarks: tuple[str, ...]
    baseline: Baseline | None


def beside(folder: RunFolder, controls: Sequence[Path]) -> Beside:
    """What `compare_runs` finds, whose errors are raised; DataError, too, if the run itself is not finished."""
    found = compare_runs([folder.path, *controls])
    own = [row for row in found.rows if any(run.folder.path == folder.path for run in row.runs)]
    if not own:
        raise DataError(f"{folder.path} cannot be set beside others: {'; '.join(found.notes)}")
    compared = next(compared for compared in found.compared if compared.row is own[0])
    against = [*compared.against.values(), *(row for row in found.rows if row is not own[0])]
    baseline = next((row for row in found.rows if against and row is against[0]), None)
    caption = f"F-scores on {found.data.title('test')}, in percent"
    table = _differences_first(score_table(found.compared, found.controls, SCORE, caption))
    seed = next(run.config.run.seed for run in own[0].runs if run.folder.path == folder.path)
    return Beside(
        own[0].name, table, tuple(remarks(found, SCORE)), None if baseline is None else _baseline(baseline, seed)
    )


def _differences_first(table: Table) -> Table:
    """The table with the ten scores last, for a narrow window cuts the last columns off."""

    def turned(cells: list[str]) -> list[str]:
        first = table.header.index(SCORE_HEADERS[0])
        last = first + len(SCORE_HEADERS)
        return [*cells[:first], *cells[last:], *cells[first:last]]

    return Table(table.caption, turned(table.header), [turned(row) for row in table.rows])


def _baseline(row: Row, seed: int) -> Baseline:
    """The run of the row that has this seed, else all of them."""
    same = [run for run in row.runs if run.config.run.seed == seed]
    runs = same or list(row.runs)
    which = f"seed {seed}" if same else ", ".join(f"seed {run.config.run.seed}" for run in runs)
    return Baseline(f"{row.name} ({which})", runs[0].folder, tuple(run.scores for run in runs))
