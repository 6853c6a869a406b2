"""Splits without anything to score against are told of by everybody who meets them."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from jomold_dist.commands import verify as verify_shards
from jomold_dist.config import ModelConfig
from jomold_dist.data.checking.data_set import verify_data_set
from jomold_dist.data.format.dense_truth import has_positives, truth_problem
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.data.packing.dataset_writer import DatasetWriter
from jomold_dist.data.reading.loader import Loader
from jomold_dist.data.reading.source import Folder
from jomold_dist.distributed.world import World
from jomold_dist.errors import DataError
from jomold_dist.models.registry import build_network
from jomold_dist.training.evaluate import evaluate
from jomold_dist.training.preflight import problems_of_truth
from tests.shard_fixtures import CATEGORIES, FEATURES, SEGMENTS, make_videos

ALONE = World(0, 1, 0, 1, torch.device("cpu"))
SIZES = {"train": 6, "val": 150, "test": 9}


def write_set(out: Path, positives: dict[str, list[tuple[int, int]]]) -> Manifest:
    """A data set whose dense labels are 0 but for one, in a video and a modality, of each of the `positives` of a
    split; a split that is not among them has positives everywhere."""
    with DatasetWriter(
        out, name="x", categories=CATEGORIES, segments=SEGMENTS, features=FEATURES, videos_per_shard=75
    ) as writer:
        for split, count in SIZES.items():
            videos = make_videos(count, prefix=split, dense=split != "train")
            if split in positives:
                dense = np.zeros((count, 2, len(CATEGORIES), SEGMENTS), np.uint8)
                for video, modality in positives[split]:
                    dense[video, modality, 1, 2] = 1
                videos = [replace(video, dense=own) for video, own in zip(videos, dense, strict=True)]
            writer.write_split(split, videos, max_labels=5, dense=split != "train")
        return writer.finish()


def test_what_is_said_of_which_modality() -> None:
    dense = np.zeros((3, 2, 5, 4), np.uint8)
    assert not has_positives(dense).any()
    assert "no video has a dense label in audio or in visual, where" in str(truth_problem(has_positives(dense)))
    dense[2, 1, 0, 3] = 1
    assert has_positives(dense).tolist() == [False, True]
    assert str(truth_problem(has_positives(dense))).startswith("no video has a dense label in audio, where")
    dense[0, 0, 4, 0] = 1
    assert truth_problem(has_positives(dense)) is None
    assert not has_positives(dense[:0]).any()


CASES: dict[str, tuple[dict[str, list[tuple[int, int]]], dict[str, str]]] = {
    "sound": ({}, {}),
    "the last videos": ({"val": [(149, 0), (148, 1)]}, {}),
    "none at all": ({"val": []}, {"val": "audio or in visual"}),
    "no visual": ({"test": [(0, 0), (8, 0)]}, {"test": "visual"}),
    "two splits": ({"val": [(70, 1)], "test": []}, {"val": "audio", "test": "audio or in visual"}),
}


@pytest.mark.parametrize("case", CASES)
def test_writer_verification_and_the_check_before_a_run(
    tmp_path: Path, case: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.WARNING)
    positives, lacking = CASES[case]
    out = tmp_path / "set"
    manifest = write_set(out, positives)
    assert [record.getMessage().split(",")[0] for record in caplog.records] == [
        f"split {split!r} cannot be scored: no video has a dense label in {what}" for split, what in lacking.items()
    ]
    told = [str(problem).split(",")[0] for problem in verify_data_set(Folder(out), manifest).problems]
    assert told == [f"{split}: no video has a dense label in {what}" for split, what in lacking.items()]
    assert verify_data_set(Folder(out), manifest, "digest").sound  # which looks into no video
    assert verify_shards.main([str(out)]) == (2 if lacking else 0)
    assert capsys.readouterr().err.count("error: ") == bool(lacking)
    told = [problem.split(",")[0] for problem in problems_of_truth(Folder(out), manifest)]
    assert told == [f"{out}: split {split!r}: no video has a dense label in {what}" for split, what in lacking.items()]


def test_damaged_videos_prove_nothing(tmp_path: Path) -> None:
    out = tmp_path / "set"
    manifest = write_set(out, {"val": [(0, 0), (149, 1)]})
    os.truncate(out / "val" / "shard-000001.tar", 74 * manifest.splits["val"].record.bytes)
    problems = [str(problem) for problem in verify_data_set(Folder(out), manifest).problems]
    assert not any("dense label" in problem for problem in problems)  # not said of what is not known
    (problem,) = problems_of_truth(Folder(out), manifest)
    assert "split 'val': no video has a dense label in visual" in problem
    os.truncate(out / "val" / "shard-000000.tar", 0)
    (problem,) = problems_of_truth(Folder(out), manifest)
    assert "split 'val': no video has a dense label in audio or in visual" in problem


@pytest.mark.parametrize("case", ["none at all", "no visual", "the last videos"])
def test_what_cannot_be_scored_has_no_scores(tmp_path: Path, case: str) -> None:
    positives, lacking = CASES[case]
    manifest = write_set(tmp_path / "set", positives)
    network = build_network(ModelConfig(), manifest)

    def score(split: str) -> dict[str, float]:
        options = {"batch_size": 8, "rank": 0, "world": 1, "seed": 1, "streams": 4, "block": 2, "threads": 1}
        with Loader(tmp_path / "set", manifest, split, shuffle=False, **options) as loader:
            return evaluate(network, loader.epoch(0), loader.videos, ALONE, CATEGORIES.names).scores

    for split in ("val", "test"):
        if split in lacking:
            message = f"^the videos cannot be scored: no video has a dense label in {lacking[split]}, where"
            with pytest.raises(DataError, match=message):
                score(split)
        else:
            assert len(score(split)) == 10
