"""What cannot be read may be good: it is an error that says so, and nothing is removed or written anew for it."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jomold_dist.commands import verify as tool
from jomold_dist.data.checking import shard
from jomold_dist.data.checking.data_set import verify_data_set
from jomold_dist.data.checking.shard import Problem
from jomold_dist.data.format.damage import DamagedError
from jomold_dist.data.packing.dataset_writer import DatasetWriter
from jomold_dist.data.packing.repair import repair_shards
from jomold_dist.data.packing.shard_writer import Video
from jomold_dist.data.packing.splits import SplitSource
from jomold_dist.data.packing.workplace import beside
from jomold_dist.data.reading.resident import ResidentSplit
from jomold_dist.data.reading.shards import ShardReader
from jomold_dist.data.reading.source import Folder, read_manifest
from jomold_dist.errors import DataError
from tests.other_user import NOBODY, as_nobody, common_folder, needs_root
from tests.shard_fixtures import CATEGORIES, FEATURES, SEGMENTS, make_videos, records_of, shard_problems, write_dataset

FAILURES = [errno.EIO, errno.ESTALE, errno.EACCES]


@pytest.fixture
def common() -> Iterator[Path]:
    with common_folder(0o777) as folder:
        yield folder


@pytest.fixture
def place(common: Path) -> Path:
    """A data set that others may write."""
    write_dataset(common / "set", {"train": 17})
    open_to_all(common)
    return common / "set"


def open_to_all(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)


def give(folder: Path, user: int) -> None:
    """To another user, for instance that of `as_nobody`."""
    for path in (folder, *folder.rglob("*")):
        os.chown(path, user, user)


def contents(folder: Path) -> dict[str, bytes]:
    """All files but the lock, which says who has held it last."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def refuse(number: int) -> Callable[..., Any]:
    def call(*arguments: object, **options: object) -> None:
        raise OSError(number, os.strerror(number))

    return call


# reading


@needs_root
def test_a_manifest_that_may_not_be_read(place: Path) -> None:
    for closed in (place / "manifest.json", place, place.parent):
        mode = closed.stat().st_mode
        closed.chmod(0)
        with pytest.raises(DataError, match=rf"cannot read {place}/manifest.json: Permission denied; make it readable"):
            as_nobody(lambda: read_manifest(place))
        closed.chmod(mode)


@needs_root
def test_a_shard_that_may_not_be_read_is_not_damaged(place: Path) -> None:
    """Also under mask, which would leave out its videos."""
    manifest = read_manifest(place)
    shard = place / manifest.split("train").shards[1].name
    shard.chmod(0)

    def read(mask: bool) -> None:
        with ShardReader(place, manifest, "train", mask=mask) as reader:
            records_of(reader, 1, 0, 7)

    for mask in (False, True):
        with pytest.raises(
            DataError, match=rf"cannot read shard {shard}: Permission denied; make it readable"
        ) as error:
            as_nobody(lambda mask=mask: read(mask))
        assert not isinstance(error.value, DamagedError)
        assert "pack" not in str(error.value)


@pytest.mark.parametrize("number", FAILURES)
def test_a_disk_that_gives_nothing(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest, _ = write_dataset(tmp_path, {"train": 7})
    said = rf"cannot read shard {tmp_path}/train/shard-000000.tar: {os.strerror(number)}; .*the disk or the file system"
    with monkeypatch.context() as patched, ShardReader(tmp_path, manifest, "train", mask=True) as reader:
        patched.setattr(os, "preadv", refuse(number))
        with pytest.raises(DataError, match=said):
            records_of(reader, 0, 0, 7)
    monkeypatch.setattr(shard, "_hash_rest", refuse(number))
    (problem,) = shard_problems(tmp_path, manifest)
    told = f"shard {tmp_path}/train/shard-000000.tar: cannot be read ({os.strerror(number)}); make it readable"
    assert problem.startswith(told)


# checking


@needs_root
def test_the_tool_tells_unreadable_from_damaged(place: Path, common: Path) -> None:
    (place / "train" / "shard-000001.tar").chmod(0)
    (place / "more").mkdir(mode=0)
    os.truncate(place / "train" / "shard-000002.tar", 100)
    result = as_nobody(lambda: verify_data_set(Folder(place), read_manifest(place), "digest", jobs=1))
    assert result.splits["train"]["damaged_shards"] == 1
    assert result.splits["train"]["unreadable_shards"] == 1
    assert Problem("cannot be read (Permission denied)", "train", "train/shard-000001.tar") in result.problems
    assert Problem(f"the folder {place}/more cannot be read (Permission denied)") in result.problems
    (place / "more").rmdir()
    report = common / "report.json"
    assert as_nobody(lambda: tool.main([str(place), "--jobs", "1", "--report", str(report)])) == 2
    assert json.loads(report.read_text())["splits"]["train"]["unreadable_shards"] == 1


def test_the_tool_takes_the_url_of_a_folder(tmp_path: Path) -> None:
    write_dataset(tmp_path / "set", {"train": 3})
    assert tool.main([f"file://{tmp_path}/set"]) == 0


# repairing


@needs_root
def test_a_shard_that_may_not_be_read_is_not_written_anew(place: Path) -> None:
    split = SplitSource("train", make_videos(17, prefix="train"), max_labels=5)
    unread, gone = (place / "train" / f"shard-00000{number}.tar" for number in (0, 1))
    before = contents(place)
    owner = unread.stat().st_uid
    unread.chmod(0)
    gone.unlink()

    def repair() -> object:
        return repair_shards(
            place, [split], categories=CATEGORIES, segments=SEGMENTS, features=FEATURES, videos_per_shard=7
        )

    with pytest.raises(DataError, match=f"^cannot read {unread}, which may be sound: Permission denied; [^\n]*$"):
        as_nobody(repair)
    assert contents(place) == before  # the missing one was restored
    assert unread.stat().st_uid == owner


# packing


def pack(out: Path, videos: int = 12) -> None:
    """Packs as far as so many videos go, and then to the end if those are all."""

    class Source:
        def __len__(self) -> int:
            return 12

        def __getitem__(self, part: slice) -> Iterator[Video]:
            if part.stop > videos:
                raise KeyboardInterrupt
            return iter(make_videos(12)[part])

    with DatasetWriter(
        out, name="x", categories=CATEGORIES, segments=SEGMENTS, features=FEATURES, videos_per_shard=4, recipe={"a": 1}
    ) as writer:
        writer.write_split("train", Source(), max_labels=5, dense=False)
        writer.finish()


@pytest.fixture
def begun(common: Path) -> Path:
    """What a packer has left that was stopped after two of three shards."""
    with pytest.raises(KeyboardInterrupt):
        pack(common / "set", videos=8)
    return common / ".set.partial"


@needs_root
@pytest.mark.parametrize("closed", ["journal.jsonl", "set/train/shard-000000.tar", "set/train", "set", "lock", "."])
def test_finished_shards_that_may_not_be_read_stay(closed: str, begun: Path) -> None:
    before = contents(begun)
    give(begun, NOBODY)
    (begun / closed).chmod(0)
    with pytest.raises(DataError, match=rf"{begun / closed}.*: Permission denied; "):
        as_nobody(lambda: pack(begun.parent / "set"))
    (begun / closed).chmod(0o700)
    assert contents(begun) == before
    give(begun, os.geteuid())
    pack(begun.parent / "set")
    assert len(list((begun.parent / "set").rglob("*.tar"))) == 3


@needs_root
def test_a_single_finished_shard_that_may_not_be_read_stays(common: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        pack(common / "set", videos=4)
    give(common / ".set.partial", NOBODY)
    shard = common / ".set.partial" / "set" / "train" / "shard-000000.tar"
    shard.chmod(0)
    with pytest.raises(DataError, match=rf"cannot read {shard}, which may be sound: Permission denied"):
        as_nobody(lambda: pack(common / "set"))
    assert shard.exists()


@pytest.mark.parametrize("number", FAILURES)
def test_a_journal_on_a_disk_that_gives_nothing(number: int, begun: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(begun)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", refuse(number))
        with pytest.raises(DataError, match=rf"cannot read .*: {os.strerror(number)}; make it readable"):
            pack(begun.parent / "set")
    assert contents(begun) == before


def test_a_damaged_line_of_the_journal_costs_its_own_shard_only(begun: Path) -> None:
    journal = begun / "journal.jsonl"
    head, first, second = journal.read_bytes().splitlines()
    journal.write_bytes(b"\n".join([head, first[:30] + b"\xff" + first[31:], second, b""]))
    workplace = beside(begun.parent / "set")
    recipe = json.loads(head)["recipe"]
    assert workplace.begin(recipe) == "going on after 1 shard that an earlier start has finished"
    assert list(workplace.finished) == ["train/shard-000001.tar"]
    workplace.close(keep=True)


def test_links_in_the_place_of_a_workplace_are_not_followed(tmp_path: Path) -> None:
    """In a folder that others may write: what lies behind would be taken for leftovers."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("kept")
    (tmp_path / ".set.partial").mkdir()
    (tmp_path / ".set.partial" / "set").symlink_to(tmp_path / "mine")
    with pytest.raises(
        DataError, match=r"\.set\.partial/set is a link, and a data set is packed in a folder of its own"
    ):
        pack(tmp_path / "set")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "kept"
    (tmp_path / "lock").symlink_to(tmp_path / "mine" / "notes.txt")
    (tmp_path / ".set.partial" / "set").unlink()
    (tmp_path / "lock").rename(tmp_path / ".set.partial" / "lock")
    with pytest.raises(DataError, match=r"\.set\.partial/lock: Too many levels of symbolic links"):
        pack(tmp_path / "set")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "kept"


def test_a_damaged_list_of_bad_videos_is_one_message(tmp_path: Path) -> None:
    manifest, _ = write_dataset(tmp_path / "set", {"train": 3})
    ResidentSplit(tmp_path / "set", manifest, "train").close()
    (listed,) = tmp_path.rglob("bad.csv")
    for content in (
        b"",
        b"\xff",
        b"a,b\n",
        b"split,shard,number,key,problem\n" + b"x" * 200_000,
        listed.read_bytes() + b"1,2\n",
    ):
        listed.write_bytes(content)
        with pytest.raises(DataError, match=rf"{listed} is damaged \(.*\); remove that folder"):
            ResidentSplit(tmp_path / "set", manifest, "train")
