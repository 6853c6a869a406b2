"""A Recorder that writes to MLflow. Trouble with MLflow never stops training: it is logged once, and that is all.

MLflow's client is used rather than its global active run, so that nothing is printed and nothing stays behind.
"""

from __future__ import annotations

import csv
import getpass
import io
import json
import logging
import posixpath
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from jomold_dist.config import Config
from jomold_dist.data.manifest import Manifest
from jomold_dist.errors import StoppedError, UserError
from jomold_dist.secrets import blotted
from jomold_dist.tracking.model import log_model, register_model
from jomold_dist.tracking.notes import Notes, active_run
from jomold_dist.training.recorder import Cell

if TYPE_CHECKING:
    from mlflow import MlflowClient

T = TypeVar("T")

logger = logging.getLogger(__name__)

PARENT = "mlflow.parentRunId"
METRICS_AT_ONCE, PARAMS_AT_ONCE, LONGEST_VALUE, LONGEST_NAME = 1000, 100, 6000, 250


@dataclass
class MlflowRecorder:
    """A Recorder that writes to MLflow until the first trouble, and to nothing from then on."""

    client: MlflowClient
    experiment_id: str
    notes: Notes
    config: Config
    manifest: Manifest
    _open_runs: list[tuple[str, str]] = field(default_factory=list)  # (stage or "", run id), innermost last
    _in_trouble: bool = False

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Everything recorded inside belongs to the nested run of the stage `name`."""
        run = self.attempt(f"starting the run of stage {name}", lambda: self._start_stage(name))
        if run is None:
            yield
            return
        with self.open_run(run, name):
            yield

    def finished(self, name: str) -> None:
        """Closes the run of a stage whose process was killed between the stage's end and MLflow's knowing of it."""
        self.attempt(f"closing the run of stage {name}", lambda: self._close_stage(name))

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Numbers at one step; characters that MLflow refuses in a name become underscores."""
        self.attempt("logging metrics", lambda: self._log_metrics(values, step))

    def table(self, name: str, columns: Mapping[str, Sequence[Cell]]) -> None:
        """A table as the artifact `tables/<name>.csv`."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
        where = f"tables/{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}.csv"
        self.attempt(f"logging the table {name}", lambda: self.client.log_text(self._run, text.getvalue(), where))

    def artifact(self, path: Path) -> None:
        """A file of the run's folder."""
        self.attempt(f"logging {path.name}", lambda: self.client.log_artifact(self._run, str(path)))

    def model(self, path: Path) -> None:
        """The weights file as a model that `mlflow.pytorch.load_model` and `mlflow.pyfunc.load_model` load, registered
        if `tracking.register_model` says so. Its URI is kept in the folder's mlflow.json, by stage.
        """
        uri = self.attempt("logging the model", lambda: self._log_model(path))
        name = self.config.tracking.register_model
        if uri is not None and name is not None:
            digests = {"config_digest": self.config.digest, "manifest_digest": self.manifest.digest}
            self.attempt(f"registering the model {name}", lambda: register_model(self.client, uri, name, path, digests))

    @contextmanager
    def open_run(self, run: str, stage: str = "") -> Iterator[None]:
        """What is recorded inside goes to `run`, whose status tells at the end how the inside ended."""
        self._open_runs.append((stage, run))
        status = "FINISHED"
        try:
            yield
        except BaseException as error:
            status = run_status(error)
            raise
        finally:
            self._open_runs.pop()
            if self._in_trouble:  # a run that began may still be closed; there is nothing more to say if not
                with suppress(Exception):
                    self.client.set_terminated(run, status)
            else:
                self.attempt("closing the run", lambda: self.client.set_terminated(run, status))

    @property
    def _run(self) -> str:
        return self._open_runs[-1][1]

    def attempt(self, doing: str, action: Callable[[], T]) -> T | None:
        """The action's result; None, and a warning the first time, where MLflow fails or has failed before."""
        if self._in_trouble:
            return None
        try:
            return action()
        except Exception as error:
            self._in_trouble = True
            warn(self.notes.uri, doing, error)
            return None

    def _start_stage(self, name: str) -> str:
        run = self.notes.stages.get(name, "")
        if active_run(self.client, run) is None:
            tags = origin() | {PARENT: self.notes.run, "stage": name}
            run = self.client.create_run(self.experiment_id, tags=tags, run_name=name).info.run_id
            self.notes.stages[name] = run
            self.keep_notes()
        else:
            self.client.update_run(run, status="RUNNING")
        return run

    def _close_stage(self, name: str) -> None:
        run = self.notes.stages.get(name)
        if run is not None and self.client.get_run(run).info.status != "FINISHED":
            self.client.set_terminated(run, "FINISHED")

    def keep_notes(self) -> None:
        """Writes `mlflow.json`."""
        self.notes.write(Path(self.config.run.dir))

    def log_settings(self, tags: Mapping[str, str]) -> None:
        """The resolved config as parameters. They cannot change in MLflow: new values of old ones become tags."""
        from mlflow.entities import Param, RunTag

        known = self.client.get_run(self.notes.run).data.params
        params = {name: shown(value) for name, value in self.config.flat().items()}
        changed = {f"changed.{k}": v for k, v in params.items() if known.get(k, v) != v}
        fresh = [Param(k, v) for k, v in params.items() if k not in known]
        for first in range(0, len(fresh), PARAMS_AT_ONCE):
            self.client.log_batch(self.notes.run, params=fresh[first : first + PARAMS_AT_ONCE])
        self.client.log_batch(self.notes.run, tags=[RunTag(k, v) for k, v in (changed | dict(tags)).items()])

    def _log_metrics(self, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(metric_name(name), float(value), now, step) for name, value in values.items()]
        for first in range(0, len(metrics), METRICS_AT_ONCE):
            self.client.log_batch(self._run, metrics=metrics[first : first + METRICS_AT_ONCE])

    def _log_model(self, path: Path) -> str:
        stage, run = self._open_runs[-1]
        uri = log_model(self.client, self.experiment_id, run, stage or "model", path, self.manifest, {})
        self.notes.models[stage] = uri
        self.keep_notes()
        return uri


def metric_name(name: str) -> str:
    """The name as MLflow takes it: letters, digits and `_ - . space : /`, and no path that leads elsewhere."""
    clean = posixpath.normpath(re.sub(r"[^\w.\- :/]", "_", name)).lstrip("./")
    return clean[:LONGEST_NAME].rstrip("/") or "_"


def origin() -> dict[str, str]:
    """Tags that tell who started the run, with what, and from which commit, where there is one."""
    tags = {"mlflow.source.type": "LOCAL", "mlflow.source.name": Path(sys.argv[0]).name}
    with suppress(OSError, KeyError):  # a user id without a name
        tags["mlflow.user"] = getpass.getuser()
    with suppress(OSError, subprocess.SubprocessError):  # no git
        command = ["git", "rev-parse", "HEAD"]
        found = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
        if found.returncode == 0:
            tags["mlflow.source.git.commit"] = found.stdout.strip()
    return tags


def run_status(error: BaseException) -> str:
    """What MLflow is told of how a run ended: stopped on request, or failed."""
    if isinstance(error, SystemExit) and not error.code:
        return "FINISHED"
    asked = isinstance(error, StoppedError | KeyboardInterrupt) or not isinstance(error, Exception)
    return "KILLED" if asked else "FAILED"


def shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return blotted(text)[:LONGEST_VALUE]


def warn(uri: str, doing: str, error: Exception) -> None:
    """The one warning about MLflow's trouble."""
    text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    logger.warning(
        "MLflow at %s: trouble while %s (%s); going on without it",
        blotted(uri), doing, blotted(" ".join(text.split()))[:500],
    )  # fmt: skip
