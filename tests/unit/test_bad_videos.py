"""The record of bad videos: what counts toward the limit, and what is kept of it."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from jomold_dist.data.format.damage import BadVideo, from_csv
from jomold_dist.data.format.manifest import Manifest, RecordLayout, ShardInfo, SplitInfo
from jomold_dist.distributed.world import World
from jomold_dist.errors import DataError
from jomold_dist.labels import CategorySet
from jomold_dist.training.bad_videos import BadVideoRecord
from tests.unreadable import unreadable

ALONE = World(0, 1, 0, 1, torch.device("cpu"))
SIZES = {"train": 100, "val": 50}


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    """Of two splits without records."""

    def split(name: str, videos: int) -> SplitInfo:
        shard = ShardInfo(f"{name}/shard-000000.tar", videos, 0, "", np.zeros(1, np.int32))
        return SplitInfo(name, 1, False, RecordLayout(0, {}), (shard,))

    return Manifest("m", 1, CategorySet(("a",)), {}, {name: split(name, videos) for name, videos in SIZES.items()})


def meet(record: BadVideoRecord, split: str, *numbers: int) -> None:
    for number in numbers:
        record._pending.add(BadVideo(split, f"{split}/shard-000000.tar", number, f"video-{number}", "spoiled"))
    record.collect()


@pytest.mark.parametrize("percent", range(1, 100))
def test_exactly_the_share_that_is_allowed_may_be_bad(percent: int, manifest: Manifest) -> None:
    record = BadVideoRecord(manifest, ALONE, None, float(f"0.{percent:02d}"))
    assert not record.too_many("train", percent)
    assert record.too_many("train", percent + 1)


def test_a_mended_set_may_go_on_and_the_file_keeps_all(manifest: Manifest, tmp_path: Path) -> None:
    file = tmp_path / "bad_videos.csv"
    record = BadVideoRecord(manifest, ALONE, file, 0.02)
    meet(record, "train", 1, 2, 3)
    record.refuse_too_many("val")  # another split's are not counted here
    with pytest.raises(
        DataError, match=r"3 of the 100 videos of split 'train'.* for instance video 1 of .*\.csv; mend"
    ):
        record.refuse_too_many("train")
    again = BadVideoRecord(manifest, ALONE, file, 0.02)  # the next start, after two were mended
    meet(again, "train", 2, 7)
    again.refuse_too_many("train")
    assert {video.number for video in from_csv(file.read_text())} == {1, 2, 3, 7}
    assert again.summary() == f"videos that could not be used and were left out: 2 of 100 in train; see {file}"


def test_a_file_that_cannot_be_written_is_written_later(
    manifest: Manifest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    file = tmp_path / "run" / "bad_videos.csv"
    record = BadVideoRecord(manifest, ALONE, file, 0.5)
    meet(record, "train", 4)
    assert "bad_videos.csv cannot be written: No such file or directory" in caplog.text
    file.parent.mkdir()
    record.collect()
    assert {video.number for video in from_csv(file.read_text())} == {4}


def test_a_record_that_cannot_be_read_is_not_overwritten(
    manifest: Manifest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """... but one that was read and is no such table is."""
    caplog.set_level(logging.WARNING)
    file = tmp_path / "bad_videos.csv"
    meet(BadVideoRecord(manifest, ALONE, file, 0.5), "train", 1, 2)
    kept = file.read_bytes()
    with unreadable(file):
        record = BadVideoRecord(manifest, ALONE, file, 0.5)
        meet(record, "train", 7)
        meet(record, "train", 8)
    assert file.read_bytes() == kept
    assert caplog.text.count(f"{file} cannot be read: Input/output error") == 1
    assert "left out: video 8" in caplog.text
    file.write_text("no,such,table\n")
    meet(BadVideoRecord(manifest, ALONE, file, 0.5), "train", 9)
    assert "bad_videos.csv is damaged" in caplog.text
    assert {video.number for video in from_csv(file.read_text())} == {9}


def test_without_a_file_nothing_is_written_and_all_are_told(
    manifest: Manifest, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    record = BadVideoRecord(manifest, ALONE, None, 0.5)
    meet(record, "val", *range(12))
    lines = [line.getMessage() for line in caplog.records]
    assert [line.split(" of ")[0] for line in lines[:-1]] == [f"left out: video {number}" for number in range(10)]
    assert lines[-1] == "left out: … and 2 more"
    assert record.summary() == "videos that could not be used and were left out: 12 of 50 in val"
