"""The resident mode: the same batches bit for bit, one build shared by many, and clear errors."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jomold_dist.data.reading.loader import Batch, Loader
from jomold_dist.data.reading.resident import LAYOUT, ResidentSplit
from jomold_dist.data.reading.source import read_manifest
from jomold_dist.errors import DataError
from tests.shard_fixtures import assert_same_batch, write_dataset


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "set", {"train": 20, "val": 33})
    return tmp_path / "set"


def batches(folder: Path, split: str = "val", **changes: Any) -> list[Batch]:
    options: dict[str, Any] = {
        "batch_size": 10, "rank": 0, "world": 1, "seed": 5, "streams": 4, "block": 3, "threads": 2
    }  # fmt: skip
    with Loader(folder, read_manifest(folder), split, **(options | changes)) as loader:
        return list(loader.epoch(1))


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize(("world", "shuffle"), [(1, True), (2, True), (1, False), (3, False)])
def test_the_same_batches_as_from_the_shards(folder: Path, split: str, world: int, shuffle: bool) -> None:
    for rank in range(world):
        streamed = batches(folder, split, rank=rank, world=world, shuffle=shuffle)
        resident = batches(folder, split, rank=rank, world=world, shuffle=shuffle, resident=True)
        for mine, theirs in zip(resident, streamed, strict=True):
            assert_same_batch(mine, theirs)


def test_it_is_built_once_beside_the_shards_and_then_needs_them_no_more(folder: Path) -> None:
    built = batches(folder, resident=True)
    manifest = read_manifest(folder)
    place = folder / ".resident" / f"{manifest.digest[:16]}-v{LAYOUT}-val"
    assert sorted(path.name for path in place.iterdir()) == [
        "bad.csv",
        "dense.bin",
        "keys.bin",
        "labels.bin",
        "made.json",
        "rows.bin",
    ]
    assert sorted(path.name for path in place.parent.iterdir()) == [place.name, f"{place.name}.lock"]
    shutil.rmtree(folder / "val")
    for mine, theirs in zip(batches(folder, resident=True), built, strict=True):
        assert_same_batch(mine, theirs)


def test_a_cache_folder_of_the_user_s(folder: Path, tmp_path: Path) -> None:
    batches(folder, resident=True, cache=tmp_path / "fast" / "disk")
    assert not (folder / ".resident").exists()
    assert len(list((tmp_path / "fast" / "disk").iterdir())) == 2


def test_an_incomplete_cache_is_made_again(folder: Path) -> None:
    streamed = batches(folder)
    batches(folder, resident=True)
    place = next((folder / ".resident").glob("*-val"))
    leftover = place.with_name(f"{place.name}.partial")  # of a process that was killed
    leftover.mkdir()
    (leftover / "rows.bin").write_bytes(b"half")
    os.truncate(place / "rows.bin", 100)
    for mine, theirs in zip(batches(folder, resident=True), streamed, strict=True):
        assert_same_batch(mine, theirs)
    assert not leftover.exists()


@pytest.mark.parametrize("damage", ["rows.bin", "bad.csv", "no made.json", "torn made.json"])
def test_what_was_changed_since_is_made_again(damage: str, folder: Path) -> None:
    streamed = batches(folder)
    batches(folder, resident=True)
    place = next((folder / ".resident").glob("*-val"))
    os.utime(place, (0, 0))  # of the folder, which says nothing
    if "made" in damage:
        for path in place.iterdir():
            os.utime(path, (2e9, 2e9))
        (place / "made.json").write_text("{") if "torn" in damage else (place / "made.json").unlink()
    else:
        with (place / damage).open("r+b") as file:
            file.write(b"\xff" * 20)
        os.utime(place / damage, (2e9, 2e9))  # a test cannot wait until the clock shows it
    for mine, theirs in zip(batches(folder, resident=True), streamed, strict=True):
        assert_same_batch(mine, theirs)
    inode = place.stat().st_ino
    batches(folder, resident=True)
    assert place.stat().st_ino == inode  # once


def test_another_manifest_has_another_cache(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    batches(folder, resident=True, cache=cache)
    write_dataset(tmp_path / "other", {"train": 20, "val": 34})
    other = batches(tmp_path / "other", resident=True, cache=cache)
    assert sum(len(batch.keys) for batch in other) == 34
    assert len(list(cache.glob("*-val"))) == 2


def build(folder: Path, decoded: list[int], barrier: Any) -> None:
    decode = ResidentSplit._decode

    def counted(self: ResidentSplit, *places: Path) -> None:
        decoded.append(1)
        decode(self, *places)

    ResidentSplit._decode = counted  # type: ignore[method-assign]
    try:
        barrier.wait(30)
        split = ResidentSplit(folder, read_manifest(folder), "val")
        assert split.gather("keys", np.arange(33))[32].startswith(b"val-")
    finally:
        ResidentSplit._decode = decode  # type: ignore[method-assign]


def test_many_processes_share_one_build(folder: Path) -> None:
    context = multiprocessing.get_context("fork")  # no thread of ours runs here, and spawning would import torch anew
    with context.Manager() as manager:
        decoded, barrier = manager.list(), manager.Barrier(4)
        processes = [context.Process(target=build, args=(folder, decoded, barrier)) for _ in range(4)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(60)
        assert [process.exitcode for process in processes] == [0] * 4
        assert len(decoded) == 1


def test_threads_wait_for_the_build_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    decode = ResidentSplit._decode
    monkeypatch.setattr(ResidentSplit, "_decode", lambda self, *places: (decoded.append(1), decode(self, *places)))
    threads = [
        threading.Thread(target=lambda: ResidentSplit(folder, read_manifest(folder), "val").close()) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert decoded == [1]


def unwritable(folder: Path) -> Path:
    (folder / "file").write_text("not a folder")
    return folder / "file"


def under_a_file(folder: Path) -> Path:
    return unwritable(folder) / "deeper"


@pytest.mark.parametrize("make", [unwritable, under_a_file])
def test_a_cache_that_cannot_be_written(folder: Path, make: Callable[[Path], Path]) -> None:
    with pytest.raises(DataError, match=r"(?s)cannot keep split 'val' resident in .*file.*data\.cache"):
        batches(folder, resident=True, cache=make(folder))


def test_a_full_disk_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("jomold_dist.data.reading.resident.os.fsync", full)
    with pytest.raises(DataError, match=r"No space left on device; .*data\.cache"):
        batches(folder, resident=True)
    assert [path.name for path in (folder / ".resident").iterdir() if path.suffix != ".lock"] == []


def test_an_altered_shard_stops_the_build(folder: Path) -> None:
    shard = next((folder / "val").glob("*.tar"))
    content = bytearray(shard.read_bytes())
    content[600] ^= 1  # in the first .npy header
    shard.write_bytes(content)
    with pytest.raises(DataError, match="is altered: video 0"):
        batches(folder, resident=True)
    assert not list((folder / ".resident").glob("*-val"))
