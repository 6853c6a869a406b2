"""`jomold data`: what it says of a set and of a video is what was put in; an unknown key leads to near ones."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jomold_dist.commands import data
from jomold_dist.data.format.manifest import FeatureSpec, Manifest
from jomold_dist.data.looking.lookup import nearest_keys
from jomold_dist.data.looking.overview import sample_runs
from jomold_dist.data.looking.statistics import Statistics, Sums, statistics_of
from jomold_dist.data.looking.video import Event, events_of
from jomold_dist.data.packing.dataset_writer import DatasetWriter
from jomold_dist.data.packing.shard_writer import Video
from jomold_dist.labels import CategorySet
from tests.servers import serving
from tests.shard_fixtures import CATEGORIES, SEGMENTS, write_dataset


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest, dict[str, list[Video]]]:
    folder = tmp_path_factory.mktemp("look") / "tiny"
    return folder, *write_dataset(folder, {"train": 30, "val": 9}, frames=2 * SEGMENTS, dtype="float32")


def seen(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert data.main([*words]) == 0
    return capsys.readouterr().out


def test_a_set_is_what_was_put_in(tiny: tuple[Path, Manifest, Any], capsys: pytest.CaptureFixture[str]) -> None:
    folder, manifest, videos = tiny
    found = json.loads(seen(capsys, str(folder), "--json"))
    assert (found["name"], found["simulated"], found["digest"]) == ("tiny", None, manifest.digest)
    assert found["splits"]["val"] == {
        "videos": 9, "shards": 2, "bytes": sum(s.bytes for s in manifest.split("val").shards),
        "labels": sum(len(v.labels) for v in videos["val"]), "dense": True, "truth": False, "shuffled": None,
    }  # fmt: skip
    for number, name in enumerate(CATEGORIES.names):
        counts = {split: sum(number in v.labels for v in members) for split, members in videos.items()}
        assert found["categories"][name] == counts
    audio = np.stack([video.features["audio"] for video in videos["train"]]).astype(float)  # the sample is all of them
    values = found["features"]["audio"]["values"]
    np.testing.assert_allclose(
        [values["mean"], values["std"], values["least"], values["largest"]],
        [audio.mean(), audio.std(), audio.min(), audio.max()],
    )
    assert found["sample"] == {"split": "train", "videos": 30, "shards": 5, "damaged": 0}


def test_a_video_is_what_was_put_in(tiny: tuple[Path, Manifest, Any], capsys: pytest.CaptureFixture[str]) -> None:
    folder, _, videos = tiny
    video = videos["val"][8]
    found = json.loads(seen(capsys, str(folder), video.key, "--json"))
    place = (found["split"], found["shard"], found["number"], found["number_in_split"])
    assert place == ("val", "val/shard-000001.tar", 1, 8)
    assert found["labels"] == [CATEGORIES.names[label] for label in video.labels]
    assert video.dense is not None
    heard = [CATEGORIES.names[c] for c in np.flatnonzero(video.dense[0].any(axis=1))]
    assert found["truth"]["audio"] == heard
    frames = found["features"]["frames"]
    assert (frames["shape"], [(row["first"], row["count"]) for row in frames["rows"]]) == (
        [2 * SEGMENTS, 7],
        [(0, 2), (2, 2), (4, 2), (6, 2)],
    )
    assert frames["rows"][1]["values"]["mean"] == pytest.approx(video.features["frames"][2:4].mean(), abs=1e-6)
    text = seen(capsys, str(folder), video.key)
    assert text.startswith(f"{video.key}: val, video 1 of val/shard-000001.tar")
    assert "events in seconds, of 4\n| from | to |" in text


def test_a_truth_is_not_made_up(tiny: tuple[Path, Manifest, Any], capsys: pytest.CaptureFixture[str]) -> None:
    folder, _, videos = tiny
    video = next(video for video in videos["train"] if video.labels)
    assert json.loads(seen(capsys, str(folder), video.key, "--json"))["truth"] is None
    assert "(where they are heard or seen is not known)" in seen(capsys, str(folder), video.key)


def test_a_key_that_is_not_there(tiny: tuple[Path, Manifest, Any], capsys: pytest.CaptureFixture[str]) -> None:
    folder, _, videos = tiny
    key = videos["train"][17].key
    assert data.main([str(folder), key[:-1]]) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"error: {folder} holds no video {key[:-1]!r} among 39 in train, val; the nearest keys: ")
    assert key in message


def test_a_damaged_set_is_still_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest, videos = write_dataset(tmp_path / "set", {"train": 21, "val": 3})
    (tmp_path / "set" / manifest.split("train").shards[0].name).unlink()
    altered = tmp_path / "set" / manifest.split("train").shards[1].name
    content = bytearray(altered.read_bytes())
    content[2 * manifest.split("train").record.bytes + 645] ^= 1  # within audio.npy of the third video
    altered.write_bytes(content)
    assert "8 more are damaged or missing: jomold verify tells which" in seen(capsys, str(tmp_path / "set"))
    assert data.main([str(tmp_path / "set"), videos["train"][9].key]) == 2
    assert "its contents do not have its checksum" in capsys.readouterr().err
    assert data.main([str(tmp_path / "set"), "nobody"]) == 2
    assert "train/shard-000000.tar is missing" in capsys.readouterr().err
    assert seen(capsys, str(tmp_path / "set"), videos["val"][2].key).startswith(videos["val"][2].key)


@pytest.mark.parametrize(("categories", "lines"), [(25, 25), (309, 21), (527, 21)])
def test_many_categories_are_the_most_and_the_least_frequent(
    categories: int, lines: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = CategorySet(tuple(f"sound number {n}, which has a name that goes on for long" for n in range(categories)))
    draw = np.random.default_rng(3)
    videos = [
        Video(f"v{n}", {"audio": np.ones((2, 3), np.float32)}, (int(draw.random() ** 3 * (categories - 1)),))
        for n in range(400)
    ]
    spec = {"audio": FeatureSpec((2, 3), "float16", "mean of 32 rows")}
    with DatasetWriter(tmp_path / "set", name="set", categories=names, segments=2, features=spec) as writer:
        writer.write_split("train", videos, max_labels=1, dense=False, shuffled=7)
        writer.write_split("val", [Video("other", videos[0].features, ())], max_labels=1, dense=False)
        writer.finish()
    text = seen(capsys, str(tmp_path / "set"))
    shown = re.findall(r"^\| (?:sound number|…) .*\|$", text, re.MULTILINE)
    assert len(shown) == lines
    assert max(map(len, text.splitlines())) <= 100
    assert "audio: mean of 32 rows" in text
    assert "by seed 7" in text
    assert f"{categories} in val" in text.splitlines()[-1]
    everything = seen(capsys, str(tmp_path / "set"), "--all")
    assert len(re.findall(r"^\| sound number ", everything, re.MULTILINE)) == categories
    assert max(map(len, everything.splitlines())) <= 100


def test_behind_a_url_one_shard_is_fetched(
    tiny: tuple[Path, Manifest, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder, _, videos = tiny
    caplog.set_level("INFO")
    cache, key = f"data.cache={tmp_path}", videos["train"][10].key
    first, second = "train/shard-000000.tar", "train/shard-000001.tar"
    with serving(folder) as server:
        assert "values of 7 videos of train, from 1 shard" in seen(capsys, server.url, cache)
        assert {name for name in server.gets if name.endswith(".tar")} == {first}
        assert data.main([server.url, key, cache]) == 0
        assert {name for name in server.gets if name.endswith(".tar")} == {first, second}
    out = capsys.readouterr().out
    assert out.startswith(f"{key}: train, video 3 of train/shard-000001.tar")
    assert re.search(r"one after another, at most 7 shards of 0\.\d MB, and kept in the cache", caplog.text)


def test_a_truth_beside_the_shards_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = {"audio": FeatureSpec((2, 3), "float16")}
    names = CategorySet(("bark", "horn"))
    video = Video("one", {"audio": np.ones((2, 3), np.float32)}, (0, 1))
    with DatasetWriter(tmp_path / "set", name="set", categories=names, segments=2, features=spec) as writer:
        writer.write_split("train", [video], max_labels=2, dense=False)
        writer.write_truth("train", ["one"], np.array([[[True, False], [True, True]]]))
        writer.finish()
    text = seen(capsys, str(tmp_path / "set"), "one")
    assert [line.split() for line in text.splitlines() if line.startswith(("| bark", "| horn"))] == [
        ["|", "bark", "|", "yes", "|", "yes", "|", "yes", "|"],
        ["|", "horn", "|", "yes", "|", "no", "|", "yes", "|"],
    ]


def test_statistics_of_parts_are_those_of_the_whole() -> None:
    draw = np.random.default_rng(1)
    parts = [draw.standard_normal((n, 4, 3)).astype(np.float16) for n in (1, 5, 2)]
    parts[1][0] = 0
    sums = Sums()
    for part in parts:
        sums.add(part)
    found, plain = sums.statistics(), statistics_of(np.concatenate(parts))
    assert found is not None
    assert [*vars(found).values()] == pytest.approx([*vars(plain).values()])
    assert Sums().statistics() is None
    assert statistics_of(np.array([0.0, 2.0])) == Statistics(1.0, 1.0, 0.0, 2.0, 0.5)


@pytest.mark.parametrize("sizes", [[7, 7, 3], [500], [1], [2] * 40, [100, 1, 1, 900]])
@pytest.mark.parametrize(("videos", "run"), [(256, 16), (5, 2), (1, 1)])
def test_a_sample_is_spread_and_has_no_video_twice(sizes: list[int], videos: int, run: int) -> None:
    runs = sample_runs(sizes, videos, run)
    places = [(shard, first + n) for shard, first, count in runs for n in range(count)]
    assert len(set(places)) == len(places)
    assert all(0 <= number < sizes[shard] for shard, number in places)
    assert 1 <= len(places) <= videos
    if sum(sizes) <= videos:
        assert len(places) == sum(sizes)


def test_nearest_keys_forgive_a_letter_more_or_less_and_case() -> None:
    keys = [f"id{n:05d}_x" for n in range(0, 60000, 7)] + ["--7Xk2QaZ9b"]
    for typed in ("--7Xk2QaZ9", "-7Xk2QaZ9b", "--7Xk3QaZ9b", "--7xk2qaz9b", "--7Xk2QaZ9b_10_20"):
        assert nearest_keys(typed, keys)[0] == "--7Xk2QaZ9b"


def test_events_are_runs_of_segments_in_seconds() -> None:
    dense = np.zeros((2, 2, 5), np.uint8)
    dense[0, 1] = [1, 1, 0, 0, 1]
    dense[1, 0] = [0, 1, 1, 1, 1]
    assert events_of(dense, ("a", "b"), 2.0) == (
        Event("b", "audio", 0.0, 4.0),
        Event("a", "visual", 2.0, 10.0),
        Event("b", "audio", 8.0, 10.0),
    )
