"""Shards from a URL: the same batches as from a folder, whatever the network does; a cache that keeps its bounds."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from jomold_dist.config import DataConfig
from jomold_dist.config_fields import Tree
from jomold_dist.data.checking.start_check import problems_of_shards
from jomold_dist.data.format.damage import DamagedError
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.data.reading import remote
from jomold_dist.data.reading.loader import Batch, Loader
from jomold_dist.data.reading.plan import EpochPlan
from jomold_dist.data.reading.remote import ClosedError
from jomold_dist.data.reading.shards import ShardReader
from jomold_dist.data.reading.source import Source, Url, read_manifest, source_of
from jomold_dist.errors import ConfigError, DataError
from tests.servers import ShardServer, bucket, serving
from tests.shard_fixtures import assert_same_batch, records_of, write_dataset

pytestmark = pytest.mark.lengthy

SIZES = {"train": 101, "val": 23}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("remote") / "set"
    write_dataset(place, SIZES)
    return place


@pytest.fixture(scope="module")
def manifest(folder: Path) -> Manifest:
    return read_manifest(folder)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "FIRST_PAUSE", 0.01)


@pytest.fixture
def data(tmp_path: Path) -> DataConfig:
    return DataConfig(cache=str(tmp_path / "cache"), attempts=8, prefetch_shards=2)


def at(data: DataConfig, url: str, **changes: object) -> Source:
    return source_of(dataclasses.replace(data, shards=url, **changes))  # type: ignore[arg-type]


def load(source: Source | Path, manifest: Manifest, split: str = "train", **changes: object) -> Loader:
    options: dict[str, object] = {
        "batch_size": 24, "rank": 0, "world": 1, "seed": 5, "streams": 12, "block": 4, "threads": 2, "prefetch": 2
    }  # fmt: skip
    return Loader(source, manifest, split, **(options | changes))  # type: ignore[arg-type]


def batches(source: Source | Path, manifest: Manifest, split: str = "train", **changes: object) -> list[Batch]:
    with load(source, manifest, split, **changes) as loader:
        return list(loader.epoch(0))


def assert_same(some: list[Batch], others: list[Batch]) -> None:
    for one, other in zip(some, others, strict=True):
        assert_same_batch(one, other)


def cached(data: DataConfig) -> list[Path]:
    return sorted(Path(str(data.cache), "shards").glob("*.tar"))


def test_an_epoch_over_a_bad_network_is_that_of_the_folder(folder: Path, manifest: Manifest, data: DataConfig) -> None:
    """5 % of the transfers are dropped, 2 % altered: every video once, bit for bit as from the folder."""
    with serving(folder, drop=0.05, corrupt=0.02, busy=0.05, seed=3) as server:
        for number in range(4):  # caches that are empty, so that many transfers meet something
            source = at(data, server.url, cache=f"{data.cache}{number}")
            assert read_manifest(source).digest == manifest.digest
            for changes in ({}, {"shuffle": False}, {"rank": 1, "world": 3}):
                assert_same(batches(source, manifest, **changes), batches(folder, manifest, **changes))
            assert_same(batches(source, manifest, "val"), batches(folder, manifest, "val"))
        assert set(server.mishaps) == {"drop", "corrupt", "busy"}
        shards = [name for name in server.gets if name.endswith(".tar")]
        assert len(shards) == sum(len(split.shards) for split in manifest.splits.values())


def test_a_bucket_gives_what_the_folder_gives(
    folder: Path, manifest: Manifest, data: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with bucket(folder, monkeypatch) as url:
        source = at(data, url)
        assert read_manifest(source).digest == manifest.digest
        assert_same(batches(source, manifest), batches(folder, manifest))
        with pytest.raises(DataError, match=r"s3://shards/none/manifest.json does not exist"):
            read_manifest(at(data, "s3://shards/none", attempts=2))
        with pytest.raises(DataError, match=r"does not exist"):
            read_manifest(at(data, "s3://no-such-bucket/set", attempts=2))


def test_the_resident_file_of_a_remote_set_is_in_the_cache(folder: Path, manifest: Manifest, data: DataConfig) -> None:
    with serving(folder) as server:
        source = at(data, server.url)
        assert_same(batches(source, manifest, resident=True), batches(folder, manifest))
    assert [path.name for path in Path(str(data.cache)).iterdir()].count(".resident") == 1
    assert_same(batches(source, manifest, resident=True), batches(folder, manifest))  # without the server


def test_what_is_cached_needs_no_server_and_is_compared_with_its_digest(
    folder: Path, manifest: Manifest, data: DataConfig
) -> None:
    with serving(folder) as server:
        source = at(data, server.url)
        batches(source, manifest)
        server.folder = folder / "nowhere"
        assert_same(batches(source, manifest), batches(folder, manifest))
    assert [path.stem for path in cached(data)] == sorted(s.sha256 for s in manifest.split("train").shards)
    spoiled, cut = cached(data)[:2]
    spoiled.write_bytes(spoiled.read_bytes()[:-1] + b"?")
    os.truncate(cut, 100)
    source_of.cache_clear()  # another process
    with serving(folder / "nowhere") as server, pytest.raises(DataError, match="does not exist"):
        batches(at(data, server.url), manifest)
    source_of.cache_clear()
    with serving(folder) as server:
        assert_same(batches(at(data, server.url), manifest), batches(folder, manifest))
        assert sum(server.gets.values()) == 2


def test_the_bound_is_kept_and_the_least_recently_used_go_first(
    folder: Path, manifest: Manifest, data: DataConfig
) -> None:
    shards = manifest.split("train").shards
    room = 3 * shards[0].bytes / 1e9
    with serving(folder) as server:
        source = at(data, server.url, cache_gigabytes=room)
        for number in (0, 1, 2, 0, 3):
            os.close(source.open(shards[number], threading.Event()))
            time.sleep(0.01)
        assert {path.stem for path in cached(data)} == {shards[n].sha256 for n in (0, 2, 3)}
        assert_same(batches(source, manifest), batches(folder, manifest))
        assert sum(path.stat().st_size for path in cached(data)) <= 1e9 * room
        with pytest.raises(DataError, match=r"data.cache_gigabytes = .* is less than shard"):
            at(data, server.url, cache_gigabytes=room / 4, cache=f"{data.cache}2").open(shards[0], threading.Event())


def test_equal_shards_of_two_sets_are_fetched_once_and_others_do_not_collide(tmp_path: Path, data: DataConfig) -> None:
    """Both sets have a train/shard-000000.tar."""
    one, _ = write_dataset(tmp_path / "one" / "set", {"train": 21})
    other, _ = write_dataset(tmp_path / "other" / "set", {"train": 14})
    with serving(tmp_path) as server:
        for name, manifest in (("one", one), ("other", other)):
            source = at(data, f"{server.url}/{name}/set")
            assert_same(batches(source, manifest), batches(tmp_path / name / "set", manifest))


WORKER = """
import sys
from jomold_dist.config import DataConfig
from jomold_dist.data.reading.loader import Loader
from jomold_dist.data.reading.source import read_manifest, source_of
url, cache, rank = sys.argv[1:]
source = source_of(DataConfig(shards=url, cache=cache))
options = dict(batch_size=24, seed=5, streams=12, block=4, threads=2, prefetch=2)
with Loader(source, read_manifest(source), "train", rank=int(rank), world=2, **options) as loader:
    print(sum(len(batch.keys) for batch in loader.epoch(0)))
"""


def worker(server: ShardServer, data: DataConfig, rank: int) -> subprocess.Popen[str]:
    root = Path(__file__).resolve().parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, server.url, str(data.cache), str(rank)],
        env=os.environ | {"PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_two_processes_fetch_each_shard_once(folder: Path, data: DataConfig) -> None:
    with serving(folder) as server:
        server.delay = 0.02
        processes = [worker(server, data, rank) for rank in range(2)]
        assert sum(int(process.communicate(timeout=60)[0]) for process in processes) == 101
        shards = {name: count for name, count in server.gets.items() if name.endswith(".tar")}
        assert set(shards.values()) == {1}


def test_a_killed_transfer_leaves_nothing_that_is_taken_for_a_shard(
    folder: Path, manifest: Manifest, data: DataConfig
) -> None:
    shards = Path(str(data.cache), "shards")
    with serving(folder) as server:
        server.delay = 5
        process = worker(server, data, 0)
        deadline = time.monotonic() + 60
        while not list(shards.glob(".*.*.*")) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert list(shards.glob(".*.*.*"))
        assert not cached(data)
        server.delay = 0
        assert_same(batches(at(data, server.url), manifest), batches(folder, manifest))
        assert not list(shards.glob(".*.*.*"))


def test_the_next_shards_come_while_the_first_are_read(folder: Path, manifest: Manifest, data: DataConfig) -> None:
    with serving(folder) as server:
        source = at(data, server.url)
        with load(source, manifest, shuffle=False, batch_size=7, threads=1) as loader:
            taken = loader.epoch(0)
            next(taken)
            deadline = time.monotonic() + 20
            while len(server.gets) < 5 and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(0.1)
            # the first batch, two more that are read ahead, and two shards beyond; the next only when more is read
            assert sorted(server.gets) == [f"train/shard-{number:06d}.tar" for number in range(5)]


def read_until_closed(reader: ShardReader) -> None:
    with pytest.raises(ClosedError):
        records_of(reader, 1, 0, 7)


def test_a_shard_that_is_open_can_be_read_while_another_comes(
    folder: Path, manifest: Manifest, data: DataConfig
) -> None:
    with serving(folder) as server, ShardReader(at(data, server.url), manifest, "train") as reader:
        records_of(reader, 0, 0, 7)
        server.delay = 5
        slow = threading.Thread(target=read_until_closed, args=(reader,))
        slow.start()
        time.sleep(0.2)
        started = time.monotonic()
        records_of(reader, 0, 0, 7)
        assert time.monotonic() - started < 2
        reader.stop()
        server.delay = 0
        slow.join(20)


def test_closing_does_not_wait_for_what_another_process_fetches(
    folder: Path, manifest: Manifest, data: DataConfig
) -> None:
    shard, closing, ended = manifest.split("train").shards[0], threading.Event(), threading.Event()

    def wait() -> None:
        with pytest.raises(ClosedError):
            source.open(shard, closing)
        ended.set()

    with serving(folder) as server:
        source = at(data, server.url)
        os.close(source.open(manifest.split("train").shards[1], closing))
        with Path(str(data.cache), "shards", f".lock-{shard.sha256[:2]}").open("a") as theirs:
            fcntl.flock(theirs, fcntl.LOCK_EX)
            thread = threading.Thread(target=wait)
            thread.start()
            assert not ended.wait(0.3)
            closing.set()
            assert ended.wait(5)
            thread.join()


def test_nothing_is_left_when_the_loader_is_closed_in_the_middle_of_a_transfer(
    folder: Path, manifest: Manifest, data: DataConfig
) -> None:
    with serving(folder) as server:
        batches(at(data, server.url, cache=f"{data.cache}0"), manifest)  # starts fsspec's own thread
        source = at(data, server.url)
        time.sleep(0.2)  # until the server's threads have gone
        threads, files = set(threading.enumerate()), len(os.listdir("/proc/self/fd"))
        server.delay = 0.3
        started = time.monotonic()
        with load(source, manifest) as loader:
            loader._begin_prefetching(loader._plan(0), 0)
            loader._prefetcher.reached(0)  # type: ignore[union-attr]
            time.sleep(0.1)
        assert time.monotonic() - started < 5
        mine = [t for t in set(threading.enumerate()) - threads if not t.name.startswith("Thread-")]
        assert not mine
        time.sleep(0.5)
        assert len(os.listdir("/proc/self/fd")) <= files + 2  # the server's side of a connection may linger


def spoiled(folder: Path, place: Path, name: str) -> Path:
    """A copy of the set in which a byte of a video's features in a shard is another."""
    shutil.copytree(folder, place)
    content = bytearray((place / name).read_bytes())
    content[2100] ^= 0x10
    (place / name).write_bytes(content)
    return place


def test_under_mask_a_shard_that_is_altered_at_the_server_is_left_out_and_asked_for_once(
    folder: Path, manifest: Manifest, tmp_path: Path, data: DataConfig
) -> None:
    name = "train/shard-000004.tar"
    with serving(spoiled(folder, tmp_path / "spoiled", name)) as server:
        source = at(data, server.url, attempts=3)
        with load(source, manifest, mask=True) as loader:
            for epoch in range(2):
                left_out = [video for batch in loader.epoch(epoch) for video in batch.bad]
                assert {video.shard for video in left_out} == {name}
                assert len(left_out) == manifest.split("train").shards[4].videos
        assert server.gets[name] == 3
        with pytest.raises(DamagedError, match=r"3 attempts, lastly: its SHA-256"):
            batches(source, manifest)


@pytest.mark.parametrize("resident", [False, True])
@pytest.mark.parametrize("case", ["refused", "gone", "cache", "small"])
def test_mask_is_for_damage_and_for_nothing_else(
    case: str, resident: bool, folder: Path, manifest: Manifest, tmp_path: Path, data: DataConfig
) -> None:
    """What lies between the data and this process ends the run: it would take every video."""
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "shards").write_text("in the way")
    changes, part = {
        "refused": ({}, "access was refused"),
        "gone": ({"attempts": 2}, "could not be read in 2 attempts"),
        "cache": ({"cache": str(blocked)}, "the cache .* cannot be used"),
        "small": ({"cache_gigabytes": 1e-6}, "allow more"),
    }[case]
    with serving(folder) as server:
        server.refused = {"refused": 403, "gone": 500}.get(case)
        source = at(data, server.url, **changes)  # type: ignore[arg-type]
        with pytest.raises(DataError, match=part) as error:
            batches(source, manifest, mask=True, resident=resident, cache=tmp_path / "resident")
    assert not isinstance(error.value, DamagedError)


def test_the_bound_holds_for_shards_that_a_reader_has_open(folder: Path, manifest: Manifest, data: DataConfig) -> None:
    shards = manifest.split("train").shards
    most = 3 * shards[0].bytes
    with serving(folder) as server:
        source = at(data, server.url, cache_gigabytes=most / 1e9)
        with ShardReader(source, manifest, "train") as reader:
            for number in [0, 1, 2, 0, 3, 0, 4, 0, 5, 1]:
                time.sleep(0.01)  # file times are as fine as the kernel's clock
                records_of(reader, number, 0, shards[number].videos)
                held = {os.readlink(f"/proc/self/fd/{file}") for file in reader._files.values()}
                gone = [path for path in held if path.endswith("(deleted)")]
                assert len(gone) * shards[0].bytes + sum(path.stat().st_size for path in cached(data)) <= most
        assert server.gets[shards[0].name] == 1  # the one that is always used stays
        assert server.gets[shards[1].name] == 2


def test_options_of_the_user_leave_ours_beside_them() -> None:
    ours = {"client_kwargs": {"timeout": 60, "region": "a"}, "retries": 1}
    given = {"client_kwargs": {"region": "b"}, "anon": True, "retries": 2}
    assert remote._merged(ours, given) == {
        "client_kwargs": {"timeout": 60, "region": "b"}, "retries": 2, "anon": True
    }  # fmt: skip
    assert remote._merged(ours, {"client_kwargs": None}) == {"client_kwargs": None, "retries": 1}


def test_a_shard_that_no_cache_of_this_size_holds_is_told_beforehand(
    folder: Path, manifest: Manifest, data: DataConfig
) -> None:
    shards = [*manifest.split("val").shards, *manifest.split("train").shards]
    largest = max(shards, key=lambda shard: shard.bytes)
    with serving(folder) as server:
        source = at(data, server.url, cache_gigabytes=(largest.bytes - 1) / 1e9)
        assert isinstance(source, Url)
        (problem,) = problems_of_shards(data, source, manifest, ["val", "train"])
        assert f"less than shard {largest.name} takes" in problem
        server.refused = 403
        assert problems_of_shards(data, source, manifest, ["val", "train"], slice(1, None, 2)) == [problem]
        assert not any(name.endswith(".tar") for name in server.gets)


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.ENOSPC, "free some space"), (errno.EDQUOT, "free some space"), (errno.EROFS, "readable and writable")],
)
@pytest.mark.parametrize("where", ["mkdir", "open"])
def test_what_to_do_about_a_cache_depends_on_what_is_wrong(
    number: int,
    remedy: str,
    where: str,
    folder: Path,
    manifest: Manifest,
    data: DataConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(self: Path, *arguments: object, **named: object) -> None:
        raise OSError(number, os.strerror(number))

    with serving(folder) as server:
        source = at(data, server.url)
        monkeypatch.setattr(Path, where, refuse)
        with pytest.raises(DataError, match=f"the cache .* cannot be used: {os.strerror(number)}; .*{remedy}"):
            source.fetch(manifest.split("train").shards[0], threading.Event())


def test_a_disk_that_gives_no_bytes_leaves_no_file_open(
    folder: Path, manifest: Manifest, data: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = manifest.split("train").shards[0]
    with serving(folder) as server:
        os.close(at(data, server.url).open(shard, threading.Event()))
    source_of.cache_clear()  # another process, which compares what it finds

    def refuse(*arguments: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("jomold_dist.data.reading.cache.hashlib.file_digest", refuse)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(DataError, match=r"the cache .* cannot be used: .*\.tar: Input/output error; check the disk"):
        at(data, server.url).open(shard, threading.Event())
    assert os.listdir("/proc/self/fd") == before


def test_options_that_the_storage_does_not_know(data: DataConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "none")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "none")
    with pytest.raises(ConfigError, match=r"cannot be used with the options in data.storage: .*nosuch"):
        read_manifest(at(data, "s3://shards/set", storage=Tree(config_kwargs=Tree(nosuch=1))))


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("nosuch://somewhere/set", "Protocol not known: nosuch"),
        ("http://", "names no place behind the scheme"),
        ("http://user:secret@127.0.0.1/set", "must not hold a name, password or signature"),
        ("https://127.0.0.1/set?X-Amz-Signature=secret", "must not hold a name, password or signature"),
        ("gs://bucket/set", r"install jomold_dist\[gs\]"),
    ],
)
def test_a_url_that_cannot_be_used(url: str, part: str, data: DataConfig) -> None:
    with pytest.raises(ConfigError, match=part) as error:
        at(data, url)
    assert "secret" not in str(error.value)


def test_a_server_that_refuses_is_not_asked_again(folder: Path, data: DataConfig) -> None:
    with serving(folder) as server:
        server.refused = 403
        started = time.monotonic()
        with pytest.raises(DataError, match=r"manifest.json: access was refused \(HTTP 403.*check the credentials"):
            read_manifest(at(data, server.url))
        assert time.monotonic() - started < 5
        server.refused = None
        with pytest.raises(DataError, match=r"/nowhere/manifest.json does not exist"):
            read_manifest(at(data, f"{server.url}/nowhere"))


def test_a_server_that_is_not_there(data: DataConfig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with pytest.raises(DataError, match=r"could not be read in 3 attempts, lastly: .*check the network"):
        read_manifest(at(data, "http://127.0.0.1:9/set", attempts=3))
    assert [record.getMessage().split("; ")[-1] for record in caplog.records] == ["attempt 1 of 3", "attempt 2 of 3"]


def test_a_manifest_that_was_altered_on_its_way(folder: Path, tmp_path: Path, data: DataConfig) -> None:
    (tmp_path / "set").mkdir()
    text = (folder / "manifest.json").read_text()
    (tmp_path / "set" / "manifest.json").write_text(text.replace('"videos": 7', '"videos": 5', 1))
    with serving(tmp_path / "set") as server, pytest.raises(DataError, match=r"damaged"):
        read_manifest(at(data, server.url))
    (tmp_path / "set" / "manifest.json").write_text(text.replace('"Speech"', '"Spoech"', 1))
    with serving(tmp_path / "set") as server:
        with pytest.raises(DataError, match=r"damaged \(its digest is not that of its content"):
            read_manifest(at(data, server.url))
        assert server.gets["manifest.json"] == 3  # it was read again


def test_a_manifest_of_other_shards(folder: Path, tmp_path: Path, data: DataConfig) -> None:
    """The digests tell, when a shard comes."""
    other, _ = write_dataset(tmp_path / "other", {"train": 101}, dtype="float32")
    with serving(folder) as server, pytest.raises(DataError, match=r"shard-0000\d\d.tar could not be read in 2"):
        batches(at(data, server.url, attempts=2), other)


@pytest.fixture
def _full_disk() -> Iterator[None]:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("_full_disk")
def test_a_cache_that_is_full(folder: Path, manifest: Manifest, data: DataConfig) -> None:
    with (
        serving(folder) as server,
        pytest.raises(DataError, match=r"cannot be used: File too large; free"),
    ):
        batches(at(data, server.url), manifest)
    assert not list(Path(str(data.cache), "shards").glob("[!.]*"))


def test_a_cache_that_cannot_be_made(folder: Path, manifest: Manifest, tmp_path: Path, data: DataConfig) -> None:
    (tmp_path / "file").touch()
    with (
        serving(folder) as server,
        pytest.raises(DataError, match=r"cannot be used: .*/file.*: Not a directory.*set data.cache"),
    ):
        batches(at(data, server.url, cache=str(tmp_path / "file" / "cache")), manifest)


@pytest.mark.parametrize("world", [1, 2, 12])
def test_shards_by_need(world: int) -> None:
    """Each shard stands at the first position whose block holds a video of it, as reading shows."""
    sizes = np.array([7, 7, 1, 30, 7, 7, 2, 7, 25, 7])
    plan = EpochPlan(sizes, 12, 4, 5, 1)
    for rank in range(world):
        for start in (0, 1, 37, 99, 100):
            first: dict[tuple[int, int], int] = {}  # (stream, shard) -> position
            for position in range(start + (rank - start) % world, plan.videos, world):
                stream, number, _ = plan.blocks(np.array([position]))
                block = plan.read_block(int(stream[0]), int(number[0]))
                for shard, row, count in block.runs:
                    assert count > 0
                    assert row >= 0
                    first.setdefault((int(stream[0]), shard), position)
            needs, order = plan.shards_by_need(rank, world, start)
            assert (np.diff(needs) >= 0).all()
            wanted = sorted((position, shard) for (_, shard), position in first.items())
            assert sorted(zip(needs.tolist(), order.tolist(), strict=True)) == wanted


def test_a_source_is_one_for_the_process(data: DataConfig) -> None:
    assert at(data, "http://127.0.0.1:9/set") is at(data, "http://127.0.0.1:9/set")
    assert isinstance(at(data, "http://127.0.0.1:9/set"), Url)
    assert str(at(data, "file:///somewhere/set")) == "/somewhere/set"
