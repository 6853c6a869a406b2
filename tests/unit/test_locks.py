"""File locks: who holds them, what happens where there are none, and that everything that locks says so alike."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jomold_dist import locks
from jomold_dist.config import Config
from jomold_dist.data.packing.workplace import beside
from jomold_dist.data.reading.cache import ShardCache
from jomold_dist.data.reading.resident import ResidentSplit
from jomold_dist.data.reading.source import read_manifest
from jomold_dist.errors import UserError
from jomold_dist.locks import LockHeldError, NoLocksError, acquire, is_free, locked
from jomold_dist.tracking.store import ready
from jomold_dist.training.run_folder import RunFolder
from jomold_dist.tuning.sweep import _claimed
from tests.other_user import as_nobody, common_folder, needs_root
from tests.shard_fixtures import write_dataset

ME = f"process {os.getpid()} on "


def hold(path: Path, patience: float = 0) -> str:
    """Who holds a lock; nothing if it can be had."""
    try:
        with locked(path, patience):
            return ""
    except LockHeldError as holder:
        return str(holder)


def test_one_at_a_time_and_the_others_are_told_who(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "lock"
    with locked(path):
        assert hold(path).startswith(ME)
        assert not is_free(path)
    assert hold(path) == ""
    assert is_free(path)
    with pytest.raises(FileNotFoundError):
        is_free(tmp_path / "none")


def test_a_lock_is_waited_for(tmp_path: Path) -> None:
    path, order = tmp_path / "lock", []

    def wait() -> None:
        with locked(path):
            order.append("second")

    with locked(path):
        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.2)
        order.append("first")
    thread.join(20)
    assert order == ["first", "second"]


def test_who_waits_may_give_up(tmp_path: Path) -> None:
    class EnoughError(Exception):
        pass

    def wait(seconds: float) -> None:
        raise EnoughError

    with locked(tmp_path / "lock"), pytest.raises(EnoughError), locked(tmp_path / "lock", wait=wait):
        pass


def test_a_lock_that_its_holder_removed_is_not_taken_for_the_next(tmp_path: Path) -> None:
    path, held = tmp_path / "place" / "lock", threading.Event()

    def wait() -> None:
        with locked(path):
            assert path.exists()
            held.set()

    file = acquire(path)
    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.2)
    path.unlink()
    path.parent.rmdir()
    os.close(file)
    assert held.wait(20)
    thread.join()


def test_a_link_in_the_place_of_a_lock_is_not_followed(tmp_path: Path) -> None:
    """In a folder that others may write."""
    (tmp_path / "mine").write_text("kept")
    (tmp_path / "lock").symlink_to("mine")
    with pytest.raises(OSError, match="symbolic links"), locked(tmp_path / "lock"):
        pass
    assert (tmp_path / "mine").read_text() == "kept"


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o000, 0o666), (0o077, 0o600)])
def test_the_mode_of_a_lock_is_that_of_the_umask(umask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        with locked(tmp_path / "lock"):
            assert (tmp_path / "lock").stat().st_mode & 0o777 == mode
    finally:
        os.umask(before)


@needs_root
def test_another_user_can_lock_what_only_its_owner_may_write() -> None:
    with common_folder() as folder:
        path = folder / "lock"
        assert hold(path) == ""
        assert path.stat().st_mode & 0o777 == 0o644
        assert as_nobody(lambda: hold(path)) == ""
        with locked(path):
            assert as_nobody(lambda: hold(path)).startswith(ME)
        path.chmod(0o600)
        with pytest.raises(PermissionError) as error:
            as_nobody(lambda: hold(path))
        assert error.value.filename == str(path)
        with pytest.raises(PermissionError) as error:
            as_nobody(lambda: hold(folder / "another"))
        assert error.value.filename == str(folder / "another")


def test_a_network_file_system_that_locks_only_what_may_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, errno.EBADF)
    with pytest.raises(PermissionError) as error, locked(tmp_path / "lock"):
        pass
    assert error.value.filename == str(tmp_path / "lock")


def refuse(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def flock(file: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
@pytest.mark.parametrize("there", ["", "a", "a/b/lock"])
def test_where_there_are_no_locks_nothing_stays(
    number: int, there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if there.endswith("lock"):
        (tmp_path / there).parent.mkdir(parents=True)
        (tmp_path / there).touch()
    elif there:
        (tmp_path / there).mkdir()
    before = sorted(tmp_path.rglob("*"))
    refuse(monkeypatch, number)
    with (
        pytest.raises(NoLocksError, match=rf"no file locks \(flock: {os.strerror(number)}\)"),
        locked(tmp_path / "a" / "b" / "lock"),
    ):
        pass
    assert sorted(tmp_path.rglob("*")) == before


def claim_run(place: Path, shards: Path) -> None:
    with RunFolder(place / "runs" / "one").claimed(Config(), "digest"):
        pass


def claim_sweep(place: Path, shards: Path) -> None:
    with _claimed(place / "sweep", place / "trials"):
        pass


def begin_packing(place: Path, shards: Path) -> None:
    beside(place / "data" / "set")


def fetch(place: Path, shards: Path) -> None:
    cache = ShardCache(place / "cache" / "shards", 1 << 30, True, lambda *arguments: None)
    cache.open(read_manifest(shards).split("val").shards[0])


def decode(place: Path, shards: Path) -> None:
    ResidentSplit(shards, read_manifest(shards), "val", place / "cache")


USERS: dict[str, tuple[Callable[[Path, Path], None], str]] = {
    "run": (claim_run, "run.dir .*runs/one cannot be used: "),
    "sweep": (claim_sweep, "sweep.dir .*sweep cannot be used: "),
    "packing": (begin_packing, "cannot write beside .*set, where a data set is packed before it appears: "),
    "cache": (fetch, "the cache .*shards cannot be used: "),
    "resident": (decode, "cannot keep split 'val' resident in .*cache: "),
}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("locks") / "set"
    write_dataset(folder, {"val": 3})
    return folder


@pytest.mark.parametrize("user", USERS)
def test_everything_that_locks_says_that_locks_are_missing(
    user: str, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, errno.ENOSYS)
    action, start = USERS[user]
    said = (
        r"this file system has no file locks \(flock: Function not implemented\); choose a folder on one that has them"
    )
    with pytest.raises(UserError, match=f"^{start}.*{said}"):
        action(tmp_path, shards)
    assert list(tmp_path.iterdir()) == []


def test_a_store_of_mlflow_says_so_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its caller warns, and training goes on."""
    refuse(monkeypatch, errno.ENOLCK)
    with pytest.raises(OSError, match="no file locks"), ready(tmp_path / "store" / "mlflow.db", lambda uri: None):
        pass
    assert list(tmp_path.iterdir()) == []


def test_nothing_else_locks_files() -> None:
    package = Path(locks.__file__).parent
    assert [path.name for path in package.rglob("*.py") if "fcntl" in path.read_text(encoding="utf-8")] == ["locks.py"]
