"""The rows of a sweep's table: controls, variants, and the cells of its search space, each with its settings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jomold_dist.config import Config
from jomold_dist.config_files import load_config
from jomold_dist.config_roles import decides
from jomold_dist.config_values import near_setting, schema
from jomold_dist.errors import ConfigError, UserError, join_problems, nearest
from jomold_dist.methods.registry import essential
from jomold_dist.secrets import blotted_value
from jomold_dist.shipped import file_beside
from jomold_dist.tuning.config import Sweep, load_sweep
from jomold_dist.tuning.space import DRAWN, Axis, axis_of, combinations, extremes, misfit, title

Kind = Literal["control", "variant", "cell"]

CONFIG = "config"
"""Names a run's config in the settings of a variant or control."""


@dataclass(frozen=True)
class Row:
    """One row: what it is called, its settings on top of the sweep file's, and the config under that file, if any."""

    name: str
    kind: Kind
    settings: Mapping[str, Any]
    config: str | None = None
    """As it is written, relative to the sweep's file."""

    def file(self, sweep: Path) -> Path | None:
        """The config under a sweep's file."""
        return None if self.config is None else file_beside(sweep, self.config)


@dataclass(frozen=True)
class Cell:
    """One training that a sweep asks for."""

    row: str
    seed: int
    config: Config


def rows_of(sweep: Sweep, told: Mapping[str, float | None] | None = None) -> list[Row]:
    """All rows in the order of the table. ConfigError lists every problem of the search space, variants and controls.

    `told` has the scores of rows, which later draws may learn from. Draws depend on it, on `draw_seed` and on the space
    alone, so that a sweep that is started again has the same rows.
    """
    asked, problems, rows = sweep.sweep, [], []
    for kind, named in (("control", asked.controls), ("variant", asked.variants)):
        for name, settings in named.items():
            if not isinstance(settings, dict):
                problems.append(f"sweep.{kind}s: {name!r} must be a mapping of settings")
                continue
            flat = _flat(settings)
            config = flat.pop(CONFIG, None)
            if config is not None and (not isinstance(config, str) or not config):
                problems.append(f"sweep.{kind}s.{name}: {CONFIG} = {config!r} must name the config file of a run")
                config = None
            problems += [f"sweep.{kind}s.{name}: {text}" for text in _misfits(flat)]
            rows.append(Row(str(name), kind, flat, config))  # type: ignore[arg-type]
    axes, wrong = _axes(sweep)
    problems += wrong
    if not problems:
        rows += [Row(title(settings), "cell", settings) for settings in combinations(axes, asked, told or {})]
    names = [row.name for row in rows]
    problems += [f"sweep: two rows are called {name!r}" for name in sorted({n for n in names if names.count(n) > 1})]
    if not rows and not problems:
        problems.append("sweep: nothing is varied; give sweep.space or sweep.variants")
    if not problems and asked.baseline is not None and asked.baseline not in names:
        problems.append(f"sweep.baseline = {asked.baseline!r} is no row{nearest(asked.baseline, names)}")
    if problems:
        raise ConfigError(join_problems(problems))
    return rows


def extreme_rows(sweep: Sweep) -> list[Row]:
    """Rows at the bounds of what Optuna may draw, which is not known beforehand: their settings must be right."""
    if sweep.sweep.search != "optuna":
        return []
    axes, _ = _axes(sweep)
    return [Row(title(settings), "cell", settings) for settings in extremes(axes)]


def baseline_of(sweep: Sweep, rows: Sequence[Row]) -> str:
    """The row that all are compared with."""
    return sweep.sweep.baseline or rows[0].name  # the controls come first


def cells_of(path: Path, overrides: Sequence[str], sweep: Sweep, rows: Sequence[Row]) -> list[Cell]:
    """The trainings of all rows and seeds. ConfigError names the rows whose settings are wrong."""
    cells, problems = [], []
    for row in rows:
        given = [f"{name}={json.dumps(value)}" for name, value in row.settings.items()]
        for seed in sweep.sweep.seeds:
            try:
                config = load_sweep(path, [*overrides, *given, f"run.seed={seed}"], row.file(path)).run_config
                _refuse_another_method(row, path, config)
            except UserError as error:
                problems.append(f"row {blotted_value('row', row.name)!r}: {error}")
                break
            cells.append(Cell(row.name, seed, config))
    if problems:
        raise ConfigError(join_problems(problems))
    return cells


def departures(row: Row, path: Path, config: Config) -> dict[str, tuple[Any, Any]]:
    """What the config under a row gives and what the row has instead, by setting, because the sweep's file or the
    command line gives it to all rows. `config` is of one of the row's cells."""
    file = row.file(path)
    if file is None:
        return {}
    under, here = (essential(found).flat() for found in (load_config(file), config))
    own = {*row.settings, "run.seed"}
    return {
        name: (value, here[name])
        for name, value in under.items()
        if value != here[name] and name not in own and (decides(name) or name == "train.epochs")
    }


def _refuse_another_method(row: Row, path: Path, config: Config) -> None:
    """ConfigError if the sweep's file takes the method of the config under a row away."""
    method, _ = departures(row, path, config).get("method", (config.method, None))
    if method != config.method:
        raise ConfigError(
            f"{row.config} is of the method {method!r}, and the sweep's file or the command line gives "
            f"method = {config.method!r} to all rows; leave it out there"
        )


def _axes(sweep: Sweep) -> tuple[dict[str, Axis], list[str]]:
    """The axes of the search space by setting, and what is wrong with it."""
    space = _flat(sweep.sweep.space)
    axes, problems = {}, _misfits(space)
    for name, spec in space.items():
        try:
            axes[name] = axis_of(spec)
        except ValueError as error:
            problems.append(f"{name} {blotted_value(name, str(error))}")
    if not problems and (problem := misfit(axes, sweep.sweep)):
        problems.append(problem)
    return axes, [f"sweep.space: {text}" for text in problems]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by their dotted names, however deep the mappings they were written in."""
    known = schema()
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and name not in known and not set(value) & set(DRAWN):
            flat |= _flat(value, f"{name}.")
        else:
            flat[name] = value
    return flat


def _misfits(settings: Mapping[str, Any]) -> list[str]:
    """Names that are no settings, or none that may be varied."""
    known, found = schema(), []
    for name in settings:
        if name not in known:
            found.append(f"unknown setting {name!r}{near_setting(name, known)}")
        elif name == "run.seed":
            found.append("run.seed is varied by sweep.seeds")
        elif name in ("run.dir", "run.wall_minutes") or name.startswith("tracking."):
            found.append(f"{name} is the sweep's to set")
    return found
