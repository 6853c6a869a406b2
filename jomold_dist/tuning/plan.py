"""What a sweep will do, found before anything starts: its rows, its cells, and which of them share an estimator."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jomold_dist.config import Config
from jomold_dist.data.manifest import Manifest
from jomold_dist.denoising.methods import METHODS
from jomold_dist.errors import ConfigError, join_problems
from jomold_dist.training.preflight import inspect_run
from jomold_dist.training.run_folder import RunFolder
from jomold_dist.tuning.config import Sweep
from jomold_dist.tuning.rows import Cell, Row, baseline_of, cells_of, rows_of
from jomold_dist.tuning.trials import estimator_config, needs_estimator, run_name


@dataclass(frozen=True)
class SweepPlan:
    """A sweep whose settings and data were found to fit together. All paths are absolute."""

    name: str
    sweep: Sweep
    manifest: Manifest
    rows: Sequence[Row]
    cells: Sequence[Cell]
    baseline: str

    @property
    def estimators(self) -> dict[str, Config]:
        """The estimators that its cells need, by run folder."""
        needed = [c.config for c in self.cells if needs_estimator(c.config)]
        configs = [estimator_config(config, self.manifest.digest, self.sweep.trials) for config in needed]
        return {config.run.dir: config for config in configs}

    def summary(self) -> str:
        """What will be trained, in a few lines."""
        simulated = ", simulated data" if self.manifest.simulated is not None else ""
        names = {run_name(cell.config, self.manifest.digest) for cell in self.cells}
        lines = [
            f"{self.name}: {len(self.rows)} rows x {len(self.sweep.sweep.seeds)} seeds",
            f"data: {self.manifest.name}{simulated}",
            f"{len(names)} different trainings, or fewer where noise ratios come out equal; "
            f"{len(self.estimators)} estimators",
            f"trials in {self.sweep.trials}, tables and figures in {self.sweep.folder}",
        ]
        return "\n".join(lines)


def plan_sweep(path: Path, overrides: Sequence[str], sweep: Sweep) -> SweepPlan:
    """ConfigError or DataError for anything that is wrong with the settings, the search space or the data."""
    rows = rows_of(sweep)
    here = replace(
        sweep,
        sweep=replace(sweep.sweep, dir=str(sweep.folder.absolute()), trials=str(sweep.trials.absolute())),
    )
    cells = [replace(cell, config=_absolute(cell.config)) for cell in cells_of(path, overrides, sweep, rows)]
    seen: dict[str, Manifest] = {}
    problems: list[str] = []
    for cell in cells:
        config = replace(cell.config, run=replace(cell.config.run, dir=str(here.trials / "new")))
        if config.data.shards not in seen:
            seen[config.data.shards] = inspect_run(config, sweep.sweep.workers)
        problems += METHODS[config.method].problems(config, seen[config.data.shards])
    if len({manifest.digest for manifest in seen.values()}) > 1:
        problems.append("sweep: the rows train on different data sets; make a sweep for each")
    if problems:
        raise ConfigError(join_problems(list(dict.fromkeys(problems))))
    return SweepPlan(path.stem, here, next(iter(seen.values())), rows, cells, baseline_of(sweep, rows))


def _absolute(config: Config) -> Config:
    """The config for processes with other working directories."""

    def absolute(place: str | None) -> str | None:
        return place if place is None or "://" in place else str(Path(place).absolute())

    data = replace(config.data, shards=str(absolute(config.data.shards)), cache=absolute(config.data.cache))
    denoise = replace(config.denoise, ratio_file=absolute(config.denoise.ratio_file))
    return replace(config, data=data, denoise=denoise)


def finished(folder: Path) -> bool:
    """Whether a run folder holds a finished run with its scores."""
    try:
        status = json.loads((folder / "status.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return status.get("state") == "finished" and RunFolder(folder).scores.exists()
