"""A run that is killed and started again ends as if nothing had happened."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from conftest import Finished, Tiny
from launchers_help import ENVIRONMENT, ROOT, free_port, run_here
from results import same_results, without_times
from safetensors.torch import load_file

from jomold_dist.training.checkpoint import check_checkpoint, newest_checkpoint
from tests.margins import LOSSES_APART, WEIGHTS_APART, record_margins

DROPOUT = ("model.attention_dropout=0.1", "model.classifier_dropout=0.5", "train.precision=float32")
EVERY_STEP = ("checkpoint.every_steps=1",)
Capture = pytest.CaptureFixture[str]


@dataclass
class Job:
    """The ranks of one start, as a launcher would start them, in a session of their own."""

    ranks: list[subprocess.Popen[str]]

    def kill(self) -> None:
        """SIGKILL to all, as when a machine is lost."""
        for rank in self.ranks:
            rank.kill()
        for rank in self.ranks:
            rank.wait()

    def wait(self) -> list[int]:
        for rank in self.ranks:
            rank.wait(timeout=240)
        return [rank.returncode for rank in self.ranks]

    @property
    def running(self) -> bool:
        return all(rank.poll() is None for rank in self.ranks)


def start(size: int, log: Path, *arguments: str | Path, most_bytes: int | None = None) -> Job:
    """Start launchers/train.py on `size` ranks; what they say is appended to `log`. No file that they write may be
    larger than `most_bytes`, as on a disk that is full."""
    world = {"WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1"}
    world["MASTER_PORT"] = free_port()
    command = [sys.executable, str(ROOT / "launchers" / "train.py"), *map(str, arguments)]

    def limit() -> None:
        if most_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

    with log.open("a") as file:
        return Job(
            [
                subprocess.Popen(
                    command,
                    env=ENVIRONMENT | world | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                    stdout=file,
                    stderr=file,
                    text=True,
                    preexec_fn=limit,
                )
                for rank in range(size)
            ]
        )


def finish(size: int, log: Path, *arguments: str | Path) -> None:
    assert start(size, log, *arguments).wait() == [0] * size, log.read_text()


def kill_when(job: Job, moment: Callable[[], bool]) -> bool:
    """Kill the job at that moment; False if it ended before."""
    try:
        while job.running:
            if moment():
                return True
            time.sleep(0.002)
        return False
    finally:
        job.kill()


def reached(folder: Path, checkpoints: int, stage: str = "*") -> Callable[[], bool]:
    """So many checkpoints of this start, in this stage, are complete."""
    pattern = f"checkpoints/{stage}-e*/COMPLETE.json"
    before = {p.parent.name for p in folder.glob(pattern)}
    seen: set[str] = set()

    def moment() -> bool:
        seen.update(p.parent.name for p in folder.glob(pattern))
        return len(seen - before) >= checkpoints

    return moment


def writing(folder: Path) -> bool:
    """A checkpoint is being written."""
    return any(folder.glob("checkpoints/.*.partial"))


def kill_and_resume(tiny: Tiny, tmp_path: Path, size: int, kills: int, *overrides: str) -> None:
    """Kill a run again and again: each time after a few more checkpoints, while one is written or some time later."""
    settings = ("--config", tiny.config, *DROPOUT, *overrides)
    calm, shaken, log = tmp_path / "calm", tmp_path / "shaken", tmp_path / "log.txt"
    finish(size, log, *settings, f"run.dir={calm}")
    log.write_text("")
    choice = random.Random(f"{size} {kills} {overrides}")
    killed = 0
    for number in range(kills):
        job = start(size, log, *settings, f"run.dir={shaken}", *EVERY_STEP)
        enough = reached(shaken, choice.randrange(2, 4) if kills < 10 else choice.randrange(1, 3))
        kind, until = number % 2, 0.0

        def moment(kind: int = kind, enough: Callable[[], bool] = enough) -> bool:
            nonlocal until
            if not enough():
                return False
            until = until or time.monotonic() + 0.1 * choice.random()
            return (writing(shaken), time.monotonic() >= until)[kind]

        if not kill_when(job, moment):
            break  # it came to its end
        killed += 1
    finish(size, log, *settings, f"run.dir={shaken}")
    said = log.read_text()
    assert killed == kills, said
    assert re.search(r"model: going on in epoch \d, after step [12] of 3", said), said
    same_results(shaken, calm)


def test_killed_at_any_moment(tiny: Tiny, tmp_path: Path) -> None:
    kill_and_resume(tiny, tmp_path, 2, 4, "estimator.epochs=1", "train.epochs=6")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "overrides"),
    [(1, ()), (2, ()), (4, ()), (2, ("train.engine=deepspeed", "deepspeed.zero_stage=2"))],
    ids=["1", "2", "4", "2-zero2"],
)
def test_killed_at_twenty_moments(tiny: Tiny, tmp_path: Path, size: int, overrides: tuple[str, ...]) -> None:
    kill_and_resume(tiny, tmp_path, size, 20, *overrides, "estimator.epochs=3", "train.epochs=20")


ESTIMATORS = ("estimator-1-0", "estimator-1-1", "estimator-2-0", "estimator-2-1")
TABLES = ("labels-1.parquet", "mixture-1.json", "labels.parquet", "mixture.json")


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2])
def test_mixture_killed_in_each_of_its_stages(tiny: Tiny, tmp_path: Path, size: int) -> None:
    """In the middle of each training, and as soon as each round begins to judge the labels."""
    settings = ("--config", tiny.config, *DROPOUT, "method=mixture", "estimator.epochs=3", "train.epochs=3")
    calm, shaken, log = tmp_path / "calm", tmp_path / "shaken", tmp_path / "log.txt"
    finish(size, log, *settings, f"run.dir={calm}")
    log.write_text("")
    for stage in (*ESTIMATORS[:2], "presence-1", *ESTIMATORS[2:], "presence", "model"):
        job = start(size, log, *settings, f"run.dir={shaken}", *EVERY_STEP)
        if stage.startswith("presence"):
            killed = kill_when(job, lambda begun=f'"stage": "{stage}"': begun in (shaken / "status.json").read_text())
        else:
            killed = kill_when(job, reached(shaken, 2, stage))
        assert killed, log.read_text()
    finish(size, log, *settings, f"run.dir={shaken}")
    for stage in (*ESTIMATORS, "model"):
        assert f"{stage}: going on in epoch" in log.read_text()
    same_results(shaken, calm, (*ESTIMATORS, "model"), TABLES)


CHAINS = {
    "ranks": ((1, "ddp"), (2, "ddp"), (4, "ddp"), (1, "ddp")),
    "engines": ((2, "ddp"), (2, "deepspeed"), (2, "ddp")),
    "ranks_and_engines": ((1, "ddp"), (2, "deepspeed"), (4, "ddp"), (1, "deepspeed")),
}
# How far weights may be from those of the undisturbed run; one step more or less moves some by 2e-3. SGD is for
# float32, the one precision that both engines have. Adam is for float64: it divides gradients by their own size, also
# those that are nothing but rounding, and makes 5e-9 of it.
APART = {"sgd": WEIGHTS_APART, "adam": 1e-6}
# What must lie between the undisturbed run and another one: in the losses and probabilities that decide what is removed
# and, in points, between its best epoch and the others. A segment that falls the other way makes some 0.5.
DECISIVE = {"sgd": (LOSSES_APART, 2.0), "adam": (1e-5, 0.1)}


def close_results(one: Path, other: Path, tolerance: float) -> None:
    """The same removals, and losses and parameters within a tolerance."""
    for name in ("removed_labels.csv", "removals.json"):
        assert (one / name).read_text() == (other / name).read_text(), name
    for stage in ("estimator", "model"):
        weights = [load_file(f / "checkpoints" / f"{stage}.safetensors") for f in (one, other)]
        for name, tensor in weights[0].items():
            torch.testing.assert_close(tensor, weights[1][name], atol=tolerance, rtol=0)
    for line, wanted in zip(without_times(one), without_times(other), strict=True):
        losses = [{name: value for name, value in of.items() if name.startswith("train/")} for of in (line, wanted)]
        assert losses[0] == pytest.approx(losses[1], rel=tolerance)


@pytest.mark.parametrize(
    ("chain", "optimizer"),
    [
        ("ranks_and_engines", "sgd"),
        pytest.param("ranks", "adam", marks=pytest.mark.slow),
        pytest.param("ranks", "sgd", marks=pytest.mark.slow),
        pytest.param("engines", "sgd", marks=pytest.mark.slow),
    ],
)
def test_resumed_on_other_ranks_and_engines(
    tiny: Tiny, tmp_path: Path, chain: str, optimizer: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first start is killed in the estimator, the others in the model; both are long enough for a late kill.

    No label may differ: the undisturbed run comes near no other decision.
    """
    settings = ["--config", tiny.config, f"train.optimizer={optimizer}", "deepspeed.zero_stage=2"]
    settings += ["estimator.epochs=3", "train.epochs=3", "run.seed=12"]
    if optimizer == "sgd":
        settings += ["train.precision=float32", "train.learning_rate=0.05"]
    calm, moved, log = tmp_path / "calm", tmp_path / "moved", tmp_path / "log.txt"
    margins = record_margins(monkeypatch)
    assert run_here(capsys, "train", *settings, f"run.dir={calm}").code == 0
    assert len(margins) == 1 + 9  # noise ratios, and steps of the model
    nearest, ahead = DECISIVE[optimizer]
    assert min(margins) > nearest, "take another run.seed"
    for stage in ("estimator", "model"):
        scores = sorted(line["val/segment_type"] for line in without_times(calm) if line["stage"] == stage)
        assert scores[-1] - scores[-2] > ahead, "take another run.seed"
    *first, (last_size, last_engine) = CHAINS[chain]
    for number, (size, engine) in enumerate(first):
        job = start(size, log, *settings, f"run.dir={moved}", f"train.engine={engine}", *EVERY_STEP)
        assert kill_when(job, reached(moved, 2, "model" if number else "estimator")), log.read_text()
    finish(last_size, log, *settings, f"run.dir={moved}", f"train.engine={last_engine}")
    assert log.read_text().count("going on in epoch") == len(first), log.read_text()
    close_results(moved, calm, APART[optimizer])


def test_no_video_is_seen_twice_or_left_out(tiny: Tiny, tmp_path: Path) -> None:
    """The ledger of `static` counts how often each video with the label was in a batch."""
    folder, log = tmp_path / "run", tmp_path / "log.txt"
    settings = ("--config", tiny.config, f"run.dir={folder}", "method=static", "train.epochs=6")
    settings += ("denoise.static_labels.visual=[Speech]",)
    for size in (1, 2):
        job = start(size, log, *settings, *EVERY_STEP)
        assert kill_when(job, reached(folder, 2)), log.read_text()
    finish(1, log, *settings)
    with (folder / "removed_labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows
    assert {row["epochs_removed"] for row in rows} == {"6"}


def half_done(tiny: Tiny, folder: Path, log: Path, *settings: str) -> None:
    """A run that was killed with a few checkpoints of its model."""
    arguments = ("--config", tiny.config, f"run.dir={folder}", *EVERY_STEP, *settings)
    job = start(1, log, *arguments)
    assert kill_when(job, lambda: len(list(folder.glob("checkpoints/model-*/COMPLETE.json"))) >= 2), log.read_text()


def test_a_disk_that_is_full(tiny: Tiny, tmp_path: Path, finished: Finished) -> None:
    """Nothing that was there is lost: the run ends with a message, and goes on once there is room."""
    folder, log = tmp_path / "run", tmp_path / "log.txt"
    half_done(tiny, folder, log)
    there = newest_checkpoint(folder / "checkpoints", "model")
    assert there is not None
    log.write_text("")
    arguments = ("--config", tiny.config, f"run.dir={folder}", *EVERY_STEP)
    assert start(2, log, *arguments, most_bytes=1_000_000).wait() == [2, 2]
    said = log.read_text()
    assert "cannot be written: " in said
    assert "earlier checkpoints stay, training goes on" in said
    assert "error: model: the result cannot be written" in said
    assert "Traceback" not in said
    assert newest_checkpoint(folder / "checkpoints", "model") == there
    assert json.loads((folder / "status.json").read_text())["state"] == "failed"
    finish(1, log, *arguments)
    same_results(folder, finished.folder)


def test_a_truncated_newest_checkpoint(tiny: Tiny, tmp_path: Path, finished: Finished) -> None:
    folder, log = tmp_path / "run", tmp_path / "log.txt"
    half_done(tiny, folder, log)
    newest = newest_checkpoint(folder / "checkpoints", "model")
    assert newest is not None
    os.truncate(newest / "optimizer.safetensors", 1000)
    log.write_text("")
    finish(1, log, "--config", tiny.config, f"run.dir={folder}")
    assert f"checkpoint {newest} is damaged: optimizer.safetensors has 1000 bytes" in log.read_text()
    assert "going on in epoch" in log.read_text()
    same_results(folder, finished.folder)


def test_a_checkpoint_of_another_config(tiny: Tiny, tmp_path: Path, capsys: Capture) -> None:
    log = tmp_path / "log.txt"
    half_done(tiny, tmp_path / "one", log, "checkpoint.keep=1")
    half_done(tiny, tmp_path / "other", log, "train.learning_rate=0.1")
    for place in (tmp_path / "other" / "checkpoints").glob("model-*"):
        shutil.rmtree(place)
    foreign = newest_checkpoint(tmp_path / "one" / "checkpoints", "model")
    assert foreign is not None
    moved = foreign.rename(tmp_path / "other" / "checkpoints" / foreign.name)
    arguments = ("--config", tiny.config, f"run.dir={tmp_path / 'other'}", "train.learning_rate=0.1")
    outcome = run_here(capsys, "train", *arguments)
    assert outcome.code == 2
    assert f"checkpoint {moved} belongs to another config" in outcome.err
    check_checkpoint(moved)


def test_fewer_epochs_than_the_checkpoint_has(tiny: Tiny, tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "run"
    half_done(tiny, folder, tmp_path / "log.txt", "train.epochs=9")
    job = start(1, tmp_path / "log.txt", "--config", tiny.config, f"run.dir={folder}", "train.epochs=9", *EVERY_STEP)
    assert kill_when(job, lambda: any(folder.glob("checkpoints/model-e0002-*/COMPLETE.json")))
    outcome = run_here(capsys, "train", "--config", tiny.config, f"run.dir={folder}", "train.epochs=1")
    assert outcome.code == 2
    assert "may grow but not shrink to 1" in outcome.err


def test_a_killed_run_goes_on_with_its_mlflow_runs(tiny: Tiny, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    folder, log = tmp_path / "runs" / "run", tmp_path / "log.txt"
    half_done(tiny, folder, log, "tracking.enabled=true")
    notes = json.loads((folder / "mlflow.json").read_text())
    client = MlflowClient(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    status = {name: client.get_run(run).info.status for name, run in notes["stages"].items()}
    assert status == {"estimator": "FINISHED", "noise_ratios": "FINISHED", "train": "RUNNING"}
    client.update_run(notes["stages"]["noise_ratios"], status="RUNNING")  # as if killed just before it was closed
    finish(1, log, "--config", tiny.config, f"run.dir={folder}", "tracking.enabled=true")
    again = json.loads((folder / "mlflow.json").read_text())
    assert again["run"] == notes["run"]
    assert again["stages"].items() >= notes["stages"].items()
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert {run.info.run_id for run in runs} == {again["run"], *again["stages"].values()}
    assert {run.info.status for run in runs} == {"FINISHED"}
    losses = client.get_metric_history(again["stages"]["train"], "train/loss")
    assert {metric.step for metric in losses} == {1, 2}
    state = json.loads((folder / "checkpoints" / "model-e0002-s00000000" / "state.json").read_text())
    assert state["mlflow"]["run"] == notes["run"]


def test_an_unreachable_mlflow_server_stops_nothing(tiny: Tiny, tmp_path: Path, finished: Finished) -> None:
    folder, log = tmp_path / "run", tmp_path / "log.txt"
    server = f"tracking.uri=http://127.0.0.1:{free_port()}"
    finish(1, log, "--config", tiny.config, f"run.dir={folder}", "tracking.enabled=true", server)
    assert log.read_text().count("going on without it") == 1
    same_results(folder, finished.folder)
