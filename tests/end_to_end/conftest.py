"""One tiny data set and one finished run for all tests of the launchers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from launchers_help import LONG, Outcome, run_process

from jomold_dist.data.packing.shard_writer import Video
from tests.shard_fixtures import write_dataset


@dataclass(frozen=True)
class Tiny:
    """A data set, what went into it, and a config for it (whose run.dir every test sets)."""

    shards: Path
    videos: dict[str, list[Video]]
    config: Path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    folder = tmp_path_factory.mktemp("tiny")
    _, videos = write_dataset(folder / "data", {"train": 60, "val": 13, "test": 15})
    settings = {
        "data": {"shards": str(folder / "data"), "streams": 12, "block": 4},
        "model": {"attention_dropout": 0, "classifier_dropout": 0},
        "denoise": {"warmup_epochs": None, "audio_threshold": 0.95, "visual_threshold": 1.0},
        "estimator": {"epochs": 2},
        "train": {"epochs": 2, "batch_size": 24, "precision": "float64", "learning_rate": 0.005},
        "tracking": {"enabled": False},
        "distributed": {"device": "cpu"},
    }
    config = folder / "tiny.yaml"
    config.write_text(yaml.safe_dump(settings))
    return Tiny(folder / "data", videos, config)


@dataclass(frozen=True)
class Finished:
    """A finished run and what its process said."""

    folder: Path
    outcome: Outcome


@pytest.fixture(scope="session")
def finished(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("runs") / "jomold"
    outcome = run_process("python", "train", "--config", tiny.config, f"run.dir={folder}")
    assert outcome.code == 0, outcome.err
    return Finished(folder, outcome)


@pytest.fixture(scope="session")
def finished_long(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """... with an estimator that takes some seconds."""
    folder = tmp_path_factory.mktemp("runs") / "long"
    outcome = run_process("python", "train", "--config", tiny.config, f"run.dir={folder}", LONG)
    assert outcome.code == 0, outcome.err
    return Finished(folder, outcome)
