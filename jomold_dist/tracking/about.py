"""What runs in MLflow are found and told apart by: tags, parameters, names, and the data set that they were fed."""

from __future__ import annotations

import getpass
import json
import posixpath
import re
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from jomold_dist.config import Config, DataConfig
from jomold_dist.config_roles import decides
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.git_state import git_state
from jomold_dist.secrets import blotted
from jomold_dist.versions import version

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

PARENT = "mlflow.parentRunId"
LONGEST_VALUE, LONGEST_NAME = 6000, 250
DIGEST = 12  # characters of the manifest's digest; MLflow has room for 36
_NOT_IN_MODEL_NAMES = re.compile(r"""[/:.%"']""")


def origin() -> dict[str, str]:
    """Tags that tell who started the run, with what, and from which commit, where there is one."""
    tags = {"mlflow.source.type": "LOCAL", "mlflow.source.name": Path(sys.argv[0]).name}
    with suppress(OSError, KeyError):  # a user id without a name
        tags["mlflow.user"] = getpass.getuser()
    if (commit := _commit(Path.cwd())) is not None:
        tags["mlflow.source.git.commit"] = commit
    return tags


@cache
def _commit(folder: Path) -> str | None:
    """Which commit the folder's checkout was at when this process first asked. Git takes seconds on a slow disk, and
    the run waits."""
    git = git_state(folder)
    return None if git is None else git.commit


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


def telling_params(config: Config, manifest: Manifest) -> dict[str, str]:
    """What tells a run's stages and models from those of others: its method, seed, data set and length, and of the
    other settings that decide a result the ones that are not as by default."""
    settings, defaults = config.flat(), Config().flat()
    always = ("method", "run.seed", "train.epochs")
    told = [name for name, value in settings.items() if decides(name) and value != defaults[name]]
    return {"data_set": manifest.name} | {name: shown(settings[name]) for name in dict.fromkeys([*always, *told])}


def run_title(config: Config) -> str:
    """How the run is called; its stages are called after it."""
    return config.tracking.name or Path(config.run.dir).resolve().name


def stage_title(run: str, stage: str) -> str:
    """How the run of a stage is called, so that a legend tells whose curve it is."""
    return f"{run} · {stage}"


def model_name(run: str) -> str:
    """A run's name without what MLflow refuses in a model's."""
    return _NOT_IN_MODEL_NAMES.sub("_", run) or "_"


def data_set_input(data: DataConfig, manifest: Manifest) -> DatasetInput:
    """The data set as what a run was trained with; where it lies is told without name and password."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    place = ", ".join(map(blotted, data.places))
    scheme = urlsplit(place).scheme or "local"
    profile = {
        "videos": {name: split.videos for name, split in manifest.splits.items()},
        "categories": len(manifest.categories),
        "segments": manifest.segments,
        "simulated": manifest.simulated is not None,
    }
    source = {"url" if scheme in ("http", "https") else "uri": place}
    data_set = Dataset(
        name=manifest.name,
        digest=manifest.digest[:DIGEST],
        source_type="http" if scheme == "https" else scheme,
        source=json.dumps(source),
        profile=json.dumps(profile),
    )
    return DatasetInput(data_set, [InputTag("mlflow.data.context", "training")])


def metric_name(name: str) -> str:
    """The name as MLflow takes it: letters, digits and `_ - . space : /`, and no path that leads elsewhere."""
    clean = posixpath.normpath(re.sub(r"[^\w.\- :/]", "_", name)).lstrip("./")
    return clean[:LONGEST_NAME].rstrip("/") or "_"


def shown(value: Any) -> str:
    """A setting's value as a parameter."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return blotted(text)[:LONGEST_VALUE]
