"""A Recorder that writes to MLflow. Trouble with MLflow never stops training: it is logged once, and that is all.

MLflow's client is used rather than its global active run, so that nothing is printed and nothing stays behind.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from jomold_dist.config import Config
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.tracking.about import (
    PARENT,
    data_set_input,
    model_name,
    origin,
    run_title,
    shown,
    stage_title,
    telling_params,
)
from jomold_dist.tracking.metric_queue import MetricQueue, Told, as_metrics
from jomold_dist.tracking.model import log_model, register_model
from jomold_dist.tracking.notes import Notes, active_run
from jomold_dist.tracking.results import log_results, log_table
from jomold_dist.tracking.system import SystemMonitor
from jomold_dist.tracking.trouble import Trouble, run_status
from jomold_dist.training.recorder import STEP, Cell
from jomold_dist.training.run_folder import RunFolder
from jomold_dist.training.trained import MODEL

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

DURATION = "duration_seconds"
PARAMS_AT_ONCE = 100
LEAVE_SECONDS = 8.0


@dataclass
class MlflowRecorder:
    """A Recorder that writes to MLflow until the first trouble, and to nothing from then on.

    What belongs to the whole run is on its own run: scores, tables, artifacts, the model, and the curves of the model's
    training. A stage's run, its child, has what the stage tells of its steps and epochs.
    """

    client: MlflowClient
    experiment_id: str
    notes: Notes
    config: Config
    manifest: Manifest
    uri: str
    _queue: MetricQueue | None = None
    _told: list[tuple[str, ...]] = field(default_factory=list)
    """Of the stages that are running, innermost last: the runs that its epochs are told of, its own first."""
    _unreachable: bool = False

    @cached_property
    def trouble(self) -> Trouble:
        """Whether anything is recorded any more."""
        return Trouble(self.uri)

    @contextmanager
    def stage(self, name: str, of_model: bool = False) -> Iterator[None]:
        """Metrics recorded inside belong to the nested run of the stage `name`, and those of a model's epochs to the
        run as well."""
        run = self.trouble.attempt(f"starting the run of stage {name}", lambda: self._start_stage(name))
        if run is None:
            yield
            return
        self._told.append((run, self.notes.run) if of_model else (run,))
        try:
            with self.open_run(run):
                yield
        finally:
            self._told.pop()

    def finished(self, name: str) -> None:
        """Closes the run of a stage whose process was killed between the stage's end and MLflow's knowing of it."""
        self.trouble.attempt(f"closing the run of stage {name}", lambda: self._close_stage(name))

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Numbers at one step; characters that MLflow refuses in a name become underscores. This returns at once; they
        are sent in their order, those of optimizer steps many together."""
        if self.trouble.met or self._queue is None:
            return
        runs = self._told[-1] if self._told else (self.notes.run,)
        metrics = as_metrics(values, step)
        of_epoch = [metric for metric in metrics if not metric.key.startswith(STEP)]
        self._queue.add(runs[0], metrics, soon=bool(of_epoch))
        for run in runs[1:]:
            self._queue.add(run, of_epoch)

    def table(self, name: str, columns: Mapping[str, Sequence[Cell]]) -> None:
        """A table as the run's artifact `tables/<name>.json`, which MLflow shows as one. ValueError for columns of
        unequal length."""
        rows = list(zip(*columns.values(), strict=True))
        self.trouble.attempt(
            f"logging the table {name}", lambda: log_table(self.client, self.notes.run, name, columns, rows)
        )

    def artifact(self, path: Path) -> None:
        """A file, as an artifact of the run."""
        self.trouble.attempt(f"logging {path.name}", lambda: self.client.log_artifact(self.notes.run, str(path)))

    def model(self, path: Path) -> None:
        """The weights file as a model that `mlflow.pytorch.load_model` and `mlflow.pyfunc.load_model` load, registered
        if `tracking.register_model` says so. Its URI is kept in the folder's mlflow.json.
        """
        uri = self.trouble.attempt("logging the model", lambda: self._log_model(path))
        name = self.config.tracking.register_model
        if uri is not None and name is not None:
            digests = {"config_digest": self.config.digest, "manifest_digest": self.manifest.digest}
            self.trouble.attempt(
                f"registering the model {name}", lambda: register_model(self.client, uri, name, path, digests)
            )

    def results(self) -> None:
        """Everything that the run's folder holds by now, on the run itself."""
        folder = RunFolder(Path(self.config.run.dir))
        model = self.notes.models.get(MODEL)
        self.trouble.attempt(
            "logging the results", lambda: log_results(self.client, self.notes.run, folder, self.manifest, model)
        )

    @contextmanager
    def open_run(self, run: str) -> Iterator[None]:
        """A run whose status tells at the end how the inside ended, and which has then all metrics that were recorded
        by then; after an error, only if that takes no longer than LEAVE_SECONDS."""
        started = time.monotonic()
        try:
            yield
        except BaseException as error:  # whoever has asked to stop may kill what is still there after half a minute
            status, seconds = run_status(error), time.monotonic() - started
            leaving = threading.Thread(target=self._close_run, args=(run, status, seconds), daemon=True)
            leaving.start()
            leaving.join(LEAVE_SECONDS)
            if leaving.is_alive():
                self.trouble.tell("closing the run", TimeoutError(f"no answer within {LEAVE_SECONDS:g} s"))
                self._unreachable = True
            raise
        else:
            self._close_run(run, "FINISHED", time.monotonic() - started)

    def _close_run(self, run: str, status: str, seconds: float) -> None:
        if self._queue is not None:
            self.trouble.attempt("logging metrics", self._queue.flush)
        self.trouble.attempt("logging the duration", lambda: self._add_duration(run, seconds))
        if not self.trouble.met:
            self.trouble.attempt("closing the run", lambda: self.client.set_terminated(run, status))
        elif not self._unreachable:  # a run that began may still be closed; there is nothing more to say if not
            self._unreachable = True
            with suppress(Exception):
                self.client.set_terminated(run, status)
                self._unreachable = False

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Metrics are sent, and the machine's load with them, while the context is open."""
        begun = self.client.get_run(self.notes.run).info.start_time / 1000
        monitor = self._system_monitor()

        def sample() -> list[Told]:
            load = {} if monitor is None else monitor.sample()
            return [(self.notes.run, metric) for metric in as_metrics(load, int(time.time() - begun))]

        self._queue = MetricQueue(
            lambda run, metrics: self.client.log_batch(run, metrics=metrics),
            lambda error: self.trouble.tell("logging metrics", error),
            sample,
        )
        try:
            yield
        finally:
            self._queue.close()

    def _system_monitor(self) -> SystemMonitor | None:
        if not self.config.tracking.system_metrics:
            return None
        try:
            return SystemMonitor(self.uri, self.notes.run)
        except Exception as error:
            logger.warning("no system metrics: %s: %s", type(error).__name__, error)
            return None

    def _start_stage(self, name: str) -> str:
        run = self.notes.stages.get(name, "")
        if active_run(self.client, run) is None:
            tags = origin() | {PARENT: self.notes.run, "stage": name}
            title = stage_title(run_title(self.config), name)
            run = self.client.create_run(self.experiment_id, tags=tags, run_name=title).info.run_id
            self.log_params(run, {"stage": name} | telling_params(self.config, self.manifest))
            self.log_data_set(run)
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
        """The resolved config as parameters, and the data set. Parameters cannot change in MLflow: new values of old
        ones become tags."""
        from mlflow.entities import RunTag

        known = self.client.get_run(self.notes.run).data.params
        params = {name: shown(value) for name, value in self.config.flat().items()}
        changed = {f"changed.{k}": v for k, v in params.items() if known.get(k, v) != v}
        self.log_params(self.notes.run, {k: v for k, v in params.items() if k not in known})
        self.client.log_batch(self.notes.run, tags=[RunTag(k, v) for k, v in (changed | dict(tags)).items()])
        self.log_data_set(self.notes.run)

    def log_params(self, run: str, params: Mapping[str, str]) -> None:
        """Parameters that the run does not have."""
        from mlflow.entities import Param

        fresh = [Param(key, value) for key, value in params.items()]
        for first in range(0, len(fresh), PARAMS_AT_ONCE):
            self.client.log_batch(run, params=fresh[first : first + PARAMS_AT_ONCE])

    def log_data_set(self, run: str) -> None:
        """What the run is trained with. MLflow keeps one of a name and digest."""
        self.client.log_inputs(run, datasets=[data_set_input(self.config.data, self.manifest)])

    def _add_duration(self, run: str, seconds: float) -> None:
        """Adds the time that this start took to that of earlier ones."""
        before = self.client.get_run(run).data.metrics.get(DURATION, 0.0)
        self.client.log_batch(run, metrics=as_metrics({DURATION: before + seconds}, step=0))

    def _log_model(self, path: Path) -> str:
        run, manifest = self.notes.run, self.manifest
        name, params = model_name(run_title(self.config)), telling_params(self.config, manifest)
        uri = log_model(self.client, self.experiment_id, run, name, path, manifest, params)
        self.notes.models[MODEL] = uri
        self.keep_notes()
        return uri
