"""The stage that trains a network."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Literal

import torch

from jomold_dist.config import Config
from jomold_dist.data.reading.folds import Fold, folds_of
from jomold_dist.distributed.world import agree_on_errors
from jomold_dist.errors import ConfigError, DataError, RunFolderError
from jomold_dist.files import write_json, write_text
from jomold_dist.methods.base import Method
from jomold_dist.models.network import Network
from jomold_dist.models.weights import read_info
from jomold_dist.reading import is_there
from jomold_dist.training.loop import fit
from jomold_dist.training.removals import RemovalRecord, read_present
from jomold_dist.training.run import Run
from jomold_dist.training.stage import Found, Stage, results

logger = logging.getLogger(__name__)

FORM = ("categories", "segments", "segment_seconds", "feature_sizes", "form")  # of WeightsInfo
MODEL = "model"
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def as_configured(config: Config) -> Config:
    """The training that the `train` and `loss` sections describe."""
    return config


class Trained(Stage):
    """Trains a method's network and leaves its weights: of the best epoch by the validation score, or of the last.

    `settings` turns the run's config into that of this training. With `unseen`, (k, K), the videos of fold k of K are
    kept from it. The weights called `model` are the run's result: what was removed in their training is written into
    the run's folder.
    """

    def __init__(
        self,
        name: str,
        method: type[Method],
        weights: str = MODEL,
        settings: Callable[[Config], Config] = as_configured,
        keep: Literal["best", "last"] = "best",
        unseen: tuple[int, int] | None = None,
    ) -> None:
        if not FILE_NAME.fullmatch(weights):
            raise ConfigError(
                f"stage {name!r} of method {method.__name__} calls its weights {weights!r}, and files are named after "
                "them: give them a name of letters, digits, '_', '-' and '.' that does not begin with '.' or '-'"
            )
        self.name, self.method, self.weights, self.settings, self.keep = name, method, weights, settings, keep
        self._unseen, self.makes_model = unseen, weights == MODEL

    def fold(self, videos: int) -> Fold | None:
        """What it trains on of a split of so many videos; None: all."""
        if self._unseen is None:
            return None
        number, folds = self._unseen
        return folds_of(videos, folds)[number].complement

    def is_done(self, run: Run) -> bool:
        """Whether finished weights of that name are there, trained for so many epochs. RunFolderError if they are those
        of another run; UnreadableError if they may be good."""
        weights = run.folder.weights(self.weights)
        if not is_there(weights):
            return False
        try:
            info = read_info(weights)
        except DataError as error:
            logger.warning("%s; the stage is run again", error)
            return False
        own = run.weights_info(self._network(run), run.notes(self.weights))
        other = [key for key in FORM if getattr(info, key) != getattr(own, key)]
        other += [key for key, note in own.notes.items() if info.notes.get(key, note) != note]
        if other:
            raise RunFolderError(
                f"{weights} is not of this run: it is of another {', '.join(other)}. Move it away, and the stage is "
                "run again, or choose another run.dir"
            )
        return info.notes.get("epochs") == str(self.settings(run.config).train.epochs)

    def do(self, run: Run, found: Found) -> None:
        truth = None
        with agree_on_errors(run.world):  # somebody's own classes may fail on one rank
            config = self.settings(run.config)
            method = self.method(config, run.manifest, found, run.world.device)
            if run.world.is_main and self.makes_model:
                truth = read_present(run.source, run.manifest)
        removals = RemovalRecord(run.manifest, truth, self.method, self.method.chooses(config))
        best = fit(run, method, self.weights, self.keep, removals, self.fold(run.manifest.split("train").videos))
        with results(run) as is_main:
            if not is_main:
                return
            if self.makes_model:
                write_json(run.folder.removals, removals.summary())
                write_text(run.folder.removed_labels, removals.ledger())
                run.recorder.model(best)
                run.folder.scores.unlink(missing_ok=True)  # of a shorter training, which this one went on with
            run.folder.complete(self.weights, best, config.train.epochs)  # last: it marks the stage as done

    def _network(self, run: Run) -> Network:
        """A network of the trained one's form, without values."""
        with torch.device("meta"):
            return self.method.network(self.settings(run.config), run.manifest)
