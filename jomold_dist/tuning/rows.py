"""The rows of a sweep's table: controls, variants, and the cells of its search space, each with its settings."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jomold_dist.config import Config
from jomold_dist.config_files import schema
from jomold_dist.errors import ConfigError, UserError, join_problems, nearest
from jomold_dist.tuning.config import Sweep, load_sweep

Kind = Literal["control", "variant", "cell"]

DRAWN = ("choice", "uniform", "loguniform")


@dataclass(frozen=True)
class Row:
    """One row: what it is called, and its settings on top of the sweep file's."""

    name: str
    kind: Kind
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """One training that a sweep asks for."""

    row: str
    seed: int
    config: Config


def rows_of(sweep: Sweep) -> list[Row]:
    """All rows in the order of the table. ConfigError lists every problem of the search space, variants and controls.

    Draws depend on `draw_seed` and the space alone, so that a sweep that is started again has the same rows.
    """
    asked, problems, rows = sweep.sweep, [], []
    for kind, named in (("control", asked.controls), ("variant", asked.variants)):
        for name, settings in named.items():
            if not isinstance(settings, dict):
                problems.append(f"sweep.{kind}s: {name!r} must be a mapping of settings")
                continue
            flat = _flat(settings)
            problems += [f"sweep.{kind}s.{name}: {text}" for text in _misfits(flat)]
            rows.append(Row(str(name), kind, flat))  # type: ignore[arg-type]
    space = _flat(asked.space)
    problems += [f"sweep.space: {text}" for text in _misfits(space)]
    axes = {}
    for name, spec in space.items():
        try:
            axes[name] = _axis(spec)
        except ValueError as error:
            problems.append(f"sweep.space: {name} {error}")
    if not problems:
        rows += [Row(_title(settings), "cell", settings) for settings in _cells(axes, asked.samples, asked.draw_seed)]
    names = [row.name for row in rows]
    problems += [f"sweep: two rows are called {name!r}" for name in sorted({n for n in names if names.count(n) > 1})]
    if not rows and not problems:
        problems.append("sweep: nothing is varied; give sweep.space or sweep.variants")
    if not problems and asked.baseline is not None and asked.baseline not in names:
        problems.append(f"sweep.baseline = {asked.baseline!r} is no row{nearest(asked.baseline, names)}")
    if problems:
        raise ConfigError(join_problems(problems))
    return rows


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
                config = load_sweep(path, [*overrides, *given, f"run.seed={seed}"]).run_config
            except UserError as error:
                problems.append(f"row {row.name!r}: {error}")
                break
            cells.append(Cell(row.name, seed, config))
    if problems:
        raise ConfigError(join_problems(problems))
    return cells


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
            found.append(f"unknown setting {name!r}{nearest(name, known)}")
        elif name == "run.seed":
            found.append("run.seed is varied by sweep.seeds")
        elif name in ("run.dir", "run.wall_minutes") or name.startswith("tracking."):
            found.append(f"{name} is the sweep's to set")
    return found


@dataclass(frozen=True)
class _Axis:
    """What is varied: the values of a grid, or how a value is drawn."""

    kind: Literal["grid", "choice", "uniform", "loguniform"]
    values: tuple[Any, ...]

    def draw(self, random: np.random.Generator) -> Any:
        if self.kind == "choice":
            return self.values[int(random.integers(len(self.values)))]
        low, high = self.values
        if self.kind == "uniform":
            return float(f"{random.uniform(low, high):.6g}")
        return float(f"{math.exp(random.uniform(math.log(low), math.log(high))):.6g}")


def _axis(spec: Any) -> _Axis:
    """The axis that a value of the search space describes. ValueError says what is wrong."""
    if isinstance(spec, list):
        return _Axis("grid", _different(spec, "a grid"))
    if not isinstance(spec, dict) or len(spec) != 1 or next(iter(spec)) not in DRAWN:
        raise ValueError(f"= {spec!r} must be a list (a grid) or one of {{choice: […]}}, {{uniform: [low, high]}}, "
                         "{loguniform: [low, high]}")  # fmt: skip
    kind, given = next(iter(spec.items()))
    if kind == "choice":
        return _Axis("choice", _different(given, "choice"))
    try:
        low, high = (float(value) for value in given)
    except (TypeError, ValueError):
        raise ValueError(f"= {spec!r}: {kind} must have two numbers, [low, high]") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"= {spec!r}: {kind} must have its lower number first")
    if kind == "loguniform" and low <= 0:
        raise ValueError(f"= {spec!r}: loguniform must be above 0")
    return _Axis(kind, (low, high))


def _different(values: Any, what: str) -> tuple[Any, ...]:
    if not isinstance(values, list) or not values:
        raise ValueError(f"= {values!r}: {what} must be a list of at least one value")
    texts = [json.dumps(value) for value in values]
    if len(set(texts)) < len(texts):
        raise ValueError(f"= {values!r}: {what} has a value twice")
    return tuple(values)


def _cells(axes: Mapping[str, _Axis], samples: int, seed: int) -> Iterator[dict[str, Any]]:
    """The settings of every cell: the draws, each with the product of the grids."""
    if not axes:
        return
    grids = {name: axis.values for name, axis in axes.items() if axis.kind == "grid"}
    drawn = {name: axis for name, axis in axes.items() if axis.kind != "grid"}
    for sample in range(samples if drawn else 1):
        random = np.random.default_rng([seed, sample])
        chosen = {name: axis.draw(random) for name, axis in drawn.items()}
        for values in itertools.product(*grids.values()):
            settings = chosen | dict(zip(grids, values, strict=True))
            yield {name: settings[name] for name in axes}


def _title(settings: Mapping[str, Any]) -> str:
    """What a cell is called: the last words of its settings' names, with their values."""
    return ", ".join(f"{name.rsplit('.', 1)[-1]}={_shown(value)}" for name, value in settings.items())


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
