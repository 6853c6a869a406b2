"""The trained network as an MLflow model: kept with its signature and this package's code, and registered."""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from jomold_dist.data.format.manifest import Manifest
from jomold_dist.models.registry import modules_of
from jomold_dist.models.weights import read_info
from jomold_dist.tracking import served
from jomold_dist.versions import PACKAGE, version

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.models import ModelSignature
    from mlflow.types import Schema

NEEDS = ("torch", "numpy", "pandas", "safetensors", "fsspec")
"""What loading a model imports, beside MLflow and the package, which is kept with the model."""
FLOAT = np.dtype(np.float32)
DIGEST = "weights_digest"


def log_model(
    client: MlflowClient,
    experiment_id: str,
    run: str,
    name: str,
    weights: Path,
    manifest: Manifest,
    params: Mapping[str, str],
) -> str:
    """Keeps a weights file as a model of `run`, with signature and example; returns the model's URI.

    `mlflow.pytorch.load_model` gives the network, `mlflow.pyfunc.load_model` what takes arrays (see `served.py`). The
    model holds the package's code and no pickled objects: it loads where jomold_dist is not installed.
    """
    import mlflow.pyfunc
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    example = {name: np.zeros((1, *spec.shape), FLOAT) for name, spec in manifest.features.items()}
    logged = client.create_logged_model(experiment_id, name=name, source_run_id=run, params=dict(params))
    try:
        with tempfile.TemporaryDirectory() as folder:
            data, saved = Path(folder) / "network", Path(folder) / "model"
            served.write_model(data, weights)
            outputs = served.ServedNetwork(data).predict(example)
            model = Model(run_id=run, model_id=logged.model_id, model_uuid=logged.model_id)
            model.add_flavor(
                "pytorch", model_data=f"data/{data.name}", pytorch_version=str(torch.__version__), code="code"
            )
            mlflow.pyfunc.save_model(
                saved,
                loader_module=served.__name__,
                data_path=str(data),
                code_paths=_code(weights),
                mlflow_model=model,
                signature=_signature(manifest, {name: array.shape[1:] for name, array in outputs.items()}),
                input_example=example,
                pip_requirements=[f"{name}=={version(name)}" for name in NEEDS],
                metadata={
                    "categories": list(manifest.categories.names),
                    "segments": manifest.segments,
                    "segment_seconds": manifest.segment_seconds,
                },
            )
            client.log_model_artifacts(logged.model_id, str(saved))
    except Exception:
        with suppress(Exception):
            client.finalize_logged_model(logged.model_id, "FAILED")
        raise
    client.finalize_logged_model(logged.model_id, "READY")
    client.log_outputs(run, [LoggedModelOutput(logged.model_id, step=0)])
    return f"models:/{logged.model_id}"


def _code(weights: Path) -> list[str]:
    """This package, and the modules or packages of a network's own class. What those import is not looked for."""
    tops = sorted({name.partition(".")[0] for name in modules_of(read_info(weights).form)})
    modules = [sys.modules[top] for top in tops]  # imported when the network was made for the example
    return [str(PACKAGE), *(str(next(iter(getattr(module, "__path__", [module.__file__])))) for module in modules)]


def _signature(manifest: Manifest, outputs: Mapping[str, tuple[int, ...]]) -> ModelSignature:
    from mlflow.models import ModelSignature
    from mlflow.types import DataType, ParamSchema, ParamSpec

    inputs = {name: spec.shape for name, spec in manifest.features.items()}
    if "frames" in inputs:
        inputs["frames"] = (-1, *inputs["frames"][1:])  # as many a segment as there are
    params = [
        ParamSpec("events", DataType.boolean, False),
        ParamSpec("threshold", DataType.double, None),
        ParamSpec("keys", DataType.string, [], shape=(-1,)),
    ]
    signature = ModelSignature(_schema(inputs), _schema(outputs), ParamSchema(params))
    # MLflow would refuse float64 for float32. Marked so, the model is given the inputs as they come, and checks them.
    signature._is_signature_from_type_hint = True
    return signature


def _schema(arrays: Mapping[str, tuple[int, ...]]) -> Schema:
    from mlflow.types import Schema, TensorSpec

    return Schema([TensorSpec(FLOAT, (-1, *shape), name) for name, shape in arrays.items()])


def register_model(client: MlflowClient, uri: str, name: str, weights: Path, tags: Mapping[str, str]) -> None:
    """Makes a logged model a new version of the registered model `name`, which is made where it is missing; nothing if
    it is a version with the same weights already, of a run that was begun again."""
    from mlflow.exceptions import MlflowException

    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    model = client.get_logged_model(uri.removeprefix("models:/"))
    run = model.source_run_id
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    versions = client.search_model_versions(f"run_id = '{run}'")
    if any(version.name == name and version.tags.get(DIGEST) == digest for version in versions):
        return
    about = {"run": run, DIGEST: digest} | dict(tags)
    client.create_model_version(name, model.artifact_location, run_id=run, tags=about, model_id=model.model_id)
