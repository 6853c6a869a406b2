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
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.distributed.world import World
from jomold_dist.errors import ConfigError
from jomold_dist.places import have_a_home
from jomold_dist.secrets import blotted
from jomold_dist.tracking.about import PARENT, origin, run_title, tags_of_data
from jomold_dist.tracking.notes import FOLDER, Notes, own_run
from jomold_dist.tracking.recorder import MlflowRecorder
from jomold_dist.tracking.results import begun_files
from jomold_dist.tracking.store import artifacts_place, given_uri, ready, sqlite_path, store_uri
from jomold_dist.tracking.trouble import warn
from jomold_dist.training.recorder import NullRecorder, Recorder
from jomold_dist.training.run_folder import RunFolder

if TYPE_CHECKING:
    from mlflow import MlflowClient

# A request that a dead server does not answer costs a minute, not a quarter of an hour; what the user has set stays.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "GIT_PYTHON_REFRESH": "quiet",
}

VIEW = "/#/experiments/{}/runs?workflowType=machine_learning"  # no tag of an experiment has the same effect
LOCAL = "http://127.0.0.1:5000"


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
    with recorder.sending(), recorder.open_run(recorder.notes.run):
        recorder.trouble.attempt("logging the settings", lambda: recorder.log_settings(_tags(config, manifest, world)))
        for file in begun_files(RunFolder(Path(config.run.dir))):
            recorder.artifact(file)
        yield recorder
        recorder.results()


def ui_command(config: Config, folder: Path | None = None) -> str:
    """The command that shows the runs in a browser, and the address to open; of a tracking server the address alone.

    The address is that of the experiment, once `folder`, by default the run's, notes which it is.
    """
    uri = store_uri(config)
    known = Notes.read(folder or Path(config.run.dir), uri, config.tracking.experiment).experiment_id
    view = VIEW.format(known) if known else ""
    if uri.startswith(("http://", "https://")):
        return blotted(uri).rstrip("/") + view
    program = Path(sys.executable).with_name("mlflow")
    if program.is_relative_to(Path.cwd()):
        program = program.relative_to(Path.cwd())  # also where `make` alone has the environment on its PATH
    elif shutil.which("mlflow") == str(program):
        program = Path("mlflow")
    command = shlex.join([str(program), "ui", "--backend-store-uri", blotted(uri)])
    return f"{command}, then open {LOCAL}{view}"


def _open(config: Config, manifest: Manifest, uri: str) -> MlflowRecorder:
    """Connects, and starts or goes on with the run."""
    folder = Path(config.run.dir)
    client, experiment_id = connect(uri, config.tracking.experiment, folder.resolve().parent)
    folder.mkdir(parents=True, exist_ok=True)
    notes = Notes.read(folder, uri, config.tracking.experiment)
    recorder = MlflowRecorder(client, experiment_id, notes, config, manifest, uri)
    if own_run(client, notes.run, folder) is None:
        tags = origin() | {FOLDER: str(folder.resolve())}
        tags |= {PARENT: config.tracking.parent} if config.tracking.parent else {}
        run = client.create_run(experiment_id, tags=tags, run_name=run_title(config)).info.run_id
        recorder.notes = Notes(notes.uri, config.tracking.experiment, run, experiment_id)
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
