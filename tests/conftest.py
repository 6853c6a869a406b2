"""One thread a process, as tests run several at once (TEST_THREADS sets another number), and no library that calls
home or records elsewhere."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile("jomold_dist", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("jomold_dist")

# Before torch is imported, and for the processes that tests start.
os.environ["OMP_NUM_THREADS"] = os.environ.get("TEST_THREADS", "1")
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ.pop("MLFLOW_TRACKING_URI", None)
for name in ("http_proxy", "https_proxy", "all_proxy"):  # the servers of tests are on this machine
    os.environ.pop(name, None)
    os.environ.pop(name.upper(), None)


@pytest.fixture(autouse=True)
def _environment_stays() -> Iterator[None]:
    """A command that a test runs in its own process leaves what the next test would meet: MLflow keeps the tracking URI
    that it was told, in the environment too, lines of the log go to a stream that is closed by then, and signals have
    handlers of a run's."""
    before = set(os.environ)
    signals = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    loggers = [logging.getLogger(), logging.getLogger("jomold_dist")]
    levels = [logger.level for logger in loggers]
    yield
    if (mlflow := sys.modules.get("mlflow")) is not None:
        mlflow.set_tracking_uri(None)
    for name in set(os.environ) - before:
        del os.environ[name]
    for number, handler in signals.items():
        signal.signal(number, handler)
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
    for stream in [handler for handler in loggers[0].handlers if type(handler) is logging.StreamHandler]:
        loggers[0].removeHandler(stream)  # pytest's own are of other types


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of MLflow with its tables and nothing else; making them takes seconds, so that tests copy this file."""
    from mlflow import MlflowClient

    from jomold_dist.tracking.store import ready

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    with ready(path, lambda uri: MlflowClient(uri).search_experiments()):
        pass
    return path
