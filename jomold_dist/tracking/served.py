"""What MLflow loads of a model: the network for `mlflow.pytorch`, one that takes plain arrays for `mlflow.pyfunc`.

A model's file is an ordinary one of `torch.save`, with nothing in it but tensors and texts: `{"metadata": …,
"state_dict": …}`, which `torch.load` reads with `weights_only=True`. MLflow's flavor `pytorch` lets a model name the
module that unpickles its file; this is that module, and it unpickles nothing else. So no code is kept in the file.

Nothing here needs MLflow. Legend: N videos, T segments, C categories, k frames a segment.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from jomold_dist.errors import DataError, raise_together
from jomold_dist.evaluation.events import event_rows
from jomold_dist.labels import MODALITIES
from jomold_dist.models.network import Network, Parsing
from jomold_dist.models.registry import modules_of
from jomold_dist.models.weights import info_of, network_with, read_tensors
from jomold_dist.plugins import import_module
from jomold_dist.training.evaluate import decide_events

if TYPE_CHECKING:
    from pandas import DataFrame

MODEL_FILE, UNPICKLER_FILE = "model.pth", "pickle_module_info.txt"
"""In a model's folder: the file, and the name of the module that unpickles it. Both are named by MLflow."""
VIDEOS_AT_ONCE = 256
FEATURES = ("audio", "frames", "motion")
REBUILDS_TENSORS = {("collections", "OrderedDict"), ("torch._utils", "_rebuild_tensor_v2")}


def write_model(folder: Path, weights: Path) -> None:
    """Write a weights file as a model's folder, for `ServedNetwork` and `mlflow.pytorch`."""
    metadata, state = read_tensors(weights)
    folder.mkdir(parents=True)
    torch.save({"metadata": metadata, "state_dict": state}, folder / MODEL_FILE)
    (folder / UNPICKLER_FILE).write_text(__name__, encoding="utf-8")


class Unpickler(pickle.Unpickler):
    """With which `torch.load` reads a model's file for `mlflow.pytorch`: the network, whose weights can be trained.

    UnpicklingError for anything in the file but plain values and tensors.
    """

    def find_class(self, module: str, name: str) -> Any:
        """What a file may name."""
        if (module, name) not in REBUILDS_TENSORS:
            raise pickle.UnpicklingError(f"a model's file holds tensors and texts, and this one names {module}.{name}")
        return super().find_class(module, name)

    def load(self) -> Network:
        """The network, in eval mode."""
        return _network(super().load(), Path(MODEL_FILE))


def _network(content: Mapping[str, Any], path: Path) -> Network:
    """The network in a model's file. A class that is not of jomold_dist is imported; its code is beside the file."""
    for module in modules_of(info_of(content["metadata"], path).form):
        import_module(module, f"the network of {path.name}")
    return network_with(content["metadata"], content["state_dict"], path)


class ServedNetwork:
    """A model that parses arrays, on the CPU."""

    def __init__(self, folder: Path) -> None:
        path = folder / MODEL_FILE
        content = torch.load(path, map_location="cpu", weights_only=True)
        self._network = _network(content, path)
        self._info = info_of(content["metadata"], path)
        self._dtype = next(self._network.parameters()).dtype

    def predict(
        self, inputs: Mapping[str, Any], params: Mapping[str, Any] | None = None
    ) -> dict[str, np.ndarray] | DataFrame:
        """Parse N videos given as `audio` (N, T, ·), `frames` (N, T, ·) or (N, kT, ·), and `motion` (N, T, ·), those of
        them that the model was trained with: arrays of any number type, or lists of lists.

        Returns float32 arrays by the names of `Parsing`: video_prob, audio_prob and visual_prob (N, C), segment_prob
        (N, T, 2, C) with audio first, similarity (N, T, T); without those that the network lacks.

        With `events` in `params`, returns a row for each event instead: video (its number in the inputs, or its name of
        `keys`, N texts), onset and offset in seconds, category, modality (audio | visual), and probability, the mean of
        its segments'. They are decided as everywhere: by the network's own thresholds, or by `threshold`.

        DataError for inputs and params of another kind.
        """
        arrays = self._arrays(inputs)
        videos = _count(arrays)
        events, threshold, keys = _event_params(params or {}, videos)
        if not events:
            return self._probabilities(arrays)
        return self._events(arrays, threshold, keys)

    def _arrays(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The features in the network's dtype. DataError."""
        sizes = vars(self._info.feature_sizes)
        wanted = {name: sizes[name] for name in FEATURES if sizes[name] is not None}
        there = inputs if isinstance(inputs, Mapping) else ()
        if lacking := [name for name in wanted if name not in there]:
            raise DataError(f"the inputs lack {', '.join(lacking)}; give {', '.join(wanted)}, each of all videos")
        dtype = torch.empty(0, dtype=self._dtype).numpy().dtype
        arrays, problems = {}, []
        for name, size in wanted.items():
            try:
                with np.errstate(over="ignore"):  # an infinity is told of below
                    arrays[name] = np.asarray(inputs[name], dtype)
            except (TypeError, ValueError):
                problems.append(f"{name} is no array of numbers whose rows are equally long")
                continue
            problems += _shape_problem(name, arrays[name].shape, self._info.segments, size)
            if not np.isfinite(arrays[name]).all():
                problems.append(f"{name} holds numbers that are not finite (NaN or infinity)")
        raise_together(problems)
        if len({len(array) for array in arrays.values()}) > 1:
            counts = ", ".join(f"{name}: {len(array)}" for name, array in arrays.items())
            raise DataError(f"the inputs are of different numbers of videos ({counts})")
        return arrays

    def _parsings(self, arrays: Mapping[str, np.ndarray]) -> Iterator[tuple[int, Parsing]]:
        """The number of the first video of each part, and the part's parsing. No video is one empty part."""
        for first in range(0, max(_count(arrays), 1), VIDEOS_AT_ONCE):
            batch = {
                name: torch.from_numpy(np.ascontiguousarray(array[first : first + VIDEOS_AT_ONCE]))
                for name, array in arrays.items()
            }
            with torch.inference_mode():
                yield first, self._network.parse(**batch)

    def _probabilities(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        parts: dict[str, list[np.ndarray]] = {}
        for _, parsing in self._parsings(arrays):
            for name, tensor in parsing._asdict().items():
                if tensor is not None:  # else of a modality that the network lacks
                    parts.setdefault(name, []).append(tensor.float().numpy())
        return {name: np.concatenate(found) for name, found in parts.items()}

    def _events(
        self, arrays: Mapping[str, np.ndarray], threshold: float | None, keys: Sequence[str] | None
    ) -> DataFrame:
        from pandas import DataFrame

        parts = []
        for first, parsing in self._parsings(arrays):
            decided = decide_events(self._network, parsing, threshold)
            rows = event_rows(*decided, parsing.segment_prob, self._info.segment_seconds)
            parts.append(rows._replace(video=rows.video + first))
        columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in parts[0]._fields}
        named = {"category": np.array(self._info.categories, object), "modality": np.array(MODALITIES, object)}
        columns |= {name: names[columns[name]] for name, names in named.items()}
        if keys is not None:
            columns = {"key": np.array(keys, object)[columns["video"]], **columns}
        return DataFrame(columns)


def _count(arrays: Mapping[str, np.ndarray]) -> int:
    """How many videos there are."""
    return len(next(iter(arrays.values())))


def _shape_problem(name: str, shape: tuple[int, ...], segments: int, size: int) -> list[str]:
    """What is wrong with the shape of a kind of features."""
    rows = shape[1] if len(shape) == 3 else -1
    good = rows == segments or (name == "frames" and rows > 0 and rows % segments == 0)
    if good and shape[2] == size:
        return []
    wanted = f"(videos, {segments}, {size})" + (f", or a multiple of {segments} rows" if name == "frames" else "")
    return [f"{name} is of shape {shape}, not {wanted}"]


def _event_params(params: Mapping[str, Any], videos: int) -> tuple[bool, float | None, Sequence[str] | None]:
    """`events`, `threshold` and `keys`. DataError."""
    events, threshold, keys = bool(params.get("events")), params.get("threshold"), params.get("keys")
    keys = list(keys) if keys is not None and len(keys) else None
    given = [name for name, value in (("threshold", threshold), ("keys", keys)) if value is not None]
    if given and not events:
        raise DataError(f"{' and '.join(given)} of the params are about events, which are given with events: true")
    if threshold is not None and not 0 < threshold <= 1:
        raise DataError(f"the param threshold = {threshold} is no probability; it must be above 0 and at most 1")
    if keys is not None and len(keys) != videos:
        raise DataError(f"the param keys names {len(keys)} videos, and the inputs are of {videos}")
    return events, threshold, keys


def _load_pyfunc(path: str) -> ServedNetwork:
    """What MLflow calls, by this name, to load a model that names this module as its loader."""
    return ServedNetwork(Path(path))
