"""Opening MLflow for a run: connect, make what is missing, start the run or go on with it."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from jomold_dist.config import Config
from jomold_dist.data.manifest import Manifest
from jomold_dist.distributed.world import World
from jomold_dist.errors import ConfigError
from jomold_dist.places import have_a_home
from jomold_dist.secrets import blotted
from jomold_dist.tracking.notes import FOLDER, Notes, own_run
from jomold_dist.tracking.recorder import PARENT, MlflowRecorder, origin, warn
from jomold_dist.tracking.store import artifacts_place, given_uri, ready, sqlite_path, store_uri
from jomold_dist.training.recorder import NullRecorder, Recorder
from jomold_dist.versions import version

if TYPE_CHECKING:
    from mlflow import MlflowClient

# An unreachable server costs a minute, not a quarter of an hour; what the user has set stays.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "GIT_PYTHON_REFRESH": "quiet",
}


@contextmanager
def open_recorder(config: Config, manifest: Manifest, world: World) -> Iterator[Recorder]:
    """Records the run of `config` in MLflow while the context is open. For rank 0 only; not a collective.

    A run folder that has been recorded before goes on with the same MLflow run. Its status ends as FINISHED, KILLED
    (stopped on request) or FAILED. Without `tracking.enabled`, or when MLflow cannot be used, nothing is recorded.
    """
    recorder = None
    if config.tracking.enabled:
        try:
            recorder = _open(config, manifest, store_uri(config))
        except Exception as error:
            warn(given_uri(config), "opening the store", error)
    if recorder is None:
        yield NullRecorder()
        return
    with recorder.open_run(recorder.notes.run):
        recorder.attempt("logging the settings", lambda: recorder.log_settings(_tags(config, manifest, world)))
        yield recorder


def ui_command(config: Config) -> str:
    """The command that shows the runs in a browser, or the address of the tracking server."""
    uri = store_uri(config)
    if uri.startswith(("http://", "https://")):
        return blotted(uri)
    program = Path(sys.executable).with_name("mlflow")
    if program.is_relative_to(Path.cwd()):
        program = program.relative_to(Path.cwd())  # also where `make` alone has the environment on its PATH
    elif shutil.which("mlflow") == str(program):
        program = Path("mlflow")
    return shlex.join([str(program), "ui", "--backend-store-uri", blotted(uri)])


def _open(config: Config, manifest: Manifest, uri: str) -> MlflowRecorder:
    """Connects, and starts or goes on with the run."""
    folder = Path(config.run.dir)
    client, experiment_id = connect(uri, config.tracking.experiment, folder.resolve().parent)
    folder.mkdir(parents=True, exist_ok=True)
    notes = Notes.read(folder, uri, config.tracking.experiment)
    recorder = MlflowRecorder(client, experiment_id, notes, config, manifest)
    if own_run(client, notes.run, folder) is None:
        tags = origin() | {FOLDER: str(folder.resolve())}
        tags |= {PARENT: config.tracking.parent} if config.tracking.parent else {}
        name = config.tracking.name or folder.resolve().name
        run = client.create_run(experiment_id, tags=tags, run_name=name).info.run_id
        recorder.notes = Notes(notes.uri, config.tracking.experiment, run)
        recorder.keep_notes()
    else:
        client.update_run(notes.run, status="RUNNING")
    return recorder


def connect(uri: str, experiment: str, beside: Path) -> tuple[MlflowClient, str]:
    """A client of the store and the experiment's id; what is missing is created, artifacts `beside` the run folders
    where the store does not say where.

    ConfigError for an experiment that was deleted.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    have_a_home()
    from mlflow import MlflowClient

    if "MLFLOW_LOGGING_LEVEL" not in os.environ:
        for noisy in ("mlflow", "alembic"):
            logging.getLogger(noisy).setLevel(logging.CRITICAL)
    place, database = artifacts_place(uri, beside), sqlite_path(uri)
    with ExitStack() as stack:
        if database is not None:
            stack.enter_context(ready(database, lambda aside: _experiment(MlflowClient(aside), experiment, place)))
        client = MlflowClient(uri)
        return client, _experiment(client, experiment, place)


def _tags(config: Config, manifest: Manifest, world: World) -> dict[str, str]:
    """What a run is found by."""
    folder = str(Path(config.run.dir).resolve())
    return {"config_digest": config.digest, "world_size": str(world.size), FOLDER: folder} | tags_of_data(manifest)


def tags_of_data(manifest: Manifest) -> dict[str, str]:
    """What runs on a data set are found by."""
    tags = {
        "manifest_digest": manifest.digest,
        "data_set": manifest.name,
        "simulated": "no",
        "jomold_dist": version("jomold_dist"),
    }
    if manifest.simulated is not None:
        tags["simulated"] = str(manifest.simulated.get("scenario", "yes"))
        tags["mlflow.note.content"] = f"Simulated data ({manifest.name}): these are not results on real videos."
    return tags


def _experiment(client: MlflowClient, name: str, artifacts: str | None) -> str:
    """The experiment's id; it is created where it is missing, also by somebody else in the meantime."""
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return client.create_experiment(name, artifact_location=artifacts)
        except Exception:
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise ConfigError(
            f"tracking.experiment = {name!r} was deleted there; `mlflow experiments restore --experiment-id "
            f"{found.experiment_id}` with this store as MLFLOW_TRACKING_URI brings it back, or choose another name"
        )
    return found.experiment_id
