"""`jomold pack` as a user types it: sets as they circulate, what it says, what it refuses without leaving a trace."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch

from jomold_dist.commands import pack, pack_llp, verify
from jomold_dist.config import ModelConfig
from jomold_dist.data.format.feature_rows import pool_rows
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.data.reading.source import Folder, read_manifest
from jomold_dist.data.reading.truth import read_truth
from jomold_dist.models.registry import build_network
from tests.published import publish
from tests.shard_fixtures import read_records

Shapes = Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


def command(*words: str | Path, main: object = pack.main) -> Said:
    """The command in this process."""
    out, err = io.StringIO(), io.StringIO()
    try:
        with patch.object(sys, "argv", ["pack", *map(str, words)]), redirect_stdout(out), redirect_stderr(err):
            code = main()  # type: ignore[operator]
    except SystemExit as end:  # argparse's own
        code = int(str(end.code))
    return Said(code, out.getvalue(), err.getvalue())


def feature_words(folder: Path, names: Sequence[str]) -> list[str]:
    return [word for name in names for word in ("--feature", f"{name}={folder}/{name}/{{key}}.npy")]


def make(folder: Path, shapes: Shapes, categories: int, segments: int, seconds: float) -> list[str]:
    """A set of ten videos whose keys have times: 6 train, 2 val, 2 test, the last four with events. Its words."""
    draw = np.random.default_rng(3)
    names = [f"category {c}, the {c}th" for c in range(categories)]
    splits = ["train"] * 6 + ["val"] * 2 + ["test"] * 2
    keys = [f"video{n // 2:06d}_{n}_{n + 10}" for n in range(10)]
    rows = ["key;labels;split"]
    events = {split: ["key,onset,offset,label,modality"] for split in ("val", "test")}
    for number, (key, split) in enumerate(zip(keys, splits, strict=True)):
        own = sorted({0, number % categories, categories - 1})
        rows.append(f"{key};{'|'.join(names[c] for c in own)};{split}")
        for c in own if split in events else ():
            events[split].append(f'{key},{seconds},{3 * seconds},"{names[c]}",both')
        for name, shape in shapes.items():
            path = folder / name / f"{key}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, draw.standard_normal(shape, dtype=np.float32))
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    (folder / "categories.txt").write_text("\n".join(names) + "\n")
    for split, lines in events.items():
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")
    return [
        *("--labels", f"{folder}/labels.csv", "--categories", f"{folder}/categories.txt"),
        *("--dense", f"val={folder}/val.csv", "--dense", f"test={folder}/test.csv"),
        *("--segments", f"{segments}", "--segment-seconds", f"{seconds}", *feature_words(folder, list(shapes))),
    ]


# Widths are narrow; rows are those of the sets as they circulate, and for other T such as people extract for it.
LAYOUTS: dict[str, tuple[Shapes, int, int]] = {
    "VGGish, ResNet, R(2+1)D": ({"audio": (10, 12), "frames": (80, 20), "motion": (10, 5)}, 28, 10),
    "VGGish, CLIP, R(2+1)D": ({"audio": (10, 12), "frames": (10, 7), "motion": (10, 5)}, 309, 10),
    "CLAP, CLIP, R(2+1)D": ({"audio": (10, 6), "frames": (10, 7), "motion": (10, 5)}, 28, 10),
    "CLAP maps, CLIP, R(2+1)D": ({"audio": (64, 9), "frames": (10, 7), "motion": (10, 5)}, 527, 10),
    "CLAP, CLIP ViT-B/16 without motion": ({"audio": (10, 6), "frames": (80, 5)}, 309, 10),
    "five segments": ({"audio": (10, 6), "frames": (40, 5)}, 527, 5),
    "twenty segments": ({"audio": (64, 9), "frames": (160, 5), "motion": (20, 5)}, 28, 20),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_sets_as_they_circulate_are_packed_whole_and_a_network_takes_them(layout: str, tmp_path: Path) -> None:
    shapes, categories, segments = LAYOUTS[layout]
    seconds = 10 / segments
    words = make(tmp_path, shapes, categories, segments, seconds)
    said = command(*words, "--out", tmp_path / "out")
    assert said.code == 0, said.err
    manifest = read_manifest(tmp_path / "out")
    assert (len(manifest.categories), manifest.segments, manifest.segment_seconds) == (categories, segments, seconds)
    assert {name: spec.shape for name, spec in manifest.features.items()} == {
        name: (segments, width) for name, (_, width) in shapes.items()
    }
    for name, (rows, _) in shapes.items():
        assert bool(manifest.features[name].pooled) == (rows != segments)
    assert command(tmp_path / "out", main=verify.main).code == 0

    for split, count in (("train", 6), ("val", 2), ("test", 2)):
        view = read_records(tmp_path / "out", manifest, split)
        assert len(view.keys()) == count
        for name in shapes:
            for key, array in zip(view.keys(), view.feature(name), strict=True):
                wanted = pool_rows(np.load(tmp_path / name / f"{key}.npy"), segments).astype(np.float16)
                np.testing.assert_array_equal(array, wanted)
    test = read_records(tmp_path / "out", manifest, "test")
    dense = test.dense()
    np.testing.assert_array_equal(dense.any(axis=3), np.stack([test.labels()] * 2, axis=1))
    assert dense[:, :, 0].tolist() == [[[0, 1, 1] + [0] * (segments - 3)] * 2] * 2

    features = {name: torch.from_numpy(test.feature(name).astype(np.float32)) for name in shapes}
    parsing = forward(manifest, features)
    assert parsing.shape == (2, segments, 2, categories)
    assert torch.isfinite(parsing).all()


def forward(manifest: Manifest, features: Mapping[str, torch.Tensor]) -> torch.Tensor:
    network = build_network(ModelConfig(), manifest)
    with torch.no_grad():
        found: torch.Tensor = network(features["audio"], features["frames"], features.get("motion")).segment_prob
    return found


@pytest.fixture
def small(tmp_path: Path) -> tuple[Path, list[str]]:
    return tmp_path, make(tmp_path, {"audio": (10, 3), "frames": (20, 4)}, 5, 10, 1.0)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_parquet_and_csv_give_the_same_bytes(small: tuple[Path, list[str]]) -> None:
    folder, words = small
    assert command(*words, "--out", folder / "a", "--name", "mine").code == 0
    rows = [line.split(";") for line in (folder / "labels.csv").read_text().splitlines()[1:]]
    columns = {"key": [r[0] for r in rows], "labels": [r[1].split("|") for r in rows], "split": [r[2] for r in rows]}
    pyarrow.parquet.write_table(pa.table(columns), folder / "labels.csv")
    assert command(*words, "--out", folder / "b", "--name", "mine").code == 0
    assert contents(folder / "a") == contents(folder / "b")


def test_what_is_told_of_the_set(small: tuple[Path, list[str]]) -> None:
    folder, words = small
    said = command(*words, "--out", folder / "out")
    assert "labels.csv: labels are separated by bars\n" in said.out
    assert "frames: the mean of the 2 rows of each segment\n" in said.out
    assert "train: videos 6, labels " in said.out
    assert "nobody" not in said.out
    manifest = read_manifest(folder / "out")
    assert manifest.name == "out"
    assert manifest.origin.items() >= {"command": "pack", "labels": "tables"}.items()
    assert {name: split.shuffled for name, split in manifest.splits.items()} == {"train": 0, "val": None, "test": None}
    kept = command(*words, "--out", folder / "kept", "--keep-frames")
    assert kept.code == 0
    assert read_manifest(folder / "kept").features["frames"].shape == (20, 4)


def test_what_is_added_has_the_categories_of_the_set(small: tuple[Path, list[str]]) -> None:
    folder, words = small
    assert command(*words, "--out", folder / "set").code == 0
    there = read_manifest(folder / "set").categories
    for name in ("audio", "frames"):
        (old, *_) = sorted((folder / name).glob("*.npy"))
        (folder / name / "new.npy").write_bytes(old.read_bytes())
    (folder / "more.csv").write_text(f'key,label\nnew,"{there.names[3]}"\n')
    features = feature_words(folder, ["audio", "frames"])
    added = command("--append", "--labels", folder / "more.csv", *features, "--out", folder / "set")
    assert added.code == 0, added.err
    manifest = read_manifest(folder / "set")
    assert (manifest.categories, manifest.splits["train"].videos) == (there, 7)
    (folder / "more.csv").write_text("key,label\nnew,category 33\n")
    said = command("--append", "--labels", folder / "more.csv", *features, "--out", folder / "set")
    assert "unknown category 'category 33'" in said.err


def test_the_order_of_train_is_the_seeds_or_nobodys(small: tuple[Path, list[str]]) -> None:
    folder, words = small
    orders = {}
    for name, more in {"0": [], "1": ["--seed", "1"], "none": ["--no-shuffle"]}.items():
        said = command(*words, *more, "--out", folder / name)
        assert said.code == 0
        manifest = read_manifest(folder / name)
        orders[name] = read_records(folder / name, manifest, "train").keys()
        assert manifest.splits["train"].shuffled == (None if more == ["--no-shuffle"] else int(name))
        assert ("train stays in its order: batches are cut from neighbours" in said.out) == (name == "none")
    assert orders["none"] == sorted(orders["0"]) == sorted(orders["1"])
    assert len({tuple(order) for order in orders.values()}) == 3


def test_the_truth_of_training_labels_is_packed_in_the_order_of_the_shards(small: tuple[Path, list[str]]) -> None:
    folder, words = small
    keys = [f"video{n // 2:06d}_{n}_{n + 10}" for n in range(6)]
    lines = ["key,label,modality", *(f'{key},"category 0, the 0th",{"AV"[n % 2]}' for n, key in enumerate(keys))]
    (folder / "truth.csv").write_text("\n".join(lines) + "\n")
    said = command(*words, "--truth", f"train={folder}/truth.csv", "--out", folder / "out")
    assert said.code == 0, said.err
    assert "passed over: truth.csv: labels neither heard nor seen: " in said.out
    manifest = read_manifest(folder / "out")
    assert [name for name, split in manifest.splits.items() if split.truth] == ["train"]
    truth = read_truth(Folder(folder / "out"), manifest, "train")
    assert truth is not None
    packed = read_records(folder / "out", manifest, "train").keys()
    assert [key.decode() for key in truth.keys.tolist()] == packed != keys
    heard = {key: truth.present[i, :, 0].tolist() for i, key in enumerate(packed)}
    assert heard == {key: [n % 2 == 0, n % 2 == 1] for n, key in enumerate(keys)}

    # Repairing writes the truth that the manifest tells of, and none beside a set that was packed without.
    with_truth = ("--truth", f"train={folder}/truth.csv")
    assert command(*words, "--out", folder / "bare").code == 0
    for name, anew in (("out", True), ("bare", False)):
        (folder / name / "truth/train.npz").unlink(missing_ok=True)
        said = command(*words, *with_truth, "--out", folder / name, "--repair")
        assert (said.code, "written anew: truth/train.npz" in said.out) == (0, anew)
        assert command(folder / name, main=verify.main).code == 0


def test_weak_labels_alone_and_clips_of_one_video_by_its_id(tmp_path: Path) -> None:
    make(tmp_path, {"audio": (10, 3)}, 5, 10, 1.0)
    words = ["--labels", f"{tmp_path}/labels.csv", *feature_words(tmp_path, ["audio"])]
    assert command(*words, "--out", tmp_path / "out").code == 0
    manifest = read_manifest(tmp_path / "out")
    assert not any(split.dense for split in manifest.splits.values())
    assert manifest.categories.names[0] == "category 0, the 0th"
    said = command(*words[:2], "--feature", f"audio={tmp_path}/audio/{{id}}.npy", "--out", tmp_path / "ids")
    assert said.code == 2
    assert said.err.startswith("error: 5 problems:")
    assert "would be the audio of both video000000_0_10 and video000000_1_11; clips of one video need files" in said.err


def test_unlabelled_videos_are_packed_for_prediction(small: tuple[Path, list[str]]) -> None:
    folder, _ = small
    words = ["--unlabelled", *feature_words(folder, ["audio", "frames"])]
    assert "--unlabelled needs --categories" in command(*words, "--out", folder / "out").err
    assert command(*words, "--out", folder / "out", "--categories", folder / "categories.txt").code == 0
    assert command(*words, "--out", folder / "again", "--categories", folder / "out").code == 0
    assert read_manifest(folder / "again").categories == read_manifest(folder / "out").categories
    assert f"{folder} holds no manifest.json" in command(*words, "--out", folder / "no", "--categories", folder).err
    manifest = read_manifest(folder / "out")
    assert {name: split.videos for name, split in manifest.splits.items()} == {"predict": 10}
    assert not read_records(folder / "out", manifest, "predict").labels().any()


def test_llps_command_is_a_preset(tmp_path: Path) -> None:
    publish(tmp_path)
    features = tmp_path / "features"
    words = ["--annotations", tmp_path / "annotations", "--features", features, "--out", tmp_path / "preset"]
    assert command(*words, main=pack_llp.main).code == 0
    patterns = {"audio": "vggish", "frames": "res152", "motion": "r2plus1d_18"}
    words = ["--annotations", f"llp={tmp_path}/annotations", "--name", "llp", "--out", tmp_path / "general"]
    for name, sub in patterns.items():
        words += ["--feature", f"{name}={features}/{sub}/{{id}}.npy"]
    assert command(*words).code == 0
    manifests = [read_manifest(tmp_path / name) for name in ("preset", "general")]
    assert replace(manifests[0], origin={}).digest == replace(manifests[1], origin={}).digest
    assert command(*words[:-2], *words[-2:], "--segments", "5", "--out", tmp_path / "five").code == 0
    five, ten = (read_records(tmp_path / n, read_manifest(tmp_path / n), "test").dense() for n in ("five", "preset"))
    assert read_manifest(tmp_path / "five").segment_seconds == 2.0
    assert (ten.reshape(*ten.shape[:3], 5, 2).min(axis=4) <= five).all()
    assert (ten.reshape(*ten.shape[:3], 5, 2).max(axis=4) >= five).all()


def test_rows_that_do_not_fit_are_one_message_and_leave_nothing(small: tuple[Path, list[str]]) -> None:
    folder, words = small
    before = sorted(folder.iterdir())
    np.save(folder / "audio" / "video000000_0_10.npy", np.zeros((7, 3), np.float32))
    np.save(folder / "frames" / "video000002_4_14.npy", np.zeros((25, 4), np.float32))
    said = command(*words, "--out", folder / "out")
    assert said.code == 2
    assert said.err.count("error: ") == 1
    assert f"{folder}/audio/video000000_0_10.npy: shape (7, 3), fewer rows than the 10 segments" in said.err
    assert f"{folder}/frames/video000002_4_14.npy: shape (25, 4), no multiple of 10 rows" in said.err
    assert sorted(folder.iterdir()) == before


def test_what_is_not_finite_is_told_with_its_file(small: tuple[Path, list[str]]) -> None:
    folder, words = small
    path = folder / "audio" / "video000001_2_12.npy"
    array = np.load(path)
    array[4, 1] = np.inf
    np.save(path, array)
    said = command(*words, "--out", folder / "out")
    assert f"error: {path} holds NaN or infinity in 1 of 30 values, the first at [4, 1]; extract it again" in said.err


def test_other_files_of_the_same_size_and_time_are_packed_anew(small: tuple[Path, list[str]]) -> None:
    folder, words = small
    (broken,) = (folder / "audio").glob("*_9_19.npy")
    array = np.load(broken)
    np.save(broken, array * np.nan)
    words += ["--videos-per-shard", "2", "--name", "set"]
    assert command(*words, "--out", folder / "out").code == 2  # the shards before the last are finished
    for path in (folder / "audio").glob("*.npy"):
        other = folder / "more" / path.name
        other.parent.mkdir(exist_ok=True)
        np.save(other, np.load(path) + 1 if path != broken else array)
        os.utime(other, ns=(0, path.stat().st_mtime_ns))
    words[words.index(f"audio={folder}/audio/{{key}}.npy")] = f"audio={folder}/more/{{key}}.npy"
    assert command(*words, "--out", folder / "out").code == 0
    assert command(*words, "--out", folder / "at_once").code == 0
    assert contents(folder / "out") == contents(folder / "at_once")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--labels", "l.csv"], "there is neither audio nor frames; name one of them with --feature"),
        (["--labels", "l.csv", "--feature", "motion=m/{key}.npy", "--feature", "audio=a/{key}.npy"], "without frames"),
        (["--labels", "l.csv", "--feature", "sound=a/{key}.npy"], "NAME one of audio, frames, motion"),
        (["--labels", "l.csv", "--feature", "audio=a.npy"], "must tell with {key}"),
        (
            ["--feature", "audio=a/{key}.npy"],
            "one of the arguments --labels --annotations --label-field --unlabelled is required",
        ),
        (["--annotations", "avel=x", "--feature", "audio=a/{key}.npy"], "KIND one of llp, lfav, vggsounder"),
        (
            ["--annotations", "llp=x", "--feature", "audio=a/{key}.npy", "--dense", "val=v.csv"],
            "--dense goes with --labels or --label-field only",
        ),
        (
            ["--annotations", "llp=x", "--feature", "audio=a/{key}.npy", "--segment-seconds", "2"],
            "--segments 10 of --segment-seconds 2 are not the 10 seconds of a video of llp",
        ),
        (["--labels", "l.csv", "--feature", "audio=a/{key}.npy", "--segments", "0"], "--segments must be at least 1"),
        (["--labels", "l.csv", "--feature", "audio=a/{key}.npy", "--segment-seconds", "nan"], "must be above 0"),
        (["--labels", "l.csv", "--feature", "audio=a/{key}.npy", "--segment-seconds", "1e5"], "at most 86400, not"),
        (["--labels", "l.csv", "--feature", "audio=a/{key}.npy", "--seed", "9" * 20], "--seed must be from 0 to"),
        (["--labels", "l.csv", "--feature", "audio=a/{key}.npy", "--dense", "v.csv"], "'v.csv' is not SPLIT=FILE"),
        (["--labels", "nowhere.csv", "--feature", "audio=a/{key}.npy"], "nowhere.csv: the file does not exist"),
    ],
)
def test_impossible_options_are_refused(tmp_path: Path, words: list[str], message: str) -> None:
    said = command(*words, "--out", tmp_path / "out")
    assert said.code == 2
    assert message in said.err
    assert said.err.count("error: ") == 1
    assert json.dumps([path.name for path in tmp_path.iterdir()]) == "[]"
