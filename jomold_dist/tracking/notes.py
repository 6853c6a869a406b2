"""What a folder remembers of MLflow, in mlflow.json; and of two folders that hold the same run, whose it is."""

from __future__ import annotations

import logging
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from jomold_dist.errors import UnreadableError
from jomold_dist.files import write_json
from jomold_dist.reading import ABSENT, read_json
from jomold_dist.secrets import blotted

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

logger = logging.getLogger(__name__)

NOTES = "mlflow.json"
FOLDER = "folder"
"""The tag with which a run in MLflow names its folder."""


@dataclass
class Notes:
    """The store, the run, its stages' runs and models."""

    uri: str
    experiment: str
    run: str = ""
    experiment_id: str = ""
    stages: dict[str, str] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path, uri: str, experiment: str) -> Notes:
        """The notes of an earlier start; new ones where there are none, or none about this store and experiment.

        UnreadableError.
        """
        fresh = cls(blotted(uri), experiment)
        try:
            found = cls(**read_json(folder / NOTES))
        except ABSENT:
            return fresh
        except (ValueError, TypeError):
            logger.warning("%s is damaged; a new MLflow run begins", folder / NOTES)
            return fresh
        return found if (found.uri, found.experiment) == (fresh.uri, fresh.experiment) else fresh

    def write(self, folder: Path) -> None:
        """Keep them in the folder."""
        write_json(folder / NOTES, asdict(self))


def own_run(client: MlflowClient, run: str, folder: Path) -> Run | None:
    """The run that a folder's notes name, to go on with; None if it was deleted, or is that of another folder, of which
    this one is a copy.
    """
    found = active_run(client, run)
    if found is None:
        return None
    owner = found.data.tags.get(FOLDER, str(folder.resolve()))
    if _holds(Path(owner), run, folder):
        logger.info("%s is a copy of %s, to which its MLflow run belongs; a new run begins", folder, owner)
        return None
    return found


def active_run(client: MlflowClient, run: str) -> Run | None:
    """A run by its id; None if it is not known, was deleted, or there never was one."""
    from mlflow.exceptions import MlflowException

    if not run:
        return None
    try:
        found = client.get_run(run)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    return found if found.info.lifecycle_stage == "active" else None


def _holds(other: Path, run: str, folder: Path) -> bool:
    """Whether another folder than `folder` is there and has this run. One that cannot be looked at is taken to have it:
    two records are better than a mixed one."""
    try:
        if os.path.samefile(other, folder):
            return False
        found = read_json(other / NOTES)
    except (*ABSENT, ValueError):
        return False
    except (OSError, UnreadableError):
        return True
    return isinstance(found, dict) and found.get("run") == run
