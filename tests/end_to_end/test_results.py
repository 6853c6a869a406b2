"""Results of finished runs: of which data set they are, and that no place they cannot go to loses them."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Finished, Tiny
from launchers_help import Outcome, files_below, run_here
from test_damaged_data import spoil

from jomold_dist import launching, watching
from jomold_dist.comparing.rows import compare_runs
from jomold_dist.data.reading.loader import Batch, Loader
from jomold_dist.data.reading.source import read_manifest
from tests.shard_fixtures import CATEGORIES, write_dataset

Capture = pytest.CaptureFixture[str]


def load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def refused(outcome: Outcome, *parts: str, out: str = "") -> None:
    assert outcome.code == 2, outcome
    assert outcome.err.count("error: ") == 1
    assert "Traceback" not in outcome.err
    assert outcome.out == out
    for part in parts:
        assert part in outcome.err


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another data set of the same form."""
    folder = tmp_path_factory.mktemp("other") / "data"
    write_dataset(folder, {"train": 20, "val": 8, "test": 9})
    return folder


@pytest.fixture
def run(finished: Finished, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    return shutil.copytree(finished.folder, tmp_path / "run")


def moved(run: Path, tiny: Tiny, place: Path) -> None:
    """The run's data set is looked for in another place from now on."""
    config = run / "config.yaml"
    config.write_text(config.read_text().replace(f"shards: {tiny.shards}", f"shards: {place}"))


def test_scores_tell_of_what_they_are(finished: Finished, tiny: Tiny) -> None:
    manifest, found = read_manifest(tiny.shards), load(finished.folder / "scores.json")
    assert found["data"] == {"name": "tiny", "manifest": manifest.digest, "simulated": False}
    assert found["model"]["weights"] == "checkpoints/model.safetensors"
    assert found["model"]["epochs"] == 2
    truth = [video.dense for video in tiny.videos["test"] if video.dense is not None]
    for modality, number in (("audio", 0), ("visual", 1)):
        counts = [sum(bool(dense[number, c].any()) for dense in truth) for c in range(len(CATEGORIES))]
        assert found["videos"][modality] == dict(zip(CATEGORIES.names, counts, strict=True))


def test_finished_runs_can_be_compared(run: Path, finished: Finished) -> None:
    found = compare_runs([finished.folder, run])
    assert [(row.name, len(row.runs)) for row in found.rows] == [("jomold", 1)]
    assert "counted once" in found.notes[0]


@pytest.mark.parametrize("content", ["", "{}", '{"split": "test", "scores": {}, "per_class": {}}'])
def test_training_scores_anew_what_is_damaged_or_of_an_older_form(
    content: str, run: Path, tiny: Tiny, finished: Finished, capsys: Capture
) -> None:
    (run / "scores.json").write_text(content)
    outcome = run_here(capsys, "train", "--config", tiny.config, f"run.dir={run}")
    assert outcome.code == 0, outcome.err
    assert load(run / "scores.json") == load(finished.folder / "scores.json")


def test_data_that_have_moved(run: Path, tiny: Tiny, tmp_path: Path, capsys: Capture) -> None:
    moved(run, tiny, tmp_path / "before")
    refused(run_here(capsys, "evaluate", "--run", run), "before does not exist", "name its place with --shards")
    shutil.copytree(tiny.shards, tmp_path / "after")
    outcome = run_here(capsys, "evaluate", "--run", run, "--shards", tmp_path / "after")
    assert outcome.code == 0, outcome.err
    assert f"data set: tiny, {tmp_path / 'after'}\n" in outcome.out
    assert load(run / "scores_test.json") == load(run / "scores.json")


def test_another_data_set_in_the_same_place_is_no_one_s_scores(
    run: Path, tiny: Tiny, other: Path, capsys: Capture
) -> None:
    moved(run, tiny, other)
    before, digest = files_below(run), read_manifest(other).digest
    outcome = run_here(capsys, "evaluate", "--run", run)
    refused(outcome, f"{other} holds another data set", digest[:12], f"--shards {other}")
    assert files_below(run) == before
    outcome = run_here(capsys, "evaluate", "--run", run, "--shards", other)
    assert outcome.code == 0, outcome.err
    assert f"data set: tiny, {other}, not the data set of the run's training" in outcome.out
    assert load(run / f"scores_test_of_{digest[:12]}.json")["data"]["manifest"] == digest
    assert not (run / "scores_test.json").exists()


@pytest.mark.parametrize("content", [b"", b"[]", b"\x93NUMPY", b'{"config": "0", "manifest": "0", "plan": 1}'])
def test_a_run_that_does_not_tell_its_data_set(content: bytes, run: Path, capsys: Capture) -> None:
    (run / "owner.json").write_bytes(content)
    refused(run_here(capsys, "evaluate", "--run", run), "owner.json")
    (run / "owner.json").unlink()
    refused(run_here(capsys, "evaluate", "--run", run), "owner.json is missing")


@pytest.mark.parametrize("script", ["evaluate", "predict"])
def test_scoring_a_million_videos_says_something(
    script: str, run: Path, tmp_path: Path, tiny: Tiny, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the first batch is a slow one: it is read only once something was said."""
    config, heard, lines = run / "config.yaml", threading.Event(), list[str]()
    config.write_text(config.read_text().replace("every_seconds: 30.0", "every_seconds: 0.01"))
    epoch = Loader.epoch

    def hear(form: str, *words: object) -> None:
        lines.append(form % words)
        heard.set()

    def slow(self: Loader, number: int, start_step: int = 0) -> Iterator[Batch]:
        assert heard.wait(60)
        return epoch(self, number, start_step)

    monkeypatch.setattr(watching.logger, "info", hear)
    monkeypatch.setattr(Loader, "epoch", lambda *words: (yield from slow(*words)))
    more = ("--shards", tiny.shards, "--split", "test", "--out", tmp_path / "e.csv") if script == "predict" else ()
    outcome = run_here(capsys, script, "--run", run, *more)
    assert outcome.code == 0, outcome.err
    assert lines[0].startswith("test: still in batch 1 of 1, for 0:")


def test_only_training_leaves_traces_in_the_run_s_folder(
    run: Path, tiny: Tiny, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    places: list[Path | None] = []
    opened = launching.open_world
    monkeypatch.setattr(launching, "open_world", lambda *words: (places.append(words[-1]), opened(*words))[1])
    train = ("train", "--config", tiny.config, f"run.dir={run}")
    for words in (("evaluate", "--run", run, "--split", "none"), (*train, "--smoke", "data.shards=none"),
                  (*train, "--until", "none")):  # fmt: skip
        assert run_here(capsys, *words).code == 2
    assert places == [None, None, run / "stacks"]


@pytest.mark.parametrize("script", ["evaluate", "predict"])
@pytest.mark.parametrize("content", [b"[]", b"\x93NUMPY", b"train: {epochs", b"zebra: 3", b"[" * 10_000])
def test_a_config_that_cannot_be_used(
    content: bytes, script: str, run: Path, tiny: Tiny, tmp_path: Path, capsys: Capture
) -> None:
    (run / "config.yaml").write_bytes(content)
    more = ("--shards", tiny.shards, "--out", tmp_path / "events.csv") if script == "predict" else ()
    refused(run_here(capsys, script, "--run", run, *more), str(run / "config.yaml"))


def test_scores_that_cannot_be_written_are_printed(run: Path, capsys: Capture) -> None:
    (run / "scores_val.json").mkdir()
    outcome = run_here(capsys, "evaluate", "--run", run, "--split", "val")
    assert "F-scores on val in percent" in outcome.out
    assert "| Speech" in outcome.out
    refused(outcome, "scores_val.json cannot be written", "the scores are printed above", out=outcome.out)


def test_scores_that_cannot_be_printed_are_written(run: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        outcome = run_here(capsys, "evaluate", "--run", run)
        refused(outcome, "cannot be printed (No space left on device)", str(run / "scores_test.json"))
    assert load(run / "scores_test.json")["scores"] == load(run / "scores.json")["scores"]


def test_scores_whose_reader_has_gone_are_written(run: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        outcome = run_here(capsys, "evaluate", "--run", run)
        refused(outcome, "cannot be printed (Broken pipe)", str(run / "scores_test.json"))
    assert load(run / "scores_test.json")["scores"] == load(run / "scores.json")["scores"]


def predict(capture: Capture, run: Path, shards: Path, out: Path, *more: str) -> Outcome:
    return run_here(capture, "predict", "--run", run, "--shards", shards, "--out", out, *more)


@pytest.fixture(scope="module")
def events(finished: Finished, tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Capture], str]:
    """What predict.py writes for the tiny data set."""

    def of(capture: Capture) -> str:
        out = tmp_path_factory.mktemp("events") / "events.tsv"
        assert predict(capture, finished.folder, tiny.shards, out).code == 0
        return out.read_text()

    return of


@pytest.mark.parametrize("place", ["folder", "no/such/folder/events.csv", "file/events.csv", "circle"])
def test_predictions_without_a_place_are_refused_before_anything_is_read(
    place: str, finished: Finished, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "circle").symlink_to("circle")
    before = sorted(tmp_path.rglob("*"))
    refused(predict(capsys, finished.folder, tmp_path / "no data", tmp_path / place), f"--out {tmp_path / place}")
    assert sorted(tmp_path.rglob("*")) == before


def test_predictions_that_cannot_be_written_in_the_end_are_kept(
    finished: Finished, tiny: Tiny, events: Callable[[Capture], str], tmp_path: Path, capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    out, temporary, replace = tmp_path / "events.tsv", tmp_path / "temporary", Path.replace
    temporary.mkdir()

    def full(path: Path, target: Path) -> Path:
        if target == out:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return replace(path, target)

    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.setattr(Path, "replace", full)
    outcome = predict(capsys, finished.folder, tiny.shards, out)
    refused(outcome, str(out), "No space left on device", "the events are in ")
    (kept,) = temporary.rglob("*.tsv")
    assert str(kept) in outcome.err
    assert kept.read_text() == events(capsys)
    assert sorted(tmp_path.iterdir()) == [temporary]


def test_predictions_into_a_pipe(
    finished: Finished, tiny: Tiny, events: Callable[[Capture], str], tmp_path: Path, capsys: Capture
) -> None:
    pipe, heard = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: heard.append(pipe.read_text()), daemon=True)
    reader.start()
    outcome = predict(capsys, finished.folder, tiny.shards, pipe)
    assert pipe.is_fifo()
    reader.join()
    assert outcome.code == 0, outcome.err
    assert "88 videos parsed" in outcome.out
    assert heard == [events(capsys)]


def test_a_threshold_decides_what_counts_and_names_are_whole(
    finished: Finished, tiny: Tiny, tmp_path: Path, capsys: Capture
) -> None:
    key = tiny.videos["test"][0].key
    names = tmp_path / "AVVP_test_pd.csv"
    names.write_text(f"filename\tevent_labels\n{key}_30_40\tDog\n")
    found = {}
    for threshold in (0.01, 0.99):
        out = tmp_path / f"{threshold}.npz"
        more = ("--split", "test", "--threshold", str(threshold), "--names", str(names))
        outcome = predict(capsys, finished.folder, tiny.shards, out, *more)
        assert outcome.code == 0, outcome.err
        with np.load(out) as arrays:
            found[threshold] = dict(arrays)
        assert "--names have no name for " in outcome.out
    everything, hardly = found.values()
    assert f"{key}_30_40" in everything["filename"].tolist()
    assert np.array_equal(everything["probability"], hardly["probability"])
    assert hardly["events"].sum() < everything["events"].sum()
    assert (everything["probability"][everything["events"]] >= 0.01).all()
    with pytest.raises(SystemExit, match="2"):
        predict(capsys, finished.folder, tiny.shards, tmp_path / "e.csv", "--threshold", "1.5")
    assert "'1.5' is no probability" in capsys.readouterr().err
    refused(predict(capsys, finished.folder, tiny.shards, tmp_path / "e.txt"), "e.txt does not tell by its ending")


def test_predictions_on_stdout_are_nothing_but_the_events(
    finished: Finished, tiny: Tiny, events: Callable[[Capture], str], tmp_path: Path, capfd: Capture
) -> None:
    link = tmp_path / "stdout"  # a link, so that a mistake replaces no device of the machine's
    link.symlink_to("/dev/stdout")
    outcome = predict(capfd, finished.folder, tiny.shards, link)
    assert outcome.code == 0, outcome.err
    assert "88 videos parsed" in outcome.err
    assert outcome.out == events(capfd)
    assert link.is_symlink()


@pytest.mark.parametrize("where", ["file", "pipe", "stdout", "unwritable"])
def test_videos_that_could_not_be_used_are_listed(
    where: str, run: Path, tiny: Tiny, tmp_path: Path, capfd: Capture
) -> None:
    """Beside a file, and on stderr where there is none, or where the table cannot be written."""
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("on_bad_video: error", "on_bad_video: mask"))
    shards = shutil.copytree(tiny.shards, tmp_path / "data")
    spoil(shards, "test", 9, "audio.npy", 5)
    key, folder = tiny.videos["test"][9].key, tmp_path / "out"
    folder.mkdir()
    out = folder / "events.csv"
    table = folder / "events_bad_videos.csv"
    if where == "pipe":
        os.mkfifo(out)
        threading.Thread(target=out.read_text, daemon=True).start()
    elif where == "stdout":
        out.symlink_to("/dev/stdout")
    elif where == "unwritable":
        table.mkdir()
    outcome = predict(capfd, run, shards, out, "--split", "test")
    if where == "unwritable":
        refused(outcome, "events_bad_videos.csv cannot be written", "events of the others are in", out=outcome.out)
    else:
        assert outcome.code == 0, outcome.err
    if where == "file":
        assert key in table.read_text()
        assert f"all are listed in {table}" in outcome.out
    else:
        assert f",{key}," in outcome.err
        assert not table.is_file()
    if where == "stdout":
        assert outcome.out.startswith("filename,onset")
        assert "could not be used" not in outcome.out
