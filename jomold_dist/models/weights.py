"""A network's weights as a safetensors file that knows how to rebuild it."""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from jomold_dist.errors import ConfigError, DataError
from jomold_dist.files import give_usual_mode, writing
from jomold_dist.models.network import FeatureSizes, Network
from jomold_dist.models.registry import network_of
from jomold_dist.reading import ABSENT, parse_json, reading


@dataclass(frozen=True)
class WeightsInfo:
    """What a weights file says beside the weights: categories, segments and how long one lasts, sizes of the features,
    the network's form, notes (strings) such as the epoch, and by feature how it was extracted, if that is known."""

    categories: tuple[str, ...]
    segments: int
    segment_seconds: float
    feature_sizes: FeatureSizes
    form: Mapping[str, Any]
    notes: dict[str, str]
    extraction: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def save_model(
    path: Path, network: Network, info: WeightsInfo, weights: Mapping[str, torch.Tensor] | None = None
) -> None:
    """Write the weights and what rebuilds the network, atomically: the file is whole or as it was before.

    `weights` stand in for the network's own, which an engine may hold in parts.
    """
    metadata = {
        "network": json.dumps(info.form),
        "categories": json.dumps(info.categories),
        "segments": str(info.segments),
        "segment_seconds": repr(float(info.segment_seconds)),
        "feature_sizes": json.dumps(vars(info.feature_sizes)),
        "notes": json.dumps(info.notes),
        **({"extraction": json.dumps(info.extraction)} if info.extraction else {}),
    }
    weights = network.state_dict() if weights is None else weights
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    with writing(path) as aside:
        save_tensors(aside, state, metadata)


def copy_weights(path: Path, target: Path, notes: dict[str, str]) -> None:
    """Copy a file of weights with these notes among its own. DataError, UnreadableError; OSError for a full disk."""
    metadata, tensors = read_tensors(path)
    save_tensors(target, tensors, metadata | {"notes": json.dumps(info_of(metadata, path).notes | notes)})


def save_tensors(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file. OSError for a full disk and the like, of which safetensors makes its own error."""
    try:
        save_file(tensors, path, metadata)
    except SafetensorError as error:
        raise OSError(f"{path}: {error}") from None
    give_usual_mode(path)  # safetensors makes it for its owner alone


def read_tensors(path: Path, values: bool = True) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    """The metadata of a safetensors file, and its tensors by name unless they are not asked for.

    DataError if the file is missing or damaged; UnreadableError.
    """
    try:
        with reading(path):
            if not stat.S_ISREG(path.stat().st_mode):
                raise DataError(f"{path} is no file of weights")
            path.open("rb").close()  # whatever safetensors cannot open, it says there is no such file
            return _read_opened(path, values)
    except ABSENT:
        raise DataError(f"weights file {path} does not exist") from None
    except SafetensorError as error:
        raise DataError(f"weights file {path} is damaged: {error}") from None


def _read_opened(path: Path, values: bool) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}, {k: file.get_tensor(k) for k in file.keys()} if values else {}  # noqa: SIM118
    except FileNotFoundError as error:
        raise OSError(error) from None


def read_info(path: Path) -> WeightsInfo:
    """What a weights file says beside the weights; DataError if it is none of ours, or damaged; UnreadableError."""
    return info_of(read_tensors(path, values=False)[0], path)


def load_model(path: Path) -> Network:
    """The network of a weights file, in eval mode, on the CPU. DataError if the file is missing or damaged, or if its
    network is a class that nobody has imported; UnreadableError."""
    return network_with(*read_tensors(path), path)


def network_with(metadata: dict[str, str], state: Mapping[str, torch.Tensor], path: Path) -> Network:
    """The network of what `read_tensors` gives, in eval mode; `path` is for the DataError, as of `load_model`."""
    info = info_of(metadata, path)
    try:
        network = network_of(info.form)
        if (number := info.form.get("num_classes", len(info.categories))) != len(info.categories):
            raise ValueError(f"a network of {number} categories, and names of {len(info.categories)}")
        if all(tensor.dtype == torch.float64 for tensor in state.values()):
            network.double()
        network.load_state_dict(state)
    except KeyError as error:
        raise _strange(path, f"its network lacks {error}") from None
    except (LookupError, ConfigError) as error:
        raise DataError(f"weights file {path}: {error}") from None
    except (RuntimeError, TypeError, ValueError) as error:
        raise DataError(f"weights file {path} is damaged: {' '.join(str(error).split())}") from None
    return network.eval()


def info_of(metadata: dict[str, str], path: Path) -> WeightsInfo:
    """What the metadata of a weights file say; `path` is for the DataError."""
    try:
        return WeightsInfo(
            categories=tuple(parse_json(metadata["categories"])),
            segments=int(metadata["segments"]),
            segment_seconds=float(metadata["segment_seconds"]),
            feature_sizes=FeatureSizes(**parse_json(metadata["feature_sizes"])),
            form=dict(parse_json(metadata["network"])),
            notes={str(name): str(note) for name, note in parse_json(metadata["notes"]).items()},
            extraction={str(name): dict(how) for name, how in parse_json(metadata.get("extraction", "{}")).items()},
        )
    except KeyError as error:
        raise _strange(path, f"it lacks {error}") from None
    except (AttributeError, TypeError, ValueError) as error:
        raise DataError(f"weights file {path} is damaged: {error}") from None


def _strange(path: Path, why: str) -> DataError:
    return DataError(f"{path} was not written by jomold_dist, or by another version of it: {why}")
