"""Shards added to a data set that is there: until all are, and its new manifest with them, it is what it was."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jomold_dist.data.format.manifest import FeatureSpec, Manifest
from jomold_dist.data.packing import destination
from jomold_dist.data.packing.dataset_writer import DatasetWriter
from jomold_dist.data.packing.repair import repair_shards
from jomold_dist.data.packing.shard_writer import BadVideosError, Video
from jomold_dist.data.packing.splits import SplitSource
from jomold_dist.data.reading.source import read_manifest
from jomold_dist.errors import DataError
from jomold_dist.labels import CategorySet
from tests.packing_videos import CATEGORIES, FEATURES, SEGMENTS, MadeVideos, contents

OPTIONS: dict[str, Any] = {
    "name": "made", "categories": CATEGORIES, "segments": SEGMENTS, "features": FEATURES, "videos_per_shard": 4
}  # fmt: skip
NEW = ["train/shard-000011.tar", "train/shard-000012.tar", "test/shard-000000.tar"]


class LaterVideos(MadeVideos):
    """Six others of a split; something is done before each."""

    def __init__(self, split: str, before: Callable[[int], object] = lambda number: None) -> None:
        super().__init__(split, keys={number: f"later-{split}-{number}" for number in range(50)})
        self.numbers, self.before = np.arange(6), before

    def video(self, number: int) -> Video:
        self.before(number)
        return super().video(number)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("first") / "set"
    with DatasetWriter(folder, made_by={"command": "first"}, **OPTIONS) as writer:
        writer.write_split("train", MadeVideos("train"), shuffled=3)
        writer.write_split("val", MadeVideos("val"), dense=True)
        writer.finish()
    return folder


@pytest.fixture
def old(first: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(first, tmp_path / "set"))


def append(out: Path, before: Callable[[int], object] = lambda number: None, **changes: Any) -> Manifest:
    """To train, and as a new split."""
    options = OPTIONS | {"made_by": {"command": "second"}, "recipe": {}} | changes
    with DatasetWriter(out, append=True, **options) as writer:
        writer.write_split("train", LaterVideos("train", before), shuffled=4)
        writer.write_split("test", LaterVideos("val", before), dense=True)
        return writer.finish()


@pytest.fixture(scope="module")
def longer(first: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What an undisturbed start makes of the first set."""
    folder = tmp_path_factory.mktemp("longer") / "set"
    shutil.copytree(first, folder)
    append(folder)
    return contents(folder)


def test_the_set_is_longer_and_its_old_shards_are_as_they_were(
    old: Path, first: Path, longer: dict[str, bytes]
) -> None:
    before = read_manifest(first)
    manifest = append(old)
    assert contents(old) == longer
    assert read_manifest(old).digest == manifest.digest
    assert {name: split.videos for name, split in manifest.splits.items()} == {"train": 47, "val": 9, "test": 6}
    train = manifest.split("train")
    assert train.shards[:11] == before.split("train").shards
    assert [shard.name for shard in train.shards[11:]] == NEW[:2]
    assert train.record == before.split("train").record
    assert manifest.origin == {"command": "first", "appended": [{"command": "second"}]}
    assert train.shuffled == 3
    for split in manifest.splits.values():
        for shard in split.shards:
            assert hashlib.sha256((old / shard.name).read_bytes()).hexdigest() == shard.sha256
    kept = {name: content for name, content in contents(first).items() if name.endswith(".tar")}
    assert kept.items() <= contents(old).items()
    assert [path.name for path in old.parent.iterdir()] == ["set"]


def test_parts_that_were_packed_apart_are_not_repaired_together(old: Path) -> None:
    append(old)
    there = contents(old)
    form = {"categories": CATEGORIES, "segments": SEGMENTS, "features": FEATURES, "videos_per_shard": 4}
    with pytest.raises(DataError, match=r"was packed otherwise: .*; it was added to \(--append\)"):
        repair_shards(old, [SplitSource("train", MadeVideos("train"))], **form)
    assert contents(old) == there


def test_a_split_to_which_unshuffled_videos_are_added_is_not_shuffled(old: Path) -> None:
    with DatasetWriter(old, append=True, **OPTIONS) as writer:
        writer.write_split("train", LaterVideos("train"))
        assert writer.finish().split("train").shuffled is None


def test_keys_that_are_there_already_are_refused(old: Path, first: Path) -> None:
    with (
        pytest.raises(BadVideosError, match=r"^key 'val-0003' comes twice"),
        DatasetWriter(old, append=True, **OPTIONS) as writer,
    ):
        writer.write_split("more", [MadeVideos("val").video(3), LaterVideos("val").video(4)], dense=True)
    assert contents(old) == contents(first)
    append(old)
    with pytest.raises(BadVideosError, match="6 problems:"):
        append(old)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"segments": 8, "features": {"audio": FeatureSpec((8, 3), "float16")}}, "its segments: 4, not 8"),
        ({"segment_seconds": 0.5}, "its seconds a segment: 1.0, not 0.5"),
        ({"features": {"audio": FEATURES["audio"]}}, r"its features: audio .*frames .*, not audio \(4, 3\) float16$"),
        ({"features": {**FEATURES, "audio": FeatureSpec((4, 3), "float32")}}, "its features: audio .*float32"),
        ({"categories": CategorySet(("Speech", "Cat", "Dog"))}, "the first that differ are 'Car' and 'Cat'"),
        ({"categories": CategorySet(("Speech", "Car"))}, "its categories: 3, not 2$"),
        ({"simulated": {"seed": 1}}, "its simulated world: None, not"),
    ],
)
def test_another_form_is_refused(old: Path, first: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        append(old, **change)
    assert contents(old) == contents(first)
    assert [path.name for path in old.parent.iterdir()] == ["set"]


def test_what_cannot_be_added_to_is_refused(old: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        append(tmp_path / "none")
    with DatasetWriter(old, append=True, **OPTIONS) as writer:
        with pytest.raises(
            DataError, match=r"split 'val' cannot be added to: it has dense labels, and what is added has"
        ):
            writer.write_split("val", LaterVideos("train"))
        with pytest.raises(DataError, match=r"split 'train' cannot be added to: it has no dense labels"):
            writer.write_split("train", LaterVideos("val"), dense=True)
        present = np.zeros((6, 2, len(CATEGORIES)), bool)
        writer.write_split("told", LaterVideos("train"))
        writer.write_truth("told", [f"later-train-{number}" for number in range(6)], present)
        assert writer.finish().split("told").truth
    assert (old / "truth" / "told.npz").is_file()
    with (
        DatasetWriter(old, append=True, **OPTIONS) as writer,
        pytest.raises(DataError, match=r"split 'told' cannot be added to: truth/told.npz tells"),
    ):
        writer.write_split("told", MadeVideos("train"))


def interrupted(out: Path, at: int) -> None:
    def stop(number: int) -> None:
        if number == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        append(out, stop)


def test_stopped_it_leaves_the_old_set_and_goes_on(old: Path, first: Path, longer: dict[str, bytes]) -> None:
    interrupted(old, 5)
    assert contents(old) == contents(first)
    read: list[int] = []
    append(old, read.append)
    assert read == [4, 5, *range(6)]
    assert contents(old) == longer


@pytest.mark.parametrize("moved", [0, 1, 2, 3])
def test_a_kill_while_it_appears_leaves_the_old_set_whole(
    old: Path, first: Path, longer: dict[str, bytes], moved: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After so many shards have been moved to their places."""
    done: list[Path] = []

    def rename(source: Path, target: Path) -> None:
        if len(done) == moved:
            os._exit(9)
        done.append(target)
        real(source, target)

    def manifest(path: Path, manifest: Manifest) -> None:
        os._exit(9)

    real = os.rename
    child = os.fork()
    if child == 0:
        monkeypatch.setattr(destination.os, "rename", rename)
        monkeypatch.setattr(destination, "write_manifest", manifest)
        append(old)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert contents(first).items() <= contents(old).items()
    assert len(contents(old)) == len(contents(first)) + moved
    assert read_manifest(old).digest == read_manifest(first).digest
    read: list[int] = []
    append(old, read.append)
    assert read == []
    assert contents(old) == longer


def test_a_kill_after_it_has_appeared_leaves_nothing_to_go_on_with(
    old: Path, longer: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    child = os.fork()
    if child == 0:
        monkeypatch.setattr(DatasetWriter, "__exit__", lambda *arguments: os._exit(9))
        append(old)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert contents(old) == longer
    with pytest.raises(BadVideosError, match="key 'later-train-0' comes twice"):
        append(old)
    assert contents(old) == longer
