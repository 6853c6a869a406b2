"""Tensors from files of weights that others have made. Nothing in a file is executed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from jomold_dist.errors import UserError
from jomold_dist.extraction.encoding.model_files import first_line
from jomold_dist.reading import ABSENT, is_folder, read_arrays, reading, regular_file

ENDINGS = (".pth", ".pt", ".bin", ".ckpt", ".safetensors", ".npz")

# Of what files of torch may name beside tensors: arrays of numbers, as VGGish's components are in the file that
# circulates. numpy has given their maker another name since that was written.
_array_of = np.zeros(1).__reduce__()[0]
ARRAYS: list[Any] = [
    *((_array_of, f"numpy.{place}.multiarray._reconstruct") for place in ("core", "_core")),
    *(np.ndarray, np.dtype, type(np.dtype(np.float32)), type(np.dtype(np.float64))),
]


def weight_files(named: str) -> tuple[Path, ...]:
    """The file that is named, or all files of weights in the folder that is. UserError if there are none."""
    path = Path(named).expanduser()
    if not is_folder(path):
        return (path,)
    with reading(path):
        files = tuple(sorted(file for file in path.iterdir() if file.suffix in ENDINGS))
    if not files:
        raise UserError(f"{path} holds no weights: no file ends with {', '.join(ENDINGS)}")
    return files


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """A file's tensors by name. UserError if it is missing, damaged, or holds anything else."""
    try:
        with reading(path):
            regular_file(path).open("rb").close()
            state = _read(path)
    except ABSENT as error:
        raise UserError(f"the weights {path} are not there: {error.strerror}") from None
    except UserError:
        raise
    except Exception:  # of pickle, zip, safetensors and numpy; torch advises to trust the file, which nobody should
        raise UserError(f"{path} is no file of weights, or damaged: no tensors can be read from it") from None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor | np.ndarray) for value in state.values()):
        raise UserError(f"{path} is no file of weights: it holds more than tensors by name")
    return {str(name): torch.as_tensor(tensor) for name, tensor in state.items()}


def _read(path: Path) -> object:
    if path.suffix == ".safetensors":
        return load_file(path)
    if path.suffix == ".npz":
        return read_arrays(path)
    with torch.serialization.safe_globals(ARRAYS):
        return torch.load(path, map_location="cpu", weights_only=True)


def load_weights(network: torch.nn.Module, state: dict[str, torch.Tensor], what: str, path: str | Path) -> None:
    """Gives a network the weights of its own names; others are left out. UserError if some lack or do not fit."""
    own = network.state_dict()
    # Old files do not count batches, and nothing is computed by that count.
    if lacking := [name for name in own if name not in state and not name.endswith("num_batches_tracked")]:
        raise UserError(f"{path} is no file of {what}'s weights: it lacks {', '.join(lacking[:3])}")
    try:
        network.load_state_dict({name: state.get(name, own[name]) for name in own})
    except RuntimeError as error:
        raise UserError(f"{path} is no file of {what}'s weights: {first_line(error)}") from None
