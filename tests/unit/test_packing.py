"""Packing that is killed, stopped or refused goes on where it was, and ends with the bytes of an undisturbed run."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import resource
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jomold_dist.data.format.manifest import FeatureSpec, Manifest
from jomold_dist.data.packing.dataset_writer import DatasetWriter
from jomold_dist.data.packing.destination import destination_of
from jomold_dist.data.packing.repair import repair_shards
from jomold_dist.data.packing.shard_writer import BadVideosError, Video
from jomold_dist.data.packing.splits import Origin, SplitSource, Videos
from jomold_dist.data.packing.workplace import beside
from jomold_dist.data.reading.source import read_manifest
from jomold_dist.errors import DataError
from tests.other_user import as_nobody
from tests.shard_fixtures import CATEGORIES, FEATURES, SEGMENTS, make_videos, shard_problems

SIZES = {"train": 31, "val": 9}


class Source:
    """Videos that are made when they are asked for; counts them, and does something before each."""

    def __init__(self, videos: list[Video], before: Callable[[int], object] = lambda number: None) -> None:
        self._videos, self._before = videos, before
        self.read: list[int] = []

    def __len__(self) -> int:
        return len(self._videos)

    def __getitem__(self, part: slice) -> Iterator[Video]:
        for number in range(part.start, part.stop):
            self._before(number)
            self.read.append(number)
            yield self._videos[number]


def videos_of(split: str) -> list[Video]:
    return make_videos(SIZES[split], prefix=split, dense=split == "val")


def pack(
    out: Path,
    sources: dict[str, Source] | None = None,
    recipe: dict[str, Any] | None = None,
    origin: Origin | None = None,
    restart: bool = False,
) -> Manifest:
    """Packs as the tools do: with a recipe, and the bad videos of all splits in one error."""
    problems: list[str] = []
    with DatasetWriter(
        out,
        name="x",
        categories=CATEGORIES,
        segments=SEGMENTS,
        features=FEATURES,
        videos_per_shard=4,
        recipe={"seed": 1} if recipe is None else recipe,
        restart=restart,
    ) as writer:
        for split in SIZES:
            source: Videos = sources[split] if sources else videos_of(split)
            try:
                writer.write_split(split, source, max_labels=5, dense=split == "val", origin=origin)
            except BadVideosError as error:
                problems += error.problems
        if problems:
            raise BadVideosError(*problems)
        return writer.finish()


def sources(before: Callable[[int], object] = lambda number: None) -> dict[str, Source]:
    return {split: Source(videos_of(split), before) for split in SIZES}


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed") / "set"
    pack(folder)
    return contents(folder)


def stop_at(video: int) -> Callable[[int], None]:
    def before(number: int) -> None:
        if number == video:
            raise KeyboardInterrupt

    return before


def interrupt(out: Path, video: int, **options: Any) -> None:
    """Packs until `video` of train is asked for."""
    with pytest.raises(KeyboardInterrupt):
        pack(out, sources(stop_at(video)), **options)


def test_it_goes_on_after_the_finished_shards(
    tmp_path: Path, undisturbed: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    interrupt(tmp_path / "set", 14)
    kept = tmp_path / ".set.partial"
    assert f"finished shards are kept (3 in {kept})" in caplog.text
    assert sorted(p.name for p in kept.rglob("*.tar*")) == [f"shard-00000{i}.tar" for i in range(3)]
    again = sources()
    pack(tmp_path / "set", again)
    assert "going on after 3 shards" in caplog.text
    assert again["train"].read == list(range(12, 31))
    assert contents(tmp_path / "set") == undisturbed
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_full_disk_is_one_message_and_the_finished_shards_stay(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(number: int) -> None:
        if number == 9:
            resource.setrlimit(resource.RLIMIT_FSIZE, (8000, limits[1]))  # as good as a full disk for a shard

    try:
        with pytest.raises(DataError, match=r"cannot write .*shard-000002\.tar: File too large; free some space"):
            pack(tmp_path / "set", sources(fill))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    again = sources()
    pack(tmp_path / "set", again)
    assert again["train"].read == list(range(8, 31))
    assert contents(tmp_path / "set") == undisturbed


def killed(out: Path, seconds: float) -> bool:
    """Packs in a process of its own that is killed after some time; whether it was faster."""
    child = os.fork()
    if child == 0:
        try:
            pack(out, sources(lambda number: time.sleep(0.002)))
        finally:
            os._exit(0 if out.exists() else 1)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_killed_again_and_again_it_ends_with_the_bytes_of_an_undisturbed_run(
    tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    out = tmp_path / "set"
    draw = np.random.default_rng(time.time_ns())
    for _ in range(12):
        if killed(out, float(draw.uniform(0.01, 0.12))) or out.exists():  # perhaps killed right after the rename
            break
        shards = list((tmp_path / ".set.partial").rglob("shard-*.tar"))
        for path in shards:
            assert path.read_bytes() == undisturbed[path.relative_to(tmp_path / ".set.partial" / "set").as_posix()]
    else:
        pack(out)
    assert contents(out) == undisturbed
    assert {path.name for path in tmp_path.iterdir()} <= {"set", ".set.partial"}


def test_what_a_kill_leaves_in_the_middle_of_writing_is_made_again(
    tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    """A cut line of the journal, a shard without a line, a shard that was being written, a stray file."""
    interrupt(tmp_path / "set", 14)
    kept = tmp_path / ".set.partial"
    journal = kept / "journal.jsonl"
    journal.write_text(journal.read_text()[:-20])
    (kept / "set" / "train" / "shard-000003.tar").write_bytes(b"not in the journal")
    (kept / "set" / "train" / ".shard-000004.tar.partial").write_bytes(b"half")
    (kept / "set" / "stray").write_bytes(b"")
    again = sources()
    pack(tmp_path / "set", again)
    assert again["train"].read == list(range(8, 31))
    assert contents(tmp_path / "set") == undisturbed


def test_a_finished_shard_that_was_damaged_since_is_made_again(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    interrupt(tmp_path / "set", 14)
    path = tmp_path / ".set.partial" / "set" / "train" / "shard-000001.tar"
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    again = sources()
    pack(tmp_path / "set", again)
    assert again["train"].read == [4, 5, 6, 7, *range(12, 31)]
    assert contents(tmp_path / "set") == undisturbed


def test_another_recipe_is_refused_and_costs_nothing(
    tmp_path: Path, undisturbed: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    interrupt(tmp_path / "set", 14)
    kept = contents(tmp_path / ".set.partial")
    with pytest.raises(DataError) as error:
        pack(tmp_path / "set", sources(), recipe={"seed": 2, "labels": "b" * 64})
    assert str(error.value) == (
        f"{tmp_path / '.set.partial'} holds 3 shards that an earlier start has finished, and this one cannot go on "
        "after them: labels has changed, seed was 1 and is 2; start as before to go on, or begin anew without "
        "(--restart)"
    )
    with pytest.raises(DataError, match="cannot go on after them: it does not say what decides the content"):
        DatasetWriter(tmp_path / "set", name="x", categories=CATEGORIES, segments=SEGMENTS, features=FEATURES)
    assert contents(tmp_path / ".set.partial") == kept
    again = sources()
    pack(tmp_path / "set", again)
    assert again["train"].read == list(range(12, 31))
    assert contents(tmp_path / "set") == undisturbed


@pytest.mark.parametrize("recipe", [{"seed": 1}, {"seed": 2}])
def test_a_restart_begins_anew(tmp_path: Path, recipe: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    interrupt(tmp_path / "set", 14)
    again = sources()
    pack(tmp_path / "set", again, recipe=recipe, restart=True)
    assert "starting anew, without the 3 shards of an earlier start" in caplog.text
    assert again["train"].read == list(range(31))
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Makes a file one that its disk cannot read any more."""

    def fail(path: Path) -> None:
        def opened(file: Any, *arguments: Any, **options: Any) -> Any:
            if not isinstance(file, int) and Path(file) == path:
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
            return real(file, *arguments, **options)

        real = io.open
        monkeypatch.setattr(io, "open", opened)

    return fail


def test_a_journal_that_cannot_be_read_is_not_taken_for_none(
    tmp_path: Path, undisturbed: dict[str, bytes], fails: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(tmp_path / "set", 14)
    journal = tmp_path / ".set.partial" / "journal.jsonl"
    kept = contents(tmp_path / ".set.partial")
    fails(journal)
    for restart in (False, True):
        with pytest.raises(DataError, match=rf"cannot read {journal}: Input/output error"):
            pack(tmp_path / "set", sources(), restart=restart)
    monkeypatch.undo()
    assert contents(tmp_path / ".set.partial") == kept
    pack(tmp_path / "set")
    assert contents(tmp_path / "set") == undisturbed


@pytest.mark.parametrize("line", [b"", b"{\n", b"{}\n", b"[]\n", b'{"recipe": 3}\n', b"\xff\n"])
def test_a_damaged_journal_is_refused_and_its_shards_stay(
    tmp_path: Path, undisturbed: dict[str, bytes], line: bytes
) -> None:
    interrupt(tmp_path / "set", 14)
    journal = tmp_path / ".set.partial" / "journal.jsonl"
    sound = journal.read_bytes()
    journal.write_bytes(line)
    with pytest.raises(DataError, match=rf"{journal} is damaged \(.*\), so .*begin anew without them \(--restart\)"):
        pack(tmp_path / "set", sources())
    assert len(list((tmp_path / ".set.partial").rglob("*.tar"))) == 3
    journal.write_bytes(sound)
    again = sources()
    pack(tmp_path / "set", again)
    assert again["train"].read == list(range(12, 31))
    interrupt(tmp_path / "other", 14)
    (tmp_path / ".other.partial" / "journal.jsonl").write_bytes(line)
    pack(tmp_path / "other", sources(), restart=True)
    assert contents(tmp_path / "other") == contents(tmp_path / "set") == undisturbed


def test_a_finished_shard_that_cannot_be_read_is_not_made_again(
    tmp_path: Path, undisturbed: dict[str, bytes], fails: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(tmp_path / "set", 14)
    path = tmp_path / ".set.partial" / "set" / "train" / "shard-000001.tar"
    fails(path)
    again = sources()
    with pytest.raises(DataError, match=rf"cannot read {path}, which may be sound: Input/output error"):
        pack(tmp_path / "set", again)
    assert again["train"].read == []
    monkeypatch.undo()
    pack(tmp_path / "set", again)
    assert again["train"].read == list(range(12, 31))
    assert contents(tmp_path / "set") == undisturbed


def test_shards_stay_whose_sources_have_changed_and_cannot_be_had(
    tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    def gone(number: int) -> None:
        raise DataError("the sources are gone")

    interrupt(tmp_path / "set", 14)
    with pytest.raises(BadVideosError, match="the sources are gone"):
        pack(tmp_path / "set", sources(gone), origin=lambda part: "changed")
    again = sources()
    pack(tmp_path / "set", again)
    assert again["train"].read == list(range(12, 31))
    assert contents(tmp_path / "set") == undisturbed


@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_followed_and_stays_a_link(tmp_path: Path, undisturbed: dict[str, bytes], there: bool) -> None:
    """Also while it is packed: the disk that the link leads to is the one with the space."""
    (tmp_path / "big").mkdir()
    target, link = tmp_path / "big" / "llp", tmp_path / "data" / "set"
    link.parent.mkdir()
    link.symlink_to("../big/llp")
    if there:
        target.mkdir()
    interrupt(link, 14)
    assert [path.name for path in link.parent.iterdir()] == ["set"]
    assert (tmp_path / "big" / ".llp.partial").is_dir()
    again = sources()
    pack(link, again)
    assert again["train"].read == list(range(12, 31))
    assert link.is_symlink()
    assert contents(target) == undisturbed
    assert [path.name for path in target.parent.iterdir()] == ["llp"]
    (link / "train" / "shard-000001.tar").unlink()
    assert repair(link, sources()) == ("train/shard-000001.tar",)
    assert contents(target) == undisturbed
    with pytest.raises(DataError, match=r"llp exists and is not an empty folder"):
        pack(link)


def test_links_that_lead_nowhere_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    links = {"loop": "loop", "one": "other", "other": "one", "unmounted": "mnt/big/llp", "folder": "mnt"}
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
    before = sorted(tmp_path.iterdir())
    for out, message in {
        "loop": "the link .*loop leads back to itself; remove it",
        "one": "the link .*one leads back to itself; remove it",
        "loop/set": "the link .*loop leads back to itself; remove it",
        "unmounted": r"the link .*unmounted leads to .*/mnt/big/llp, and there is no folder .*/mnt/big \(is a disk not",
        "folder/set": r"the link .*folder leads to .*/mnt, and there is no folder .*/mnt \(is a disk not mounted\?\)",
    }.items():
        with pytest.raises(DataError, match=message):
            pack(tmp_path / out, sources(stop_at(0)))
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("what", [".set.partial", ".set.partial/set"])
def test_a_link_in_the_place_of_the_workplace_is_not_followed(tmp_path: Path, what: str) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("important")
    (tmp_path / what).parent.mkdir(exist_ok=True)
    (tmp_path / what).symlink_to(tmp_path / "mine")
    with pytest.raises(
        DataError, match=rf"{what} is a link, and a data set is packed in a folder of its own; remove it"
    ):
        pack(tmp_path / "set")
    assert contents(tmp_path / "mine") == {"thesis.tex": b"important"}


@pytest.mark.skipif(not os.path.ismount("/proc"), reason="a mount point is needed")
def test_a_mount_point_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "set").symlink_to("/proc")
    with pytest.raises(DataError, match=rf"{tmp_path / 'set'} is a mount point, .* inside it, such as .*/set/set"):
        pack(tmp_path / "set")
    with pytest.raises(DataError, match=rf"{tmp_path / 'set'} is a mount point, .* are added .* such as .*/set/set"):
        destination_of(tmp_path / "set", append=True, work=None)


def test_the_folder_that_one_is_in(
    tmp_path: Path, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "set").mkdir()
    monkeypatch.chdir(tmp_path / "set")
    pack(Path("."))
    assert contents(tmp_path / "set") == undisturbed


def test_shards_of_changed_sources_are_made_again_and_no_others(
    tmp_path: Path, undisturbed: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    interrupt(tmp_path / "set", 14)
    again = sources()
    pack(tmp_path / "set", again, origin=lambda part: "changed" if part.start == 4 else "")
    assert again["train"].read == [4, 5, 6, 7, *range(12, 31)]
    assert "train/shard-000001.tar is written again: what its videos are made from has changed since" in caplog.text
    assert contents(tmp_path / "set") == undisturbed


def test_bad_videos_of_all_splits_are_named_and_only_their_shards_made_again(
    tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    bad = {split: videos_of(split) for split in SIZES}
    for split, number in (("train", 6), ("train", 7), ("val", 8)):
        bad[split][number].features["audio"][0, 1] = np.nan  # type: ignore[index]
    with pytest.raises(BadVideosError) as caught:
        pack(tmp_path / "set", {split: Source(videos) for split, videos in bad.items()})
    assert len(caught.value.problems) == 3
    for split, number in (("train", 6), ("train", 7), ("val", 8)):
        assert bad[split][number].key in str(caught.value)
    again = sources()
    pack(tmp_path / "set", again)
    assert (again["train"].read, again["val"].read) == ([4, 5, 6, 7], [8])
    assert contents(tmp_path / "set") == undisturbed


def test_keys_stay_unique_over_what_an_earlier_start_has_finished(tmp_path: Path) -> None:
    interrupt(tmp_path / "set", 14)
    twice = sources()
    twice["val"]._videos[2] = make_videos(9, prefix="train", dense=True)[1]
    with pytest.raises(DataError, match=r"key 'train-x000001' comes twice"):
        pack(tmp_path / "set", twice)


def test_after_bad_videos_nothing_can_be_finished(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path / "s", name="x", categories=CATEGORIES, segments=SEGMENTS, features=FEATURES) as writer:
        writer.write_split("train", videos_of("train"), max_labels=5, dense=False)
        with pytest.raises(BadVideosError, match="dense labels in a split without them"):
            writer.write_split("val", videos_of("val"), max_labels=5, dense=False)
        with pytest.raises(DataError, match="all the videos that it was given"):
            writer.finish()
    assert list(tmp_path.iterdir()) == []  # without a recipe there is nothing to go on with


def test_one_packer_at_a_time(tmp_path: Path) -> None:
    workplace = beside(tmp_path / "set")
    with pytest.raises(DataError, match=rf"set is being packed or repaired by process {os.getpid()} on "):
        pack(tmp_path / "set")
    pack(tmp_path / "other")
    workplace.close(keep=False)
    pack(tmp_path / "set")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "set"]


def test_what_a_kill_right_after_the_last_rename_leaves_is_cleared(tmp_path: Path) -> None:
    pack(tmp_path / "set")
    (tmp_path / ".set.partial").mkdir()
    (tmp_path / ".set.partial" / "journal.jsonl").write_text(json.dumps({"recipe": {}}) + "\n")
    with pytest.raises(DataError, match="not an empty folder"):
        pack(tmp_path / "set")
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach, unlike tmp_path."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def refusal(out: Path) -> str:
    try:
        pack(out)
    except DataError as error:
        return str(error)
    return "packed"


def test_folders_without_permission(open_folder: Path) -> None:
    for name, mode in (("parent", 0o555), ("closed", 0o700), ("set", 0o333), ("free", 0o777)):
        (open_folder / name).mkdir()
        (open_folder / name).chmod(mode)
    (open_folder / "closed").chmod(0o000)
    below = as_nobody(lambda: refusal(open_folder / "parent" / "set"))
    assert below.startswith(f"cannot write beside {open_folder / 'parent' / 'set'}, where a data set is packed before")
    assert "Permission denied" in below
    assert len(below.splitlines()) == 1
    closed = as_nobody(lambda: refusal(open_folder / "closed" / "set"))
    assert closed.startswith(f"cannot write beside {open_folder / 'closed' / 'set'}")
    assert as_nobody(lambda: refusal(open_folder / "free" / "set")) == "packed"
    open_folder.chmod(0o777)
    unknown = as_nobody(lambda: refusal(open_folder / "set"))
    assert unknown == f"cannot read {open_folder / 'set'}: Permission denied; choose another folder"
    assert {path.name for path in open_folder.iterdir()} == {"parent", "closed", "set", "free"}


def repair(folder: Path, sources: dict[str, Source], **changes: Any) -> tuple[str, ...]:
    splits = [SplitSource(split, source, split == "val", 5) for split, source in sources.items()]
    options: dict[str, Any] = {
        "categories": CATEGORIES,
        "segments": SEGMENTS,
        "features": FEATURES,
        "videos_per_shard": 4,
        **changes,
    }
    return repair_shards(folder, splits, **options).rewritten


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """A set with an altered, a truncated and a missing shard."""
    folder = tmp_path / "set"
    pack(folder)
    altered, cut, gone = (folder / "train" / f"shard-00000{i}.tar" for i in (1, 4, 6))
    content = bytearray(altered.read_bytes())
    content[700] ^= 1
    altered.write_bytes(content)
    os.truncate(cut, 4000)
    gone.unlink()
    return folder


def test_repair_writes_the_damaged_shards_and_no_others(damaged: Path, undisturbed: dict[str, bytes]) -> None:
    given = sources()
    assert repair(damaged, given) == tuple(f"train/shard-00000{i}.tar" for i in (1, 4, 6))
    assert given["train"].read == [*range(4, 8), *range(16, 20), *range(24, 28)]
    assert given["val"].read == []
    assert contents(damaged) == undisturbed
    assert [path.name for path in damaged.parent.iterdir()] == ["set"]
    assert repair(damaged, sources()) == ()


def test_repair_goes_on_past_a_shard_that_cannot_be_restored(damaged: Path, undisturbed: dict[str, bytes]) -> None:
    place = damaged / "train" / "shard-000001.tar"
    place.unlink()
    (place / "something").mkdir(parents=True)  # nothing can be read or written there
    with pytest.raises(DataError) as error:
        repair(damaged, sources())
    assert str(error.value).startswith(f"cannot read {place}, which may be sound: it is a folder, not a file; ")
    assert len(str(error.value).splitlines()) == 1
    shutil.rmtree(place)
    found = contents(damaged)
    assert found == {name: content for name, content in undisturbed.items() if name in found}
    assert len(found) == len(undisturbed) - 1


def test_repair_replaces_nothing_that_cannot_be_read(
    damaged: Path, undisturbed: dict[str, bytes], fails: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    unreadable, fifo = (damaged / "train" / f"shard-00000{number}.tar" for number in (1, 2))
    before = unreadable.read_bytes()
    fifo.unlink()
    os.mkfifo(fifo)
    fails(unreadable)
    remedy = "make it readable, or look after the disk or the file system"
    with pytest.raises(DataError) as error:
        repair(damaged, sources())
    assert error.value.problems == (
        f"cannot read {unreadable}, which may be sound: Input/output error; {remedy}",
        f"cannot read {fifo}, which may be sound: it is a FIFO, not a regular file; {remedy}",
    )
    monkeypatch.undo()
    assert unreadable.read_bytes() == before
    fifo.unlink()
    assert contents(damaged) == {
        name: before if name == "train/shard-000001.tar" else content
        for name, content in undisturbed.items()
        if name != "train/shard-000002.tar"
    }


def test_repair_replaces_nothing_by_other_content(damaged: Path, undisturbed: dict[str, bytes]) -> None:
    before = contents(damaged)
    given = sources()
    given["train"]._videos[5].features["audio"][0, 0] += 1  # type: ignore[index]
    with pytest.raises(DataError, match=r"shard-000001\.tar: written anew it has SHA-256.*are not those it was packed"):
        repair(damaged, given)
    after = contents(damaged)
    assert after["train/shard-000001.tar"] == before["train/shard-000001.tar"]
    assert {n: c for n, c in after.items() if "000001" not in n} == {
        n: c for n, c in undisturbed.items() if "000001" not in n
    }
    assert len(shard_problems(damaged, read_manifest(damaged))) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"videos_per_shard": 5}, "4 videos a shard, not 5"),
        (
            {"features": {**FEATURES, "audio": FeatureSpec((SEGMENTS, 3), "float32")}},
            r"its features are .*float16, not",
        ),
        ({"simulated": {"seed": 0}}, r"it was simulated with None, not \{'seed': 0\}"),
    ],
)
def test_repair_with_other_options_is_refused(damaged: Path, changes: dict[str, Any], message: str) -> None:
    before = contents(damaged)
    with pytest.raises(DataError, match=message):
        repair(damaged, sources(), **changes)
    with pytest.raises(DataError, match="it has the splits train, val, not train"):
        repair(damaged, {"train": sources()["train"]})
    assert contents(damaged) == before


def test_repair_names_bad_sources_and_waits_for_no_packer(damaged: Path) -> None:
    given = sources()
    given["train"]._videos[5].features["audio"][0, 0] = np.inf  # type: ignore[index]
    with pytest.raises(DataError, match=rf"{given['train']._videos[5].key}: feature 'audio' holds NaN or infinity"):
        repair(damaged, given)
    workplace = beside(damaged)
    with pytest.raises(DataError, match="is being packed or repaired by"):
        repair(damaged, sources())
    workplace.close(keep=False)
