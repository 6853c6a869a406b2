"""Data sets packed straight to where fsspec can write: what is there in the end, and what becomes of what fails."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from jomold_dist.data.packing import workers
from jomold_dist.data.packing.dataset_writer import DatasetWriter
from jomold_dist.data.packing.shard_writer import BadVideosError
from jomold_dist.data.packing.splits import SplitSource
from jomold_dist.data.reading import remote
from jomold_dist.errors import ConfigError, DataError
from tests.packing_videos import CATEGORIES, FEATURES, SEGMENTS, MadeVideos, contents, pack, sources
from tests.servers import bucket

pytestmark = pytest.mark.lengthy

URL = "memory://place/set"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed") / "set"
    pack(folder, sources())
    return contents(folder)


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty memory, and short pauses between attempts."""
    monkeypatch.setattr(remote, "FIRST_PAUSE", 0.001)
    MemoryFileSystem.store.clear()
    yield
    MemoryFileSystem.store.clear()


def sent(url: str = URL) -> dict[str, bytes]:
    system, path = fsspec.core.url_to_fs(url, skip_instance_cache=True)
    names = system.find(path)
    return {name[len(path) :].lstrip("/"): system.cat_file(name) for name in names}


def test_the_bytes_at_a_url_are_those_of_a_folder_and_nothing_stays_here(
    tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    manifest = pack(URL, sources(), work=tmp_path / "work")
    assert sent() == undisturbed
    assert manifest.splits.keys() == {"train", "val"}
    assert contents(tmp_path / "work") == {}


def test_the_work_is_in_the_cache_unless_it_is_said_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(BadVideosError):
        pack(URL, [SplitSource("train", MadeVideos("train", bad=(40,)))])
    assert [path.name for path in (tmp_path / "cache" / "jomold_dist" / "packing").glob("*/journal.jsonl")] == [
        "journal.jsonl"
    ]


def test_a_bucket_takes_shards_of_several_processes_and_more_later(
    tmp_path: Path, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr(workers, "PAYS_SECONDS", 0.0)
    options: dict[str, Any] = {"work": tmp_path / "work"}
    with bucket(tmp_path / "empty", monkeypatch) as url:
        pack(url, sources(), jobs=2, **options)
        assert sent(url) == undisturbed
        with pytest.raises(DataError, match=rf"{url}/manifest.json is there already"):
            pack(url, sources(), **options)
        more = MadeVideos("train", keys={number: f"later-{number}" for number in range(41)})
        more.numbers = np.arange(5)
        manifest = pack(url, [SplitSource("train", more)], append=True, **options)
        assert manifest.split("train").videos == 46
        there = sent(url)
        assert {name: there[name] for name in undisturbed if name.endswith(".tar")} == {
            name: content for name, content in undisturbed.items() if name.endswith(".tar")
        }
        with pytest.raises(BadVideosError, match="key 'train-0001' comes twice"):
            pack(url, [SplitSource("more", MadeVideos("train"))], append=True, **options)
        with pytest.raises(DataError, match=r"s3://nowhere/set cannot be written .*; make the bucket first"):
            pack("s3://nowhere/set", sources(), **options)


class Stopping(MadeVideos):
    """Until a video is asked for; it notes which were."""

    def __init__(self, split: str, at: int | None = None) -> None:
        super().__init__(split)
        self.at, self.read = at, []  # type: ignore[var-annotated]

    def video(self, number: int) -> Any:
        if number == self.at:
            raise KeyboardInterrupt
        self.read.append(number)
        return super().video(number)


def stop_and_go_on(work: Path) -> list[int]:
    """What is read of train when a packing goes on that was stopped at its fourth shard."""
    with pytest.raises(KeyboardInterrupt):
        pack(URL, [SplitSource("train", Stopping("train", at=14))], work=work)
    again = Stopping("train")
    pack(URL, [SplitSource("train", again), sources()[1]], work=work)
    return again.read


def test_what_was_sent_is_gone_on_with(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    assert stop_and_go_on(tmp_path / "work") == list(range(12, 41))
    assert sent().keys() == undisturbed.keys()
    assert {n: c for n, c in sent().items() if n.endswith(".tar")} == {
        n: c for n, c in undisturbed.items() if n.endswith(".tar")
    }


def test_what_was_sent_and_is_not_what_it_was_is_sent_again(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    with pytest.raises(KeyboardInterrupt):
        pack(URL, [SplitSource("train", Stopping("train", at=14))], work=tmp_path / "work")
    system = fsspec.filesystem("memory")
    system.rm_file("/place/set/train/shard-000000.tar")
    system.pipe_file("/place/set/train/shard-000002.tar", b"cut")
    again = Stopping("train")
    pack(URL, [SplitSource("train", again), sources()[1]], work=tmp_path / "work")
    assert again.read == [*range(4), *range(8, 41)]
    assert sent()["train/shard-000002.tar"] == undisturbed["train/shard-000002.tar"]


def test_keys_of_what_was_sent_are_known_after_a_stop(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        pack(URL, [SplitSource("train", Stopping("train", at=14))], work=tmp_path / "work")
    with pytest.raises(BadVideosError, match="key 'train-0005' comes twice"):
        pack(
            URL,
            [
                SplitSource("train", MadeVideos("train")),
                SplitSource("val", MadeVideos("val", keys={2: "train-0005"}), True),
            ],
            work=tmp_path / "work",
        )


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception, times: int) -> list[str]:
    """Makes the first transfers fail, half done; the names of all that were tried."""
    tried: list[str] = []

    def put_file(self: MemoryFileSystem, source: str, target: str, **options: Any) -> None:
        tried.append(target.rpartition("/")[2])
        if len(tried) <= times:
            self.pipe_file(target, Path(source).read_bytes()[:100])
            raise error
        real(self, source, target, **options)

    real = MemoryFileSystem.put_file
    monkeypatch.setattr(MemoryFileSystem, "put_file", put_file)
    return tried


def test_a_transfer_that_fails_is_tried_again(
    tmp_path: Path, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = failing(monkeypatch, OSError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)), 3)
    pack(URL, sources(), work=tmp_path / "work")
    assert tried[:5] == ["shard-000000.tar"] * 4 + ["shard-000001.tar"]
    assert tried[-1] == "manifest.json"
    assert sent() == undisturbed


def test_a_transfer_that_arrives_cut_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        MemoryFileSystem, "put_file", lambda self, source, target, **options: self.pipe_file(target, b"cut")
    )
    with pytest.raises(
        DataError, match=r"could not be written in 6 attempts, lastly: 3 of \d+ bytes have arrived; check"
    ):
        pack(URL, sources(), work=tmp_path / "work")


def test_a_server_that_refuses_or_stays_away_is_one_message_and_work_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = failing(monkeypatch, PermissionError("Access Denied"), 10**6)
    with pytest.raises(DataError, match=r"^memory://.*: access was refused \(Access Denied\); check the credentials$"):
        pack(URL, sources(), work=tmp_path / "work")
    assert len(tried) == 1
    assert "manifest.json" not in sent()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://example.org/set", "--out = 'https://example.org/set': a web server is only read"),
        ("s3://me:secret@bucket/set", r"--out = 's3://…' must not hold a name, password or signature"),
        ("s3://", "names no place"),
    ],
)
def test_urls_that_cannot_be_written_are_refused(url: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        DatasetWriter(url, name="x", categories=CATEGORIES, segments=SEGMENTS, features=FEATURES, work=tmp_path)
    assert list(tmp_path.iterdir()) == []
