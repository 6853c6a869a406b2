"""Checking a data set: every damaged video is named and no sound one, and what contradicts the manifest is told."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jomold_dist.commands import verify as verify_shards
from jomold_dist.data.checking import shard as shard_check
from jomold_dist.data.checking.data_set import verify_data_set
from jomold_dist.data.checking.shard import Problem
from jomold_dist.data.format.manifest import MANIFEST_NAME, Manifest, SplitInfo
from jomold_dist.data.format.records import LABELS, NPY_HEADER, OWNER_FIELD, checksum_text
from jomold_dist.data.format.video_check import VideoCheck
from jomold_dist.data.packing.dataset_writer import DatasetWriter
from jomold_dist.data.reading.shards import ShardReader
from jomold_dist.data.reading.source import Folder, read_manifest
from jomold_dist.errors import DataError
from tests.other_user import as_nobody
from tests.shard_fixtures import CATEGORIES, FEATURES, SEGMENTS, make_videos, records_of, write_dataset

SIZES = {"train": 17, "val": 9}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound") / "set"
    write_dataset(folder, SIZES)
    return folder


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(sound, tmp_path / "set"))


def read(folder: Path, split: str, shard: int = 0) -> tuple[np.ndarray, Manifest, SplitInfo]:
    manifest = read_manifest(folder)
    info = manifest.split(split)
    with ShardReader(folder, manifest, split) as reader:
        return records_of(reader, shard, 0, info.shards[shard].videos), manifest, info


def change(path: Path, at: int, value: int | None = None) -> None:
    content = bytearray(path.read_bytes())
    content[at] = content[at] ^ 1 if value is None else value
    path.write_bytes(content)


def edit_manifest(folder: Path, edit: Callable[[Any], object]) -> None:
    data = json.loads((folder / MANIFEST_NAME).read_text())
    edit(data)
    del data["digest"]  # as in the manifests of older sets
    (folder / MANIFEST_NAME).write_text(json.dumps(data))


def found(folder: Path, **options: Any) -> list[Problem]:
    return list(verify_data_set(Folder(folder), read_manifest(folder), **options).problems)


@pytest.mark.parametrize("level", ["size", "digest", "full"])
@pytest.mark.parametrize("jobs", [1, 3])
def test_a_sound_set_has_no_problem(sound: Path, level: Any, jobs: int) -> None:
    done: list[int] = []
    result = verify_data_set(Folder(sound), read_manifest(sound), level, jobs, done.append)
    assert result.sound
    assert done == [7, 7, 3, 7, 2]
    assert result.splits["train"]["videos"] == 17
    assert result.splits["train"]["damaged_videos"] == 0


def test_a_flipped_bit_in_any_byte_of_a_record_is_found(sound: Path) -> None:
    """Headers, checksum, arrays, labels and what fills the blocks: nothing lies unwatched."""
    records, manifest, split = read(sound, "val", 1)
    size = split.record.bytes
    many = np.repeat(records[1:2], 2 * size, axis=0)  # every second one gets a flipped bit, each in a byte of its own
    at = np.arange(size)
    many[2 * at, at] ^= (1 << np.random.default_rng(0).integers(0, 8, size)).astype(np.uint8)
    assert list(VideoCheck(manifest, split).problems(many)) == (2 * at).tolist()


def test_exactly_the_damaged_videos_are_named_also_over_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_check, "PIECE", 30_000)  # a shard is read in several pieces
    folder = tmp_path / "set"
    videos = 200
    manifest, made = write_dataset(folder, {"train": videos}, videos_per_shard=videos)
    split = manifest.split("train")
    draw = np.random.default_rng(3)
    hit = sorted(draw.choice(videos, size=videos // 20, replace=False).tolist())
    path = folder / split.shards[0].name
    content = np.fromfile(path, np.uint8)
    for video in hit:
        content[video * split.record.bytes + int(draw.integers(split.record.bytes))] ^= 1 << int(draw.integers(8))
    content.tofile(path)
    problems = [p for p in found(folder) if p.video is not None]
    assert [p.video for p in problems] == hit
    assert [p.key for p in problems] == [made["train"][video].key for video in hit]
    assert {(p.split, p.shard) for p in problems} == {("train", "train/shard-000000.tar")}


def reseal(records: np.ndarray, row: int, split: SplitInfo, *, checksum: bool) -> None:
    """Makes headers and checksum agree with what the record now holds, or takes the checksum away."""
    crc = 0
    for ending, member in split.record.members.items():
        first = member.offset - (0 if ending == LABELS else NPY_HEADER)
        crc = zlib.crc32(records[row, first : member.offset + member.bytes].tobytes(), crc)
    text = checksum_text(crc).encode() if checksum else b""
    records[row, OWNER_FIELD] = np.frombuffer(text.ljust(32, b"\0"), np.uint8)
    records[row, 148:156] = ord(" ")
    records[row, 148:156] = np.frombuffer(b"%06o\0 " % records[row, :512].sum(dtype=int), np.uint8)


def write_labels(text: bytes) -> Callable[[np.ndarray, SplitInfo], None]:
    def write(record: np.ndarray, split: SplitInfo) -> None:
        slot = split.record.members[LABELS]
        record[slot.offset : slot.offset + slot.bytes] = np.frombuffer(text.ljust(slot.bytes), np.uint8)

    return write


def write_number(ending: str, at: int, *values: int) -> Callable[[np.ndarray, SplitInfo], None]:
    def write(record: np.ndarray, split: SplitInfo) -> None:
        start = split.record.members[ending].offset + at
        record[start : start + len(values)] = values

    return write


BAD_CONTENTS: dict[str, tuple[Callable[[np.ndarray, SplitInfo], None], str]] = {
    "infinity": (write_number("audio.npy", 4, 0x00, 0x7C), "audio.npy holds NaN or infinity"),
    "minus infinity": (write_number("motion.npy", 38, 0x00, 0xFC), "motion.npy holds NaN or infinity"),
    "NaN": (write_number("frames.npy", 0, 0x01, 0x7E), "frames.npy holds NaN or infinity"),
    "dense": (write_number("dense.npy", 3, 2), "dense.npy holds other values than 0 and 1"),
    "no JSON": (write_labels(b'{"labels": [1'), "its label text is not"),
    "two values": (write_labels(b'{"labels": [1]},{"labels": [2]}'), "its label text is not"),
    "another object": (write_labels(b'{"label": [1]}'), "its label text is not"),
    "words": (write_labels(b'{"labels": ["Dog"]}'), "its label text is not"),
    "truth values": (write_labels(b'{"labels": [true]}'), "its label text is not"),
    "out of range": (write_labels(b'{"labels": [1, 5]}'), "labels [1, 5] are not all in 0..4"),
    "negative": (write_labels(b'{"labels": [-1]}'), "labels [-1] are not all in 0..4"),
    "unsorted": (write_labels(b'{"labels": [3, 1]}'), "labels [3, 1] are not sorted and distinct"),
    "repeated": (write_labels(b'{"labels": [3, 3]}'), "labels [3, 3] are not sorted and distinct"),
    "too many": (write_labels(b'{"labels": [0, 1, 2, 3, 4]}'), "it has 5 labels, the manifest says at most 4"),
}


@pytest.mark.parametrize("checksum", [True, False])
@pytest.mark.parametrize("case", BAD_CONTENTS)
def test_bad_contents_are_found_whatever_their_checksum_says(sound: Path, case: str, checksum: bool) -> None:
    damage, message = BAD_CONTENTS[case]
    records, manifest, split = read(sound, "val")
    assert split.max_labels == 4
    for row in range(len(records)):
        reseal(records, row, split, checksum=checksum)
    assert VideoCheck(manifest, split).problems(records) == {}
    damage(records[4], split)
    if checksum:
        assert "its contents do not have its checksum" in VideoCheck(manifest, split).problems(records)[4]
    reseal(records, 4, split, checksum=checksum)
    problems = VideoCheck(manifest, split).problems(records)
    assert list(problems) == [4]
    assert message in problems[4]
    assert "checksum" not in problems[4]


def test_a_key_that_no_video_may_have_is_found(sound: Path) -> None:
    records, manifest, split = read(sound, "train")
    for ending, member in split.record.members.items():
        header = member.offset - (0 if ending == LABELS else NPY_HEADER) - 512
        records[2, header + 1] = ord("/")
        records[2, header + 148 : header + 156] = ord(" ")
        total = b"%06o\0 " % records[2, header : header + 512].sum(dtype=int)
        records[2, header + 148 : header + 156] = np.frombuffer(total, np.uint8)
    assert VideoCheck(manifest, split).problems(records) == {2: "its key holds a character that a key may not hold"}


def test_missing_truncated_altered_and_longer_shards(folder: Path) -> None:
    manifest = read_manifest(folder)
    train, val = (manifest.split(name) for name in SIZES)
    (folder / train.shards[0].name).unlink()
    os.truncate(folder / train.shards[1].name, 5 * train.record.bytes + 600)
    with (folder / train.shards[2].name).open("ab") as file:
        file.write(b"\0" * 512)
    change(folder / val.shards[0].name, val.shards[0].bytes - 1)  # after its last video
    size, digest, full = (found(folder, level=level) for level in ("size", "digest", "full"))
    assert [(p.shard, p.video) for p in size] == [(shard.name, None) for shard in train.shards]
    assert [p.problem.split(":")[0] for p in size] == [
        f"missing (7 videos, {train.shards[0].bytes} bytes)",
        "truncated",
        "longer than it should be",
    ]
    assert digest[:3] == size
    assert digest[3].problem.startswith("altered: SHA-256 ")
    assert [(p.shard, p.video) for p in full if p.video is not None] == [(train.shards[1].name, n) for n in (5, 6)]
    assert full[-1].problem.endswith("the end of the tar is not zero")


def test_an_old_set_without_checksums_tells_the_shard_if_not_the_video(folder: Path) -> None:
    records, manifest, split = read(folder, "train")
    for row in range(len(records)):
        reseal(records, row, split, checksum=False)
    records[3, split.record.members["audio.npy"].offset] ^= 1  # still a number
    path = folder / split.shards[0].name
    path.write_bytes(records.tobytes() + path.read_bytes()[records.nbytes :])
    result = verify_data_set(Folder(folder), manifest)
    assert result.splits["train"]["videos_without_checksum"] == 7
    (problem,) = result.problems
    assert problem.video is None
    assert problem.problem.endswith("none of its videos shows damage, and they have no checksums")


def shards_of(data: Any, split: str) -> Any:
    return data["splits"][split]["shards"]


CONTRADICTIONS: dict[str, tuple[Callable[[Any], object], str]] = {
    "positives": (
        lambda d: shards_of(d, "train")[1]["positives"].__setitem__(2, 0),
        "train/shard-000001.tar: the manifest counts other positives in 1 categories, the first is 'Dog': 0 instead of",
    ),
    "most labels": (
        lambda d: d["splits"]["train"].update(max_labels=5),
        "train: the manifest says that a video has up to 5 labels, but the most is 4",
    ),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_a_manifest_that_contradicts_the_shards(folder: Path, case: str) -> None:
    edit, message = CONTRADICTIONS[case]
    edit_manifest(folder, edit)
    assert any(message in str(problem) for problem in found(folder))


def test_unknown_files_are_named_but_not_the_cache(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What people lay beside a set is no problem of it."""
    strange = ("more.tar", "train/.shard-000000.tar.partial", "truth/train.npz")
    for name in (*strange, "README.md", ".resident/x/rows.bin"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    result = verify_data_set(Folder(folder), read_manifest(folder), "size")
    assert [problem.problem for problem in result.problems] == [
        f"the file {name} is not in the manifest" for name in strange
    ]
    assert result.notes == ("the file README.md is not in the manifest, and nobody reads it",)
    for name in strange:
        (folder / name).unlink()
    assert verify_shards.main([str(folder), "--level", "size"]) == 0
    assert "note: the file README.md is not in the manifest" in capsys.readouterr().out


def test_a_key_that_comes_twice_is_named_with_both_places(tmp_path: Path) -> None:
    """Two sets of the same videos, put together by hand: a writer would not do it."""
    for split in ("train", "val"):
        with DatasetWriter(
            tmp_path / split, name="x", categories=CATEGORIES, segments=SEGMENTS, features=FEATURES, videos_per_shard=4
        ) as writer:
            videos = make_videos(6, seed=len(split))
            writer.write_split(split, videos if split == "train" else videos[3:5], max_labels=5, dense=False)
            writer.finish()
    shutil.copytree(tmp_path / "val" / "val", tmp_path / "train" / "val")
    other = json.loads((tmp_path / "val" / MANIFEST_NAME).read_text())
    edit_manifest(tmp_path / "train", lambda d: d["splits"].update(other["splits"]))
    keys = [video.key for video in make_videos(6)]
    assert found(tmp_path / "train") == [
        Problem("its key is also that of video 3 of train/shard-000000.tar", "val", "val/shard-000000.tar", 0, keys[3]),
        Problem("its key is also that of video 0 of train/shard-000001.tar", "val", "val/shard-000000.tar", 1, keys[4]),
    ]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (None, ""),
        ("cut", "truth/train.npz is damaged (File is not a zip file)"),
        ("order", "truth/train.npz is not about the videos of its split in their order"),
        ("shape", "present is uint8 of shape (9, 2, 3), not of (9, 2, 5)"),
    ],
)
def test_the_hidden_truth_of_simulated_data_is_checked(tmp_path: Path, damage: str | None, message: str) -> None:
    videos = make_videos(9)
    with DatasetWriter(
        tmp_path / "set", name="x", categories=CATEGORIES, segments=SEGMENTS, features=FEATURES, simulated={"seed": 0}
    ) as writer:
        writer.write_split("train", videos, max_labels=5, dense=False)
        writer.finish()
    path = tmp_path / "set" / "truth" / "train.npz"
    path.parent.mkdir()
    keys = np.array([video.key for video in videos])
    present = np.zeros((9, 2, 3 if damage == "shape" else 5), np.uint8)
    np.savez_compressed(path, keys=keys[::-1] if damage == "order" else keys, present=present)
    if damage == "cut":
        os.truncate(path, 100)
    problems = [str(problem) for problem in found(tmp_path / "set")]
    assert len(problems) == (damage is not None)
    assert all(message in problem for problem in problems)


def test_damage_of_the_hidden_truth_of_any_kind_is_one_problem(tmp_path: Path) -> None:
    videos = make_videos(9)
    with DatasetWriter(
        tmp_path / "set", name="x", categories=CATEGORIES, segments=SEGMENTS, features=FEATURES, simulated={"seed": 0}
    ) as writer:
        writer.write_split("train", videos, max_labels=5, dense=False)
        manifest = writer.finish()
    path = tmp_path / "set" / "truth" / "train.npz"
    path.parent.mkdir()
    present = np.zeros((9, 2, 5), np.uint8)
    for row, video in zip(present, videos, strict=True):
        row[:, list(video.labels)] = 1
    np.savez_compressed(path, keys=np.array([video.key for video in videos]), present=present)
    sound, draw = path.read_bytes(), np.random.default_rng(1)
    assert verify_data_set(Folder(tmp_path / "set"), manifest).sound
    for _ in range(200):
        content = np.frombuffer(sound, np.uint8).copy()
        content[draw.integers(len(content), size=3)] ^= (1 << draw.integers(0, 8, size=3)).astype(np.uint8)
        path.write_bytes(content.tobytes())
        assert all(
            "truth/train.npz" in problem.problem
            for problem in verify_data_set(Folder(tmp_path / "set"), manifest).problems
        )
    for damage, message in (
        (np.save, f"{path} is damaged ("),
        (np.savez, f"{path} is damaged ("),
        (None, f"cannot read {path}: it is a FIFO"),
    ):
        path.unlink()
        if damage is None:
            os.mkfifo(path)
        else:
            with path.open("wb") as file:
                damage(file, present)
        (problem,) = verify_data_set(Folder(tmp_path / "set"), manifest).problems
        assert problem.problem.startswith(message)


@pytest.mark.parametrize("level", ["size", "digest", "full"])
def test_what_is_no_regular_file_is_not_waited_for(
    folder: Path, level: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    shard = folder / "train" / "shard-000001.tar"
    shard.unlink()
    os.mkfifo(shard)
    fifo = Problem("cannot be read (it is a FIFO, not a regular file)", "train", "train/shard-000001.tar")
    assert found(folder, level=level) == [fifo]
    (folder / MANIFEST_NAME).unlink()
    os.mkfifo(folder / MANIFEST_NAME)
    assert verify_shards.main([str(folder), "--level", level]) == 2
    told = f"error: cannot read {folder / MANIFEST_NAME}: it is a FIFO, not a regular file; "
    assert capsys.readouterr().err.startswith(told)
    assert verify_shards.main([str(folder / MANIFEST_NAME), "--level", level]) == 2
    assert f"{folder / MANIFEST_NAME} is a file; give the folder that holds manifest.json" in capsys.readouterr().err


def test_folders_that_cannot_be_read_are_not_taken_for_empty_or_missing(sound: Path) -> None:
    def said() -> str:
        try:
            return "; ".join(map(str, found(folder, level="size")))
        except DataError as error:
            return str(error)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(shutil.copytree(sound, Path(name) / "set"))
        Path(name).chmod(0o755)
        (folder / "hidden").mkdir(0o300)
        denied = "cannot be read (Permission denied)"
        assert as_nobody(said) == f"the data set: the folder {folder / 'hidden'} {denied}"
        (folder / "val").chmod(0o300)
        assert f"val/shard-000000.tar: {denied}" in as_nobody(said)
        Path(name).chmod(0o700)
        assert as_nobody(said).startswith(f"cannot read {folder / MANIFEST_NAME}: Permission denied; make it readable")


def test_the_tool_says_what_is_damaged_and_writes_a_report(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = folder.parent / "report.json"
    assert verify_shards.main([str(folder), "--report", str(report)]) == 0
    assert "train: 17 videos in 3 shards" in capsys.readouterr().out
    assert json.loads(report.read_text())["sound"] is True

    manifest = read_manifest(folder)
    split = manifest.split("train")
    change(folder / split.shards[1].name, 2 * split.record.bytes + 645)
    assert verify_shards.main([str(folder), "--report", str(report), "--jobs", "2"]) == 2
    said = capsys.readouterr()
    key = make_videos(17, prefix="train")[9].key
    assert f"video 2 of train/shard-000001.tar ({key}): its contents do not have its checksum" in said.err
    assert "damaged: 1 video in 1 shard" in said.out
    told = json.loads(report.read_text())
    assert told["manifest_sha256"] == manifest.digest
    assert told["splits"]["train"]["damaged_videos"] == 1
    assert told["problems"][1] == {
        "problem": "its contents do not have its checksum",
        "split": "train",
        "shard": "train/shard-000001.tar",
        "video": 2,
        "key": key,
    }


def test_the_tool_bounds_what_it_prints_but_not_its_report(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(30):
        (folder / f"stray-{number:02d}.tar").touch()
    report = folder.parent / "report.json"
    assert verify_shards.main([str(folder), "--level", "size", "--report", str(report)]) == 2
    error = capsys.readouterr().err
    assert "30 problems:" in error
    assert "… and 10 more" in error
    assert "stray-25" not in error
    assert len(json.loads(report.read_text())["problems"]) == 30


def test_the_tools_bad_input(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        verify_shards.main([str(folder), "--jobs", "0"])
    assert end.value.code == 2
    assert verify_shards.main([str(folder), "--report", str(folder / "no" / "r.json")]) == 2
    assert "name a file in a folder that exists" in capsys.readouterr().err
    (folder / MANIFEST_NAME).write_text("{")
    report = folder.parent / "r.json"
    assert verify_shards.main([str(folder), "--report", str(report)]) == 2
    assert "is damaged" in json.loads(report.read_text())["problems"][0]["problem"]
