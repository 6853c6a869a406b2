"""The settings of a sweep: those of a run, and a section `sweep` on top."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from jomold_dist.config import Config
from jomold_dist.config_fields import NO_SETTINGS, Tree, number, place
from jomold_dist.config_files import Resolved, resolve
from jomold_dist.errors import ConfigError
from jomold_dist.methods.registry import checked
from jomold_dist.score_names import SCORE_NAMES


@dataclass(frozen=True)
class SweepConfig:
    """What a sweep trains and compares, and on what; in the file of a sweep only."""

    dir: str = place("runs/sweeps/sweep")
    """Folder of the sweep: its table, its figures, and which run is which cell."""
    trials: str | None = place(None)
    """Folder of the trials' run folders, which sweeps share, so that equal ones are trained once. None: `trials` beside
    `dir`."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Every row is trained with each of them; 3 is the seed 3, not three seeds."""
    space: Tree = NO_SETTINGS
    """What is varied, by setting: a list is a grid; `{choice: […]}`, `{uniform: [low, high]}` and
    `{loguniform: [low, high]}` are drawn. Grids are multiplied with each other and with the draws."""
    search: Literal["random", "optuna"] = "random"
    """How values are drawn: each for itself, or by Optuna's TPE, from what earlier draws reached on val."""
    samples: int = number(8, 1)
    """How many draws, where anything is drawn."""
    draw_seed: int = number(0, 0, 2**32 - 1)
    """Seed of the draws."""
    draws_at_once: int = number(4, 1)
    """How many draws Optuna makes before it learns how they did. The first so many are random."""
    variants: Tree = NO_SETTINGS
    """Rows by name: the settings of each, on top of the file's. `config: FILE`, relative to the sweep's file, takes a
    row's settings from a run's config; what the sweep's file gives too, it gives to all rows."""
    controls: Tree = NO_SETTINGS
    """As `variants`: the rows that the others are compared with."""
    baseline: str | None = None
    """The row that all are compared with. None: the first control, or else the first row."""
    metric: Literal[SCORE_NAMES] = "segment_type"  # type: ignore[valid-type]
    """The score that is compared: on test in the tables, on val while trials are running."""
    scheduler: Literal["fifo", "asha"] = "fifo"
    """`asha` ends trials early whose score on val is behind that of others. Its rows have no scores on test."""
    grace_epochs: int = number(1, 1)
    """Epochs that `asha` grants every trial."""
    retries: int = number(1, 0, 100)
    """How often a failed trial is started again. It goes on from its last checkpoint."""
    workers: int = number(1, 1)
    """Ranks of a trial, all on one node."""
    cpus: int = number(1, 1)
    """CPU cores, and threads, of a rank."""
    gpus: float = number(0.0, 0)
    """GPUs of a rank; a share lets ranks share one."""
    concurrent: int | None = number(None, 1)
    """The most trials at once. None: as many as the machine or cluster has room for."""
    address: str | None = None
    """The Ray cluster: its address, or `local` for this machine alone. None: the one that RAY_ADDRESS or `ray start` on
    this machine names, or else this machine."""


@dataclass(frozen=True)
class Sweep(Config):
    """All settings of a sweep."""

    sweep: SweepConfig = field(default_factory=SweepConfig)

    @property
    def run_config(self) -> Config:
        """The settings of a run without the sweep's."""
        return Config(**{item.name: getattr(self, item.name) for item in dataclasses.fields(Config)})

    @property
    def folder(self) -> Path:
        return Path(self.sweep.dir)

    @property
    def trials(self) -> Path:
        """The folder of the trials' run folders."""
        return Path(self.sweep.trials) if self.sweep.trials is not None else self.folder.parent / "trials"


def load_sweep(path: Path, overrides: Sequence[str] = (), under: Path | None = None) -> Sweep:
    """The settings of a sweep file with overrides on top, and a run's config under it. ConfigError lists every problem
    found."""
    return checked(resolve_sweep(path, overrides, under).config)


def resolve_sweep(path: Path, overrides: Sequence[str] = (), under: Path | None = None) -> Resolved[Sweep]:
    """As `load_sweep`, with where each setting comes from, and without a look at methods and networks."""
    found = resolve(Sweep, path, overrides, under)
    if not any(name.startswith("sweep.") for name in found.origins):
        raise ConfigError(
            f"{path} is the config of a run: neither it nor the command line gives anything in the section 'sweep'; "
            f"`jomold train --config {path}` trains it. A sweep gives sweep.variants or sweep.space"
        )
    return found
