"""Caches that several users share: of shards, and of decoded splits. What is there needs nothing to be written."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest

from jomold_dist.data.format.damage import DamagedError
from jomold_dist.data.format.manifest import Manifest, ShardInfo
from jomold_dist.data.reading.cache import ShardCache
from jomold_dist.data.reading.resident import ResidentSplit
from jomold_dist.errors import DataError
from tests.other_user import as_nobody, common_folder, needs_root
from tests.shard_fixtures import write_dataset

BYTES = 1000


def shard(number: int) -> ShardInfo:
    digest = hashlib.sha256(content(number)).hexdigest()
    return ShardInfo(f"train/shard-{number:06d}.tar", 1, BYTES, digest, np.zeros(1, np.int32))


def content(number: int) -> bytes:
    return bytes([number]) * BYTES


SHARDS = [shard(number) for number in range(4)]


def fetch(info: ShardInfo, target: BinaryIO, closing: threading.Event | None) -> None:
    target.write(content(SHARDS.index(info)))


def not_fetched(info: ShardInfo, target: BinaryIO, closing: threading.Event | None) -> None:
    raise AssertionError(f"{info.name} was fetched")


def cache(folder: Path, fetch: Callable[[ShardInfo, BinaryIO, threading.Event | None], None] = fetch) -> ShardCache:
    return ShardCache(folder / "shards", 10 * BYTES, True, fetch)


def take(folder: Path, *numbers: int, most: int = 10 * BYTES) -> None:
    """Opens shards, which are fetched where they are not there."""
    place = ShardCache(folder / "shards", most, True, fetch)
    for number in numbers:
        with os.fdopen(place.open(SHARDS[number]), "rb") as file:
            assert file.read() == content(number)


def path(folder: Path, number: int) -> Path:
    return folder / "shards" / f"{SHARDS[number].sha256}.tar"


def state(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    return {
        str(p): (p.stat().st_mode, p.stat().st_uid, p.read_bytes() if p.is_file() else b"")
        for p in sorted(folder.rglob("*"))
    }


@pytest.fixture
def common() -> Iterator[Path]:
    with common_folder() as folder:
        yield folder


@needs_root
def test_a_cache_that_another_user_has_filled_is_used_without_writing(common: Path) -> None:
    take(common, 0, 1, 2)
    before = state(common)

    def use() -> None:
        cache(common).check(SHARDS[:3])
        place = cache(common, not_fetched)
        for number in range(3):
            os.close(place.open(SHARDS[number]))

    as_nobody(use)
    assert state(common) == before


@needs_root
def test_what_a_cache_lacks_that_may_only_be_read_is_told(common: Path) -> None:
    take(common, 0, 1)
    with pytest.raises(
        DataError,
        match=r"cache .*/shards cannot be used: .*/shards: Permission denied, and it lacks 2 of 4 shards; make",
    ):
        as_nobody(lambda: cache(common).check(SHARDS))
    with pytest.raises(DataError, match=r"cache .* cannot be used: .*/\.lock-..: Permission denied; make it"):
        as_nobody(lambda: take(common, 2))


@needs_root
def test_lock_files_of_another_user_do_not_stand_in_the_way(common: Path) -> None:
    """They are 0644, in a folder that everybody may write."""
    take(common, 0)
    (common / "shards").chmod(0o777)
    path(common, 0).unlink()
    locks = [lock for lock in (common / "shards").iterdir() if lock.name.startswith(".lock")]
    assert {lock.stat().st_mode & 0o777 for lock in locks} == {0o644}
    as_nobody(lambda: take(common, 0, 1))
    assert path(common, 0).stat().st_uid != 0
    take(common, 0, 1, 2)


@needs_root
def test_where_everybody_may_remove_their_own_files_only(common: Path) -> None:
    take(common, 0, 1, 2)
    (common / "shards").chmod(0o1777)
    with pytest.raises(DataError, match=r"\.tar: is needed no more and cannot be removed \(Operation not permitted\)"):
        as_nobody(lambda: take(common, 3, most=3 * BYTES))
    assert all(path(common, number).exists() for number in range(3))
    assert not [p for p in (common / "shards").iterdir() if p.name.count(".") > 1 and "lock" not in p.name]
    as_nobody(lambda: take(common, 3, most=4 * BYTES))


@needs_root
def test_a_shard_that_another_user_keeps_to_himself_is_named(common: Path) -> None:
    take(common, 0)
    (common / "shards").chmod(0o777)
    path(common, 0).chmod(0o600)
    before = state(common)
    with pytest.raises(DataError, match=rf"cannot be used: {path(common, 0)}: Permission denied; make it readable"):
        as_nobody(lambda: take(common, 0))
    assert state(common) == before


@needs_root
def test_a_damaged_shard_that_may_not_be_removed_is_called_damaged(common: Path) -> None:
    take(common, 0)
    path(common, 0).write_bytes(b"?" * BYTES)
    with pytest.raises(DataError, match=r"\.lock-..: Permission denied|\.tar: is damaged and cannot be removed"):
        as_nobody(lambda: take(common, 0))
    take(common, 0)


def test_a_shard_of_the_right_digest_is_not_removed_for_what_a_manifest_says(tmp_path: Path) -> None:
    """Another set's manifest may give the same digest another size."""
    take(tmp_path, 0)
    other = ShardInfo("x.tar", 1, BYTES + 512, SHARDS[0].sha256, np.zeros(1, np.int32))
    with pytest.raises(DamagedError, match=f"says that shard x.tar has {BYTES + 512} bytes, but what has its SHA-256"):
        cache(tmp_path, not_fetched).open(other)
    os.close(cache(tmp_path, not_fetched).open(SHARDS[0]))


def test_room_is_made_of_shards_only(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    mine = [tmp_path / "shards" / name for name in ("backup.tar", ".tar", f"{'a' * 64}.tar.gz", f"{'A' * 64}.tar")]
    for file in mine:
        file.write_bytes(b"x" * 5 * BYTES)
    take(tmp_path, 0, 1, 2, most=2 * BYTES)
    assert [path(tmp_path, number).exists() for number in range(3)] == [False, True, True]
    assert all(file.exists() for file in mine)


def test_a_link_in_the_place_of_a_shard_that_arrives_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    (tmp_path / "thesis.tex").write_text("kept")
    aside = f".{SHARDS[0].sha256}.{SHARDS[0].bytes}.{os.getpid()}{threading.get_ident()}"
    (tmp_path / "shards" / aside).symlink_to(tmp_path / "thesis.tex")
    take(tmp_path, 0)
    assert (tmp_path / "thesis.tex").read_text() == "kept"


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES])
def test_a_shard_that_cannot_be_read_stays(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take(tmp_path, 0)

    def refuse(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr("jomold_dist.data.reading.cache.hashlib.file_digest", refuse)
        with pytest.raises(DataError, match=rf"cannot be used: {path(tmp_path, 0)}: {os.strerror(number)}"):
            cache(tmp_path, not_fetched).open(SHARDS[0])
    os.close(cache(tmp_path, not_fetched).open(SHARDS[0]))


@pytest.fixture
def resident(common: Path) -> tuple[Path, Manifest]:
    manifest, _ = write_dataset(common / "set", {"val": 9})
    return common / "set", manifest


def keys(folder: Path, manifest: Manifest, kept: Path | None = None) -> list[bytes]:
    split = ResidentSplit(folder, manifest, "val", kept)
    found: list[bytes] = split.gather("keys", np.arange(9)).tolist()
    split.close()
    return found


@needs_root
def test_a_decoded_split_of_another_user_is_used_without_writing(resident: tuple[Path, Manifest]) -> None:
    mine = keys(*resident)
    before = state(resident[0])
    assert as_nobody(lambda: keys(*resident)) == mine
    assert state(resident[0]) == before


@needs_root
def test_a_split_is_decoded_beside_the_lock_of_another_user(resident: tuple[Path, Manifest], common: Path) -> None:
    folder, manifest = resident
    keys(folder, manifest, common / "kept")
    (place,) = (p for p in (common / "kept").iterdir() if p.is_dir())
    for file in place.iterdir():
        file.unlink()
    place.rmdir()
    (common / "kept").chmod(0o777)
    assert as_nobody(lambda: keys(folder, manifest, common / "kept")) == keys(folder, manifest, common / "kept")
    assert place.stat().st_uid != 0


@needs_root
def test_a_decoded_split_that_cannot_be_seen_is_neither_removed_nor_made_again(
    resident: tuple[Path, Manifest], common: Path
) -> None:
    folder, manifest = resident
    keys(folder, manifest, common / "kept")
    (place,) = (p for p in (common / "kept").iterdir() if p.is_dir())
    (common / "kept").chmod(0o777)
    for closed in (place, place / "rows.bin", place / "bad.csv"):
        mode = closed.stat().st_mode
        closed.chmod(0o700 if closed is place else 0o600)
        before = state(common)
        with pytest.raises(DataError, match=r"cannot read what is kept of split 'val': .*: Permission denied; make it"):
            as_nobody(lambda: keys(folder, manifest, common / "kept"))
        assert state(common) == before
        closed.chmod(mode)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_a_decoded_split_on_a_disk_that_fails_stays(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, _ = write_dataset(tmp_path / "set", {"val": 9})
    mine, stat = keys(tmp_path / "set", manifest), Path.stat

    def refuse(self: Path, **options: bool) -> os.stat_result:
        if self.suffix == ".bin":
            raise OSError(number, os.strerror(number), str(self))
        return stat(self, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "stat", refuse)
        with pytest.raises(DataError, match=rf"cannot read what is kept of split 'val': .*: {os.strerror(number)}"):
            keys(tmp_path / "set", manifest)
        patched.setattr(ResidentSplit, "_decode", not_fetched)
    assert keys(tmp_path / "set", manifest) == mine
