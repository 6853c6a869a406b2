"""Building a network for a data set, and its weights as a safetensors file that knows how to rebuild it."""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from jomold_dist.config import ModelConfig
from jomold_dist.data.manifest import Manifest
from jomold_dist.errors import DataError
from jomold_dist.files import give_usual_mode, writing
from jomold_dist.models.han import FeatureSizes, HybridAttentionNetwork
from jomold_dist.reading import ABSENT, reading


def feature_sizes(manifest: Manifest) -> FeatureSizes:
    """Lengths of the feature vectors of a data set."""
    sizes = {name: spec.shape[1] for name, spec in manifest.features.items()}
    return FeatureSizes(audio=sizes["audio"], frames=sizes["frames"], motion=sizes.get("motion"))


def build_network(model: ModelConfig, manifest: Manifest) -> HybridAttentionNetwork:
    """A network of the configured form for the data set's categories and features, with fresh parameters."""
    return HybridAttentionNetwork(
        num_classes=len(manifest.categories),
        feature_sizes=feature_sizes(manifest),
        layers=model.layers,
        temperature=model.temperature,
        attention_dropout=model.attention_dropout,
        classifier_dropout=model.classifier_dropout,
    )


@dataclass(frozen=True)
class WeightsInfo:
    """What a weights file says beside the weights: categories, segments, sizes of the features, whether to parse with
    cross-modal attention, and notes (strings) such as the epoch."""

    categories: tuple[str, ...]
    segments: int
    feature_sizes: FeatureSizes
    cross_modal: bool
    notes: dict[str, str]


def save_model(
    path: Path, network: HybridAttentionNetwork, info: WeightsInfo, weights: Mapping[str, torch.Tensor] | None = None
) -> None:
    """Write the weights and what rebuilds the network, atomically: the file is whole or as it was before.

    `weights` stand in for the network's own, which an engine may hold in parts.
    """
    form = {
        "num_classes": network.num_classes,
        "feature_sizes": vars(network.feature_sizes),
        "layers": len(network.layers),
        "temperature": network.temperature,
        "attention_dropout": network.attention_dropout,
        "classifier_dropout": network.classifier_dropout,
    }
    metadata = {
        "network": json.dumps(form),
        "categories": json.dumps(info.categories),
        "segments": str(info.segments),
        "cross_modal": json.dumps(info.cross_modal),
        "notes": json.dumps(info.notes),
    }
    weights = network.state_dict() if weights is None else weights
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    with writing(path) as aside:
        save_tensors(aside, state, metadata)


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
    return _info(read_tensors(path, values=False)[0], path)


def load_model(path: Path) -> HybridAttentionNetwork:
    """The network of a weights file, in eval mode, on the CPU. DataError if the file is missing or damaged;
    UnreadableError."""
    metadata, state = read_tensors(path)
    info = _info(metadata, path)
    try:
        form: dict[str, Any] = json.loads(metadata["network"]) | {"feature_sizes": info.feature_sizes}
        network = HybridAttentionNetwork(**form)
        if network.num_classes != len(info.categories):
            raise ValueError(f"a network of {network.num_classes} categories, and names of {len(info.categories)}")
        if all(tensor.dtype == torch.float64 for tensor in state.values()):
            network.double()
        network.load_state_dict(state)
    except (RuntimeError, TypeError, ValueError) as error:
        raise DataError(f"weights file {path} is damaged: {' '.join(str(error).split())}") from None
    return network.eval()


def _info(metadata: dict[str, str], path: Path) -> WeightsInfo:
    try:
        return WeightsInfo(
            categories=tuple(json.loads(metadata["categories"])),
            segments=int(metadata["segments"]),
            feature_sizes=FeatureSizes(**json.loads(metadata["network"])["feature_sizes"]),
            cross_modal=json.loads(metadata["cross_modal"]),
            notes=dict(json.loads(metadata["notes"])),
        )
    except KeyError as error:
        raise DataError(f"{path} was not written by jomold_dist: it lacks {error}") from None
    except (TypeError, ValueError) as error:
        raise DataError(f"weights file {path} is damaged: {error}") from None
