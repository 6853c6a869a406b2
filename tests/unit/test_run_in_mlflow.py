"""What an MLflow user finds on a run: scores, curves, removals, data set, tables, files, and its address."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from jomold_dist.comparing.paired import PairedMean
from jomold_dist.config import Config, DataConfig, RunConfig, TrackingConfig, TrainConfig
from jomold_dist.config_files import dump_config
from jomold_dist.distributed.world import World
from jomold_dist.errors import StoppedError
from jomold_dist.files import write_json
from jomold_dist.score_names import SCORE_NAMES
from jomold_dist.showing.reports.report_curves import best_moment
from jomold_dist.tracking import metric_queue, open_recorder, results, trouble, ui_command
from jomold_dist.tracking import recorder as tracking_recorder
from jomold_dist.tracking.about import data_set_input
from jomold_dist.tracking.recorder import MlflowRecorder
from jomold_dist.tracking.results import kept_files, rounded, score_numbers
from jomold_dist.tracking.store import store_uri
from jomold_dist.tracking.sweep import open_sweep
from jomold_dist.training.evaluate import Evaluation
from jomold_dist.training.recorder import Recorder
from jomold_dist.training.run_folder import RunFolder
from jomold_dist.training.scores import RunScores, ScoredData, ScoredModel
from jomold_dist.tuning.best import BestRow
from tests.run_fixtures import TINY, TINY_CATEGORIES

mlflow = pytest.importorskip("mlflow", reason="MLflow is a dependency; without it nothing here can run")

DOCS = Path(__file__).resolve().parents[2] / "docs" / "mlflow.md"
WORLD = World(0, 1, 0, 1, torch.device("cpu"))
EPOCHS = 3
BEST = 2


@pytest.fixture
def config(tmp_path: Path, empty_store: Path) -> Config:
    """A run beside a store of its own."""
    (tmp_path / "runs").mkdir()
    shutil.copy(empty_store, tmp_path / "runs" / "mlflow.db")
    data = DataConfig(shards="https://me:secret@host/shards")
    return Config(run=RunConfig(dir=str(tmp_path / "runs" / "jomold"), seed=3), data=data)


def client(config: Config) -> Any:
    return mlflow.MlflowClient(store_uri(config))


def own_run(config: Config) -> Any:
    notes = json.loads((Path(config.run.dir) / "mlflow.json").read_text(encoding="utf-8"))
    return client(config).get_run(notes["run"])


def line(epoch: int, score: float) -> dict[str, float]:
    """What training tells of an epoch."""
    return {
        "train/loss": 3.0 / epoch, "train/loss_audio": 1.0 / epoch, "denoise/removed_audio": 0.0,
        "denoise/removed_visual": 4.0 + epoch, "val/segment_type": score, "val/event_type": score - 5,
    }  # fmt: skip


def train(config: Config, recorder: Recorder, epochs: int = EPOCHS) -> None:
    """Tells a recorder what a training tells, and leaves what it leaves, but its weights."""
    folder = RunFolder(Path(config.run.dir))
    with recorder.stage("train", of_model=True):
        for epoch in range(1, epochs + 1):
            recorder.metrics({"step/loss": 5.0 / epoch}, step=10 * epoch)
            recorder.metrics(line(epoch, 50.0 + (epoch == BEST)), step=epoch)
            lines = [{"stage": "model", "epoch": e, **line(e, 50.0 + (e == BEST))} for e in range(1, epoch + 1)]
            folder.history.write_text("".join(f"{json.dumps(each)}\n" for each in lines), encoding="utf-8")
    entry = {"modality": "visual", "labels": 12, "candidates": 20, "removed": 18, "noise": 8}
    entry |= {"precision": 2 / 3, "recall": 0.5}
    of_audio = {"modality": "audio", "labels": 12, "candidates": 0, "removed": 0, "noise": 1, "precision": None}
    of_audio |= {"recall": 0.0}
    entries = {"audio": of_audio, "visual": entry}
    removals = {"epochs": epochs, "total": entries, "categories": dict.fromkeys(TINY_CATEGORIES, entries)}
    write_json(folder.removals, removals)
    with recorder.stage("evaluation"):
        found = Evaluation(
            {name: 40.0 + number for number, name in enumerate(SCORE_NAMES)},
            {
                f"segment_{m}": dict(zip(TINY_CATEGORIES, (61.23456, 0.0, None), strict=True))
                for m in ("audio", "visual")
            },
            {m: dict(zip(TINY_CATEGORIES, (7, 30, 0), strict=True)) for m in ("audio", "visual")},
        )
        model = ScoredModel("checkpoints/model.safetensors", BEST, epochs)
        write_json(folder.scores, RunScores("test", ScoredData.of(TINY), model, found, "0.1.0").to_json())


def test_a_run_is_whole(config: Config, tmp_path: Path) -> None:
    folder = RunFolder(Path(config.run.dir))
    folder.path.mkdir()
    folder.config.write_text(dump_config(config), encoding="utf-8")
    for _ in range(2):  # a second start changes nothing
        with open_recorder(config, TINY, WORLD) as recorder:
            train(config, recorder)
            folder.report.write_text("<!doctype html>", encoding="utf-8")
        run = own_run(config)
        metrics = run.data.metrics
        assert {name.removeprefix("test/") for name in metrics if name.startswith("test/")} == {*SCORE_NAMES}
        assert metrics["test/segment_audio"] == 40.0
        assert (metrics["val/best_segment_type"], metrics["best_epoch"]) == (51.0, BEST)
        assert (metrics["removals/removed_visual"], metrics["removals/candidates_audio"]) == (18.0, 0.0)
        assert metrics["removals/precision_visual"] == pytest.approx(2 / 3)
        assert "removals/precision_audio" not in metrics
        assert metrics["duration_seconds"] > 0

        found = client(config)
        assert [m.value for m in found.get_metric_history(run.info.run_id, "test/segment_audio")] == [40.0]
        table = download(config, "tables/scores_per_category.json", tmp_path)
        assert json.loads(table.read_text())["data"][0] == ["Speech", 7, 7, 61.23, 61.23]
        assert len(json.loads(table.read_text())["data"]) == len(TINY_CATEGORIES)
        shown = json.loads(download(config, "tables/removals.json", tmp_path).read_text())
        assert [row[shown["columns"].index("removed")] for row in shown["data"]] == [0, 18] * 3
        assert "tables/removals.json" in run.data.tags["mlflow.loggedArtifacts"]  # by which MLflow shows it as a table
        files = {artifact.path for artifact in found.list_artifacts(run.info.run_id)}
        assert files == {"tables", "config.yaml", "scores.json", "removals.json", "history.jsonl", "report.html"}


def test_the_scores_on_val_are_those_of_the_best_moment_also_within_an_epoch() -> None:
    end = {f"val/{name}": 50.0 for name in SCORE_NAMES}
    within = {"step": 4, "steps": 10, "scores": dict.fromkeys(SCORE_NAMES, 70.0)}
    history = [{"epoch": 1, **end}, {"epoch": 2, **end, "best_within": within}, {"epoch": 3, **end}]

    def scores(epoch: int) -> RunScores:
        found = Evaluation(dict.fromkeys(SCORE_NAMES, 40.0), {}, {})
        return RunScores("test", ScoredData.of(TINY), ScoredModel("w", epoch, 3), found, "0.1.0")

    numbers = score_numbers(scores(BEST), history, BEST)
    assert (numbers["val/best_segment_type"], numbers["best_epoch"], numbers["best_step"]) == (70.0, 2, 4)
    numbers = score_numbers(scores(3), history, 3)
    assert (numbers["val/best_segment_type"], numbers["best_epoch"]) == (50.0, 3)
    assert "best_step" not in numbers
    assert [best_moment(line) for line in history[1:]] == [(1.4, "kept: epoch 2, after step 4"), (3, "kept: epoch 3")]


def test_whoever_is_asked_to_stop_does_not_wait_for_mlflow(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that hangs: the run leaves, and says so, without the minutes that requests may take."""
    monkeypatch.setattr(tracking_recorder, "LEAVE_SECONDS", 0.2)
    answers, told = threading.Event(), list[str]()
    monkeypatch.setattr(trouble, "warn", lambda uri, doing, error: told.append(f"{doing}: {error}"))
    asked: list[str] = []

    def hang(run: str, status: str) -> None:
        asked.append(run)
        answers.wait()

    def stopped() -> None:
        with open_recorder(config, TINY, WORLD) as recorder:
            assert isinstance(recorder, MlflowRecorder)
            recorder.client.set_terminated = hang
            with recorder.stage("train"):
                raise StoppedError("stopped")

    with pytest.raises(StoppedError):
        stopped()
    assert told == ["closing the run: no answer within 0.2 s"]
    assert len(asked) == 1  # who has not answered for the stage is not asked for the run
    answers.set()


def download(config: Config, path: str, folder: Path) -> Path:
    (folder / "downloads").mkdir(exist_ok=True)
    return Path(client(config).download_artifacts(own_run(config).info.run_id, path, str(folder / "downloads")))


def test_curves_are_on_the_run_by_epoch_and_on_its_child_by_step(config: Config) -> None:
    with open_recorder(config, TINY, WORLD) as recorder:
        train(config, recorder)
        assert own_run(config).data.metrics["train/loss"] == 1.0  # while it runs
    notes = json.loads((Path(config.run.dir) / "mlflow.json").read_text(encoding="utf-8"))

    def curve(run: str, name: str) -> list[tuple[int, float]]:
        return [(m.step, m.value) for m in client(config).get_metric_history(run, name)]

    for run in (notes["run"], notes["stages"]["train"]):
        assert curve(run, "train/loss") == [(1, 3.0), (2, 1.5), (3, 1.0)]
    assert curve(notes["stages"]["train"], "step/loss") == [(10, 5.0), (20, 2.5), (30, pytest.approx(5 / 3))]
    assert curve(notes["run"], "step/loss") == []
    assert curve(notes["stages"]["evaluation"], "train/loss") == []
    names = {client(config).get_run(run).info.run_name for run in notes["stages"].values()}
    assert names == {"jomold · train", "jomold · evaluation"}
    child = client(config).get_run(notes["stages"]["train"]).data.params
    assert (child["stage"], child["method"], child["run.seed"]) == ("train", "jomold", "3")


def test_epochs_that_a_killed_process_did_not_send_are_there_at_the_end(config: Config) -> None:
    with open_recorder(config, TINY, WORLD) as recorder:
        train(config, recorder, epochs=1)
    folder = RunFolder(Path(config.run.dir))
    lost = [{"stage": "model", "epoch": e, **line(e, 50.0)} for e in (1, 2)]
    folder.history.write_text("".join(f"{json.dumps(each)}\n" for each in lost), encoding="utf-8")
    with open_recorder(config, TINY, WORLD):
        pass
    history = client(config).get_metric_history(own_run(config).info.run_id, "train/loss")
    assert [(metric.step, metric.value) for metric in history] == [(1, 3.0), (2, 1.5)]


def test_the_data_set_is_an_input_of_the_run(config: Config) -> None:
    for _ in range(2):
        with open_recorder(config, TINY, WORLD) as recorder, recorder.stage("train"):
            pass
    (given,) = own_run(config).inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("tiny", TINY.digest[:12])
    assert json.loads(given.dataset.source) == {"url": "https://***@host/shards"}
    assert {tag.key: tag.value for tag in given.tags} == {"mlflow.data.context": "training"}
    assert json.loads(given.dataset.profile)["simulated"] is True
    several = data_set_input(DataConfig(shards=("s3://bucket/a", "https://me:secret@host/b")), TINY).dataset
    assert json.loads(several.source) == {"uri": "s3://bucket/a, https://***@host/b"}
    assert several.source_type == "s3"


def test_the_load_of_the_machine_is_recorded_and_nothing_stays_behind(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metric_queue, "SEND_SECONDS", 0.05)
    before = threading.enumerate()
    with open_recorder(config, TINY, WORLD):
        deadline = time.monotonic() + 60
        while not any(name.startswith("system/cpu") for name in own_run(config).data.metrics):
            assert time.monotonic() < deadline
    assert [thread.name for thread in threading.enumerate() if thread not in before] == []

    def fail() -> None:
        with open_recorder(config, TINY, WORLD):
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        fail()
    assert [thread.name for thread in threading.enumerate() if thread not in before] == []
    without = replace(config, run=RunConfig(dir=f"{config.run.dir}2"), tracking=TrackingConfig(system_metrics=False))
    with open_recorder(without, TINY, WORLD) as recorder:
        recorder.metrics({"train/loss": 1.0}, step=1)
        time.sleep(0.3)
    assert set(own_run(without).data.metrics) == {"train/loss", "duration_seconds"}


def test_large_files_stay_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "LARGEST_FILE", 10)
    folder = RunFolder(tmp_path)
    folder.labels().write_bytes(b"x" * 11)
    folder.scores.write_bytes(b"x" * 10)
    assert kept_files(folder) == [folder.scores]


def test_cells_of_tables_can_be_read() -> None:
    told = [rounded(cell) for cell in ("a", None, 7, 61.23456, 0.00012345, 123456.7, 0.0)]
    assert told == ["a", None, 7, 61.23, 0.0001234, 123457, 0.0]


def test_the_address_opens_the_experiment(config: Config) -> None:
    view = "/#/experiments/1/runs?workflowType=machine_learning"
    assert ui_command(config).endswith(", then open http://127.0.0.1:5000")
    with open_recorder(config, TINY, WORLD):
        pass
    assert ui_command(config).endswith(f", then open http://127.0.0.1:5000{view}")
    server = replace(config, tracking=TrackingConfig(uri="http://host:1/"))
    notes = Path(config.run.dir) / "mlflow.json"
    write_json(notes, json.loads(notes.read_text(encoding="utf-8")) | {"uri": "http://host:1/"})
    assert ui_command(server) == f"http://host:1{view}"


def test_a_search_joins_settings_with_scores(config: Config) -> None:
    """The searches of the documentation, as they stand there."""
    for method, folder in (("jomold", "a"), ("han", "b")):
        one = replace(config, method=method, run=RunConfig(dir=str(Path(config.run.dir).with_name(folder))))
        with open_recorder(one, TINY, WORLD) as recorder:
            train(one, recorder)
    searches = re.findall(r'search_runs\(\["1"\], "([^"]*)"', DOCS.read_text(encoding="utf-8"))
    assert "params.method = 'jomold' and metrics.`test/segment_type` > 0" in searches
    found = {
        search: sorted(run.info.run_name for run in client(config).search_runs(["1"], search)) for search in searches
    }
    assert found["params.method = 'jomold' and metrics.`test/segment_type` > 0"] == ["a"]
    assert all(found.values()), found


def test_a_sweep_has_its_best_row(config: Config, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    folder.mkdir()
    (folder / "heat_map.png").write_bytes(b"x")
    (folder / "table.csv").write_bytes(b"x")
    means = {"segment_type": 71.0, "event_type": 60.0}
    row = BestRow("jomold, θ=1.6", "segment_type", PairedMean(71.0, 2.0, 3), "han", PairedMean(4.0, 1.5, 3), 4, means)
    with open_sweep(config, folder, "table2a", {"seeds": [0, 1, 2]}, TINY) as record:
        one_seed = replace(row, score=PairedMean(1.0, None, 1), difference=None)
        record.best(one_seed.tags, one_seed.numbers)
        record.best(row.tags, row.numbers)
        record.table("rows", {"row": ["han", row.name], "segment type": [67.0, 71.0]})
        record.artifacts([folder / "heat_map.png", folder / "table.csv"])
        parent = client(config).get_run(str(record.run))
    assert parent.data.metrics == {
        "best/score": 71.0, "best/seeds": 3.0, "best/delta": 4.0, "best/delta_half_width": 1.5,
        "test/segment_type": 71.0, "test/event_type": 60.0,
    }  # fmt: skip
    assert (parent.data.tags["best_row"], parent.data.tags["best_baseline"]) == ("jomold, θ=1.6", "han")
    assert "tables/rows.json" in parent.data.tags["mlflow.loggedArtifacts"]
    assert [a.path for a in client(config).list_artifacts(parent.info.run_id, "figures")] == ["figures/heat_map.png"]
    notes = json.loads((folder / "mlflow.json").read_text(encoding="utf-8"))
    assert ui_command(config, folder).count(f"experiments/{notes['experiment_id']}/runs") == 1


@contextmanager
def tracking_server(store: Path) -> Iterator[tuple[str, int]]:
    """A tracking server's address and process group."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{store}"]
    command += ["--artifacts-destination", str(store.parent / "artifacts"), "--port", str(port), "--workers", "1"]
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}
    process = subprocess.Popen(
        command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).read()
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.slow
def test_a_server_that_stops_answering_holds_up_nobody(
    config: Config, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    with tracking_server(Path(config.run.dir).parent / "mlflow.db") as (uri, group):
        remote = replace(config, tracking=TrackingConfig(uri=uri), train=TrainConfig(epochs=1000))
        with open_recorder(remote, TINY, WORLD) as recorder, recorder.stage("train", of_model=True):
            recorder.metrics(line(1, 50.0), step=1)
            deadline = time.monotonic() + 60
            while "train/loss" not in own_run(remote).data.metrics:
                assert time.monotonic() < deadline
            os.killpg(group, signal.SIGSTOP)
            for epoch in range(2, 1000):
                recorder.metrics(line(epoch, 50.0), step=epoch)
        warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert len(warnings) == 1
        assert "trouble while logging metrics" in warnings[0]
        assert "timed out" in warnings[0]
        os.killpg(group, signal.SIGCONT)
        assert (1, 3.0) in {
            (m.step, m.value) for m in client(remote).get_metric_history(own_run(remote).info.run_id, "train/loss")
        }
