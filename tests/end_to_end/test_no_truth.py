"""A data set with a split that nothing can be scored against: one message, exit code 2, and no score of 100."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import Finished, Tiny
from launchers_help import files_below, run_here

from jomold_dist.data.packing.dataset_writer import DatasetWriter
from tests.servers import serving
from tests.shard_fixtures import CATEGORIES, FEATURES, SEGMENTS

LACKING = "split 'test': no video has a dense label in visual, where whatever finds nothing would score 100; check the"


@pytest.fixture(scope="module")
def shards(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny data set, but for its visual dense labels in test."""
    folder = tmp_path_factory.mktemp("without") / "data"
    with DatasetWriter(folder, name="tiny", categories=CATEGORIES, segments=SEGMENTS, features=FEATURES) as writer:
        for split, videos in tiny.videos.items():
            if split == "test":
                heard = np.array([1, 0], np.uint8)[:, None, None]
                videos = [replace(video, dense=np.asarray(video.dense) * heard) for video in videos]
            writer.write_split(split, videos, max_labels=len(CATEGORIES), dense=split != "train")
        writer.finish()
    return folder


@pytest.mark.parametrize("more", [(), ("--dry-run",), ("data.resident=true",)])
def test_training_is_refused_before_it_begins(
    more: tuple[str, ...], tiny: Tiny, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--config", tiny.config, f"data.shards={shards}", f"run.dir={tmp_path / 'run'}", *more)
    before = files_below(shards)
    outcome = run_here(capsys, "train", *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"error: {shards}: {LACKING}")
    assert len(outcome.err.splitlines()) == 1
    assert not files_below(tmp_path)
    assert files_below(shards) == before


def test_behind_a_url_a_start_looks_and_a_dry_run_fetches_nothing(
    tiny: Tiny, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(shards) as server:
        settings = (f"data.shards={server.url}", f"data.cache={tmp_path / 'cache'}", f"run.dir={tmp_path / 'run'}")
        assert run_here(capsys, "train", "--config", tiny.config, *settings, "--dry-run").code == 0
        assert not any(name.endswith(".tar") for name in server.gets)
        outcome = run_here(capsys, "train", "--config", tiny.config, *settings)
        assert outcome.code == 2
        assert f"error: {server.url}: {LACKING}" in outcome.err
        assert not any("train/" in name for name in server.gets)
    assert not (tmp_path / "run").exists()


def test_evaluation_gives_no_score(
    finished: Finished, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    outcome = run_here(capsys, "evaluate", "--run", folder, "--shards", shards)
    assert (outcome.code, outcome.out) == (2, "")
    assert "error: the videos cannot be scored: no video has a dense label in visual, where" in outcome.err
    assert "Traceback" not in outcome.err
    assert not list(folder.glob("scores_test*"))
    assert run_here(capsys, "evaluate", "--run", folder, "--shards", shards, "--split", "val").code == 0
