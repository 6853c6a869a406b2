"""The loader: every video once, the same batches for every number of ranks and threads, and a clean end."""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jomold_dist.data.format.damage import BadVideo
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.data.packing.shard_writer import Video
from jomold_dist.data.reading import blocks as positions
from jomold_dist.data.reading.loader import Batch, Loader
from jomold_dist.data.reading.plan import EpochPlan
from jomold_dist.data.reading.shards import ShardReader
from jomold_dist.data.reading.shares import rank_positions, steps_per_epoch
from jomold_dist.errors import ConfigError, DataError
from tests.shard_fixtures import CATEGORIES, FEATURES, assert_same_batch, write_dataset

STREAMS = 12
SIZES = {"train": 101, "val": 23}
Data = tuple[Path, Manifest, dict[str, list[Video]]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    folder = tmp_path_factory.mktemp("loader") / "set"
    return folder, *write_dataset(folder, SIZES)


def load(data: Data, split: str = "train", **changes: Any) -> Loader:
    options: dict[str, Any] = {
        "batch_size": 24, "rank": 0, "world": 1, "seed": 5, "streams": STREAMS, "block": 4, "threads": 2
    }  # fmt: skip
    return Loader(data[0], data[1], split, **(options | changes))


def batches(data: Data, split: str = "train", epoch: int = 0, start_step: int = 0, **changes: Any) -> list[Batch]:
    with load(data, split, **changes) as loader:
        return list(loader.epoch(epoch, start_step))


def assert_holds(batch: Batch, videos: list[Video]) -> None:
    """Every tensor of the batch is that of the videos its `index` names."""
    chosen = [videos[i] for i in batch.index.tolist()]
    size = len(chosen)
    assert batch.keys == tuple(video.key for video in chosen)
    assert batch.labels.shape == (size, len(CATEGORIES))
    for row, video in zip(batch.labels, chosen, strict=True):
        assert tuple(torch.nonzero(row).flatten().tolist()) == video.labels
    for name in FEATURES:
        assert len(batch.features[name]) == size
        for row, video in zip(batch.features[name], chosen, strict=True):
            np.testing.assert_array_equal(row.numpy(), video.features[name])
    if batch.dense is not None:
        for row, video in zip(batch.dense, chosen, strict=True):
            np.testing.assert_array_equal(row.numpy(), video.dense)


@pytest.mark.parametrize("resident", [False, True])
@pytest.mark.parametrize("world", [1, 2, 3, 4, 12])
def test_every_video_once_and_the_same_batches_for_every_world(data: Data, world: int, resident: bool) -> None:
    _, manifest, videos = data
    whole = batches(data, epoch=1)
    shares = [batches(data, epoch=1, rank=rank, world=world, threads=3, resident=resident) for rank in range(world)]
    assert {len(share) for share in shares} == {len(whole)} == {steps_per_epoch(101, 24)}
    plan = EpochPlan(manifest.splits["train"].shard_sizes, STREAMS, 4, 5, 1)
    for step, expected in enumerate(whole):
        parts = [share[step] for share in shares]
        position = torch.cat([part.position for part in parts])
        order = position.argsort()
        assert position[order].tolist() == expected.position.tolist() == list(range(expected.total))
        assert torch.cat([part.index for part in parts])[order].tolist() == expected.index.tolist()
        for rank, part in enumerate(parts):
            positions = rank_positions(step, 24, 101, rank, world)
            assert (part.position + step * 24).tolist() == positions.tolist()
            shard, row = plan.locate(positions)
            assert part.index.tolist() == (shard * 7 + row).tolist()  # 7 videos a shard
            assert part.total == expected.total == min(24, 101 - step * 24)
            assert_holds(part, videos["train"])
    assert sorted(i for batch in whole for i in batch.index.tolist()) == list(range(101))


@pytest.mark.parametrize(("world", "totals"), [(1, [10, 10, 3]), (2, [10, 10, 3]), (5, [10, 10, 3]), (7, [14, 9])])
@pytest.mark.parametrize("resident", [False, True])
def test_evaluation_takes_slices_of_the_manifest_order(
    data: Data, world: int, totals: list[int], resident: bool
) -> None:
    shares = [
        batches(data, "val", rank=rank, world=world, batch_size=10, shuffle=False, resident=resident)
        for rank in range(world)
    ]
    assert [i for share in shares for batch in share for i in batch.index.tolist()] == list(range(23))
    for step, parts in enumerate(zip(*shares, strict=True)):
        assert [place for batch in parts for place in batch.position.tolist()] == list(range(totals[step]))
        for batch in parts:
            assert batch.total == totals[step]
            assert batch.dense is not None
            assert_holds(batch, data[2]["val"])


def test_videos_are_taken_by_their_numbers(data: Data) -> None:
    index = np.array([22, 0, 7, 7])
    with load(data, "val", shuffle=False) as loader:
        batch = loader.take(index)
    assert batch.index.tolist() == index.tolist()
    assert (batch.position.tolist(), batch.total) == ([0, 1, 2, 3], 4)
    assert_holds(batch, data[2]["val"])


@pytest.mark.parametrize("resident", [False, True])
def test_a_rank_without_videos_gets_an_empty_batch(data: Data, resident: bool) -> None:
    last = batches(data, "val", rank=11, world=12, batch_size=16, resident=resident)[-1]
    assert (len(last.keys), last.total) == (0, 7)
    assert last.features["frames"].shape == (0, 4, 7)
    assert last.features["frames"].dtype == torch.float16
    assert last.labels.shape == (0, 5)
    assert last.position.dtype == last.index.dtype == torch.int64
    assert last.dense is not None
    assert last.dense.shape == (0, 2, 5, 4)


def test_batches_do_not_depend_on_threads(data: Data) -> None:
    one = batches(data, threads=1)
    for threads in (2, 5):
        for mine, theirs in zip(one, batches(data, threads=threads), strict=True):
            assert_same_batch(mine, theirs)


@pytest.mark.parametrize(("world", "shuffle"), [(1, True), (2, True), (1, False)])
def test_resuming_at_any_step_gives_the_rest(data: Data, world: int, shuffle: bool) -> None:
    whole = batches(data, rank=world - 1, world=world, shuffle=shuffle)
    for start in range(len(whole) + 1):
        rest = batches(data, start_step=start, rank=world - 1, world=world, shuffle=shuffle)
        for mine, theirs in zip(rest, whole[start:], strict=True):
            assert_same_batch(mine, theirs)


def test_epochs_and_seeds_differ_and_repeat(data: Data) -> None:
    orders = [
        tuple(i for batch in batches(data, epoch=epoch, seed=seed) for i in batch.index.tolist())
        for epoch, seed in ((0, 0), (1, 0), (0, 1), (0, 0))
    ]
    assert len(set(orders)) == 3
    assert orders[0] == orders[3]


@pytest.mark.parametrize(("dtype", "frames"), [("float32", 4), ("float16", 32)])
def test_other_dtypes_and_unpooled_frames(tmp_path: Path, dtype: str, frames: int) -> None:
    folder = tmp_path / "set"
    manifest, videos = write_dataset(folder, {"train": 20}, dtype=dtype, frames=frames)
    for resident in (False, True):
        for batch in batches((folder, manifest, videos), resident=resident):
            assert batch.features["frames"].shape[1:] == (frames, 7)
            assert batch.features["frames"].dtype == getattr(torch, dtype)
            assert_holds(batch, videos["train"])


def test_each_record_is_read_once_and_by_blocks(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[tuple[int, int, int]] = []
    read_into = ShardReader.read_into

    def counted(self: ShardReader, shard: int, first: int, records: np.ndarray) -> dict[int, BadVideo]:
        reads.append((shard, first, len(records)))
        return read_into(self, shard, first, records)

    monkeypatch.setattr(ShardReader, "read_into", counted)
    for rank in range(2):
        batches(data, rank=rank, world=2)
    rows = [(shard, first + i) for shard, first, count in reads for i in range(count)]
    assert len(rows) == len(set(rows)) == 101
    # a stream of 8 or 9 videos takes up to 4 blocks of at most 4 videos; the 14 cuts between shards add a read each
    assert len(reads) <= STREAMS * 4 + 14


def test_blocks_are_given_back_when_they_are_used_up(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[weakref.ref[np.ndarray]] = []
    read = positions.read_runs

    def counted(*arguments: Any) -> positions.Piece:
        piece = read(*arguments)
        held.append(weakref.ref(piece.records))
        return piece

    monkeypatch.setattr(positions, "read_runs", counted)
    with load(data, block=2) as loader:
        taken = loader.epoch(0)
        for _ in range(loader.steps):
            next(taken)
        gc.collect()
        assert len(held) > 4 * STREAMS
        assert sum(records() is not None for records in held) < STREAMS


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("resident", [False, True])
def test_stopping_early_leaves_no_threads_and_no_files(data: Data, resident: bool) -> None:
    batches(data, resident=resident)  # whatever opens once for good
    files, threads = open_files(), threading.active_count()
    with load(data, threads=3, resident=resident) as loader:
        batches_of = loader.epoch(0)
        next(batches_of)
        assert any(thread.name.startswith("loader-train") for thread in threading.enumerate())
    assert threading.active_count() == threads
    del batches_of
    assert open_files() == files
    with pytest.raises(KeyboardInterrupt), load(data) as loader:
        stop(loader.epoch(0))
    assert (threading.active_count(), open_files()) == (threads, files)


def stop(taken: Iterator[Batch]) -> None:
    for _ in taken:
        raise KeyboardInterrupt


def test_a_new_epoch_after_an_abandoned_one(data: Data) -> None:
    with load(data) as loader:
        next(iter(loader.epoch(0)))
        for mine, theirs in zip(loader.epoch(0), batches(data), strict=True):
            assert_same_batch(mine, theirs)


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_thread_s_error_reaches_the_consumer(tmp_path: Path, shuffle: bool) -> None:
    folder = tmp_path / "set"
    manifest, videos = write_dataset(folder, {"train": 60})
    path = folder / manifest.splits["train"].shards[4].name
    os.truncate(path, path.stat().st_size - 1)
    threads = threading.active_count()
    with load((folder, manifest, videos), shuffle=shuffle) as loader:
        with pytest.raises(DataError, match=r"shard-000004\.tar is truncated"):
            list(loader.epoch(0))
        with pytest.raises(DataError, match=r"shard-000004\.tar is truncated"):
            list(loader.epoch(1))
    assert threading.active_count() == threads
    path.unlink()
    with pytest.raises(DataError, match=r"shard-000004\.tar is missing"):
        batches((folder, manifest, videos), shuffle=shuffle)


def test_a_world_that_does_not_divide_the_streams(data: Data) -> None:
    with pytest.raises(ConfigError, match="1, 2, 3, 4, 6, 12 ranks"):
        load(data, world=5)


def test_waiting_is_counted(data: Data) -> None:
    with load(data) as loader:
        assert loader.wait_seconds == 0.0
        list(loader.epoch(0))
        assert loader.wait_seconds > 0.0


Damage = dict[tuple[str, int], str]  # shard and number of a video -> what is told of it


@pytest.fixture
def damaged(tmp_path: Path) -> tuple[Data, Damage]:
    """A set of which some videos are damaged in every way, and one whole shard is missing, another one cut."""
    folder = tmp_path / "set"
    manifest, videos = write_dataset(folder, SIZES)
    record = manifest.splits["train"].record
    audio, labels = record.members["audio.npy"].offset, record.members["labels.json"].offset
    nan = np.array(np.nan, dtype=np.float16).tobytes()
    edits = {  # shard, number, offset in the record, bytes
        (0, 3): (0, b"another-name", "headers are not what"),
        (1, 0): (audio + 4, b"\xff", "do not have its checksum"),
        (2, 6): (audio, nan, "do not have its checksum"),
        (5, 1): (labels, b"?", "do not have its checksum"),
        (5, 2): (audio - 128, b"?", "headers are not what"),
    }
    told: Damage = {}
    for (shard, number), (offset, content, what) in edits.items():
        name = f"train/shard-{shard:06d}.tar"
        with (folder / name).open("r+b") as file:
            file.seek(number * record.bytes + offset)
            file.write(content)
        told[name, number] = what
    (folder / "train/shard-000007.tar").unlink()
    told |= {("train/shard-000007.tar", number): "is missing" for number in range(7)}
    os.truncate(folder / "train/shard-000009.tar", 2 * record.bytes + 100)
    told |= {("train/shard-000009.tar", number): "ends at byte" for number in range(2, 7)}
    return (folder, manifest, videos), told


@pytest.mark.parametrize("resident", [False, True])
@pytest.mark.parametrize("world", [1, 3])
def test_bad_videos_are_left_out_and_named(damaged: tuple[Data, Damage], world: int, resident: bool) -> None:
    """... and all others keep their places; every rank takes the same number of steps."""
    data, told = damaged
    _, manifest, videos = data
    plan = EpochPlan(manifest.splits["train"].shard_sizes, STREAMS, 4, 5, 0)
    shares = [batches(data, rank=r, world=world, resident=resident, mask=True) for r in range(world)]
    assert {len(share) for share in shares} == {steps_per_epoch(101, 24)}
    found = [bad for share in shares for batch in share for bad in batch.bad]
    assert sorted((bad.shard, bad.number) for bad in found) == sorted(told)
    for bad in found:
        assert told[bad.shard, bad.number] in bad.problem
        if "000007" in bad.shard or "000009" in bad.shard:
            assert bad.key == ""  # nothing of it could be read
        else:
            assert bad.key == videos["train"][int(bad.shard[12:18]) * 7 + bad.number].key
    for rank, share in enumerate(shares):
        for step, batch in enumerate(share):
            assert_holds(batch, videos["train"])
            positions = rank_positions(step, 24, 101, rank, world)
            shard, row = plan.locate(positions)
            good = [(f"train/shard-{s:06d}.tar", n) not in told for s, n in zip(shard, row, strict=True)]
            assert (batch.position + step * 24).tolist() == positions[good].tolist()
            assert batch.total == min(24, 101 - step * 24)


def test_bad_videos_in_the_order_of_the_manifest(damaged: tuple[Data, Damage]) -> None:
    data, told = damaged
    share = batches(data, shuffle=False, mask=True)
    assert sum(len(batch.bad) for batch in share) == len(told)
    for batch in share:
        assert_holds(batch, data[2]["train"])


def test_nothing_is_left_out_of_a_good_set(data: Data) -> None:
    for mine, theirs in zip(batches(data, mask=True), batches(data), strict=True):
        assert_same_batch(mine, theirs)
        assert not mine.bad


def test_a_resident_file_that_lacks_videos_is_for_masking_only(damaged: tuple[Data, Damage]) -> None:
    data, told = damaged
    batches(data, resident=True, mask=True)
    with pytest.raises(DataError, match=rf"lacks {len(told)} videos, for instance video 3 of train/shard-000000.tar"):
        batches(data, resident=True)


def test_the_wait_for_batches_includes_their_planning(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    with load(data) as loader:
        times = iter(range(10_000))
        monkeypatch.setattr(time, "perf_counter", lambda: float(next(times)))
        steps = len(list(loader.epoch(0)))
        assert loader.wait_seconds == steps + (steps + 1)  # batches, and looks ahead: one before the first
