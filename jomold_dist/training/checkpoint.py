"""Checkpoints on disk: complete or absent, and the same whatever engine and however many ranks wrote them.

    model-e0003-s00000017/
      model.safetensors       the weights as they are now, and what rebuilds the network
      best.safetensors        the best epoch's weights so far; absent before the first epoch has been scored
      optimizer.safetensors   "parameter name:state name" -> tensor
      removals.npz            the record of what was removed
      memory.npz              what the method keeps across steps
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
from torch import Tensor

from jomold_dist.errors import DataError, RunFolderError, UserError
from jomold_dist.files import sync, write_json
from jomold_dist.models.weights import read_tensors, save_tensors
from jomold_dist.reading import ABSENT, is_folder, read_arrays, read_json, reading

logger = logging.getLogger(__name__)

FORMAT = 1
MARKER = "COMPLETE.json"
MODEL, BEST, OPTIMIZER, REMOVALS, MEMORY, STATE = (
    "model.safetensors", "best.safetensors", "optimizer.safetensors", "removals.npz", "memory.npz", "state.json",
)  # fmt: skip
NAME = re.compile(r"(?P<stage>.+)-e(?P<epoch>\d{4,})-s(?P<step>\d{8,})")

SaveWeights = Callable[[Path, Mapping[str, Tensor]], None]


@dataclass
class Checkpoint:
    """What a checkpoint holds. Tensors are on the CPU."""

    weights: Mapping[str, Tensor]
    best_weights: Mapping[str, Tensor] | None
    optimizer: Mapping[str, Mapping[str, Tensor]]  # by parameter name, then by name of the state
    removals: Mapping[str, np.ndarray]
    memory: Mapping[str, np.ndarray]
    state: dict[str, Any]  # as JSON


def checkpoint_name(stage: str, epoch: int, step: int) -> str:
    """The folder's name: after `step` optimizer steps of `epoch` (from 0)."""
    return f"{stage}-e{epoch:04d}-s{step:08d}"


def _position(name: str) -> tuple[int, int] | None:
    """Epoch and step of a checkpoint's name; None for other names."""
    match = NAME.fullmatch(name)
    return match and (int(match["epoch"]), int(match["step"]))


def _stage_of_partial(name: str) -> str | None:
    """Whose checkpoint was being written under that name; None for other names."""
    match = NAME.fullmatch(name.removeprefix(".").removesuffix(".partial"))
    return match["stage"] if match and name.startswith(".") and name.endswith(".partial") else None


def write_checkpoint(folder: Path, name: str, checkpoint: Checkpoint, save_weights: SaveWeights) -> Path:
    """Write a checkpoint, so that it is there whole or not at all. A complete one of the name and owner, which is of
    the same moment, stays as it is; a damaged one is replaced.

    `save_weights` writes the network's weights to a file. OSError if the disk is full or the like; nothing is left of
    the attempt then. RunFolderError or UnreadableError if what has the name can be neither used nor replaced.
    """
    aside, place = folder / f".{name}.partial", folder / name
    if _is_good(place):
        if _read_state(place).get("owner") != checkpoint.state.get("owner"):
            raise RunFolderError(f"{place} is another run's checkpoint; move it away")
        return place
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        save_weights(aside / MODEL, checkpoint.weights)
        if checkpoint.best_weights is not None:
            save_weights(aside / BEST, checkpoint.best_weights)
        flat = {f"{p}:{s}": t.contiguous() for p, states in checkpoint.optimizer.items() for s, t in states.items()}
        save_tensors(aside / OPTIMIZER, flat)
        for file_name, arrays in ((REMOVALS, checkpoint.removals), (MEMORY, checkpoint.memory)):
            with (aside / file_name).open("wb") as file:
                np.savez(file, allow_pickle=False, **arrays)
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
    """A complete checkpoint's content. Raises what `check_checkpoint` does."""
    files = check_checkpoint(place)
    optimizer: dict[str, dict[str, Tensor]] = {}
    for name, tensor in read_tensors(place / OPTIMIZER)[1].items():
        parameter, _, kind = name.rpartition(":")
        optimizer.setdefault(parameter, {})[kind] = tensor
    removals, memory = (_read_npz(place, name) for name in (REMOVALS, MEMORY))
    best = read_tensors(place / BEST)[1] if BEST in files else None
    return Checkpoint(read_tensors(place / MODEL)[1], best, optimizer, removals, memory, _read_state(place))


def _read_npz(place: Path, name: str) -> dict[str, np.ndarray]:
    """The arrays of one of a checkpoint's files. DataError."""
    try:
        return read_arrays(place / name)
    except (*ABSENT, ValueError) as error:
        raise _damaged(place, name, error) from None


def check_checkpoint(place: Path) -> frozenset[str]:
    """The names of a checkpoint's files, all of which were read and are what the marker says.

    DataError if it is incomplete or damaged; UnreadableError if that cannot be found out; RunFolderError if another
    version of this program has written it.
    """
    files = _read_marker(place)
    for name, (size, digest) in files.items():
        try:
            with reading(place / name):
                there = (place / name).stat().st_size
                if there != size:
                    raise DataError(f"checkpoint {place} is damaged: {name} has {there} bytes instead of {size}")
                if _digest(place / name) != digest:
                    raise DataError(f"checkpoint {place} is damaged: {name} is not what was written (SHA-256 differs)")
        except ABSENT as error:
            raise _damaged(place, name, error) from None
    _read_state(place)
    return frozenset(files)


def _read_marker(place: Path) -> dict[str, tuple[int, str]]:
    """Size and SHA-256 of every file, by name. Raises what `check_checkpoint` does."""
    try:
        marker = read_json(place / MARKER)
    except FileNotFoundError:
        raise DataError(f"checkpoint {place} is incomplete: it has no {MARKER}") from None
    except (*ABSENT, ValueError) as error:
        raise _damaged(place, MARKER, error) from None
    try:
        files = {str(name): (int(said["bytes"]), str(said["sha256"])) for name, said in marker["files"].items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        raise _other_version(place, f"{MARKER} has another form") from None
    if missing := {MODEL, OPTIMIZER, REMOVALS, MEMORY, STATE} - files.keys():
        raise _other_version(place, f"it has no {' and no '.join(sorted(missing))}")
    return files


def _read_state(place: Path) -> dict[str, Any]:
    """What state.json holds. Raises what `check_checkpoint` does."""
    try:
        state: dict[str, Any] = read_json(place / STATE)
    except (*ABSENT, ValueError) as error:
        raise _damaged(place, STATE, error) from None
    if not isinstance(state, dict):
        raise _other_version(place, f"{STATE} has another form")
    if state.get("format") != FORMAT:
        raise _other_version(place, f"it has format {state.get('format')}, this version reads {FORMAT}")
    return state


def _damaged(place: Path, name: str, error: Exception) -> DataError:
    return DataError(f"checkpoint {place} is damaged: {name}: {getattr(error, 'strerror', None) or error}")


def _other_version(place: Path, why: str) -> RunFolderError:
    return RunFolderError(
        f"checkpoint {place} was written by another version of jomold_dist: {why}. Go on with that version, or move "
        "the checkpoint away"
    )


def _is_good(place: Path) -> bool:
    """Whether a complete, undamaged checkpoint is there. Raises what `check_checkpoint` does but DataError."""
    try:
        check_checkpoint(place)
    except DataError:
        return False
    return True


def newest_checkpoint(folder: Path, stage: str) -> Path | None:
    """The newest complete checkpoint of a stage, or None. Damaged ones are named in the log and passed over.

    UnreadableError or RunFolderError if it cannot be told whether there is a newer one that is good.
    """
    for place in reversed(checkpoints_of(folder, stage)):
        try:
            check_checkpoint(place)
            return place
        except DataError as error:
            logger.warning("%s; it is passed over", error)
    return None


def prune_checkpoints(folder: Path, stage: str, owner: Mapping[str, Any], newest: Path | None, keep: int) -> None:
    """Remove a stage's checkpoints that were read and found wrong, those of `owner` that `newest`, a good one of its
    own, has made superfluous (all up to it but the `keep` last), and what killed processes left. Without `newest`,
    every one of the owner's is superfluous.

    Another owner's, another version's, a good one after `newest`, and whatever cannot be read or removed, stay.
    """
    try:
        if newest is not None and _read_state(newest).get("owner") != owner:
            return
        places = checkpoints_of(folder, stage)
        with reading(folder):
            superfluous = [path for path in folder.iterdir() if _stage_of_partial(path.name) == stage]
    except UserError as error:
        logger.warning("%s; old checkpoints stay", error)
        return
    last, kept = _position(newest.name) if newest is not None else None, 0
    for place in reversed(places):
        later = last is not None and (_position(place.name) or last) > last
        try:
            if later:
                check_checkpoint(place)
                continue
            _read_marker(place)
            if _read_state(place).get("owner") != owner:
                continue
            kept += 1
            if last is not None and kept <= keep:
                continue
        except DataError as error:
            logger.info("%s; it is removed", error)
        except UserError:
            continue
        superfluous.append(place)
    for place in superfluous:
        try:
            _remove(place)
        except OSError as error:
            logger.warning("cannot remove the old checkpoint %s: %s", place, error.strerror or error)


def checkpoints_of(folder: Path, stage: str) -> list[Path]:
    """The stage's folders that are named like checkpoints, oldest first. UnreadableError."""
    if not is_folder(folder):
        return []
    with reading(folder):
        named = [(NAME.fullmatch(path.name), path) for path in folder.iterdir()]
    mine = [path for match, path in named if match and match["stage"] == stage and is_folder(path)]
    return sorted(mine, key=lambda path: _position(path.name) or (0, 0))


def _remove(place: Path) -> None:
    """Remove a checkpoint, its marker first: what is left of it by a kill is no checkpoint."""
    (place / MARKER).unlink(missing_ok=True)
    shutil.rmtree(place)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
