"""A user's mistakes: one clear message, exit code 2, no traceback, and nothing written."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Finished, Tiny
from launchers_help import Outcome, files_below, run_here, run_process

from jomold_dist.config_files import load_config
from jomold_dist.data.reading.source import read_manifest
from jomold_dist.training import run_folder
from tests.shard_fixtures import CATEGORIES, FEATURES, SEGMENTS, CategorySet, DatasetWriter, FeatureSpec, Video

Capture = pytest.CaptureFixture[str]


def assert_refused(outcome: Outcome, *parts: str) -> None:
    assert outcome.code == 2, outcome
    assert outcome.err.count("error: ") == 1
    assert "Traceback" not in outcome.err
    assert outcome.out == ""
    for part in parts:
        assert part in outcome.err


def refused(capsys: Capture, tiny: Tiny, folder: Path, overrides: tuple[str, ...], *parts: str) -> None:
    """Training is refused, and its folder is as it was (mostly: not there)."""
    before = files_below(folder.parent)
    assert_refused(run_here(capsys, "train", "--config", tiny.config, f"run.dir={folder}", *overrides), *parts)
    assert files_below(folder.parent) == before


SETTINGS = {
    "misspelt": (("train.epoch=3",), ("unknown setting 'train.epoch'", "did you mean 'train.epochs'")),
    "unknown": (("zebra=3",), ("unknown setting 'zebra'",)),
    "out of range": (("train.learning_rate=-1",), ("train.learning_rate = -1", "greater than 0")),
    "wrong type": (("train.epochs=many",), ("train.epochs = 'many'", "whole number")),
    "unknown method": (("method=jomolt",), ("must be one of han, static, jomold", "did you mean 'jomold'")),
    "several": (
        ("train.epoch=3", "train.batch_size=0", "denoise.rule=join", "denoise.ratios=file"),
        ("4 problems", "train.epoch", "at least 1", "did you mean 'joint'", "needs denoise.ratio_file"),
    ),
    "no form": (("train.epochs",), ("section.key=value",)),
    "nothing to remove": (("method=static",), ("denoise.static_labels",)),
    "unknown category": (
        ("method=static", "denoise.static_labels.visual=[Speeh]"),
        ("denoise.static_labels.visual", "'Speeh'", "did you mean 'Speech'"),
    ),
    "missing shards": (
        ("data.shards=nowhere/at/all",),
        ("nowhere/at/all does not exist", "jomold pack or jomold simulate"),
    ),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings(name: str, tiny: Tiny, tmp_path: Path, capsys: Capture) -> None:
    overrides, parts = SETTINGS[name]
    refused(capsys, tiny, tmp_path / "run", overrides, *parts)


def remove(shard: Path) -> None:
    shard.unlink()


def truncate(shard: Path) -> None:
    shard.write_bytes(shard.read_bytes()[:-512])


def flip_a_byte(shard: Path) -> None:
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)


SHARDS: dict[str, Callable[[Path], None]] = {"missing": remove, "truncated": truncate, "altered": flip_a_byte}


@pytest.mark.parametrize("how", SHARDS)
def test_shards(how: str, tiny: Tiny, tmp_path: Path, capsys: Capture) -> None:
    shards = shutil.copytree(tiny.shards, tmp_path / "data")
    for name in ("train/shard-000001.tar", "test/shard-000000.tar"):
        SHARDS[how](shards / name)
    both = ("train/shard-000001.tar", "test/shard-000000.tar", "2 problems")
    refused(capsys, tiny, tmp_path / "run", (f"data.shards={shards}",), how, *both)


MANIFESTS = {
    "schema": ({"schema": 99}, ("schema 99", "reads schema 2")),
    "categories": ({"categories": ["Speech"]}, ("damaged",)),
    "features": ({"features": {"audio": {"shape": [4, 3], "dtype": "float16"}}}, ("damaged",)),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests(name: str, tiny: Tiny, tmp_path: Path, capsys: Capture) -> None:
    change, parts = MANIFESTS[name]
    shards = shutil.copytree(tiny.shards, tmp_path / "data")
    path = shards / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    refused(capsys, tiny, tmp_path / "run", (f"data.shards={shards}",), *parts)


@pytest.mark.parametrize(
    ("audio", "visual", "parts"),
    [
        (np.full(4, 0.5), np.full(5, 0.5), ("audio has shape (4,)", "expected (5,)")),
        (np.full(5, 0.5), np.array([0, 0, 1.5, 0, 0]), ("visual must lie in [0, 1]", "category 2 has 1.5")),
        (np.full(5, np.nan), np.full(3, 0.5), ("2 problems", "audio must lie in [0, 1]", "visual has shape (3,)")),
    ],
)
def test_noise_ratio_files(
    audio: np.ndarray, visual: np.ndarray, parts: tuple[str, ...], tiny: Tiny, tmp_path: Path, capsys: Capture
) -> None:
    np.savez(tmp_path / "ratios.npz", audio=audio, visual=visual)
    overrides = ("denoise.ratios=file", f"denoise.ratio_file={tmp_path / 'ratios.npz'}")
    refused(capsys, tiny, tmp_path / "run", overrides, "ratios.npz", *parts)


def test_a_noise_ratio_file_that_is_none(tiny: Tiny, tmp_path: Path, capsys: Capture) -> None:
    overrides = ("denoise.ratios=file", f"denoise.ratio_file={tmp_path / 'ratios.npz'}")
    refused(capsys, tiny, tmp_path / "run", overrides, "ratios.npz does not exist")
    (tmp_path / "ratios.npz").write_text("no array")
    refused(capsys, tiny, tmp_path / "run", overrides, "ratios.npz is damaged: it is no archive of arrays")


def test_a_run_folder_of_another_config_or_data_set(
    tiny: Tiny, finished: Finished, tmp_path: Path, capsys: Capture
) -> None:
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    changed = ("run.seed was 0 and is 5", "Choose another run.dir")
    refused(capsys, tiny, folder, ("run.seed=5",), "another config", *changed)
    shards = shutil.copytree(tiny.shards, tmp_path / "data")
    path = shards / "manifest.json"
    manifest = json.loads(path.read_text()) | {"name": "other"}
    del manifest["digest"]
    path.write_text(json.dumps(manifest))
    refused(capsys, tiny, folder, (f"data.shards={shards}",), "another data set")


def test_a_run_folder_with_foreign_files(tiny: Tiny, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("my only copy")
    refused(capsys, tiny, tmp_path / "run", (), "holds files that are no run's")


def test_a_file_in_the_place_of_the_run_folder(tiny: Tiny, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "run").write_text("")
    refused(capsys, tiny, tmp_path / "run", (), "run.dir", "cannot be used")
    refused(capsys, tiny, tmp_path / "run" / "below", (), "run.dir", "cannot be used")


@pytest.mark.parametrize("script", ["evaluate", "predict"])
def test_a_folder_that_is_no_run(script: str, tiny: Tiny, tmp_path: Path, capsys: Capture) -> None:
    more = ("--shards", tiny.shards, "--out", tmp_path / "events.csv") if script == "predict" else ()
    outcome = run_here(capsys, script, "--run", tmp_path, *more)
    assert_refused(outcome, f"{tmp_path} is no run's folder (config.yaml is missing)")
    assert not files_below(tmp_path)


def cut_off(weights: Path) -> None:
    weights.write_bytes(weights.read_bytes()[:-100])


def replace_by_text(weights: Path) -> None:
    weights.write_text("weights")


WEIGHTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing": (remove, "no weights file, checkpoint or run folder with a model"),
    "cut off": (cut_off, "model.safetensors is damaged"),
    "not weights": (replace_by_text, "model.safetensors is damaged"),
}


@pytest.mark.parametrize("how", WEIGHTS)
@pytest.mark.parametrize("script", ["evaluate", "predict"])
def test_weights(how: str, script: str, tiny: Tiny, finished: Finished, tmp_path: Path, capsys: Capture) -> None:
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    tamper, message = WEIGHTS[how]
    tamper(folder / "checkpoints" / "model.safetensors")
    shutil.rmtree(folder / "checkpoints" / "model-e0002-s00000000")
    more = ("--shards", tiny.shards, "--out", tmp_path / "events.csv") if script == "predict" else ()
    before = files_below(tmp_path)
    assert_refused(run_here(capsys, script, "--run", folder, *more), message)
    assert files_below(tmp_path) == before


def test_splits_that_cannot_be_scored(finished: Finished, capsys: Capture) -> None:
    before = files_below(finished.folder)
    assert_refused(run_here(capsys, "evaluate", "--run", finished.folder, "--split", "tets"), "no split 'tets'")
    assert_refused(run_here(capsys, "evaluate", "--run", finished.folder, "--split", "train"), "no dense labels")
    assert files_below(finished.folder) == before


def one_video(out: Path, categories: CategorySet, audio_size: int, seconds: float = 1.0) -> Path:
    features = FEATURES | {"audio": FeatureSpec((SEGMENTS, audio_size), "float16")}
    video = Video("only", {k: np.zeros(f.shape, np.float16) for k, f in features.items()}, ())
    form = {"categories": categories, "segments": SEGMENTS, "segment_seconds": seconds, "features": features}
    with DatasetWriter(out, name="other", **form) as writer:
        writer.write_split("all", [video], max_labels=0, dense=False)
        writer.finish()
    return out


def test_predicting_shards_that_do_not_fit(finished: Finished, tmp_path: Path, capsys: Capture) -> None:
    others, feats = CategorySet(("Speech", "Car", "Dog", "Cat", "Horn")), tmp_path / "feats"
    (feats / "vggish").mkdir(parents=True)
    (feats / "vggish" / "00000000000.npy").touch()
    for name, shards, parts in (
        ("both", one_video(tmp_path / "both", others, 6), ("2 problems", "it lacks 1, such as", "features")),
        ("sizes", one_video(tmp_path / "sizes", CATEGORIES, 6), ("audio of 6, ", "audio of 3, ")),
        ("seconds", one_video(tmp_path / "seconds", CATEGORIES, 3, 2.0), ("segments of 2 s", "segments of 1 s")),
        ("nowhere", tmp_path / "nowhere", ("nowhere does not exist",)),
        (
            "feats",
            feats,
            ("holds no manifest.json", "jomold pack --labels FILE", f"jomold pack-llp --features {feats}"),
        ),
    ):
        out = tmp_path / f"{name}.csv"
        arguments = ("--run", finished.folder, "--shards", shards, "--out", out)
        assert_refused(run_here(capsys, "predict", *arguments), *parts)
        assert not out.exists()


def test_predictions_without_a_place(finished: Finished, tiny: Tiny, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "no" / "events.csv"
    arguments = ("--run", finished.folder, "--shards", tiny.shards, "--out", out)
    assert_refused(run_here(capsys, "predict", *arguments), "--out", "does not exist")
    assert not files_below(tmp_path)


def test_the_exit_code_of_the_process(tiny: Tiny, tmp_path: Path) -> None:
    arguments = ("--config", tiny.config, f"run.dir={tmp_path / 'run'}", "train.epoch=3")
    assert_refused(run_process("python", "train", *arguments), "did you mean 'train.epochs'")
    assert not files_below(tmp_path)


def test_ranks_that_do_not_divide_the_streams(tiny: Tiny, tmp_path: Path) -> None:
    """torchrun adds a report of its own and makes every code 1, so the ranks' codes are read there."""
    arguments = ("--config", tiny.config, f"run.dir={tmp_path / 'run'}", "data.streams=15")
    outcome = run_process("torchrun", "train", *arguments)
    assert outcome.code != 0
    assert outcome.err.count("2 ranks cannot share data.streams = 15 evenly; start 1, 3, 5, 15 ranks") == 1
    assert "exitcode  : 2" in outcome.err
    assert 'train.py", line' not in outcome.err
    assert not files_below(tmp_path)


def test_a_mistake_that_the_ranks_find_has_its_code_under_torchrun(tiny: Tiny, tmp_path: Path) -> None:
    arguments = ("--config", tiny.config, f"run.dir={tmp_path / 'run'}", f"data.shards={tmp_path / 'none'}")
    outcome = run_process("start torchrun", "train", *arguments)
    assert outcome.code == 2
    assert outcome.err.count("error: ") >= 1
    assert str(tmp_path / "none") in outcome.err
    assert not (tmp_path / "run").exists()


def test_a_run_folder_in_use(tiny: Tiny, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folder, "LEAVING_SECONDS", 0.0)
    config, folder = load_config(tiny.config), run_folder.RunFolder(tmp_path / "run")
    with folder.claimed(config, read_manifest(tiny.shards).digest):
        outcome = run_here(capsys, "train", "--config", tiny.config, f"run.dir={folder.path}")
    assert_refused(outcome, f"run.dir {folder.path} is in use by process {os.getpid()} on ")


def test_a_disk_without_room_for_the_status(
    tiny: Tiny, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **details: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run_folder.RunFolder, "write_status", full)
    outcome = run_here(capsys, "train", "--config", tiny.config, f"run.dir={tmp_path / 'run'}")
    assert_refused(outcome, f"run.dir {tmp_path / 'run'} cannot be written: No space left on device")


@pytest.mark.parametrize(
    ("script", "words"), [("evaluate", ()), ("predict", ("--shards", "nowhere", "--out", "events.csv"))]
)
def test_a_run_s_module_may_be_imported_by_another_name(
    script: str, words: tuple[str, ...], tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "config.yaml").write_text("method: han\n")
    outcome = run_here(capsys, script, "--run", tmp_path, "--import", "jomold_dist.no_such_module", *words)
    assert outcome.code == 2
    assert "imports (--import)" in outcome.err
    assert "jomold_dist.no_such_module" in outcome.err
