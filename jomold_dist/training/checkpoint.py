"""Checkpoints on disk: complete or absent, and the same whatever engine and however many ranks wrote them.

    model-e0003-s00000017/
      model.safetensors       the weights as they are now, and what rebuilds the network
      best.safetensors        the best epoch's weights so far; absent before the first epoch has been scored
      optimizer.safetensors   "parameter name:state name" -> tensor
      removals.npz            the record of what was removed
      state.json              everything else: position, best score, history, loss sums, digests
      COMPLETE.json           size and SHA-256 of each of them, written last

Everything is written to a folder aside, the marker last, and synced; then the folder is renamed. A process that is
killed at any moment leaves the checkpoint before. No process group is needed to read one.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file
from torch import Tensor

from jomold_dist.errors import DataError
from jomold_dist.files import sync, write_json
from jomold_dist.models.han import HybridAttentionNetwork
from jomold_dist.models.weights import WeightsInfo, load_model, read_info, save_tensors

logger = logging.getLogger(__name__)

FORMAT = 1
MARKER = "COMPLETE.json"
MODEL, BEST, OPTIMIZER, REMOVALS, STATE = (
    "model.safetensors", "best.safetensors", "optimizer.safetensors", "removals.npz", "state.json",
)  # fmt: skip
NAME = re.compile(r"[a-z_]+-e(?P<epoch>\d{4,})-s(?P<step>\d{8,})")

SaveWeights = Callable[[Path, Mapping[str, Tensor]], None]


@dataclass
class Checkpoint:
    """What a checkpoint holds. Tensors are on the CPU."""

    weights: Mapping[str, Tensor]
    best_weights: Mapping[str, Tensor] | None
    optimizer: Mapping[str, Mapping[str, Tensor]]  # by parameter name, then by name of the state
    removals: Mapping[str, np.ndarray]
    state: dict[str, Any]  # as JSON


def checkpoint_name(stage: str, epoch: int, step: int) -> str:
    """The folder's name: after `step` optimizer steps of `epoch` (from 0)."""
    return f"{stage}-e{epoch:04d}-s{step:08d}"


def _position(name: str) -> tuple[int, int] | None:
    """Epoch and step of a checkpoint's name; None for other names."""
    match = NAME.fullmatch(name)
    return match and (int(match["epoch"]), int(match["step"]))


def write_checkpoint(folder: Path, name: str, checkpoint: Checkpoint, save_weights: SaveWeights) -> Path:
    """Write a checkpoint, so that it is there whole or not at all. A complete one of the name, which is of the same
    moment, stays as it is; a damaged one is replaced.

    `save_weights` writes the network's weights to a file. OSError if the disk is full or the like; nothing is left of
    the attempt then.
    """
    aside, place = folder / f".{name}.partial", folder / name
    if is_complete(place):
        return place
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        save_weights(aside / MODEL, checkpoint.weights)
        if checkpoint.best_weights is not None:
            save_weights(aside / BEST, checkpoint.best_weights)
        flat = {f"{p}:{s}": t.contiguous() for p, states in checkpoint.optimizer.items() for s, t in states.items()}
        save_tensors(aside / OPTIMIZER, flat)
        with (aside / REMOVALS).open("wb") as file:
            np.savez(file, allow_pickle=False, **checkpoint.removals)
        (aside / STATE).write_text(json.dumps({"format": FORMAT, **checkpoint.state}), encoding="utf-8")
        files = {path.name: {"bytes": path.stat().st_size, "sha256": _digest(path)} for path in sorted(aside.iterdir())}
        for file_name in files:
            sync(aside / file_name)
        write_json(aside / MARKER, {"files": files})
        if place.exists():
            _remove(place)
        aside.rename(place)
        sync(folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return place


def read_checkpoint(place: Path) -> Checkpoint:
    """A complete checkpoint's content. DataError if it is incomplete or damaged, naming the file."""
    check_checkpoint(place)
    state = json.loads((place / STATE).read_text(encoding="utf-8"))
    if state["format"] != FORMAT:
        raise DataError(f"checkpoint {place} has format {state['format']}, this version reads {FORMAT}")
    optimizer: dict[str, dict[str, Tensor]] = {}
    for name, tensor in load_file(place / OPTIMIZER).items():
        parameter, _, kind = name.rpartition(":")
        optimizer.setdefault(parameter, {})[kind] = tensor
    with np.load(place / REMOVALS, allow_pickle=False) as file:
        removals = dict(file)
    best = load_file(place / BEST) if (place / BEST).exists() else None
    return Checkpoint(load_file(place / MODEL), best, optimizer, removals, state)


def check_checkpoint(place: Path) -> None:
    """DataError unless the checkpoint is complete and every file is what the marker says."""
    try:
        files = json.loads((place / MARKER).read_text(encoding="utf-8"))["files"]
    except FileNotFoundError:
        raise DataError(f"checkpoint {place} is incomplete: it has no {MARKER}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"checkpoint {place} is damaged: {MARKER} cannot be read ({error})") from None
    for name, said in files.items():
        try:
            size = (place / name).stat().st_size
            if size != said["bytes"]:
                raise DataError(f"checkpoint {place} is damaged: {name} has {size} bytes instead of {said['bytes']}")
            if _digest(place / name) != said["sha256"]:
                raise DataError(f"checkpoint {place} is damaged: {name} is not what was written (SHA-256 differs)")
        except OSError as error:
            raise DataError(f"checkpoint {place} is damaged: {name}: {error.strerror or error}") from None


def is_complete(place: Path) -> bool:
    """Whether a complete, undamaged checkpoint is there."""
    try:
        check_checkpoint(place)
    except DataError:
        return False
    return True


def newest_checkpoint(folder: Path, stage: str) -> Path | None:
    """The newest complete checkpoint of a stage, or None. Damaged ones are named in the log and passed over."""
    for place in reversed(_all(folder, stage)):
        try:
            check_checkpoint(place)
            return place
        except DataError as error:
            logger.warning("%s; it is passed over", error)
    return None


def find_weights(path: Path) -> Path:
    """The weights file that a path stands for: the file itself, a checkpoint's present weights, or a run's model.

    A run without a finished model gives the best weights of its newest checkpoint, or, before the first epoch has been
    scored, the present ones. DataError if there is nothing.
    """
    if path.is_file():
        return path
    if (path / MARKER).exists():
        check_checkpoint(path)
        return path / MODEL
    folder = path / "checkpoints"
    if (folder / MODEL).exists():
        return folder / MODEL
    newest = newest_checkpoint(folder, "model")
    if newest is None:
        raise DataError(f"{path} is no weights file, checkpoint or run folder with a model in it")
    return newest / BEST if (newest / BEST).exists() else newest / MODEL


def load_network(path: str | Path) -> HybridAttentionNetwork:
    """The network of a weights file, a checkpoint or a run's folder (see `find_weights`), in eval mode, on the CPU."""
    return load_found(Path(path))[0]


def load_found(path: Path) -> tuple[HybridAttentionNetwork, WeightsInfo, Path]:
    """What `load_network` loads, what its file says beside the weights, and the file.

    A run that is training may remove a checkpoint between its choice and its reading: then the next one is taken.
    """
    for _ in range(3):
        weights = find_weights(path)
        try:
            return load_model(weights), read_info(weights), weights
        except DataError:
            if weights.exists():
                raise
    raise DataError(f"{path}: checkpoints come and go faster than they can be read")


def prune_checkpoints(folder: Path, stage: str, newest: Path | None, keep: int) -> None:
    """Remove what `newest` has made superfluous: the stage's checkpoints but the `keep` last up to it, those after it
    (damaged, or of an attempt that was given up), and what killed processes left. Without `newest`, all of them.

    A folder that cannot be removed is left, with a warning.
    """
    places = _all(folder, stage)
    last = _position(newest.name) if newest is not None else None
    kept = [p for p in places if last is not None and (_position(p.name) or last) <= last and (p / MARKER).exists()]
    partial = [p for p in folder.glob(f".{stage}-*.partial") if p.is_dir()]
    for place in [p for p in places if p not in kept[-keep:]] + partial:
        try:
            _remove(place)
        except OSError as error:
            logger.warning("cannot remove the old checkpoint %s: %s", place, error.strerror or error)


def _all(folder: Path, stage: str) -> list[Path]:
    """The stage's folders that are named like checkpoints, oldest first."""
    if not folder.is_dir():
        return []
    named = [path for path in folder.iterdir() if _position(path.name) and path.is_dir()]
    mine = [path for path in named if path.name.startswith(f"{stage}-e")]
    return sorted(mine, key=lambda path: _position(path.name) or (0, 0))


def _remove(place: Path) -> None:
    """Remove a checkpoint, its marker first: what is left of it by a kill is no checkpoint."""
    (place / MARKER).unlink(missing_ok=True)
    shutil.rmtree(place)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
