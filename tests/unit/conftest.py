"""What several of these tests share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of MLflow with its tables and nothing else; making them takes seconds, so that tests copy this file."""
    from mlflow import MlflowClient

    from jomold_dist.tracking.store import ready

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    with ready(path, lambda uri: MlflowClient(uri).search_experiments()):
        pass
    return path
