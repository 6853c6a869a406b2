"""Sweeps as a user starts them: the table's cells, one estimator for all, failures, kills and stops."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Tiny
from launchers_help import ENVIRONMENT, command, files_below, processes_naming, run_here, run_process

RESULTS = ("scores.json", "removals.json", "removed_labels.csv")


def sweep_file(folder: Path, tiny: Tiny, **sweep: Any) -> Path:
    """A sweep of the tiny runs below a folder."""
    file = folder / "small.yaml"
    settings = {
        "base": str(tiny.config),
        "sweep": {"dir": str(folder / "sweeps" / "small"), "seeds": [0], "address": "local", **sweep},
    }
    file.write_text(yaml.safe_dump(settings))
    return file


def cells(folder: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """What cells.json says, by row and seed."""
    found = json.loads((folder / "sweeps" / "small" / "cells.json").read_text())
    return {(trial["row"], trial["seed"]): trial for trial in found["trials"]}


def results(folder: Path, cell: dict[str, Any]) -> list[bytes]:
    run = folder / "sweeps" / "small" / cell["run"]
    return [(run / name).read_bytes() for name in RESULTS]


def test_a_trial_that_fails_is_told_and_the_others_go_on_and_are_recorded(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In MLflow where the command was started, whatever folder Ray gives them. The account has no home."""
    from mlflow import MlflowClient

    wild = {"method": "han", "train": {"learning_rate": 1e300}}
    file = sweep_file(tmp_path, tiny, retries=0, controls={"han": {"method": "han"}}, variants={"wild": wild})
    environment = {
        "MLFLOW_TRACKING_URI": "sqlite:///here.db",
        "MLFLOW_TRACKING_TOKEN": "s3cret",
        "HOME": "/nowhere/home",
    }
    words = command("python", "sweep", "--config", file, "tracking.enabled=true")
    outcome = subprocess.run(
        words, cwd=tmp_path, env=ENVIRONMENT | environment, capture_output=True, text=True, timeout=240
    )
    assert outcome.returncode == 1, outcome.stderr
    found = cells(tmp_path)
    assert found["han", 0]["state"] == "finished"
    assert found["wild", 0]["state"] == "failed"
    assert "not finite" in found["wild", 0]["problem"]
    assert "han, seed 0: started\n" in outcome.stdout
    assert "wild, seed 0: failed: " in outcome.stdout
    lines = outcome.stdout.splitlines()
    table = lines[lines.index(next(line for line in lines if line.startswith("small: F-scores on test"))) :]
    assert any(line.startswith("best of 1 row by segment_type on test: han, ") for line in table)
    assert f"written: {tmp_path / 'sweeps' / 'small' / 'table.md'}" in table
    assert table[-1].startswith("in MLflow: ")
    assert "here.db" in table[-1]
    assert table[-1].endswith("/#/experiments/1/runs?workflowType=machine_learning")
    assert "Traceback" not in outcome.stderr
    assert "s3cret" not in "".join(text.decode("latin-1") for text in files_below(tmp_path).values())
    client = MlflowClient(f"sqlite:///{tmp_path}/here.db")
    notes = json.loads((tmp_path / "sweeps" / "small" / found["han", 0]["run"] / "mlflow.json").read_text())
    assert "train/loss" in client.get_run(notes["stages"]["train"]).data.metrics
    assert client.get_run(notes["run"]).data.metrics["test/segment_type"] >= 0
    again = run_process("python", "sweep", "--config", file, "sweep.controls={han: {method: han}}", "sweep.variants={}")
    assert again.code == 0, again.err
    assert "1 of 1 trials were finished before" in again.out
    dry = run_here(capsys, "sweep", "--config", file, "--dry-run")
    assert dry.code == 0, dry.err
    rows = {line.split("|")[1].strip(): line.split("|")[2:6] for line in dry.out.splitlines() if "|" in line}
    assert [cell.strip() for cell in rows["han"]] == ["method=han", "1", "1", "0"]
    assert [cell.strip() for cell in rows["wild"][1:]] == ["1", "0", "1"]
    assert "1 training missing; one took " in dry.out
    assert " (mean of 1): " in dry.out


@pytest.mark.slow
def test_killed_half_way_it_trains_only_what_is_missing(tiny: Tiny, tmp_path: Path) -> None:
    space = {"denoise.audio_threshold": [0.9, 0.95, 1.0], "denoise.visual_threshold": [0.9, 1.0]}
    more = {"seeds": [0, 1], "controls": {"han": {"method": "han"}}, "space": space}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    outcome = run_process("python", "sweep", "--config", sweep_file(whole, tiny, **more))
    assert outcome.code == 0, outcome.err
    file = sweep_file(killed, tiny, **more)
    process = subprocess.Popen(
        command("python", "sweep", "--config", file), env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    while not next(process.stdout).split(" ", 1)[1].startswith("3/"):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    trials = killed / "sweeps" / "trials"
    there = {path.parent.name: path.stat().st_mtime_ns for path in trials.glob("*/scores.json")}
    assert len(there) >= 2
    until = time.monotonic() + 60
    while list(processes_naming(trials)) and time.monotonic() < until:
        time.sleep(0.5)
    assert not list(processes_naming(trials))
    outcome = run_process("python", "sweep", "--config", file)
    assert outcome.code == 0, outcome.err
    assert {name: (trials / name / "scores.json").stat().st_mtime_ns for name in there} == there
    one, other = cells(whole), cells(killed)
    assert one.keys() == other.keys()
    for key in one:
        assert results(whole, one[key]) == results(killed, other[key])
    for table in ("table.md", "table.csv", "table.tex"):
        assert (whole / "sweeps/small" / table).read_bytes() == (killed / "sweeps/small" / table).read_bytes()
    assert len(list(trials.glob("estimator-*"))) == 2  # one a seed


@pytest.mark.slow
@pytest.mark.parametrize("retries", [0, 1])
def test_a_trial_whose_worker_is_killed_is_told_and_started_again(retries: int, tiny: Tiny, tmp_path: Path) -> None:
    variants = {"long": {"method": "han", "train": {"epochs": 40}}, "short": {"method": "han"}}
    file = sweep_file(tmp_path, tiny, retries=retries, concurrent=1, variants=variants)
    process = subprocess.Popen(
        command("python", "sweep", "--config", file), env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )
    trials = tmp_path / "sweeps" / "trials"
    while not list(trials.glob("*/history.jsonl")):
        assert process.poll() is None
        time.sleep(0.2)
    (worker,) = [n for n in processes_naming(trials) if b"\0start\0" not in Path(f"/proc/{n}/cmdline").read_bytes()]
    os.kill(worker, signal.SIGKILL)
    out, _ = process.communicate(timeout=240)
    found = cells(tmp_path)
    assert found["short", 0]["state"] == "finished"
    if retries:
        assert process.returncode == 0
        assert "long, seed 0: failed (python was killed by SIGKILL" in out
        assert found["long", 0]["state"] == "finished"
    else:
        assert process.returncode == 1
        assert found["long", 0]["state"] == "failed"
        assert "killed by SIGKILL" in found["long", 0]["problem"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_it_says_so_and_leaves_nothing_running(number: int, tiny: Tiny, tmp_path: Path) -> None:
    long = {"method": "han", "train": {"epochs": 500}}
    file = sweep_file(tmp_path, tiny, variants={"long": long})
    process = subprocess.Popen(
        command("python", "sweep", "--config", file), env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    trials = tmp_path / "sweeps" / "trials"
    while not list(trials.glob("*/history.jsonl")):
        assert process.poll() is None
        time.sleep(0.2)
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 75, said.decode()
    assert b"the same command goes on" in said
    assert not list(processes_naming(trials))
    (run,) = [path.parent for path in trials.glob("*/status.json")]
    assert json.loads((run / "status.json").read_text())["state"] == "preempted"
    assert cells(tmp_path)["long", 0]["state"] == "missing"


@pytest.mark.slow
def test_a_trial_of_two_workers_is_that_of_one(tiny: Tiny, tmp_path: Path) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two cores")
    found = []
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        folder.mkdir()
        file = sweep_file(folder, tiny, workers=workers, variants={"jomold": {"method": "jomold"}})
        outcome = run_process("python", "sweep", "--config", file)
        assert outcome.code == 0, outcome.err
        found.append(results(folder, cells(folder)["jomold", 0]))
    assert found[0] == found[1]


@pytest.mark.slow
def test_a_cell_is_the_run_that_trains_an_estimator_of_its_own(tiny: Tiny, tmp_path: Path) -> None:
    file = sweep_file(tmp_path, tiny, seeds=[5], space={"denoise.audio_threshold": [0.95, 0.9500001]})
    batches = ("estimator.batch_size=12", "train.batch_size=24")
    outcome = run_process("python", "sweep", "--config", file, *batches)
    assert outcome.code == 0, outcome.err
    found = cells(tmp_path)
    assert len({cell["run"] for cell in found.values()}) == 1  # equal noise ratios
    run = tmp_path / "run"
    settings = (*batches, "run.seed=5", "denoise.audio_threshold=0.95", f"run.dir={run}")
    assert run_process("python", "train", "--config", tiny.config, *settings).code == 0
    assert [(run / name).read_bytes() for name in RESULTS] == results(tmp_path, found["audio_threshold=0.95", 5])


@pytest.mark.slow
def test_a_trial_that_falls_behind_is_stopped_once(tiny: Tiny, tmp_path: Path) -> None:
    def variant(rate: float) -> dict[str, Any]:
        return {"method": "han", "train": {"learning_rate": rate, "epochs": 12}}

    # on this set, learning makes the score of the first epochs worse
    more = {"variants": {"ahead": variant(1e-12), "behind": variant(0.005)}}
    file = sweep_file(tmp_path, tiny, scheduler="asha", concurrent=1, **more)
    arguments = ("--config", file)
    outcome = run_process("python", "sweep", *arguments)
    assert outcome.code == 0, outcome.err
    found = cells(tmp_path)
    assert found["ahead", 0]["state"] == "finished"
    assert found["behind", 0]["state"] == "stopped"
    assert 1 <= found["behind", 0]["epochs"] < 12
    assert "stopped by asha, after epoch" in found["behind", 0]["problem"]
    again = run_process("python", "sweep", *arguments)
    assert again.code == 0, again.err
    assert cells(tmp_path) == found
    assert "behind, seed 0: started" not in again.out


@pytest.mark.slow
def test_no_estimator_is_stopped_by_the_scheduler(tiny: Tiny, tmp_path: Path) -> None:
    variants = {"jomold": {"method": "jomold"}}
    file = sweep_file(tmp_path, tiny, seeds=[0, 1, 2, 3], scheduler="asha", concurrent=1, variants=variants)
    outcome = run_process("python", "sweep", "--config", file, "estimator.epochs=4")
    assert outcome.code == 0, outcome.err
    assert len(list((tmp_path / "sweeps" / "trials").glob("*/estimator_predictions.npz"))) == 4


@pytest.mark.slow
def test_optuna_learns_from_trials_and_finds_its_draws_again(tiny: Tiny, tmp_path: Path) -> None:
    space = {"train.learning_rate": {"loguniform": [1e-8, 1e-2]}}
    file = sweep_file(tmp_path, tiny, seeds=[0, 1], search="optuna", samples=5, draws_at_once=2, space=space)
    outcome = run_process("python", "sweep", "--config", file, "method=han")
    assert outcome.code == 0, outcome.err
    assert [line.split(" ", 1)[1] for line in outcome.out.splitlines() if "further draws" in line] == [
        "optuna has made further draws: 4 rows by now",
        "optuna has made further draws: 5 rows by now",
    ]
    found = cells(tmp_path)
    assert len(found) == 10
    assert all(cell["state"] == "finished" for cell in found.values())
    again = run_process("python", "sweep", "--config", file, "method=han")
    assert again.code == 0, again.err
    assert "10 of 10 trials were finished before" in again.out
    assert ", seed " not in again.out
    assert cells(tmp_path) == found


@pytest.mark.slow
def test_in_mlflow_a_sweep_is_a_run_with_its_trials_as_children(tiny: Tiny, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    more = {"controls": {"han": {"method": "han"}}, "variants": {"small": {"method": "han", "train.batch_size": 12}}}
    file = sweep_file(tmp_path, tiny, **more)
    for name in ("small", "again"):
        folder = f"sweep.dir={tmp_path / 'sweeps' / name}"
        outcome = run_process("python", "sweep", "--config", file, "tracking.enabled=true", folder)
        assert outcome.code == 0, outcome.err
    client = MlflowClient(f"sqlite:///{tmp_path / 'sweeps' / 'trials' / 'mlflow.db'}")
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    parents = {}
    for name in ("small", "again"):
        notes = json.loads((tmp_path / "sweeps" / name / "mlflow.json").read_text())
        parents[name] = client.get_run(notes["run"])
        assert parents[name].info.status == "FINISHED"
        children = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == notes["run"]]
        assert {r.info.run_name for r in children} == {"han, seed 0", "small, seed 0"}
        assert {r.data.params["train.batch_size"] for r in children} == {"24", "12"}
        assert all("test/segment_type" in r.data.metrics for r in children)
        assert all({"sweep", "row", "data_set", "simulated"} <= r.data.tags.keys() for r in children)
        assert {r.info.status for r in children} == {"FINISHED"}
        assert all(("trained_as" in r.data.tags) == (name == "again") for r in children)
        names = {item.path for item in client.list_artifacts(notes["run"])}
        assert {"table.md", "table.csv", "table.tex"} <= names


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("sweep.space={denoise.audio_treshold: [1]}", "unknown setting 'denoise.audio_treshold'"),
        ("sweep.space={denoise.audio_threshold: []}", "at least one value"),
        ("sweep.seeds=[one]", "must be a list of different whole numbers"),
        ("sweep.address=127.0.0.1:9", "the Ray cluster at 127.0.0.1:9 (from sweep.address) cannot be joined: nobody"),
        ("sweep.cpus=4096", "takes 4096 CPU, which no node has"),
        ("data.shards=/nowhere/data", "the shards' folder /nowhere/data does not exist"),
    ],
)
def test_a_mistake_is_told_before_anything_starts(
    override: str, part: str, tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = sweep_file(tmp_path, tiny, variants={"han": {"method": "han"}})
    outcome = run_here(capsys, "sweep", "--config", file, override)
    assert outcome.code == 2, outcome.err
    assert part in outcome.err
    assert "Traceback" not in outcome.err
    assert not (tmp_path / "sweeps" / "trials" / "logs").exists()


@pytest.mark.slow
def test_a_folder_that_ray_cannot_write_is_told(tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = sweep_file(tmp_path, tiny, variants={"han": {"method": "han"}})
    (tmp_path / "sweeps" / "small").mkdir(parents=True)
    (tmp_path / "sweeps" / "small" / "tune").touch()
    outcome = run_here(capsys, "sweep", "--config", file)
    assert outcome.code == 2, outcome.err
    assert f"error: {tmp_path / 'sweeps' / 'small' / 'tune'} cannot be written: " in outcome.err
    assert "Traceback" not in outcome.err


def test_a_dry_run_writes_nothing(tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space = {"denoise.audio_threshold": [0.9, 1.0]}
    file = sweep_file(tmp_path, tiny, seeds=[0, 1, 2], controls={"han": {"method": "han"}}, space=space)
    outcome = run_here(capsys, "sweep", "--config", file, "--dry-run")
    assert outcome.code == 0, outcome.err
    assert "3 rows x 3 seeds" in outcome.out
    assert re.search(r"\| denoise.audio_threshold=0.9 +\| +3 \| +0 \| +3 \|", outcome.out)
    assert "3 estimators missing; time and disk are unknown, as none has finished" in outcome.out
    assert "9 different trainings, or fewer where noise ratios come out equal; 3 estimators" in outcome.out
    assert not (tmp_path / "sweeps").exists()
