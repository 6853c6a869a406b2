"""`jomold extract`: from video files to a trained network by commands, and the same bytes whoever does the work."""

from __future__ import annotations

import csv
import hashlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from launchers_help import ENVIRONMENT, Outcome, run_here

from jomold_dist.data.reading.source import read_manifest
from jomold_dist.errors import ConfigError
from jomold_dist.extraction.jobs.job import ENDED, Opening
from jomold_dist.extraction.jobs.processes import LocalExtraction
from jomold_dist.extraction.media.sampling import Sampling
from jomold_dist.models.weights import read_info
from tests.media_files import Pictures, times_of, write_clip, write_media
from tests.tiny_models import CLAP_WIDTH, CLIP_WIDTH, tiny_clap, tiny_clip

Capture = pytest.CaptureFixture[str]
SHARED = Path(__file__).resolve().parents[2].parent / "shared"
SMALL = ("train.epochs=1", "train.batch_size=4", "data.streams=2", "distributed.device=cpu", "tracking.enabled=false")
SAMPLING = ("--segments", "4", "--segment-seconds", "0.5", "--frames-per-segment", "2")
CATEGORIES = ("dog", "horn", "rain")


@dataclass(frozen=True)
class Models:
    """Folders of tiny models with random weights."""

    clip: Path
    clap: Path

    @property
    def words(self) -> list[str]:
        return ["--feature", f"frames=clip:{self.clip}", "--feature", f"audio=clap:{self.clap}"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder = tmp_path_factory.mktemp("models")
    return Models(tiny_clip(folder / "clip"), tiny_clap(folder / "clap"))


def make_videos(folder: Path, count: int) -> Path:
    """Good files of 2 seconds, of which each is another; one without sound, and one that is none."""
    (folder / "deep").mkdir(parents=True)
    for number in range(count):
        write_clip(folder / "deep" / f"video{number}.mp4", rate=5 + number)
    write_media(folder / "mute.mkv", Pictures(times_of(2.0, 10)))
    (folder / "broken.mp4").write_bytes(b"no media at all")
    return folder


def features_in(out: Path) -> dict[str, str]:
    """A digest of every .npy below a folder."""
    return {
        f"{path.relative_to(out)}": hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(out.rglob("*.npy"))
    }


def write_labels(folder: Path, keys: list[str]) -> list[str]:
    """Labels and events of videos: words of `jomold pack`."""
    rows, events = ["key,label,split"], ["key,onset,offset,label,modality"]
    for number, key in enumerate(keys):
        label, split = CATEGORIES[number % 3], "val" if number >= len(keys) - 3 else "train"
        rows.append(f"{key},{label},{split}")
        events += [f"{key},0,2,{label},both"] if split == "val" else []
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    (folder / "events.csv").write_text("\n".join(events) + "\n")
    return ["--labels", f"{folder}/labels.csv", "--dense", f"val={folder}/events.csv"]


@pytest.mark.lengthy
def test_from_files_to_a_network_that_knows_its_features(models: Models, tmp_path: Path, capsys: Capture) -> None:
    videos, out = make_videos(tmp_path / "videos", 8), tmp_path / "features"

    def jomold(*words: str | Path, code: int = 0) -> Outcome:
        outcome = run_here(capsys, "jomold", *words)
        assert outcome.code == code, outcome.err
        return outcome

    def extract(*words: str | Path, out: Path = out, code: int = 0) -> Outcome:
        return jomold("extract", "--videos", videos, "--out", out, *models.words, "--jobs", "1", *words, code=code)

    (tmp_path / "few.csv").write_text("key,labels\nvideo1_0_10,dog\nvideo3,dog\nnowhere,dog\n")
    told = extract(*SAMPLING, "--labels", tmp_path / "few.csv")
    assert f"2 files; opening frames=clip:{models.clip} and audio=clap:{models.clap} on cpu" in told.err
    assert f"extracting 2 files into {out} by 1 process" in told.err
    said = told.out
    assert "of 3 videos that --labels names, 1 have no file: nowhere" in said
    assert "2 files: 2 extracted, 0 were there, 0 failed" in said
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.npy")}

    said = extract(*SAMPLING).out
    assert "10 files: 7 extracted, 2 were there, 1 failed" in said
    assert f"frames: 8 × {CLIP_WIDTH} in {out / 'frames'}, extracted by clip, fingerprint" in said
    assert {path: path.stat().st_mtime_ns for path in before} == before
    with (out / "failed.csv").open() as file:
        assert [Path(row["file"]).name for row in csv.DictReader(file)] == ["broken.mp4"]
    with (out / "notes.csv").open() as file:
        assert [(row["key"], row["kind"]) for row in csv.DictReader(file)] == [("mute", "no sound")]
    assert np.load(out / "audio" / "video0.npy").shape == (4, CLAP_WIDTH)
    assert sorted(path.name for path in out.iterdir() if path.suffix == ".partial") == []

    first = features_in(out)
    write_clip(videos / "deep" / "video0.mp4", rate=30)  # made anew since, and mended
    write_clip(videos / "broken.mp4", rate=3)
    assert "10 files: 2 extracted, 8 were there, 0 failed" in extract(*SAMPLING).out
    assert not (out / "failed.csv").exists()
    second = features_in(out)
    changed = {name for name in second if second[name] != first.get(name)}
    assert changed == {"frames/video0.npy", "audio/broken.npy", "frames/broken.npy"}  # the same tone sounds in it

    said = extract("--segments", "4", "--segment-seconds", "0.5", "--frames-per-segment", "3", code=2).err
    assert "holds frames of other choices: sampling.frames_per_segment: 2 there, 3 now" in said

    shards, length = tmp_path / "shards", ("--segments", "4", "--segment-seconds", "0.5")
    labels = write_labels(tmp_path, sorted({path.stem for path in out.glob("audio/*.npy")}))
    jomold("pack", *labels, "--extracted", out, *length, "--out", shards)
    jomold("verify", shards)
    assert "audio: extracted by clap" in jomold("data", shards).out
    run = tmp_path / "run"
    jomold("train", "--config", "llp", "method=han", f"data.shards={shards}", f"run.dir={run}", *SMALL)
    assert read_info(run / "checkpoints" / "model.safetensors").extraction == read_manifest(shards).extraction

    others, other_shards = tmp_path / "others", tmp_path / "other_shards"
    extract("--segments", "4", "--segment-seconds", "0.5", "--frames-per-segment", "1", out=others)
    jomold("pack", *labels, "--extracted", others, *length, "--out", other_shards)
    evaluate = ("evaluate", "--run", run, "--split", "val", "--shards", other_shards)
    differs = "frames sampling.frames_per_segment: 1 in the data set, 2 in the model's training"
    assert differs in jomold(*evaluate, code=2).err
    jomold(*evaluate, "--other-features")
    predict = ("predict", "--run", run, "--shards", other_shards, "--out", tmp_path / "events.csv")
    assert differs in jomold(*predict, code=2).err
    joined = ("evaluate", "--run", run, "--split", "val", "--shards", shards, other_shards)
    assert "their features were extracted in different ways: frames" in jomold(*joined, code=2).err


class OnGpu(Opening):
    """Encoders of which only one process can have each."""

    on_gpu = True


@pytest.mark.lengthy
def test_decoding_in_other_processes_gives_the_same_bytes(models: Models, tmp_path: Path) -> None:
    files = {path.stem: path for path in make_videos(tmp_path / "videos", 3).rglob("*.m*")}
    names = (("frames", f"clip:{models.clip}"), ("audio", f"clap:{models.clap}"))
    asked = (names, Sampling(4, 0.5, 2), "cpu", "float32")
    with LocalExtraction(Opening(*asked), 1) as here, LocalExtraction(OnGpu(*asked), 2) as divided:
        expected = {outcome.key: outcome for outcome in here.outcomes(files)}
        assert {outcome.key: outcome for outcome in divided.outcomes(files)} == expected
    assert {key for key, outcome in expected.items() if outcome.problem} == {"broken"}
    opening = Opening(*asked).known_by(here.features)
    tiny_clip(models.clip, seed=1)  # as a node might have another
    try:
        with pytest.raises(ConfigError, match=r"the model of frames=clip.* is another here than where"):
            opening.open()
    finally:
        tiny_clip(models.clip)


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "jomold_dist", *map(str, words)]


@pytest.mark.slow
@pytest.mark.lengthy
def test_the_same_bytes_from_one_process_from_two_from_ray_and_after_kills(models: Models, tmp_path: Path) -> None:
    clips = sorted([*SHARED.glob("clips/*.mp4"), *SHARED.glob("llp/*.mp4")])
    videos = clips or [make_videos(tmp_path / "videos", 6)]
    words = ["extract", "--videos", *map(str, videos), *models.words]

    def extract(out: Path, *more: str) -> str:
        done = subprocess.run(
            command(*words, "--out", out, *more), env=ENVIRONMENT, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stderr
        assert "Warning" not in done.stderr
        return done.stdout

    said = extract(tmp_path / "one", "--jobs", "1")
    expected = features_in(tmp_path / "one")
    assert len(expected) == 2 * (len(clips) or 7)
    assert len(set(expected.values())) == len(expected)
    if clips:
        assert "10 files: 10 extracted, 0 were there, 0 failed" in said
    extract(tmp_path / "two", "--jobs", "2")
    extract(tmp_path / "ray", "--jobs", "2", "--ray")
    for number, name in ((signal.SIGKILL, "killed"), (signal.SIGTERM, "stopped"), (signal.SIGINT, "interrupted")):
        out = tmp_path / name
        process = subprocess.Popen(
            command(*words, "--out", out, "--jobs", "2"), env=ENVIRONMENT, stderr=subprocess.PIPE
        )
        until = time.monotonic() + 300
        while len(features_in(out)) < 4 and process.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        assert process.returncode == (-9 if number == signal.SIGKILL else 75), err
        assert features_in(out).items() <= expected.items()
        before = len(features_in(out))
        assert 4 <= before < len(expected)
        again = extract(out, "--jobs", "1")
        assert " 0 were there" not in again
        assert list(out.rglob(".*.partial")) == [] or number == signal.SIGKILL
    for name in ("two", "ray", "killed", "stopped", "interrupted"):
        assert features_in(tmp_path / name) == expected, name


@pytest.mark.slow
@pytest.mark.lengthy
def test_on_ray_a_file_that_ends_its_actor_is_given_up_and_no_other(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jomold_dist.extraction.jobs import ray_extraction

    class Ending:
        def __init__(self, opening: Opening) -> None:
            from jomold_dist.extraction.jobs.ray_extraction import _Extractor  # in the actor, where it is the real one

            self.own = _Extractor(opening)

        def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
            if row["key"] == "video1":
                os._exit(9)
            done: dict[str, Any] = self.own(row)
            return done

    monkeypatch.setenv("PYTHONPATH", ENVIRONMENT["PYTHONPATH"])
    monkeypatch.setattr(ray_extraction, "_Extractor", Ending)
    files = {path.stem: path for path in make_videos(tmp_path / "videos", 4).rglob("*.m*")}
    opening = Opening((("frames", f"clip:{models.clip}"),), Sampling(4, 0.5, 2), "cpu", "float32")
    with ray_extraction.RayExtraction(opening, 2, tmp_path / "out") as extraction:
        problems = {outcome.key: outcome.problem for outcome in extraction.outcomes(files)}
    assert problems.pop("video1") == ENDED
    assert "no media file" in problems.pop("broken")
    assert problems == {"video0": "", "video2": "", "video3": "", "mute": ""}
