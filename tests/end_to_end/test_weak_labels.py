"""Data sets of weak labels only, with audio and frames, and without val or test: they train, and nothing is scored."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import Tiny
from launchers_help import Outcome, run_here

from jomold_dist.comparing.rows import compare_runs
from jomold_dist.data.format.manifest import FeatureSpec
from jomold_dist.data.packing.dataset_writer import DatasetWriter
from jomold_dist.data.packing.shard_writer import Video
from jomold_dist.errors import DataError
from jomold_dist.labels import CategorySet
from jomold_dist.models.weights import read_info, read_tensors
from jomold_dist.score_names import SCORE_NAMES

Capture = pytest.CaptureFixture[str]
SEGMENTS, SECONDS, CATEGORIES = 5, 2.0, 28
FEATURES = {"audio": FeatureSpec((SEGMENTS, 6), "float16"), "frames": FeatureSpec((2 * SEGMENTS, 8), "float16")}
SIZES = {"train": 48, "val": 16, "test": 12}
LOSS_TOLD = "weights     val has no dense labels: kept is the epoch of the lowest loss on val"


def write_weak(folder: Path, sizes: dict[str, int], features: dict[str, FeatureSpec] = FEATURES) -> Path:
    """A set of weak labels, in which frames and labels have something to do with each other."""
    rng = np.random.default_rng(3)
    names = CategorySet(tuple(f"category {number}" for number in range(CATEGORIES)))
    directions = {name: rng.standard_normal((CATEGORIES, spec.shape[1])) for name, spec in features.items()}
    with DatasetWriter(
        folder, name="weak", categories=names, segments=SEGMENTS, features=features, segment_seconds=SECONDS
    ) as writer:
        for split, count in sizes.items():
            videos = []
            for number in range(count):
                labels = np.flatnonzero(rng.random(CATEGORIES) < 0.1)
                arrays = {
                    name: (directions[name][labels].sum(0) + 0.3 * rng.standard_normal(spec.shape)).astype(np.float16)
                    for name, spec in features.items()
                }
                videos.append(Video(f"{split}-{number:06d}", arrays, tuple(labels.tolist())))
            writer.write_split(split, videos, max_labels=CATEGORIES, dense=False)
        writer.finish()
    return folder


@pytest.fixture(scope="module")
def weak(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weak(tmp_path_factory.mktemp("weak") / "data", SIZES)


def train(capsys: Capture, tiny: Tiny, shards: Path, folder: Path, *more: str) -> Outcome:
    words = ("--config", tiny.config, f"data.shards={shards}", f"run.dir={folder}", *more)
    return run_here(capsys, "train", *words)


def history(folder: Path, stage: str = "model") -> list[dict[str, Any]]:
    """The epochs of a stage, without what the clock says."""
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    dropped = ("time", "seconds")
    return [
        {name: value for name, value in line.items() if name not in dropped and not name.startswith("perf/")}
        for line in lines
        if line["stage"] == stage
    ]


def model(folder: Path) -> Path:
    return folder / "checkpoints" / "model.safetensors"


def state(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "status.json").read_text()))


def test_training_ends_well_without_scores(weak: Path, tiny: Tiny, tmp_path: Path, capsys: Capture) -> None:
    """The kept epoch is that of the lowest loss, also where a run goes on for more of them; and it says so."""
    folder, rate = tmp_path / "run", "train.learning_rate=0.03"  # so that it overshoots
    settings = ("method=han", rate, "train.patience=3")
    found = train(capsys, tiny, weak, folder, *settings, "train.epochs=2")
    assert found.code == 0, found.err
    assert LOSS_TOLD in found.err
    assert "scores      none: test has no dense labels" in found.err
    assert f"nothing was scored: test has no dense labels. The model's weights: {model(folder)}" in found.out
    assert (state(folder)["state"], state(folder)["exit_code"]) == ("finished", 0)
    assert not (folder / "scores.json").exists()
    report = (folder / "report.html").read_text()
    assert "There are no scores: test has no dense labels." in report
    assert "found: what counts as an event" in report  # its timelines have no truth
    assert "<li>Truth: " not in report
    assert found.err.count("loss on val") == 3  # the banner's, and one an epoch
    again = train(capsys, tiny, weak, folder, *settings, "train.epochs=2")
    assert (again.code, "finished, nothing is left to be done" in again.err) == (0, True)
    longer = train(capsys, tiny, weak, folder, *settings, "train.epochs=9")
    assert longer.code == 0, longer.err
    losses = [line["val/loss"] for line in history(folder)]
    assert not any(f"val/{name}" in line for line in history(folder) for name in SCORE_NAMES)
    best = losses.index(min(losses)) + 1
    assert read_info(model(folder)).notes["epoch"] == str(best)
    assert 2 < len(losses) < 9
    assert len(losses) == best + 3
    assert f"ended after epoch {len(losses)} of 9: no lower loss on val in train.patience = 3 epochs" in longer.err
    assert f"(best {min(losses):.4f} in epoch {best})" in longer.err


def test_a_stopped_run_goes_on_as_if_nothing_had_been(weak: Path, tiny: Tiny, tmp_path: Path, capsys: Capture) -> None:
    settings = ("method=jomold", "train.validate_every_steps=1", "denoise.audio_threshold=0.5")
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    assert train(capsys, tiny, weak, straight, *settings).code == 0
    codes = [train(capsys, tiny, weak, stopped, *settings, "run.wall_minutes=0.0001").code for _ in range(2)]
    assert 75 in codes
    assert train(capsys, tiny, weak, stopped, *settings).code == 0
    assert history(stopped) == history(straight)
    assert history(stopped, "estimator") == history(straight, "estimator")
    found, wanted = (read_tensors(model(folder))[1] for folder in (stopped, straight))
    assert all((found[name] == wanted[name]).all() for name in wanted)


def test_what_needs_scores_says_so_and_the_model_is_used(
    weak: Path, tiny: Tiny, tmp_path: Path, capsys: Capture
) -> None:
    folder = tmp_path / "run"
    assert train(capsys, tiny, weak, folder, "method=han", "train.epochs=1").code == 0
    for split in ("test", "val"):
        refused = run_here(capsys, "evaluate", "--run", folder, "--split", split)
        assert (refused.code, refused.out) == (2, "")
        assert refused.err == f"error: split {split!r} of {weak} has no dense labels to score against\n"
    with pytest.raises(DataError, match=r"it has no scores, as .* or one whose data set has no dense labels in test"):
        compare_runs([folder])
    out = tmp_path / "events.csv"
    parsed = run_here(
        capsys, "predict", "--run", folder, "--shards", weak, "--split", "val", "--out", out, "--threshold", "0.3"
    )
    assert parsed.code == 0, parsed.err
    with out.open() as file:
        rows = list(csv.DictReader(file))
    times = {int(row[name]) for row in rows for name in ("onset", "offset")}  # whole seconds are written as such
    assert times <= set(range(0, 11, 2))
    assert max(times) == 10


def test_without_val_and_test_the_last_epoch_is_kept(tiny: Tiny, tmp_path: Path, capsys: Capture) -> None:
    """... whatever is asked for, and with one modality alone."""
    shards = write_weak(tmp_path / "data", {"train": 30}, {"audio": FEATURES["audio"]})
    refused = train(capsys, tiny, shards, tmp_path / "run", "method=han")
    assert refused.code == 2
    assert "error: model.network = 'han' needs audio and frames, and the data set has no frames; take talnet" in (
        refused.err
    )
    settings = ("method=han", "model.network=talnet", "train.patience=1", "train.validate_every_steps=1")
    found = train(capsys, tiny, shards, tmp_path / "run", *settings)
    assert found.code == 0, found.err
    assert "the data set has no val: kept is the last epoch; train.patience has nothing to go by" in found.err
    assert "nothing was scored: the data set has no test." in found.out
    assert read_info(model(tmp_path / "run")).notes["epoch"] == "2"
    assert not any(name.startswith("val/") for line in history(tmp_path / "run") for name in line)
    parsed = run_here(
        capsys, "predict", "--run", tmp_path / "run", "--shards", shards, "--out", tmp_path / "events.csv"
    )
    assert parsed.code == 0, parsed.err


def test_a_loss_may_be_asked_for_beside_the_scores(tiny: Tiny, tmp_path: Path, capsys: Capture) -> None:
    found = train(capsys, tiny, tiny.shards, tmp_path / "run", "method=han", "train.selection=loss")
    assert found.code == 0, found.err
    lines = history(tmp_path / "run")
    assert {f"val/{name}" for name in (*SCORE_NAMES, "loss")} <= lines[0].keys()
    losses = [line["val/loss"] for line in lines]
    assert read_info(model(tmp_path / "run")).notes["epoch"] == str(losses.index(min(losses)) + 1)
    assert (tmp_path / "run" / "scores.json").exists()


def test_a_set_without_training_videos_is_refused(tiny: Tiny, tmp_path: Path, capsys: Capture) -> None:
    shards = write_weak(tmp_path / "data", {"val": 5, "test": 5})
    found = train(capsys, tiny, shards, tmp_path / "run", "method=han")
    assert (found.code, found.out) == (2, "")
    assert found.err == f"error: {shards} has no split 'train', which training needs; it has: val, test\n"


def test_a_sweep_over_it_is_refused(weak: Path, tiny: Tiny, tmp_path: Path, capsys: Capture) -> None:
    sweep = tmp_path / "sweep.yaml"
    space = {"dir": str(tmp_path / "sweep"), "space": {"train.learning_rate": [0.001, 0.002]}}
    sweep.write_text(yaml.safe_dump({"base": str(tiny.config), "data": {"shards": str(weak)}, "sweep": space}))
    found = run_here(capsys, "sweep", "--config", sweep, "--dry-run")
    assert (found.code, found.out) == (2, "")
    assert found.err == f"error: sweep: test has no dense labels in {weak}, and a sweep compares scores on test\n"


def test_a_network_for_some_frames_a_segment_parses_no_others(
    weak: Path, tiny: Tiny, tmp_path: Path, capsys: Capture
) -> None:
    """... and two of them in one, of which the first parses, do not either."""
    one_each = FEATURES | {"frames": FeatureSpec((SEGMENTS, 8), "float16")}
    other = write_weak(tmp_path / "data", {"train": 5}, one_each)
    settings = ("method=jocor", "model.network=ave", "train.epochs=1", "denoise.ratios=constant")
    found = train(capsys, tiny, weak, tmp_path / "run", *settings, "denoise.ratio_constant=0.2")
    assert found.code == 0, found.err
    words = ("predict", "--run", tmp_path / "run", "--shards", other, "--out", tmp_path / "events.csv")
    parsed = run_here(capsys, *words)
    assert parsed.code == 2
    assert parsed.err == f"error: {other} has 1 frames a segment, the model's network was built for 2\n"
