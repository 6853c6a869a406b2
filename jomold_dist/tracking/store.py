"""Where MLflow keeps runs: which store a config means, and making an embedded sqlite store safely.

MLflow creates the tables of a fresh sqlite file in many steps, and two processes that do so at once leave it broken
for ever. So a store is made under a file lock, beside its place, and moved there when it is whole.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.request import url2pathname

from jomold_dist.config import Config, TrackingConfig
from jomold_dist.files import give_usual_mode
from jomold_dist.locks import LockHeldError, locked
from jomold_dist.places import expanded
from jomold_dist.secrets import blotted

SQLITE = "sqlite:///"
VARIABLE = "MLFLOW_TRACKING_URI"
LOCK_SECONDS = 120.0
_SQLITE = re.compile(r"(sqlite(?:\+\w+)?:///)([^?]+)(.*)")
_DATABASE = re.compile(r"(sqlite|postgresql|mysql|mssql)\b")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_SERVICES = TrackingConfig.__dataclass_fields__["uri"].metadata["services"]


def given_uri(config: Config) -> str:
    """The tracking URI as it is given: `tracking.uri`, else MLFLOW_TRACKING_URI, else `mlflow.db` beside the run
    folder."""
    beside = Path(config.run.dir).resolve().parent / "mlflow.db"
    return config.tracking.uri or os.environ.get(VARIABLE) or f"{SQLITE}{beside}"


def store_uri(config: Config) -> str:
    """The tracking URI for a process with any working directory. ConfigError as in `absolute_uri`."""
    return absolute_uri(given_uri(config))


def absolute_uri(uri: str) -> str:
    """The URI with the path of a store in files made absolute, so that the store does not move with the working
    directory; other URIs as they are. ConfigError for a home folder that is not known."""
    path = path_of_store(uri)
    if path is None:
        return uri
    found = _SQLITE.fullmatch(uri)
    return f"{found[1]}{_absolute(path)}{found[3]}" if found else _absolute(path).as_uri()


def relative_store(config: Config) -> dict[str, str]:
    """The environment's store of a config, by the variable's name, if it depends on the working directory."""
    uri = os.environ.get(VARIABLE)
    path = None if config.tracking.uri or not uri or not config.tracking.enabled else path_of_store(uri)
    return {} if path is None or os.path.isabs(os.path.expanduser(path)) else {VARIABLE: str(uri)}


def path_of_store(uri: str) -> str | None:
    """The path, as it is written, of an sqlite file or of a folder that MLflow records in; None for other stores."""
    if found := _SQLITE.fullmatch(uri):
        return None if found[2].startswith((":", "file:")) else found[2]
    if uri.startswith("file:"):
        return url2pathname(re.sub(r"^file:(//[^/]*)?|[?#].*", "", uri))
    return None if uri in _SERVICES or _SCHEME.match(uri) else url2pathname(uri)


def sqlite_path(uri: str) -> Path | None:
    """The absolute path of the file behind an sqlite URI; None for any other store."""
    path = path_of_store(uri)
    return None if path is None or not _SQLITE.fullmatch(uri) else _absolute(path)


def _absolute(path: str) -> Path:
    return Path(expanded(path)).resolve()


def handed_on(config: Config) -> tuple[Config, dict[str, str]]:
    """The config, and the variables of the environment, with which a process elsewhere records where this one does.

    The URI becomes a setting, which is written into files; one that may hold a name or password stays a variable.
    """
    if not config.tracking.enabled:
        return config, {}
    uri = store_uri(config)
    variables = {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")} | {VARIABLE: uri}
    written = uri if blotted(uri) == uri else None
    return replace(config, tracking=replace(config.tracking, uri=written)), variables


def artifacts_place(uri: str, beside: Path) -> str | None:
    """Where artifacts of a new experiment lie: `mlartifacts` beside an sqlite file, or `beside` a run folder where the
    store is another database; None where the store knows."""
    database = sqlite_path(uri)
    if database is None and not _DATABASE.match(uri):
        return None
    return ((beside if database is None else database.parent) / "mlartifacts").as_uri()


@contextmanager
def ready(database: Path, create: Callable[[str], object]) -> Iterator[None]:
    """The sqlite store at `database` exists and is readable, and nobody else changes its structure meanwhile.

    `create(uri)` is called with the URI of a file beside it if there is none. OSError or sqlite3.Error if the store
    cannot be made or read; TimeoutError if another process holds the lock for too long.
    """
    lock = database.with_name(f".{database.name}.lock")
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(lock, LOCK_SECONDS))
        except LockHeldError as holder:
            raise TimeoutError(f"{holder} holds {lock}") from None
        if not database.exists():
            aside = database.with_name(f".{database.name}.partial")
            aside.unlink(missing_ok=True)
            create(f"{SQLITE}{aside}")
            give_usual_mode(aside)  # sqlite lets nobody but the owner write
            aside.replace(database)
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True)) as connection:
            connection.execute("PRAGMA schema_version")  # MLflow would try a damaged file for minutes
        yield
