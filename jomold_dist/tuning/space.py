"""A search space: what is varied and how, and the combinations of values that are tried.

With `sweep.search=optuna` the draws come in rounds, each made from how the earlier ones did. What has been drawn is
worked out anew from the seed and the scores whenever it is needed, so that nothing of Optuna's has to be kept.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from jomold_dist.errors import ConfigError
from jomold_dist.tables import value_text
from jomold_dist.tuning.config import SweepConfig

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

DRAWN = ("choice", "uniform", "loguniform")
Settings = dict[str, Any]


@dataclass(frozen=True)
class Axis:
    """What is varied: the values of a grid, or how a value is drawn."""

    kind: Literal["grid", "choice", "uniform", "loguniform"]
    values: tuple[Any, ...]
    """All of them; for uniform and loguniform the bounds."""

    def draw(self, random: np.random.Generator) -> Any:
        if self.kind == "choice":
            return self.values[int(random.integers(len(self.values)))]
        low, high = self.values
        if self.kind == "uniform":
            return _rounded(random.uniform(low, high))
        return _rounded(math.exp(random.uniform(math.log(low), math.log(high))))


def axis_of(spec: Any) -> Axis:
    """The axis that a value of `sweep.space` describes. ValueError says what is wrong."""
    if isinstance(spec, list):
        return Axis("grid", _different(spec, "a grid"))
    if not isinstance(spec, dict) or len(spec) != 1 or next(iter(spec)) not in DRAWN:
        raise ValueError(f"= {spec!r} must be a list (a grid) or one of {{choice: […]}}, {{uniform: [low, high]}}, "
                         "{loguniform: [low, high]}")  # fmt: skip
    kind, given = next(iter(spec.items()))
    if kind == "choice":
        return Axis("choice", _different(given, "choice"))
    try:
        low, high = (float(value) for value in given)
    except (TypeError, ValueError):
        raise ValueError(f"= {spec!r}: {kind} must have two numbers, [low, high]") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"= {spec!r}: {kind} must have its lower number first")
    if kind == "loguniform" and low <= 0:
        raise ValueError(f"= {spec!r}: loguniform must be above 0")
    return Axis(kind, (low, high))


def misfit(axes: Mapping[str, Axis], asked: SweepConfig) -> str | None:
    """Why the sweep's search cannot go through these axes."""
    if asked.search != "optuna":
        return None
    grids = [name for name, axis in axes.items() if axis.kind == "grid"]
    if grids:
        return f"{grids[0]} is a grid, and sweep.search = 'optuna' draws every value; write {{choice: […]}}"
    if not axes:
        return "is empty, and sweep.search = 'optuna' needs values to draw"
    return None


def combinations(axes: Mapping[str, Axis], asked: SweepConfig, told: Mapping[str, float | None]) -> list[Settings]:
    """The settings of every cell, each once: draws, each with the product of the grids.

    `told` has the scores of cells by their titles, None for one that failed; Optuna's draws are those up to the first
    round of which a score is not there.
    """
    if not axes:
        return []
    made = _optuna_draws(axes, asked, told) if asked.search == "optuna" else _random_draws(axes, asked)
    return list({title(settings): settings for settings in made}.values())


def extremes(axes: Mapping[str, Axis]) -> list[Settings]:
    """Settings in which every value of a list and every bound comes once, to be checked before anything is drawn."""
    first = {name: axis.values[0] for name, axis in axes.items()}
    return [first | {name: value} for name, axis in axes.items() for value in axis.values]


def title(settings: Mapping[str, Any]) -> str:
    """What a cell is called: the last words of its settings' names, with their values."""
    return ", ".join(f"{name.rsplit('.', 1)[-1]}={value_text(value)}" for name, value in settings.items())


def _random_draws(axes: Mapping[str, Axis], asked: SweepConfig) -> Iterator[Settings]:
    grids = {name: axis.values for name, axis in axes.items() if axis.kind == "grid"}
    drawn = {name: axis for name, axis in axes.items() if axis.kind != "grid"}
    for sample in range(asked.samples if drawn else 1):
        random = np.random.default_rng([asked.draw_seed, sample])
        chosen = {name: axis.draw(random) for name, axis in drawn.items()}
        for values in itertools.product(*grids.values()):
            settings = chosen | dict(zip(grids, values, strict=True))
            yield {name: settings[name] for name in axes}


def _optuna_draws(axes: Mapping[str, Axis], asked: SweepConfig, told: Mapping[str, float | None]) -> Iterator[Settings]:
    try:
        import optuna
    except ImportError:
        raise ConfigError(
            "sweep.search = 'optuna' needs the package optuna: pip install 'jomold_dist[optuna]'"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(
        seed=asked.draw_seed,
        n_startup_trials=asked.draws_at_once,  # the first round knows nothing; all others learn
        constant_liar=True,  # keeps the draws of a round apart
    )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    distributions = {name: _distribution(axis) for name, axis in axes.items()}
    for start in range(0, asked.samples, asked.draws_at_once):
        trials = [study.ask(distributions) for _ in range(min(asked.draws_at_once, asked.samples - start))]
        made = [{name: _value(axis, trial.params[name]) for name, axis in axes.items()} for trial in trials]
        yield from made
        if any(title(settings) not in told for settings in made):
            return
        for trial, settings in zip(trials, made, strict=True):
            score = told[title(settings)]
            if score is None:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(trial, score)


def _distribution(axis: Axis) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if axis.kind == "choice":
        return CategoricalDistribution(range(len(axis.values)))  # by place: values may be lists or mappings
    low, high = axis.values
    return FloatDistribution(low, high, log=axis.kind == "loguniform")


def _value(axis: Axis, found: Any) -> Any:
    return axis.values[found] if axis.kind == "choice" else _rounded(found)


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _different(values: Any, what: str) -> tuple[Any, ...]:
    if not isinstance(values, list) or not values:
        raise ValueError(f"= {values!r}: {what} must be a list of at least one value")
    texts = [json.dumps(value) for value in values]
    if len(set(texts)) < len(texts):
        raise ValueError(f"= {values!r}: {what} has a value twice")
    return tuple(values)
