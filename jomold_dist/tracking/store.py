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
from pathlib import Path

from jomold_dist.config import Config
from jomold_dist.files import give_usual_mode
from jomold_dist.locks import LockHeldError, locked

SQLITE = "sqlite:///"
LOCK_SECONDS = 120.0


def store_uri(config: Config) -> str:
    """The tracking URI: `tracking.uri`, else MLFLOW_TRACKING_URI, else `mlflow.db` beside the run folder.

    The path of an sqlite file is made absolute, so that the store does not move with the working directory.
    """
    beside = Path(config.run.dir).resolve().parent / "mlflow.db"
    uri = config.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{beside}"
    path = sqlite_path(uri)
    return uri if path is None else f"{SQLITE}{path}"


def sqlite_path(uri: str) -> Path | None:
    """The absolute path of the file behind an sqlite URI; None for any other store."""
    name = uri.removeprefix(SQLITE)
    if name == uri or name in ("", ":memory:") or "?" in name:
        return None
    return Path(name).resolve()


def artifacts_uri(database: Path) -> str:
    """Where the artifacts of an sqlite store lie: `mlartifacts` beside its file."""
    return (database.parent / "mlartifacts").as_uri()


def without_password(text: str) -> str:
    """The text with the user and password of every URI in it blotted out."""
    return re.sub(r"//[^/@\s]+@", "//***@", text)


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
