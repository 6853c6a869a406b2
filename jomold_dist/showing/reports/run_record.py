"""What a run's folder holds, as far as it is there and can be used, for whoever tells of the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from jomold_dist.config import Config
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.data.reading.run_data import open_data
from jomold_dist.denoising.noise_ratio import NoiseRatios, read_noise_ratios
from jomold_dist.errors import DataError, UserError
from jomold_dist.models.weights import read_info
from jomold_dist.reading import ABSENT, is_there, read_json
from jomold_dist.training.run_folder import RunFolder
from jomold_dist.training.run_reading import (
    UnusableFileError,
    read_config,
    read_histories,
    read_owner,
    read_removals,
    read_scores,
    read_steps,
)
from jomold_dist.training.scores import RunScores, ScoredModel
from jomold_dist.training.trained import MODEL

T = TypeVar("T")


@dataclass(frozen=True)
class RunRecord:
    """A run as its folder tells of it. What is not there is None or empty; why something that is there could not be
    used is among the `problems`."""

    folder: RunFolder
    config: Config
    status: Mapping[str, Any]
    starts: Sequence[Mapping[str, Any]]
    """An entry of environment.json for each start."""
    histories: Mapping[str, Sequence[Mapping[str, Any]]]
    """The epochs of each training, by its stage."""
    steps: Sequence[Mapping[str, Any]]
    """Optimizer steps of the model's training."""
    scores: RunScores | None
    removals: Mapping[str, Any] | None
    ratios: NoiseRatios | None
    categories: tuple[str, ...]
    """The order of the ratios; none where nothing tells them."""
    model: ScoredModel | None
    manifest: Manifest | None
    problems: Sequence[str]

    @classmethod
    def read(cls, folder: RunFolder, manifest: Manifest | None = None) -> RunRecord:
        """RunFolderError, ConfigError or UnreadableError only where that is no run's folder, or its settings cannot be
        used. Without a manifest, that of the run's data set is looked for."""
        config, problems = read_config(folder), list[str]()

        def read(path: Path, reader: Callable[[], T]) -> T | None:
            try:
                return reader() if is_there(path) else None
            except (UserError, OSError) as error:
                problems.append(str(error))
                return None

        if manifest is None:
            manifest = read(folder.path, lambda: _manifest(folder, config))
        scores = read(folder.scores, lambda: read_scores(folder))
        removals = read(folder.removals, lambda: read_removals(folder))
        names = _names(removals, manifest, scores)
        ratios = read(folder.noise_ratios, lambda: read_noise_ratios(folder.noise_ratios, names)) if names else None
        weights, model = folder.weights(MODEL), None if scores is None else scores.model
        if model is None:
            model = read(weights, lambda: ScoredModel.of(weights.name, read_info(weights).notes))
        return cls(
            folder,
            config,
            read(folder.status, lambda: _json(folder.status, dict)) or {},
            read(folder.environment, lambda: _json(folder.environment, list)) or [],
            read(folder.history, lambda: read_histories(folder)) or {},
            read(folder.steps, lambda: read_steps(folder, MODEL)) or [],
            scores,
            removals,
            ratios,
            names,
            model,
            manifest,
            problems,
        )

    @property
    def name(self) -> str:
        """What the run is called."""
        return self.config.tracking.name or self.folder.path.resolve().name

    @property
    def history(self) -> Sequence[Mapping[str, Any]]:
        """The epochs of the model's training."""
        return self.histories.get(MODEL, [])

    @property
    def simulated(self) -> str | None:
        """The world's name, where data are known to be simulated."""
        if self.manifest is not None:
            return self.manifest.world
        return self.scores.data.name if self.scores is not None and self.scores.data.simulated else None


def _manifest(folder: RunFolder, config: Config) -> Manifest:
    """DataError if the data set is not there, or is another one by now."""
    owner = read_owner(folder, config)
    _, manifest = open_data(config.data)
    if manifest.digest != owner.manifest:
        raise DataError(f"{config.data.where} holds another data set by now than the one that the run was trained on")
    return manifest


def _names(removals: Mapping[str, Any] | None, manifest: Manifest | None, scores: RunScores | None) -> tuple[str, ...]:
    """The categories, in their order; none where nothing tells them."""
    if manifest is not None:
        return manifest.categories.names
    if removals is not None and removals["categories"]:
        return tuple(removals["categories"])
    return tuple(next(iter(scores.found.per_category.values()), ())) if scores is not None else ()


def _json(path: Path, kind: type[T]) -> T:
    """What a JSON file holds, a mapping or a list. UnusableFileError; UnreadableError."""
    try:
        found = read_json(path)
        if not isinstance(found, kind):
            raise ValueError("it has another form")
    except (*ABSENT, ValueError) as error:
        raise UnusableFileError(f"{path} is damaged ({error}); restore it from a copy") from None
    return found
