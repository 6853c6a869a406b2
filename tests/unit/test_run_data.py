"""The data set of a run: a share of the training videos, and several sets as one."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jomold_dist.config import Config, DataConfig
from jomold_dist.config_files import dump_config, load_config
from jomold_dist.data.checking.start_check import problems_of_shards
from jomold_dist.data.format.damage import DamagedError
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.data.format.truth_file import truth_name
from jomold_dist.data.packing.shard_writer import Video
from jomold_dist.data.packing.truth_writer import write_truth
from jomold_dist.data.reading.loader import Batch, Loader
from jomold_dist.data.reading.run_data import open_data
from jomold_dist.data.reading.source import Source
from jomold_dist.data.reading.truth import read_truth
from jomold_dist.errors import ConfigError, DataError
from jomold_dist.files import write_text
from jomold_dist.places import relative_places, with_absolute_places
from jomold_dist.training.preflight import with_shards
from jomold_dist.training.removals import read_present
from tests.servers import serving
from tests.shard_fixtures import CATEGORIES, assert_same_batch, write_dataset

Videos = dict[str, list[Video]]
SIZES = {"train": 61, "val": 15, "test": 9}


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Videos]:
    folder = tmp_path_factory.mktemp("one") / "set"
    return folder, with_truth(folder, *write_dataset(folder, SIZES))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Videos]:
    """Another set, with shards of another size and without a test split."""
    folder = tmp_path_factory.mktemp("other") / "set"
    sizes = {"train": 20, "val": 6}
    return folder, with_truth(folder, *write_dataset(folder, sizes, videos_per_shard=4, prefix="o"))


def with_truth(folder: Path, manifest: Manifest, videos: Videos) -> Videos:
    """The set with a truth of the training labels that says: audio has the even ones, frames all."""
    keys = [video.key for video in videos["train"]]
    present = np.zeros((len(keys), 2, len(CATEGORIES)), dtype=bool)
    for row, video in zip(present, videos["train"], strict=True):
        row[0, [label for label in video.labels if label % 2 == 0]] = True
        row[1, list(video.labels)] = True
    (folder / "truth").mkdir()
    write_truth(folder / truth_name("train"), keys, present)
    splits = manifest.splits | {"train": replace(manifest.split("train"), truth=True)}
    write_text(folder / "manifest.json", "".join(replace(manifest, splits=splits).lines()))
    return videos


def batches(source: Source, manifest: Manifest, split: str = "train", start: int = 0, **changes: Any) -> list[Batch]:
    options: dict[str, Any] = {
        "batch_size": 10, "rank": 0, "world": 1, "seed": 5, "streams": 12, "block": 4, "threads": 2
    }  # fmt: skip
    with Loader(source, manifest, split, **(options | changes)) as loader:
        return list(loader.epoch(0, start))


def assert_serves(source: Source, manifest: Manifest, split: str, videos: list[Video], **changes: Any) -> None:
    """On one rank and on three, in either order: each of the videos once, as it was packed."""
    for world in (1, 3):
        for shuffle in (False, True):
            served = [
                batch
                for rank in range(world)
                for batch in batches(source, manifest, split, rank=rank, world=world, shuffle=shuffle, **changes)
            ]
            index = [i for batch in served for i in batch.index.tolist()]
            assert (sorted(index) if shuffle else index) == list(range(len(videos)))
            for batch in served:
                assert batch.keys == tuple(videos[i].key for i in batch.index.tolist())
                for row, i in enumerate(batch.index.tolist()):
                    np.testing.assert_array_equal(batch.features["frames"][row].numpy(), videos[i].features["frames"])
                    assert tuple(np.flatnonzero(batch.labels[row].numpy())) == videos[i].labels


def positives_of(videos: list[Video]) -> list[int]:
    return np.bincount([label for video in videos for label in video.labels], minlength=len(CATEGORIES)).tolist()


# --- a share of the training videos ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fraction", "videos", "shards"), [(0.001, 1, 1), (0.1, 6, 1), (7 / 61, 7, 1), (0.5, 30, 5), (0.999, 61, 9)]
)
def test_a_share_is_the_first_videos(one: tuple[Path, Videos], fraction: float, videos: int, shards: int) -> None:
    folder, written = one
    _, whole = open_data(DataConfig(shards=str(folder)))
    source, part = open_data(DataConfig(shards=str(folder), fraction=fraction))
    train = part.split("train")
    assert (train.videos, len(train.shards)) == (videos, shards)
    assert train.positives.tolist() == positives_of(written["train"][:videos])
    for ours, theirs in zip(train.shards, whole.split("train").shards, strict=False):
        assert (ours.name, ours.bytes, ours.sha256) == (theirs.name, theirs.bytes, theirs.sha256)
    assert part.splits | {"train": train} == whole.splits | {"train": train}  # val and test are whole
    assert (part.digest == whole.digest) == (videos == 61)
    assert problems_of_shards(DataConfig(), source, part, list(part.splits)) == []
    assert_serves(source, part, "train", written["train"][:videos])


def test_a_share_has_the_truth_of_its_videos(one: tuple[Path, Videos]) -> None:
    folder, written = one
    source, part = open_data(DataConfig(shards=str(folder), fraction=0.5))
    truth = read_truth(source, part, "train")
    assert truth is not None
    assert [key.decode() for key in truth.keys.tolist()] == [video.key for video in written["train"][:30]]
    assert truth.present[:, 1].sum(0).tolist() == part.split("train").positives.tolist()
    assert len(read_present(source, part) or {}) == 30


def test_an_epoch_of_a_share_goes_on_where_it_was(one: tuple[Path, Videos]) -> None:
    """... also on another number of ranks."""
    source, part = open_data(DataConfig(shards=str(one[0]), fraction=0.7))
    before = [batches(source, part, rank=rank, world=2) for rank in range(2)]
    after = [batches(source, part, start=2, rank=rank, world=3) for rank in range(3)]
    seen = [i for share in before for batch in share[:2] for i in batch.index.tolist()]
    seen += [i for share in after for batch in share for i in batch.index.tolist()]
    assert sorted(seen) == list(range(43))


def test_a_share_resident(one: tuple[Path, Videos], tmp_path: Path) -> None:
    folder, written = one
    source, part = open_data(DataConfig(shards=str(folder), fraction=0.5))
    assert_serves(source, part, "train", written["train"][:30], resident=True, cache=tmp_path)


def test_damage_where_a_share_ends(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    _, written = write_dataset(folder, {"train": 20, "val": 3, "test": 3})
    data = DataConfig(shards=str(folder), fraction=0.5)
    _, sound = open_data(data)
    with (folder / "train/shard-000001.tar").open("r+b") as file:
        file.seek(sound.split("train").record.bytes)
        file.write(b"?" * 600)  # headers of video 8
    with pytest.raises(DamagedError, match=r"shard-000001.tar is altered: video 1"):
        open_data(data)
    _, masked = open_data(replace(data, on_bad_video="mask"))
    assert masked.digest == sound.digest  # so that a run goes on once its shards are mended
    good = written["train"][:8] + written["train"][9:10]
    assert written["train"][8].labels
    assert masked.split("train").positives.tolist() == positives_of(good)


# --- several sets as one --------------------------------------------------------------------------------------------


def both(one: tuple[Path, Videos], other: tuple[Path, Videos], **changes: Any) -> tuple[Source, Manifest]:
    return open_data(DataConfig(shards=(str(one[0]), str(other[0])), **changes))


def test_sets_are_joined_split_by_split(one: tuple[Path, Videos], other: tuple[Path, Videos]) -> None:
    source, joined = both(one, other)
    assert str(source) == f"{one[0]}, {other[0]}"
    assert joined.split("train").positives.tolist() == positives_of(one[1]["train"] + other[1]["train"])
    assert problems_of_shards(DataConfig(), source, joined, list(joined.splits)) == []
    for split in ("train", "val"):
        assert_serves(source, joined, split, one[1][split] + other[1][split])
    assert_serves(source, joined, "test", one[1]["test"])
    _, turned = both(other, one)
    assert (
        len({joined.digest, turned.digest, *(open_data(DataConfig(shards=str(s[0])))[1].digest for s in (one, other))})
        == 4
    )


def test_joined_sets_have_both_truths(one: tuple[Path, Videos], other: tuple[Path, Videos]) -> None:
    source, joined = both(one, other)
    present = read_present(source, joined)
    assert present is not None
    assert list(present) == [video.key for video in one[1]["train"] + other[1]["train"]]
    assert sum(present.values())[1].tolist() == joined.split("train").positives.tolist()  # type: ignore[index]
    source, part = both(one, other, fraction=0.9)
    assert len(read_present(source, part) or {}) == 73
    assert_serves(source, part, "train", (one[1]["train"] + other[1]["train"])[:73])


def test_a_folder_and_a_url_are_joined(one: tuple[Path, Videos], other: tuple[Path, Videos], tmp_path: Path) -> None:
    data = DataConfig(cache=str(tmp_path / "cache"), attempts=1)
    times = {path: path.stat().st_mtime_ns for path in one[0].rglob("*.tar")}
    with serving(other[0]) as server:
        data = replace(data, shards=(str(one[0]), server.url))
        source, joined = open_data(data)
        assert source.is_remote
        assert problems_of_shards(data, source, joined, ["train", "val"]) == []
        asked = server.gets.copy()
        for shuffle in (True, False):
            expected = batches(*both(one, other), shuffle=shuffle)
            for mine, theirs in zip(batches(source, joined, prefetch=2, shuffle=shuffle), expected, strict=True):
                assert_same_batch(mine, theirs)
        assert read_truth(source, joined, "train") is not None
    shards = {name: count for name, count in (server.gets - asked).items() if name.endswith(".tar")}
    assert shards == dict.fromkeys((f"train/shard-{n:06d}.tar" for n in range(5)), 1)
    assert {path: path.stat().st_mtime_ns for path in one[0].rglob("*.tar")} == times  # they are no cache's


def test_joined_sets_resident(one: tuple[Path, Videos], other: tuple[Path, Videos], tmp_path: Path) -> None:
    source, joined = both(one, other)
    assert_serves(source, joined, "val", one[1]["val"] + other[1]["val"], resident=True, cache=tmp_path)


def test_problems_of_joined_sets_name_the_files(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        write_dataset(folder, {"train": 20}, prefix=folder.name)
    source, joined = open_data(DataConfig(shards=(str(folders[0]), str(folders[1]))))
    path = folders[1] / "train/shard-000001.tar"
    os.truncate(path, 100)
    (problem,) = problems_of_shards(DataConfig(), source, joined, list(joined.splits))
    assert problem.startswith(f"shard {path}: truncated: 100 bytes")
    with pytest.raises(DataError, match=f"shard {path} is truncated"):
        batches(source, joined)
    bad = [video for batch in batches(source, joined, mask=True) for video in batch.bad]
    assert {(video.shard, video.number) for video in bad} == {("1/train/shard-000001.tar", n) for n in range(7)}


MISFITS: dict[str, tuple[Callable[[Manifest], Manifest], str]] = {
    "seconds": (lambda m: replace(m, segment_seconds=0.5), "{a} has seconds a segment: 1.0, and {b}: 0.5"),
    "simulated": (lambda m: replace(m, simulated={"scenario": "llp"}), "{a} has origin: real, and {b}: simulated"),
    "order": (
        lambda m: replace(m, categories=type(CATEGORIES)(CATEGORIES.names[::-1])),
        "{a} has other categories than {b}: the same in another order",
    ),
    "categories": (
        lambda m: replace(m, categories=type(CATEGORIES)((*CATEGORIES.names[:-1], "Frog, green"))),
        "{a} has other categories than {b}: only {a} has Bell; only {b} has Frog, green",
    ),
}


@pytest.mark.parametrize("what", MISFITS)
def test_sets_that_do_not_fit_together(tmp_path: Path, what: str) -> None:
    change, said = MISFITS[what]
    for name in ("a", "b"):
        manifest, _ = write_dataset(tmp_path / name, {"train": 5}, prefix=name)
    write_text(tmp_path / "b/manifest.json", "".join(change(manifest).lines()))
    with pytest.raises(DataError) as caught:
        open_data(DataConfig(shards=(str(tmp_path / "a"), str(tmp_path / "b"))))
    assert str(caught.value) == f"the data sets cannot be joined: {said.format(a=tmp_path / 'a', b=tmp_path / 'b')}"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dense": ("test",)}, "split 'val' has dense labels in {a} and none in {b}"),
        ({"dtype": "float32"}, "{a} has features: audio 4×3 float16, frames 4×7 float16, motion 4×5 float16, and {b}:"),
        ({"frames": 16}, "and {b}: audio 4×3 float16, frames 16×7 float16, motion 4×5 float16"),
    ],
)
def test_sets_packed_otherwise_do_not_fit_together(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    write_dataset(tmp_path / "a", {"train": 5, "val": 5, "test": 5})
    write_dataset(tmp_path / "b", {"train": 5, "val": 5, "test": 5}, **changes)
    with pytest.raises(DataError) as caught:
        open_data(DataConfig(shards=(str(tmp_path / "a"), str(tmp_path / "b"))))
    assert said.format(a=tmp_path / "a", b=tmp_path / "b") in str(caught.value)


def test_a_video_of_several_sets_has_no_truth(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with_truth(tmp_path / name, *write_dataset(tmp_path / name, {"train": 5}))
    source, joined = open_data(DataConfig(shards=(str(tmp_path / "a"), str(tmp_path / "b"))))
    with pytest.raises(DataError, match="some videos of the training split are in several of the data sets"):
        read_present(source, joined)


# --- the settings ---------------------------------------------------------------------------------------------------


def test_a_list_of_places_in_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("data:\n  shards:\n    - data/a\n    - ~/b\n    - s3://bucket/c\n", encoding="utf-8")
    monkeypatch.setenv("HOME", "/home/me")
    config = load_config(file)
    assert config.data.shards == ("data/a", "/home/me/b", "s3://bucket/c") == config.data.places
    assert config.data.where == "data/a, /home/me/b, s3://bucket/c"
    assert load_config(None, ["data.shards=[data/a, ~/b, s3://bucket/c]"]) == config
    file.write_text(dump_config(config), encoding="utf-8")
    assert load_config(file) == config
    assert config.digest == Config().digest  # the manifest's digest stands for the data
    monkeypatch.chdir(tmp_path)
    assert relative_places(config)["data.shards"] == "data/a"
    assert with_absolute_places(config).data.places[0] == f"{tmp_path}/data/a"
    assert (
        load_config(None, ["data.shards=[data/a]"]).data.shards
        == "data/a"
        == load_config(None, ["data.shards=data/a"]).data.shards
    )


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("[]", r"must be one place or a list of different ones"),
        ("[a, a]", r"must be one place or a list of different ones"),
        ("[a, [b]]", r"must be a list of names"),
        ("[a, 's3://me:secret@host/x']", r"data.shards = 's3://…' must not hold a name, password or signature"),
        ("{a: b}", r"must be a text"),
    ],
)
def test_a_list_of_places_that_cannot_be(value: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        load_config(None, [f"data.shards={value}"])
    assert "secret" not in str(caught.value)


def test_a_command_s_places_are_different_ones() -> None:
    assert with_shards(Config(), ["a"]).data.shards == "a"
    assert with_shards(Config(), ["a", "b"]).data.shards == ("a", "b")
    with pytest.raises(ConfigError, match="--shards names a twice"):
        with_shards(Config(), ["a", "b", "a"])


@pytest.mark.parametrize("value", ["0", "-0.1", "1.01", "much"])
def test_a_share_that_cannot_be(value: str) -> None:
    with pytest.raises(ConfigError, match=r"data\.fraction"):
        load_config(None, [f"data.fraction={value}"])
    assert load_config(None, ["data.fraction=0.5"]).digest != Config().digest
