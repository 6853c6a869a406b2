"""What a sweep will do, found before anything starts: its rows, its cells, and which of them share an estimator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jomold_dist.config import Config
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.errors import ConfigError, join_problems
from jomold_dist.places import with_absolute_places
from jomold_dist.tables import value_text
from jomold_dist.training.preflight import inspect_run, problems_of_method, scores_of_model
from jomold_dist.training.selection import why_unscored
from jomold_dist.tuning.config import Sweep
from jomold_dist.tuning.rows import Cell, Row, baseline_of, cells_of, departures, extreme_rows, rows_of
from jomold_dist.tuning.trials import estimator_config, needs_estimator, run_name


@dataclass(frozen=True)
class SweepPlan:
    """A sweep whose settings and data were found to fit together. All paths are absolute."""

    path: Path
    overrides: Sequence[str]
    sweep: Sweep
    manifest: Manifest
    rows: Sequence[Row]
    cells: Sequence[Cell]
    baseline: str

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def estimators(self) -> dict[str, Config]:
        """The estimators that its cells need, by run folder."""
        needed = [c.config for c in self.cells if needs_estimator(c.config)]
        configs = [estimator_config(config, self.manifest.digest, self.sweep.trials) for config in needed]
        return {config.run.dir: config for config in configs}

    def summary(self) -> str:
        """What will be trained, in a few lines."""
        simulated = ", simulated data" if self.manifest.simulated is not None else ""
        seeds = len(self.sweep.sweep.seeds)
        names = {run_name(cell.config, self.manifest.digest) for cell in self.cells}
        lines = [
            f"{self.name}: {len(self.rows)} rows x {seeds} seed{'' if seeds == 1 else 's'}",
            f"data: {self.manifest.name}{simulated}",
            f"{len(names)} different trainings, or fewer where noise ratios come out equal; "
            f"{len(self.estimators)} estimator{'' if len(self.estimators) == 1 else 's'}",
            f"trials in {self.sweep.trials}, tables and figures in {self.sweep.folder}",
        ]
        configs = {cell.row: cell.config for cell in self.cells}
        for row in self.rows:
            if changed := departures(row, self.path, configs[row.name]):
                texts = (
                    f"{name} = {value_text(here)} ({value_text(there)} there)"
                    for name, (there, here) in changed.items()
                )
                lines.append(f"{row.name}: {row.config}, but {', '.join(texts)}")
        asked = self.sweep.sweep
        if asked.search == "optuna":
            lines.insert(1, f"optuna makes {asked.samples} draws, {asked.draws_at_once} at once; these are the first")
        return "\n".join(lines)

    def next_round(self, told: Mapping[str, float | None]) -> SweepPlan | None:
        """The sweep with the draws that the scores of its rows so far lead to; None if it has all of them."""
        if self.sweep.sweep.search != "optuna":
            return None
        further = plan_sweep(self.path, self.overrides, self.sweep, told)
        return further if len(further.rows) > len(self.rows) else None


def plan_sweep(
    path: Path, overrides: Sequence[str], sweep: Sweep, told: Mapping[str, float | None] | None = None
) -> SweepPlan:
    """ConfigError or DataError for anything that is wrong with the settings, the search space or the data.

    `told` has the scores of rows on val, None where there is none, for draws that learn from earlier ones.
    """
    rows = rows_of(sweep, told)
    here = with_absolute_places(sweep)
    asked = cells_of(path, overrides, sweep, rows) + cells_of(path, overrides, sweep, extreme_rows(sweep))
    every = [replace(cell, config=with_absolute_places(cell.config)) for cell in asked]
    cells = every[: len(rows) * len(sweep.sweep.seeds)]
    seen: dict[tuple[str, float], Manifest] = {}
    problems: list[str] = []
    for cell in every:
        config = replace(cell.config, run=replace(cell.config.run, dir=str(here.trials / "new")))
        data = config.data.where, config.data.fraction
        if data not in seen:
            seen[data] = inspect_run(config, sweep.sweep.workers)
        manifest = seen[data]
        if unscored := why_unscored(manifest):
            problems.append(f"sweep: {unscored} in {config.data.where}, and a sweep compares scores on test")
        problems += [f"row {cell.row!r}: {problem}" for problem in problems_of_method(config, manifest)]
        problems += _unmeasured(cell, manifest, sweep)
    if len({manifest.digest for manifest in seen.values()}) > 1:
        problems.append("sweep: the rows train on different data sets; make a sweep for each")
    if problems:
        raise ConfigError(join_problems(list(dict.fromkeys(problems))))
    return SweepPlan(path, overrides, here, next(iter(seen.values())), rows, cells, baseline_of(sweep, rows))


def has_metric(config: Config, manifest: Manifest, metric: str) -> bool:
    """Whether a run's model has a score on val."""
    if why_unscored(manifest, "val"):
        return False
    try:
        return metric in scores_of_model(config, manifest)
    except ConfigError:
        return True  # a network that cannot be built is a problem that is told


def _unmeasured(cell: Cell, manifest: Manifest, sweep: Sweep) -> list[str]:
    """That there is no such score on val, by which trials are stopped or further draws are made."""
    asked, network = sweep.sweep, cell.config.model.network
    if (asked.scheduler == "fifo" and asked.search == "random") or has_metric(cell.config, manifest, asked.metric):
        return []
    judges = f"sweep.scheduler = {asked.scheduler!r} or sweep.search = {asked.search!r} judges"
    if unscored := why_unscored(manifest, "val"):
        return [f"sweep: {unscored}, by whose scores {judges}; take 'fifo' and 'random'"]
    return [
        f"row {cell.row!r}: its network {network} has no {asked.metric}, by which {judges}; choose another "
        "sweep.metric, or 'fifo' and 'random'"
    ]
