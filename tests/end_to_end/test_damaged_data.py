"""Training on shards with damaged videos: named and left out, or one message on whatever number of ranks."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from conftest import Tiny
from launchers_help import Outcome, run_here, run_process

from jomold_dist.data.format.damage import from_csv
from jomold_dist.data.reading.source import read_manifest

MASK = "data.on_bad_video=mask"
# number of a video in its split -> where in its record a byte is changed
DAMAGE = {"train": (3, 17, 58), "val": (4,), "test": (9,)}


@pytest.fixture(scope="module")
def damaged(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny data set with one byte of some videos' features changed."""
    folder = tmp_path_factory.mktemp("damaged") / "data"
    shutil.copytree(tiny.shards, folder)
    for split, numbers in DAMAGE.items():
        for number in numbers:
            spoil(folder, split, number, "audio.npy", 5)
    return folder


def spoil(folder: Path, split: str, number: int, member: str, offset: int) -> None:
    """Change a byte of a member's content."""
    info = read_manifest(folder).split(split)
    per_shard = info.shards[0].videos
    path = folder / info.shards[number // per_shard].name
    at = number % per_shard * info.record.bytes + info.record.members[member].offset + offset
    content = bytearray(path.read_bytes())
    content[at] ^= 0x01
    path.write_bytes(content)


def train(launcher: str, tiny: Tiny, shards: Path, folder: Path, *overrides: str) -> Outcome:
    settings = (f"data.shards={shards}", f"run.dir={folder}", *overrides)
    return run_process(launcher, "train", "--config", tiny.config, *settings)


def test_masked_videos_are_named_and_every_number_of_ranks_gives_the_same_run(
    damaged: Path, tiny: Tiny, tmp_path: Path
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    allowed = (MASK, "data.max_bad_fraction=0.1", "denoise.mean_batch_size=16")
    assert train("python", tiny, damaged, one, *allowed).code == 0
    outcome = train("start torchrun", tiny, damaged, two, *allowed, "train.micro_batch_size=5", "data.resident=true")
    assert outcome.code == 0, outcome.err
    for name in ("scores.json", "noise_ratios.json", "removed_labels.csv", "removals.json"):
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    for folder in (one, two):
        with (folder / "bad_videos.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        keys = {row["key"] for row in rows}
        assert keys == {tiny.videos[split][number].key for split, numbers in DAMAGE.items() for number in numbers}
        assert len(rows) == 5
        assert {row["problem"] for row in rows} == {"its contents do not have its checksum"}
        history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
        assert {line["train/left_out_videos"] for line in history} == {3}
    assert "left out: 1 of 15 in test, 3 of 60 in train, 1 of 13 in val" in outcome.err


def test_too_many_bad_videos_end_the_run(
    damaged: Path, tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    settings = ("--config", tiny.config, f"data.shards={damaged}", f"run.dir={folder}", MASK)
    outcome = run_here(capsys, "train", *settings, "data.max_bad_fraction=0.04")
    assert outcome.code == 2
    assert "3 of the 60 videos of split 'train' cannot be used, more than data.max_bad_fraction = 0.04" in outcome.err
    assert json.loads((folder / "status.json").read_text())["state"] == "failed"
    assert "Traceback" not in outcome.err
    outcome = run_here(capsys, "train", *settings, "data.max_bad_fraction=0.1")  # it may go on with more
    assert outcome.code == 0, outcome.err


def test_after_the_shards_were_mended_the_same_command_goes_on(
    damaged: Path, tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards, folder = tmp_path / "data", tmp_path / "run"
    shutil.copytree(damaged, shards)
    settings = ("--config", tiny.config, f"data.shards={shards}", f"run.dir={folder}", MASK, "method=han")
    outcome = run_here(capsys, "train", *settings, "data.max_bad_fraction=0.04")
    assert outcome.code == 2
    assert "mend the shards, or allow more" in outcome.err
    shutil.copytree(tiny.shards, shards, dirs_exist_ok=True)
    outcome = run_here(capsys, "train", *settings, "data.max_bad_fraction=0.04")
    assert outcome.code == 0, outcome.err
    assert "could not be used" not in outcome.err
    assert len((folder / "bad_videos.csv").read_text().splitlines()) == 1 + 3  # what was met before mending


def test_a_video_that_one_rank_cannot_read_is_told_once_by_all(tiny: Tiny, tmp_path: Path) -> None:
    shards, folder = tmp_path / "data", tmp_path / "run"
    shutil.copytree(tiny.shards, shards)
    spoil(shards, "train", 30, "audio.npy", -120)  # its header
    outcome = train("start torchrun", tiny, shards, folder, "data.verify=size")
    assert outcome.code == 2, outcome.err
    assert outcome.err.count("is altered: video 2 of it does not lie where the manifest says") == 1
    assert "has gone" not in outcome.err
    assert 'train.py", line' not in outcome.err
    assert json.loads((folder / "status.json").read_text())["exit_code"] == 2


def test_evaluation_and_prediction_leave_bad_videos_out(
    damaged: Path, tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "run", tmp_path / "events.csv"
    settings = ("--config", tiny.config, f"data.shards={damaged}", f"run.dir={folder}", MASK, "method=han")
    assert run_here(capsys, "train", *settings, "data.max_bad_fraction=0.1").code == 0
    (folder / "bad_videos.csv").unlink()
    outcome = run_here(capsys, "evaluate", "--run", folder, "--split", "val")
    assert outcome.code == 0, outcome.err
    assert "left out: 1 of 13 in val" in outcome.out
    assert tiny.videos["val"][4].key in outcome.err
    assert not (folder / "bad_videos.csv").exists()  # the run itself may be going on
    outcome = run_here(capsys, "predict", "--run", folder, "--shards", damaged, "--out", out)
    assert outcome.code == 0, outcome.err
    assert "83 videos parsed" in outcome.out
    assert "5 videos could not be used, for instance video " in outcome.out
    listed = from_csv((tmp_path / "events_bad_videos.csv").read_text())
    assert {video.key for video in listed} == {
        tiny.videos[split][number].key for split, numbers in DAMAGE.items() for number in numbers
    }
    assert tiny.videos["test"][9].key not in out.read_text()
