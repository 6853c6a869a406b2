"""A sweep in MLflow: a run whose children are its trials. Trouble with MLflow never stops a sweep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jomold_dist.config import Config
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.tracking.about import PARENT, origin, shown, tags_of_data
from jomold_dist.tracking.notes import FOLDER, Notes, active_run, own_run
from jomold_dist.tracking.results import final_metrics, log_table, run_numbers
from jomold_dist.tracking.session import connect
from jomold_dist.tracking.store import given_uri, store_uri
from jomold_dist.tracking.trouble import run_status, warn
from jomold_dist.training.recorder import Cell
from jomold_dist.training.run_folder import RunFolder

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass
class SweepRecord:
    """The sweep's run, if there is one."""

    client: MlflowClient | None = None
    experiment_id: str = ""
    notes: Notes = field(default_factory=lambda: Notes("", ""))
    folder: Path = Path()
    tags: dict[str, str] = field(default_factory=dict)
    """What the sweep's run and all its trials have: the sweep's name, to look for, and what the data are."""

    @property
    def run(self) -> str | None:
        """The id of the sweep's run."""
        return self.notes.run or None

    def trial(
        self, folder: Path, config: Config, title: str, tags: dict[str, str], scores: Mapping[str, float]
    ) -> None:
        """A finished trial with its scores, to be compared with others: its own run, or a child that stands for the run
        of another sweep."""

        def tell(client: MlflowClient) -> None:
            from mlflow.entities import Param, RunTag

            own = Notes.read(folder, store_uri(config), config.tracking.experiment).run
            run, params = own, []
            there = active_run(client, own)
            if there is None or there.data.tags.get(PARENT) != self.run:
                run = self.notes.stages.get(folder.name, "")
                if active_run(client, run) is None:
                    about = origin() | {PARENT: str(self.run), "trained_as": own or "unknown"}
                    run = client.create_run(self.experiment_id, tags=about, run_name=title).info.run_id
                    self.notes.stages[folder.name] = run
                    self.notes.write(self.folder)
                    params = [Param(name, shown(value)) for name, value in config.flat().items()]
                client.set_terminated(run, "FINISHED")
            numbers = run_numbers(RunFolder(folder)) | {f"test/{name}": value for name, value in scores.items()}
            metrics = final_metrics(client, run, numbers)
            marks = [RunTag(key, value) for key, value in (tags | self.tags).items()]
            client.log_batch(run, metrics=metrics, params=params, tags=marks)

        self._attempt(f"recording {title}", tell)

    def best(self, tags: Mapping[str, str], numbers: Mapping[str, float]) -> None:
        """What is told of the best row by now, on the sweep's own run, so that sweeps are sorted as runs are."""

        def tell(client: MlflowClient) -> None:
            from mlflow.entities import RunTag

            run, marks = self.notes.run, [RunTag(key, value) for key, value in tags.items()]
            client.log_batch(run, metrics=final_metrics(client, run, numbers), tags=marks)

        self._attempt("recording the best row", tell)

    def table(self, name: str, columns: Mapping[str, Sequence[Cell]]) -> None:
        """A table that MLflow shows as one. ValueError for columns of unequal length."""
        rows = list(zip(*columns.values(), strict=True))
        self._attempt(
            f"recording the table {name}", lambda client: log_table(client, self.notes.run, name, columns, rows)
        )

    def artifacts(self, files: Sequence[Path]) -> None:
        """Tables and figures, the latter in a folder of their own."""

        def tell(client: MlflowClient) -> None:
            for file in files:
                client.log_artifact(self.notes.run, str(file), "figures" if file.suffix == ".png" else None)

        self._attempt("recording tables and figures", tell)

    def _attempt(self, doing: str, action: Any) -> None:
        if self.client is None:
            return
        try:
            action(self.client)
        except Exception as error:
            warn(self.notes.uri, doing, error)
            self.client = None


@contextmanager
def open_sweep(
    config: Config, folder: Path, name: str, settings: Mapping[str, Any], manifest: Manifest
) -> Iterator[SweepRecord]:
    """The run of a sweep, in the store of its trials, one of which has this config. A folder that has been recorded
    before goes on with the same run."""
    record = SweepRecord(folder=folder)
    if config.tracking.enabled:
        try:
            _open(record, config, store_uri(config), name, settings, manifest)
        except Exception as error:
            warn(given_uri(config), "opening the store", error)
            record = SweepRecord(folder=folder)
    status = "FINISHED"
    try:
        yield record
    except BaseException as error:
        status = run_status(error)
        raise
    finally:
        record._attempt("closing the run", lambda client: client.set_terminated(record.notes.run, status))


def _open(
    record: SweepRecord, config: Config, uri: str, name: str, settings: Mapping[str, Any], manifest: Manifest
) -> None:
    from mlflow.entities import Param, RunTag

    folder, experiment = record.folder, config.tracking.experiment
    client, record.experiment_id = connect(uri, experiment, Path(config.run.dir).resolve().parent)
    record.notes = Notes.read(folder, uri, experiment)
    record.tags = tags_of_data(manifest) | {"sweep": name}
    about = record.tags | {FOLDER: str(folder.resolve())}
    before = own_run(client, record.notes.run, folder)
    if before is None or any(before.data.tags.get(key) != about[key] for key in ("sweep", "manifest_digest")):
        run = client.create_run(record.experiment_id, tags=origin() | about, run_name=name).info.run_id
        record.notes = Notes(record.notes.uri, experiment, run, record.experiment_id)
        record.notes.write(folder)
    else:
        client.update_run(record.notes.run, status="RUNNING")
        client.set_tag(record.notes.run, FOLDER, about[FOLDER])
    known = client.get_run(record.notes.run).data.params
    params = {f"sweep.{key}": shown(value) for key, value in settings.items()}
    fresh = [Param(key, value) for key, value in params.items() if key not in known]
    changed = [RunTag(f"changed.{key}", value) for key, value in params.items() if known.get(key, value) != value]
    client.log_batch(record.notes.run, params=fresh, tags=changed)
    record.client = client
