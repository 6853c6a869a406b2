"""What of a run is done: results in its folder, compared with the run before they are used. For rank 0 only."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from jomold_dist.denoising.noise_ratio import read_noise_ratios
from jomold_dist.errors import DataError, RunFolderError
from jomold_dist.models.weights import read_info
from jomold_dist.reading import is_there
from jomold_dist.training.run import Run

logger = logging.getLogger(__name__)

FORM = ("categories", "segments", "feature_sizes", "cross_modal")  # of WeightsInfo


def is_trained(run: Run, name: str, epochs: int, cross_modal: bool) -> bool:
    """Whether finished weights of that name are there, trained for so many epochs. RunFolderError if they are those of
    another run; UnreadableError if they may be good."""
    weights = run.folder.weights(name)
    if not is_there(weights):
        return False
    try:
        info = read_info(weights)
    except DataError as error:
        logger.warning("%s; the stage is run again", error)
        return False
    own = run.weights_info(cross_modal, run.notes(name))
    other = [key for key in FORM if getattr(info, key) != getattr(own, key)]
    other += [key for key, note in own.notes.items() if info.notes.get(key, note) != note]
    if other:
        raise RunFolderError(
            f"{weights} is not of this run: it is of another {', '.join(other)}. Move it away, and the stage is run "
            "again, or choose another run.dir"
        )
    return info.notes.get("epochs") == str(epochs)


def has_ratios(run: Run) -> bool:
    """Whether the run has its noise ratios, and the predictions if it is to keep them. RunFolderError if they are
    damaged or of other categories, or if the file that they came from has others now; UnreadableError."""
    denoise, names = run.config.denoise, run.manifest.categories.names
    if not is_there(run.folder.noise_ratios):
        return False
    try:
        own = read_noise_ratios(run.folder.noise_ratios, names)
    except DataError as error:
        raise RunFolderError(f"{error}; move the file away, and it is made anew") from None
    if denoise.ratios == "file":
        given = read_noise_ratios(Path(str(denoise.ratio_file)), names)
        if not all(torch.equal(one, other) for one, other in zip(own, given, strict=True)):
            raise RunFolderError(
                f"denoise.ratio_file {denoise.ratio_file} has other ratios than {run.folder.noise_ratios}, which this "
                "run has begun with. Choose another run.dir"
            )
    return not run.config.estimator.keep_predictions or is_there(run.folder.predictions)
