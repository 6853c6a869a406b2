"""From a sweep's cells to the runs that must be made: equal ones once, with one estimator for all that agree on it.

A run folder's name is the digest of what decides its result, so that sweeps find each other's runs, and a sweep that is
started again finds its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jomold_dist.config import Config, DenoiseConfig
from jomold_dist.denoising.noise_ratio import NoiseRatios, Predictions
from jomold_dist.errors import RunFolderError
from jomold_dist.files import problem_of, write_json
from jomold_dist.methods.estimator import Estimator, estimator_settings
from jomold_dist.methods.registry import essential
from jomold_dist.reading import ABSENT, read_json
from jomold_dist.training.preflight import trainings
from jomold_dist.training.trained import MODEL
from jomold_dist.tuning.rows import Cell

NAME = 16  # letters of a digest


@dataclass(frozen=True)
class Trial:
    """One training for one or more cells."""

    config: Config
    """With its own run folder."""
    cells: tuple[Cell, ...]


def needs_estimator(config: Config) -> bool:
    """Whether a run would train the noise estimator that the config describes: not any other training that a method of
    somebody's may have before its own."""
    return any(stage.method is Estimator and stage.settings is estimator_settings for stage in trainings(config))


def keeps_last(config: Config) -> bool:
    """Whether a run's model is that of its last epoch, whatever the others score."""
    return any(stage.weights == MODEL and stage.keep == "last" for stage in trainings(config))


def run_name(config: Config, manifest_digest: str) -> str:
    """A run folder's name: what decides its result, and how long it is trained."""
    decides = [essential(config).digest, manifest_digest, config.train.epochs]
    return hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:NAME]


def estimator_config(config: Config, manifest_digest: str, trials: Path) -> Config:
    """The run that trains the estimator that a cell needs, and keeps its predictions."""
    plain = replace(
        config,
        method="jomold",
        denoise=DenoiseConfig(mean_batch_size=config.denoise.mean_batch_size),
        loss=estimator_settings(config).loss,  # the weights of the model's losses are nothing to it
        estimator=replace(config.estimator, keep_predictions=True, batch_size=None),
        train=replace(config.train, epochs=1, batch_size=config.estimator_batch_size),
    )
    name = f"estimator-{run_name(plain, manifest_digest)}"
    return replace(essential(plain), run=replace(plain.run, dir=str(trials / name)))


def with_ratios(config: Config, ratios: NoiseRatios, categories: Sequence[str], trials: Path) -> Config:
    """The config with given ratios, which are kept in a file named by what it holds (see `keep_ratios`)."""
    file, _ = _ratio_file(ratios, categories, trials)
    return replace(config, denoise=replace(config.denoise, ratios="file", ratio_file=str(file)))


def keep_ratios(ratios: NoiseRatios, categories: Sequence[str], trials: Path) -> None:
    """Write the file that `with_ratios` names. One that holds something else is written anew. UnreadableError;
    RunFolderError if it cannot be written."""
    file, content = _ratio_file(ratios, categories, trials)
    try:
        there = read_json(file)
    except (*ABSENT, ValueError):
        there = None
    if there != content:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_json(file, content)
        except OSError as error:
            raise RunFolderError(f"sweep.trials {trials} cannot be written: {problem_of(error)}") from None


def _ratio_file(ratios: NoiseRatios, categories: Sequence[str], trials: Path) -> tuple[Path, dict[str, Any]]:
    content = {"categories": list(categories), "audio": ratios.audio.tolist(), "visual": ratios.visual.tolist()}
    name = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:NAME]
    return trials / "ratios" / f"{name}.json", content


def found_ratios(config: Config, found: Predictions) -> NoiseRatios:
    """The noise ratios that an estimator's predictions and a config's thresholds lead to."""
    denoise = config.denoise
    return found.noise_ratios(denoise.audio_threshold, denoise.visual_threshold, denoise.visual_scale)


def trials_of(cells: Sequence[Cell], manifest_digest: str, trials: Path) -> list[Trial]:
    """One trial for all cells that lead to the same run, in the order in which they first come."""
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        found.setdefault(run_name(cell.config, manifest_digest), []).append(cell)
    made = []
    for name, same in found.items():
        config = essential(same[0].config)
        made.append(Trial(replace(config, run=replace(config.run, dir=str(trials / name))), tuple(same)))
    return made
