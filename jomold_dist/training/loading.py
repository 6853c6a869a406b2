"""The network behind a path: a weights file, a checkpoint, or a run's folder, be the run finished or not."""

from __future__ import annotations

from pathlib import Path

from jomold_dist.errors import DataError, UnreadableError
from jomold_dist.models.network import Network
from jomold_dist.models.weights import WeightsInfo, load_model, read_info
from jomold_dist.reading import is_folder, is_there
from jomold_dist.training.checkpoint import BEST, MARKER, MODEL, check_checkpoint, checkpoints_of, newest_checkpoint

TRIES = 3


def find_weights(path: Path) -> Path:
    """The weights file that a path stands for: the file itself, a checkpoint's present weights, or a run's model.

    A run without a finished model gives the best weights of its newest checkpoint, or, before the first epoch has been
    scored, the present ones. DataError if there is nothing; also what `newest_checkpoint` raises.
    """
    if is_there(path) and not is_folder(path):
        return path
    if is_there(path / MARKER):
        check_checkpoint(path)
        return path / MODEL
    folder = path / "checkpoints"
    if is_there(folder / MODEL):
        return folder / MODEL
    newest = newest_checkpoint(folder, "model")
    if newest is None:
        raise DataError(f"{path} is no weights file, checkpoint or run folder with a model in it")
    return newest / BEST if is_there(newest / BEST) else newest / MODEL


def load_network(path: str | Path) -> Network:
    """The network of a weights file, a checkpoint or a run's folder (see `find_weights`), in eval mode, on the CPU."""
    return load_found(Path(path))[0]


def load_found(path: Path) -> tuple[Network, WeightsInfo, Path]:
    """What `load_network` loads, what its file says beside the weights, and the file.

    A run that is training may remove a checkpoint while it is looked for and read: then the next one is taken.
    """
    folder = path / "checkpoints"
    for _ in range(TRIES - 1):
        before = checkpoints_of(folder, "model")
        try:
            return _load_weights(find_weights(path))
        except (DataError, UnreadableError):
            if checkpoints_of(folder, "model") == before:
                raise
    return _load_weights(find_weights(path))


def _load_weights(weights: Path) -> tuple[Network, WeightsInfo, Path]:
    return load_model(weights), read_info(weights), weights
