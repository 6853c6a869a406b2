"""The trained network as an MLflow model: kept with its signature, loaded back, called with plain arrays."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from jomold_dist.data.manifest import Manifest
from jomold_dist.models.weights import load_model
from jomold_dist.versions import version

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.types import Schema

VIDEOS_AT_ONCE = 256


def log_model(client: MlflowClient, experiment_id: str, run: str, name: str, weights: Path, manifest: Manifest) -> str:
    """Keeps a weights file as a model of `run`, with signature and example; returns the model's URI.

    The model names this module as its loader and holds no pickled code. It loads wherever jomold_dist is installed.
    """
    import mlflow.pyfunc
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model, ModelSignature

    inputs = {name: spec.shape for name, spec in manifest.features.items()}
    example = {name: np.zeros((1, *shape), np.float32) for name, shape in inputs.items()}
    logged = client.create_logged_model(experiment_id, name=name, source_run_id=run)
    try:
        outputs = {name: array.shape[1:] for name, array in ServedNetwork(weights).predict(example).items()}
        with tempfile.TemporaryDirectory() as folder:
            saved = Path(folder) / "model"
            mlflow.pyfunc.save_model(
                saved,
                loader_module=__name__,
                data_path=str(weights),
                mlflow_model=Model(run_id=run, model_id=logged.model_id, model_uuid=logged.model_id),
                signature=ModelSignature(_schema(inputs), _schema(outputs)),
                input_example=example,
                pip_requirements=[f"{name}=={version(name)}" for name in ("torch", "numpy", "safetensors")],
                metadata={"categories": list(manifest.categories.names), "needs": "jomold_dist installed"},
            )
            client.log_model_artifacts(logged.model_id, str(saved))
    except Exception:
        with suppress(Exception):
            client.finalize_logged_model(logged.model_id, "FAILED")
        raise
    client.finalize_logged_model(logged.model_id, "READY")
    client.log_outputs(run, [LoggedModelOutput(logged.model_id, step=0)])
    return f"models:/{logged.model_id}"


def _schema(arrays: Mapping[str, tuple[int, ...]]) -> Schema:
    from mlflow.types import Schema, TensorSpec

    return Schema([TensorSpec(np.dtype(np.float32), (-1, *shape), name) for name, shape in arrays.items()])


class ServedNetwork:
    """A weights file that parses arrays."""

    def __init__(self, path: Path) -> None:
        self._network = load_model(path)
        self._dtype = next(self._network.parameters()).dtype

    def predict(
        self, inputs: Mapping[str, np.ndarray], params: Mapping[str, Any] | None = None
    ) -> dict[str, np.ndarray]:
        """Parse N videos given as `audio` (N, T, F), `frames` (N, T, F) or (N, 8T, F), and `motion` (N, T, F).

        Returns float32 arrays by the names of `Parsing`: video_prob, audio_prob and visual_prob (N, C), segment_prob
        (N, T, 2, C) with audio first, similarity (N, T, T); without those that the network lacks. `params` is MLflow's
        and not used.
        """
        arrays = {name: np.asarray(inputs[name]) for name in ("audio", "frames", "motion") if name in inputs}
        videos = len(arrays["audio"])
        parts: dict[str, list[np.ndarray]] = {}
        with torch.inference_mode():
            for first in range(0, max(videos, 1), VIDEOS_AT_ONCE):
                batch = {
                    name: torch.from_numpy(np.ascontiguousarray(array[first : first + VIDEOS_AT_ONCE])).to(self._dtype)
                    for name, array in arrays.items()
                }
                parsing = self._network.parse(**batch)
                for name, tensor in parsing._asdict().items():
                    if tensor is None:  # of a modality that the network lacks
                        continue
                    parts.setdefault(name, []).append(tensor.float().numpy())
        return {name: np.concatenate(found) for name, found in parts.items()}


def _load_pyfunc(path: str) -> ServedNetwork:
    """What MLflow calls, by this name, to load a model that names this module as its loader."""
    return ServedNetwork(Path(path))
