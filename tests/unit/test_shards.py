"""The store: what is written is read back, by us and by plain webdataset, and nothing damaged goes unnoticed."""

from __future__ import annotations

import dataclasses
import json
import os
import runpy
import subprocess
import sys
import tarfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset

from jomold_dist.data.format.manifest import MANIFEST_NAME, FeatureSpec
from jomold_dist.data.format.records import MAX_KEY, RecordView
from jomold_dist.data.packing.dataset_writer import DatasetWriter
from jomold_dist.data.packing.shard_writer import Video
from jomold_dist.data.reading.shards import ShardReader
from jomold_dist.data.reading.source import read_manifest
from jomold_dist.errors import DataError
from tests.shard_fixtures import CATEGORIES, FEATURES, SEGMENTS, make_videos, records_of, shard_problems, write_dataset

ROOT = Path(__file__).resolve().parents[2]


def write_one(out: Path, videos: list[Video], *, max_labels: int = 5, dense: bool = False) -> None:
    with DatasetWriter(out, name="one", categories=CATEGORIES, segments=SEGMENTS, features=FEATURES) as writer:
        writer.write_split("train", videos, max_labels=max_labels, dense=dense)
        writer.finish()


def assert_same(view: RecordView, videos: list[Video], dense: bool) -> None:
    assert view.keys() == [video.key for video in videos]
    labels = view.labels()
    assert [tuple(np.flatnonzero(row).tolist()) for row in labels] == [video.labels for video in videos]
    for name in FEATURES:
        seen = view.feature(name)
        assert seen.dtype == videos[0].features[name].dtype
        np.testing.assert_array_equal(seen, np.stack([video.features[name] for video in videos]))
    if dense:
        np.testing.assert_array_equal(view.dense(), np.stack([video.dense for video in videos]))


@pytest.mark.parametrize(("dtype", "frames"), [("float16", SEGMENTS), ("float32", SEGMENTS), ("float16", 8 * SEGMENTS)])
def test_round_trip(tmp_path: Path, dtype: str, frames: int) -> None:
    manifest, videos = write_dataset(tmp_path / "set", {"train": 23, "val": 9}, dtype=dtype, frames=frames)
    assert read_manifest(tmp_path / "set") == manifest
    assert manifest.splits["train"].shard_sizes.tolist() == [7, 7, 7, 2]
    for split, members in videos.items():
        dense = split == "val"
        info = manifest.split(split)
        assert info.max_labels == max(len(video.labels) for video in members)
        weak = np.stack([[c in video.labels for c in range(len(CATEGORIES))] for video in members])
        assert info.positives.tolist() == weak.sum(axis=0).tolist()
        with ShardReader(tmp_path / "set", manifest, split) as reader:
            first = 0
            for shard, size in enumerate(info.shard_sizes.tolist()):
                view = RecordView(records_of(reader, shard, 0, size), manifest, info)
                assert_same(view, members[first : first + size], dense)
                first += size
            assert_same(RecordView(records_of(reader, 1, 1, 1), manifest, info), members[8:9], dense)
            nothing = RecordView(records_of(reader, 0, 0, 0), manifest, info)
            assert nothing.keys() == []
            assert nothing.labels().shape == (0, 5)
            assert nothing.feature("frames").shape == (0, frames, 7)


def test_plain_webdataset_reads_the_shards(tmp_path: Path) -> None:
    manifest, videos = write_dataset(tmp_path / "set", {"val": 9})
    urls = [str(tmp_path / "set" / shard.name) for shard in manifest.splits["val"].shards]
    seen = list(webdataset.WebDataset(urls, shardshuffle=False).decode())
    assert [sample["__key__"] for sample in seen] == [video.key for video in videos["val"]]
    for sample, video in zip(seen, videos["val"], strict=True):
        assert sample["labels.json"] == {"labels": list(video.labels)}
        np.testing.assert_array_equal(sample["dense.npy"], video.dense)
        for name in FEATURES:
            np.testing.assert_array_equal(sample[f"{name}.npy"], video.features[name])


def test_bytes_are_the_same_each_time(tmp_path: Path) -> None:
    first, _ = write_dataset(tmp_path / "a", {"train": 9})
    second, _ = write_dataset(tmp_path / "b", {"train": 9})
    assert first.digest == second.digest
    assert (tmp_path / "a" / MANIFEST_NAME).read_bytes() == (tmp_path / "b" / MANIFEST_NAME).read_bytes()


def test_longest_key_and_unlabelled_videos(tmp_path: Path) -> None:
    videos = [dataclasses.replace(video, labels=()) for video in make_videos(2)]
    videos[1] = dataclasses.replace(videos[1], key="k" * MAX_KEY)
    write_one(tmp_path / "set", videos, max_labels=0)
    manifest = read_manifest(tmp_path / "set")
    with ShardReader(tmp_path / "set", manifest, "train") as reader:
        assert_same(RecordView(records_of(reader, 0, 0, 2), manifest, manifest.split("train")), videos, dense=False)


def changed(video: Video, name: str, array: np.ndarray) -> Video:
    return dataclasses.replace(video, features={**video.features, name: array})


BAD_VIDEOS: dict[str, tuple[Any, str]] = {
    "dot in key": (lambda v: dataclasses.replace(v, key="a.b"), r"'a\.b'"),
    "slash in key": (lambda v: dataclasses.replace(v, key="a/b"), "'a/b'"),
    "empty key": (lambda v: dataclasses.replace(v, key=""), "''"),
    "long key": (lambda v: dataclasses.replace(v, key="k" * (MAX_KEY + 1)), f"1 to {MAX_KEY}"),
    "foreign key": (lambda v: dataclasses.replace(v, key="vidéo"), "ASCII"),
    "repeated key": (lambda v: dataclasses.replace(v, key=make_videos(1)[0].key), "twice"),
    "unknown label": (lambda v: dataclasses.replace(v, labels=(5,)), "0..4"),
    "repeated label": (lambda v: dataclasses.replace(v, labels=(1, 1)), "distinct"),
    "missing feature": (lambda v: dataclasses.replace(v, features={}), "'audio' is missing"),
    "wrong shape": (lambda v: changed(v, "audio", np.zeros((4, 2), np.float32)), r"\(4, 3\).*\(4, 2\)"),
    "integers": (lambda v: changed(v, "audio", np.zeros((4, 3), np.int64)), "int64"),
    "NaN": (lambda v: changed(v, "motion", np.full((4, 5), np.nan, np.float32)), "'motion' holds NaN"),
    "too large": (lambda v: changed(v, "motion", np.full((4, 5), 1e5, np.float32)), "100000.*float16"),
    "unwanted dense": (lambda v: dataclasses.replace(v, dense=np.zeros((2, 5, 4), np.uint8)), "dense"),
}


@pytest.mark.parametrize("case", BAD_VIDEOS)
def test_bad_video_is_named_and_leaves_nothing(tmp_path: Path, case: str) -> None:
    change, message = BAD_VIDEOS[case]
    good = [dataclasses.replace(video, labels=(0,)) for video in make_videos(3)]
    bad = change(good[2])
    with pytest.raises(DataError, match=message) as caught:
        write_one(tmp_path / "set", [*good[:2], bad], max_labels=3)
    assert bad.key in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dense", [None, np.zeros((2, 4, 5), np.uint8), np.full((2, 5, 4), 2, np.uint8)])
def test_bad_dense_labels(tmp_path: Path, dense: np.ndarray | None) -> None:
    video = dataclasses.replace(make_videos(1)[0], dense=dense)
    with pytest.raises(DataError, match=rf"{video.key}: dense labels"):
        write_one(tmp_path / "set", [video], dense=True)


def test_keys_are_unique_over_splits(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path / "s", name="x", categories=CATEGORIES, segments=4, features=FEATURES) as writer:
        writer.write_split("train", make_videos(2), max_labels=5, dense=False)
        with pytest.raises(DataError, match="unique over all splits"):
            writer.write_split("val", make_videos(2), max_labels=5, dense=False)


def test_existing_folder_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("kept")
    with pytest.raises(DataError, match="not an empty folder"):
        write_one(tmp_path, make_videos(1))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    (tmp_path / "empty").mkdir()
    write_one(tmp_path / "empty", make_videos(1))
    assert shard_problems(tmp_path / "empty", read_manifest(tmp_path / "empty")) == []


def test_without_finish_or_videos_nothing_stays(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path / "s", name="x", categories=CATEGORIES, segments=4, features=FEATURES) as writer:
        writer.write_split("train", make_videos(2), max_labels=5, dense=False)
        assert writer.aside.is_dir()
    with pytest.raises(DataError, match="no videos"):
        write_one(tmp_path / "s", [])
    assert list(tmp_path.iterdir()) == []


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_missing_truncated_and_altered_shards(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    manifest, _ = write_dataset(folder, {"train": 35})
    paths = [folder / shard.name for shard in manifest.splits["train"].shards]
    size = paths[1].stat().st_size
    paths[0].unlink()
    os.truncate(paths[1], size - 512)
    flip(paths[2], 4096 + 640)  # inside the second video's audio array
    flip(paths[3], 4096 + 512)  # its .npy header
    with ShardReader(folder, manifest, "train") as reader:
        with pytest.raises(DataError, match=r"shard-000000\.tar is missing"):
            records_of(reader, 0, 0, 1)
        with pytest.raises(DataError, match=rf"shard-000001\.tar is truncated: {size - 512} bytes.*says {size}"):
            records_of(reader, 1, 0, 1)
        records_of(reader, 2, 0, 7)
        records_of(reader, 3, 0, 1)
        with pytest.raises(DataError, match=r"shard-000003\.tar is altered: video 1 "):
            records_of(reader, 3, 0, 7)
    assert len(shard_problems(folder, manifest, level="size")) == 2
    problems = shard_problems(folder, manifest)
    assert [f"shard-00000{i}.tar" in problem for i, problem in enumerate(problems)] == [True] * 4
    assert all("altered" in problem for problem in problems[2:])


@pytest.mark.parametrize("member", ["audio.npy", "frames.npy", "motion.npy", "labels.json", "dense.npy"])
@pytest.mark.parametrize("part", ["name", "ending", "size", "magic"])
def test_an_altered_header_is_noticed(tmp_path: Path, member: str, part: str) -> None:
    manifest, videos = write_dataset(tmp_path / "set", {"val": 5})
    info = manifest.split("val")
    header = info.record.members[member].offset - 512 - (0 if member == "labels.json" else 128)
    key = len(videos["val"][3].key)
    at = {"name": key - 1, "ending": key + 2, "size": 133, "magic": 258}[part]
    flip(tmp_path / "set" / info.shards[0].name, 3 * info.record.bytes + header + at)
    with (
        ShardReader(tmp_path / "set", manifest, "val") as reader,
        pytest.raises(DataError, match="altered: video 3"),
    ):
        records_of(reader, 0, 0, 5)


def test_a_damaged_label_text_is_a_data_error(tmp_path: Path) -> None:
    manifest, _ = write_dataset(tmp_path / "set", {"train": 3})
    info = manifest.split("train")
    with ShardReader(tmp_path / "set", manifest, "train") as reader:
        records = records_of(reader, 0, 0, 3)
    start = info.record.members["labels.json"].offset
    for text in (
        b'{"labels": [77]}',
        b'{"labels": ["a"]}',
        b'{"label": []}    ',
        b"nonsense",
        b"[1]",
        b'{"labels": 3}',
        b'{"labels": [-1]}',
        b'{"labels": [1.0]}',
        b'{"labels": [true]}',
        b'{"labels": [99999999999999999999]}',
        b'{"labels": []},{"labels": [1]}',
        b"[" * 512,
    ):
        records[1, start : start + 512] = ord(" ")
        records[1, start : start + len(text)] = np.frombuffer(text, np.uint8)
        with pytest.raises(DataError, match="label text in split 'train'"):
            RecordView(records, manifest, info).labels()


def test_few_files_stay_open(tmp_path: Path) -> None:
    manifest, videos = write_dataset(tmp_path / "set", {"train": 60}, videos_per_shard=3)
    info = manifest.split("train")
    before = len(os.listdir("/proc/self/fd"))
    with ShardReader(tmp_path / "set", manifest, "train", max_open=2) as reader, ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            for shard, records in enumerate(pool.map(lambda shard: records_of(reader, shard, 0, 3), range(20))):
                assert_same(RecordView(records, manifest, info), videos["train"][shard * 3 : shard * 3 + 3], False)
        assert len(os.listdir("/proc/self/fd")) <= before + 2
    assert len(os.listdir("/proc/self/fd")) == before


def edit(folder: Path, change: Any) -> None:
    data = json.loads((folder / MANIFEST_NAME).read_text())
    change(data)
    (folder / MANIFEST_NAME).write_text(json.dumps(data))


BAD_MANIFESTS: dict[str, tuple[Any, str]] = {
    "schema": (lambda d: d.update(schema=99), "schema 99, this version reads schema 2"),
    "no splits": (lambda d: d.pop("splits"), "damaged"),
    "splits of another kind": (lambda d: d.update(splits=[1]), "damaged"),
    "no categories": (lambda d: d.update(categories=[]), "damaged"),
    "dtype": (lambda d: d["features"]["audio"].update(dtype="int8"), "damaged.*int8"),
    "feature": (lambda d: d["features"].update(smell=d["features"]["audio"]), "damaged.*smell"),
    "positives": (
        lambda d: d["splits"]["train"]["shards"][0].update(positives=[1]),
        "damaged.*positives of 1 categories, not 5",
    ),
    "videos": (lambda d: d["splits"]["train"].update(videos=4), "damaged.*holds 3 videos, not 4"),
    "member": (
        lambda d: d["splits"]["train"]["record"]["members"].update({"audio.npy": [1]}),
        "do not fit its features",
    ),
    "path": (
        lambda d: d["splits"]["train"]["shards"][0].update(name="../x.tar"),
        "not named as a .tar below the folder",
    ),
}


@pytest.mark.parametrize("case", BAD_MANIFESTS)
def test_bad_manifest(tmp_path: Path, case: str) -> None:
    write_dataset(tmp_path / "set", {"train": 3})
    change, message = BAD_MANIFESTS[case]
    edit(tmp_path / "set", change)
    with pytest.raises(DataError, match=message):
        read_manifest(tmp_path / "set")


def test_missing_folder_manifest_or_split_and_cut_manifest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_manifest(tmp_path / "none")
    with pytest.raises(DataError, match=r"no manifest\.json"):
        read_manifest(tmp_path)
    manifest, _ = write_dataset(tmp_path / "set", {"train": 3})
    with pytest.raises(DataError, match="no split 'test'; it has: train"):
        manifest.split("test")
    path = tmp_path / "set" / MANIFEST_NAME
    path.write_text(path.read_text()[:200])
    with pytest.raises(DataError, match="damaged"):
        read_manifest(tmp_path / "set")


def test_layout_that_does_not_fit_the_features(tmp_path: Path) -> None:
    write_dataset(tmp_path / "set", {"train": 3})
    edit(tmp_path / "set", lambda d: d["features"]["audio"].update(shape=[4, 2]))
    with pytest.raises(DataError, match="the records of split 'train' do not fit its features"):
        read_manifest(tmp_path / "set")


def test_writer_refuses_unknown_features(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="smell"):
        DatasetWriter(
            tmp_path / "s",
            name="x",
            categories=CATEGORIES,
            segments=4,
            features={"smell": FeatureSpec((4, 2), "float16")},
        )


def test_verify_tool(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, tool = tmp_path / "set", ROOT / "tools" / "verify_shards.py"
    manifest, _ = write_dataset(folder, {"train": 9, "val": 3})
    main = runpy.run_path(str(tool))["main"]
    assert main([str(folder)]) == 0
    assert "train: 9 videos in 2 shards" in capsys.readouterr().out
    flip(folder / manifest.splits["train"].shards[1].name, 700)
    assert main([str(folder), "--level", "size"]) == 0
    bad = subprocess.run(
        [sys.executable, str(tool), str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert bad.returncode == 2
    assert "shard-000001.tar: altered: SHA-256" in bad.stderr
    assert "Traceback" not in bad.stderr


def test_a_videos_checksum_is_its_owner(tmp_path: Path) -> None:
    manifest, _ = write_dataset(tmp_path / "data", {"train": 9, "val": 4})
    for split in manifest.splits.values():
        for shard in split.shards:
            with tarfile.open(tmp_path / "data" / shard.name) as tar:
                members = [(member, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]
            each = len(split.record.members)
            for first in range(0, len(members), each):
                video = members[first : first + each]
                said = f"crc32-{zlib.crc32(b''.join(content for _, content in video)):08x}"
                assert [member.uname for member, _ in video] == [said, *[""] * (each - 1)]
