"""MLflow: what is recorded, that a run goes on, how it ends, and that no trouble with it stops training."""

from __future__ import annotations

import json
import logging
import math
import multiprocessing
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jomold_dist.config import Config, RunConfig, TrackingConfig, TrainConfig
from jomold_dist.config_files import dump_config
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.distributed.world import World
from jomold_dist.errors import StoppedError
from jomold_dist.tracking import open_recorder, ui_command
from jomold_dist.tracking.about import metric_name
from jomold_dist.tracking.recorder import DURATION, MlflowRecorder
from jomold_dist.tracking.store import absolute_uri, artifacts_place, handed_on, ready, store_uri
from jomold_dist.tracking.sweep import open_sweep
from jomold_dist.training.recorder import NullRecorder
from tests.run_fixtures import TINY

pytestmark = pytest.mark.lengthy

mlflow = pytest.importorskip("mlflow", reason="MLflow is a dependency; without it nothing here can run")

ROOT = Path(__file__).resolve().parents[2]
UNREADABLE = Path("/proc/self/mem")  # to read it fails, for root too
WORLD = World(0, 2, 0, 2, torch.device("cpu"))


@pytest.fixture
def config(tmp_path: Path, empty_store: Path) -> Config:
    """A run beside a store of its own; its folder's name has characters that URIs must quote."""
    (tmp_path / "my runs#1").mkdir()
    shutil.copy(empty_store, tmp_path / "my runs#1" / "mlflow.db")
    return Config(run=RunConfig(dir=str(tmp_path / "my runs#1" / "first")))


def notes(config: Config) -> dict[str, object]:
    return json.loads((Path(config.run.dir) / "mlflow.json").read_text(encoding="utf-8"))


def client(config: Config) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(store_uri(config))


def runs(config: Config) -> dict[str, mlflow.entities.Run]:
    """The runs of the store by name."""
    found = client(config)
    experiments = [e.experiment_id for e in found.search_experiments()]
    return {run.info.run_name: run for run in found.search_runs(experiments)}


def text_of(config: Config, run: str, path: str, folder: Path) -> str:
    folder.mkdir(exist_ok=True)
    return Path(client(config).download_artifacts(run, path, str(folder))).read_text(encoding="utf-8")


# --- what is recorded ----------------------------------------------------------------------------------------------


def test_a_run_with_its_stages(config: Config, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    scores = tmp_path / "scores.json"
    scores.write_text('{"split": "test"}', encoding="utf-8")
    with open_recorder(config, TINY, WORLD) as recorder:
        with recorder.stage("estimator"):
            recorder.metrics({"train/loss": 2.5, "perf/videos_per_second": 10}, step=1)
            recorder.metrics({"train/loss": 1.5, "perf/videos_per_second": math.nan}, step=2)
        with recorder.stage("model"):
            recorder.metrics({f"many/{number}": number for number in range(1500)}, step=1)
            recorder.metrics({"Baby_cry,_infant (cry) 50%": 3.0}, step=1)
            recorder.table("noise ratios", {"category": ["Speech", "a,b"], "audio": [0.25, None], "count": [3, 4]})
        recorder.metrics({"a/number": 55.0}, step=0)
        recorder.artifact(scores)

    found = runs(config)
    assert set(found) == {"first", "first · estimator", "first · model"}
    parent, estimator, model = found["first"], found["first · estimator"], found["first · model"]
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    assert {run.data.tags["mlflow.parentRunId"] for run in (estimator, model)} == {parent.info.run_id}
    assert notes(config)["run"] == parent.info.run_id
    assert notes(config)["stages"] == {"estimator": estimator.info.run_id, "model": model.info.run_id}

    assert set(parent.data.params) == set(config.flat())
    assert parent.data.params["train.learning_rate"] == "0.0005"
    assert parent.data.params["denoise.mean_batch_size"] == "null"
    assert parent.data.params["method"] == "jomold"
    tags = parent.data.tags
    assert tags["config_digest"] == config.digest
    assert tags["manifest_digest"] == TINY.digest
    assert (tags["simulated"], tags["world_size"], tags["data_set"]) == ("llp", "2", "tiny")
    assert "not results on real videos" in tags["mlflow.note.content"]

    history = client(config).get_metric_history(estimator.info.run_id, "train/loss")
    assert [(m.step, m.value) for m in history] == [(1, 2.5), (2, 1.5)]
    assert math.isnan(estimator.data.metrics["perf/videos_per_second"])
    assert sum(name.startswith("many/") for name in model.data.metrics) == 1500
    assert model.data.metrics["Baby_cry__infant _cry_ 50_"] == 3.0
    assert {name: value for name, value in parent.data.metrics.items() if name != DURATION} == {"a/number": 55.0}
    assert {key: model.data.params[key] for key in ("stage", "method", "run.seed", "data_set")} == {
        "stage": "model", "method": "jomold", "run.seed": "0", "data_set": "tiny",
    }  # fmt: skip

    table = text_of(config, parent.info.run_id, "tables/noise_ratios.json", tmp_path / "a")
    assert json.loads(table) == {
        "columns": ["category", "audio", "count"],
        "data": [["Speech", 0.25, 3], ["a,b", None, 4]],
    }
    assert text_of(config, parent.info.run_id, "scores.json", tmp_path / "b") == scores.read_text(encoding="utf-8")
    assert (Path(config.run.dir).parent / "mlartifacts" / parent.info.run_id / "artifacts" / "scores.json").is_file()

    assert capfd.readouterr() == ("", "")
    assert mlflow.active_run() is None
    assert "MLFLOW_TRACKING_URI" not in os.environ


def test_real_data_is_not_called_simulated(config: Config) -> None:
    with open_recorder(config, replace(TINY, simulated=None), WORLD):
        pass
    tags = runs(config)["first"].data.tags
    assert tags["simulated"] == "no"
    assert "mlflow.note.content" not in tags


def test_the_commit_at_the_beginning_is_a_tag_where_there_is_one(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git is asked once: what it says later is not what runs, and takes seconds on a slow disk."""

    def commit() -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *identity, "commit", "-q", "--allow-empty", "-m", "x"], check=True)

    (tmp_path / "checkout").mkdir()
    monkeypatch.chdir(tmp_path)
    with open_recorder(config, TINY, WORLD) as recorder:  # no checkout
        monkeypatch.chdir("checkout")
        subprocess.run(["git", "init", "-q"], check=True)
        commit()
        with recorder.stage("inside"):
            commit()
        monkeypatch.setenv("PATH", "")
        with recorder.stage("without git"):
            pass
    commits = {
        name.removeprefix("first · "): run.data.tags.get("mlflow.source.git.commit")
        for name, run in runs(config).items()
    }
    assert commits["first"] is None
    assert len(commits["inside"] or "") == 40
    assert commits["without git"] == commits["inside"]


def test_columns_of_a_table_are_equally_long(config: Config) -> None:
    with open_recorder(config, TINY, WORLD) as recorder, pytest.raises(ValueError, match="zip"):
        recorder.table("broken", {"a": [1, 2], "b": [1]})


@given(st.text(max_size=300))
def test_metric_names_are_taken_by_mlflow(name: str) -> None:
    from mlflow.utils.validation import _validate_metric_name

    _validate_metric_name(metric_name(name))
    plain = "train/loss_audio"
    assert metric_name(plain) == plain


# --- the model -----------------------------------------------------------------------------------------------------


def test_a_damaged_weights_file_is_trouble_and_no_more(
    config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with open_recorder(config, TINY, WORLD) as recorder, recorder.stage("model"):
        recorder.model(tmp_path / "missing.safetensors")
    assert "trouble while logging the model" in caplog.text
    models = client(config).search_logged_models([runs(config)["first"].info.experiment_id])
    assert [model.status.value for model in models] == ["FAILED"]


# --- going on, and ending ------------------------------------------------------------------------------------------


def test_a_run_started_again_goes_on(config: Config) -> None:
    for epoch in (1, 2):
        with open_recorder(config, TINY, WORLD) as recorder, recorder.stage("model"):
            during = runs(config)
            assert {run.info.status for run in during.values()} == {"RUNNING"}
            recorder.metrics({"train/loss": float(epoch)}, step=epoch)
    longer = replace(config, train=TrainConfig(epochs=30))
    with open_recorder(longer, TINY, World(0, 4, 0, 4, WORLD.device)):
        pass
    found = runs(config)
    assert set(found) == {"first", "first · model"}
    assert len(client(config).search_runs([found["first"].info.experiment_id])) == 2
    history = client(config).get_metric_history(found["first · model"].info.run_id, "train/loss")
    assert [(m.step, m.value) for m in history] == [(1, 1.0), (2, 2.0)]
    assert found["first"].data.params["train.epochs"] == "25"  # cannot change in MLflow
    assert found["first"].data.tags["changed.train.epochs"] == "30"
    assert found["first"].data.tags["world_size"] == "4"


def test_a_deleted_run_begins_anew(config: Config) -> None:
    with open_recorder(config, TINY, WORLD) as recorder, recorder.stage("model"):
        pass
    first = notes(config)["run"]
    client(config).delete_run(first)
    with open_recorder(config, TINY, WORLD) as recorder, recorder.stage("model"):
        pass
    assert notes(config)["run"] != first
    model = client(config).get_run(notes(config)["stages"]["model"])  # type: ignore[index]
    assert model.data.tags["mlflow.parentRunId"] == notes(config)["run"]


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"run": 1}'])
def test_damaged_notes_begin_a_new_run(config: Config, damage: str) -> None:
    Path(config.run.dir).mkdir()
    (Path(config.run.dir) / "mlflow.json").write_text(damage, encoding="utf-8")
    with open_recorder(config, TINY, WORLD):
        pass
    assert runs(config)["first"].info.run_id == notes(config)["run"]


def test_notes_that_cannot_be_read_are_left_alone(config: Config, caplog: pytest.LogCaptureFixture) -> None:
    file = Path(config.run.dir) / "mlflow.json"
    file.parent.mkdir()
    file.symlink_to(UNREADABLE)
    with open_recorder(config, TINY, WORLD) as recorder:
        assert isinstance(recorder, NullRecorder)
    assert f"{file} cannot be read: Input/output error" in only_warning(caplog)
    assert file.readlink() == UNREADABLE
    assert runs(config) == {}


def test_a_copied_folder_is_another_run_and_a_moved_one_is_not(
    config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    first = Path(config.run.dir)

    def recorded(name: str) -> str:
        """The MLflow run that the folder of this name goes on with."""
        of_name = replace(config, run=RunConfig(dir=str(first.with_name(name))))
        with open_recorder(of_name, TINY, WORLD) as recorder, recorder.stage("model"):
            recorder.metrics({f"in/{name}": 1.0}, step=1)
        return json.loads((first.with_name(name) / "mlflow.json").read_text(encoding="utf-8"))["run"]

    original = recorded("first")
    shutil.copytree(first, first.with_name("copy"))
    with caplog.at_level(logging.INFO, "jomold_dist"):
        copy = recorded("copy")
    assert copy != original
    assert f"{first.with_name('copy')} is a copy of {first}, to which its MLflow run belongs" in caplog.text
    assert (recorded("first"), recorded("copy")) == (original, copy)
    found = {run.info.run_id: run for run in runs(config).values() if run.info.run_id in (original, copy)}
    assert {run.info.run_name for run in found.values()} == {"first", "copy"}
    assert "changed.run.dir" not in found[original].data.tags
    for run in (original, copy):
        (stage,) = client(config).search_runs([found[run].info.experiment_id], f"tags.mlflow.parentRunId = '{run}'")
        assert set(stage.data.metrics) == {f"in/{found[run].info.run_name}", DURATION}

    first.rename(first.with_name("moved"))
    assert recorded("moved") == original
    shutil.copytree(first.with_name("moved"), first)  # as if the original were the one that came later
    assert recorded("first") not in (original, copy)
    shutil.copytree(first.with_name("moved"), first.with_name("successor"))
    shutil.rmtree(first.with_name("moved"))
    assert recorded("successor") == original


def test_a_folder_whose_notes_cannot_be_read_may_be_the_original(config: Config) -> None:
    with open_recorder(config, TINY, WORLD):
        pass
    first = Path(config.run.dir)
    original = notes(config)["run"]
    shutil.copytree(first, first.with_name("copy"))
    (first / "mlflow.json").unlink()
    (first / "mlflow.json").symlink_to(UNREADABLE)
    copy = replace(config, run=RunConfig(dir=str(first.with_name("copy"))))
    with open_recorder(copy, TINY, WORLD):
        pass
    assert notes(copy)["run"] != original


def test_another_experiment_is_another_run(config: Config) -> None:
    with open_recorder(config, TINY, WORLD):
        pass
    first = notes(config)["run"]
    with open_recorder(replace(config, tracking=TrackingConfig(experiment="other")), TINY, WORLD):
        pass
    assert notes(config)["run"] != first


def test_a_folder_of_sweeps_holds_a_run_for_each(config: Config, caplog: pytest.LogCaptureFixture) -> None:
    folder = Path(config.run.dir).parent / "sweep"
    folder.mkdir()

    def recorded(name: str, folder: Path = folder, manifest: Manifest = TINY) -> str:
        with open_sweep(config, folder, name, {"seeds": [0]}, manifest) as record:
            pass
        return str(record.run)

    first = recorded("table2a")
    assert recorded("table2a") == first
    other = recorded("table2b")
    assert other != first
    assert recorded("table2b") == other
    elsewhere = recorded("table2b", manifest=replace(TINY, name="another"))
    assert elsewhere not in (first, other)
    shutil.copytree(folder, folder.with_name("copy"))
    copy = recorded("table2b", folder.with_name("copy"), replace(TINY, name="another"))
    assert copy not in (first, other, elsewhere)
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_a_trial_whose_run_was_deleted_is_there_as_another(config: Config, caplog: pytest.LogCaptureFixture) -> None:
    trial, folder = Path(config.run.dir), Path(config.run.dir).parent / "sweep"
    folder.mkdir()
    with open_recorder(config, TINY, WORLD):
        pass
    client(config).delete_run(notes(config)["run"])
    children = []
    for _ in range(3):
        with open_sweep(config, folder, "table2a", {}, TINY) as record:
            record.trial(trial, config, "han, seed 0", {"row": "han"}, {"segment_type": 55.0})
        (child,) = [run for name, run in runs(config).items() if name == "han, seed 0"]
        assert child.data.metrics == {"test/segment_type": 55.0}
        children.append(child.info.run_id)
        if len(children) == 2:
            client(config).delete_run(child.info.run_id)
    assert children[0] == children[1] != children[2]
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_a_deleted_experiment_is_told_with_the_way_back(config: Config, caplog: pytest.LogCaptureFixture) -> None:
    with open_recorder(config, TINY, WORLD):
        pass
    number = client(config).get_experiment_by_name("jomold_dist").experiment_id
    client(config).delete_experiment(number)
    again = replace(config, run=RunConfig(dir=f"{config.run.dir}2"))
    with open_recorder(again, TINY, WORLD) as recorder:
        assert isinstance(recorder, NullRecorder)
    told = only_warning(caplog)
    assert f"`mlflow experiments restore --experiment-id {number}`" in told
    assert "tracking.experiment = 'jomold_dist' was deleted" in told


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RuntimeError("broken"), "FAILED"),
        (StoppedError("asked"), "KILLED"),
        (KeyboardInterrupt(), "KILLED"),
        (SystemExit(143), "KILLED"),
        (SystemExit(0), "FINISHED"),
    ],
)
def test_the_status_tells_how_a_run_ended(config: Config, error: BaseException, status: str) -> None:
    def interrupted() -> None:
        with open_recorder(config, TINY, WORLD) as recorder:
            with recorder.stage("estimator"):
                pass
            with recorder.stage("model"):
                raise error

    with pytest.raises(type(error)):
        interrupted()
    found = {name: run.info.status for name, run in runs(config).items()}
    assert found == {"first": status, "first · model": status, "first · estimator": "FINISHED"}
    assert all(run.info.end_time for run in runs(config).values())


# --- which store ---------------------------------------------------------------------------------------------------


def test_which_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plain = Config(run=RunConfig(dir="runs/a"))
    assert store_uri(plain) == f"sqlite:///{tmp_path}/runs/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///env.db")
    assert store_uri(plain) == f"sqlite:///{tmp_path}/env.db"
    named = replace(plain, tracking=TrackingConfig(uri="http://user:secret@host:1"))
    assert store_uri(named) == "http://user:secret@host:1"
    assert ui_command(named) == "http://***@host:1"
    database = replace(plain, tracking=TrackingConfig(uri="postgresql://user:secret@host/db"))
    assert "secret" not in ui_command(database)


@pytest.mark.parametrize(
    ("uri", "wanted"),
    [
        ("sqlite:///runs/a.db", "sqlite:///{here}/runs/a.db"),
        ("sqlite:///a.db?timeout=30", "sqlite:///{here}/a.db?timeout=30"),
        ("sqlite+pysqlite:///a.db", "sqlite+pysqlite:///{here}/a.db"),
        ("sqlite:////else/where.db", "sqlite:////else/where.db"),
        ("sqlite:///~/a.db", "sqlite:///{home}/a.db"),
        ("./mlruns", "{here_uri}/mlruns"),
        ("mlruns", "{here_uri}/mlruns"),
        ("~/mlruns", "file://{home}/mlruns"),
        ("file:./mlruns", "{here_uri}/mlruns"),
        ("file:mlruns", "{here_uri}/mlruns"),
        ("file:///else/where", "file:///else/where"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("sqlite://", "sqlite://"),
        ("http://[host:5000", "http://[host:5000"),
        ("postgresql+psycopg2://me:pw@host/db", "postgresql+psycopg2://me:pw@host/db"),
        ("databricks", "databricks"),
        ("databricks://profile", "databricks://profile"),
    ],
)
def test_a_store_in_files_stays_where_the_command_was_started(
    uri: str, wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, home = tmp_path / "my runs, 100%20", tmp_path / "home"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(home))
    absolute = absolute_uri(uri)
    assert absolute == wanted.format(here=here, here_uri=here.as_uri(), home=home)
    monkeypatch.chdir("/")
    assert absolute_uri(absolute) == absolute


def test_a_process_elsewhere_records_where_this_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plain = Config(run=RunConfig(dir=str(tmp_path / "runs" / "a")))
    for named in ("sqlite:///env.db", "./mlruns", "http://host:5000", "http://me:secret@host:5000", ""):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", named)
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "hidden")
        here = store_uri(plain)
        config, variables = handed_on(plain)
        assert "secret" not in dump_config(config)
        assert variables["MLFLOW_TRACKING_TOKEN"] == "hidden"
        monkeypatch.chdir("/")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///of_the_cluster.db")
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert store_uri(config) == here


def test_artifacts_have_a_place_that_no_working_directory_decides(tmp_path: Path) -> None:
    beside = (tmp_path / "mlartifacts").as_uri()
    assert artifacts_place("postgresql://host/db", tmp_path) == beside
    assert artifacts_place(f"sqlite:///{tmp_path}/a.db?timeout=30", Path("/nowhere")) == beside
    assert artifacts_place("http://host", tmp_path) is None
    assert artifacts_place("file:///x", tmp_path) is None


def test_the_users_uri_is_honoured(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Path(config.run.dir).parent / "mlflow.db"
    elsewhere = tmp_path / "elsewhere.db"
    store.rename(elsewhere)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{elsewhere}")
    with open_recorder(config, TINY, WORLD):
        pass
    assert not store.exists()
    assert set(runs(config)) == {"first"}
    assert os.environ["MLFLOW_TRACKING_URI"] == f"sqlite:///{elsewhere}"


def test_the_ui_command_can_be_run(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = Path(sys.executable).parent.resolve()  # .venv may be a link
    monkeypatch.setattr(sys, "executable", str(programs / "python"))
    monkeypatch.chdir(programs)
    monkeypatch.setenv("PATH", "")
    command = f"mlflow ui --backend-store-uri 'sqlite:///{Path(config.run.dir).parent}/mlflow.db'"
    assert ui_command(config) == f"{command}, then open http://127.0.0.1:5000"
    monkeypatch.chdir(programs.parent)
    assert ui_command(config).startswith("bin/mlflow ui ")
    monkeypatch.chdir("/")
    assert (Path("/") / ui_command(config).split(" ui ")[0]).is_file()


def test_nothing_is_recorded_without_tracking(config: Config) -> None:
    off = replace(config, tracking=TrackingConfig(enabled=False))
    with open_recorder(off, TINY, WORLD) as recorder:
        assert isinstance(recorder, NullRecorder)
    assert not Path(config.run.dir).exists()


def test_importing_it_does_not_import_mlflow() -> None:
    code = "import sys, jomold_dist.tracking; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def first_use(folder: Path, together: Barrier) -> None:
    together.wait(timeout=60)
    with open_recorder(Config(run=RunConfig(dir=str(folder))), TINY, WORLD) as recorder, recorder.stage("model"):
        recorder.metrics({"train/loss": 1.0}, step=1)
    os._exit(0 if isinstance(recorder, MlflowRecorder) else 1)


def test_four_first_uses_at_once(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / ".mlflow.db.partial").write_bytes(b"left by a process that was killed")
    context = multiprocessing.get_context("fork")  # MLflow is imported already, so that they meet in the store
    together = context.Barrier(4)
    processes = [
        context.Process(target=first_use, args=(tmp_path / "runs" / f"run{number}", together)) for number in range(4)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    config = Config(run=RunConfig(dir=str(tmp_path / "runs" / "run0")))
    experiment = client(config).get_experiment_by_name("jomold_dist")
    assert experiment.artifact_location == (tmp_path / "runs" / "mlartifacts").as_uri()
    found = client(config).search_runs([experiment.experiment_id])
    assert sorted(run.info.run_name for run in found) == sorted(
        name for number in range(4) for name in (f"run{number}", f"run{number} · model")
    )
    assert {run.info.status for run in found} == {"FINISHED"}
    assert not (tmp_path / "runs" / ".mlflow.db.partial").exists()
    assert not (ROOT / "mlruns").exists()


# --- trouble -------------------------------------------------------------------------------------------------------


def train_a_little(config: Config) -> int:
    """Calls everything that a recorder has; how many of the calls came back."""
    done = 0
    with open_recorder(config, TINY, WORLD) as recorder:
        for _ in range(2):
            with recorder.stage("model"):
                recorder.metrics({"train/loss": 1.0}, step=1)
                recorder.table("a", {"b": [1]})
                recorder.model(ROOT / "pyproject.toml")
                done += 1
    return done


def only_warning(caplog: pytest.LogCaptureFixture) -> str:
    warnings = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(warnings) == 1, warnings
    return warnings[0]


@pytest.mark.parametrize(
    ("uri", "trouble"),
    [
        ("http://user:secret@127.0.0.1:9", "127.0.0.1:9"),  # nobody listens
        ("nonsense://store", "nonsense"),
        ("sqlite:////proc/no/such/mlflow.db", "No such file"),
        ("sqlite:////dev/null/mlflow.db", "/dev/null"),
    ],
)
def test_training_goes_on_without_a_store(
    uri: str, trouble: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    config = Config(run=RunConfig(dir=str(tmp_path / "run")), tracking=TrackingConfig(uri=uri))
    assert train_a_little(config) == 2
    warning = only_warning(caplog)
    assert "trouble while opening the store" in warning
    assert trouble in warning
    assert "going on without it" in warning
    assert "secret" not in warning


def test_training_goes_on_when_the_server_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as server:
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
        config = Config(run=RunConfig(dir=str(tmp_path / "run")), tracking=TrackingConfig(uri=uri))
        assert train_a_little(config) == 2
    assert "timed out" in only_warning(caplog)


def test_training_goes_on_with_a_damaged_store(config: Config, caplog: pytest.LogCaptureFixture) -> None:
    store = Path(config.run.dir).parent / "mlflow.db"
    store.write_bytes(b"this is no database" * 100)
    assert train_a_little(config) == 2
    assert "not a database" in only_warning(caplog)
    assert store.read_bytes().startswith(b"this is no database")


def test_the_group_may_write_into_a_store_of_a_folder_that_it_shares(tmp_path: Path) -> None:
    """sqlite gives a file, and the journal beside it, to its owner alone."""
    store, before = tmp_path / "mlflow.db", os.umask(0o002)
    try:
        with ready(store, lambda uri: a_table(Path(uri.removeprefix("sqlite:///")))):
            assert store.stat().st_mode & 0o777 == 0o664
    finally:
        os.umask(before)


def a_table(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE runs (id)")


def test_training_goes_on_when_the_store_breaks(config: Config, caplog: pytest.LogCaptureFixture) -> None:
    store = Path(config.run.dir).parent / "mlflow.db"
    with open_recorder(config, TINY, WORLD) as recorder, recorder.stage("model"):
        recorder.metrics({"train/loss": 1.0}, step=1)
        store.write_bytes(b"overwritten" * 1000)
        for step in range(2, 5):
            recorder.metrics({"train/loss": 1.0}, step=step)
    assert "trouble while logging metrics" in only_warning(caplog)


def test_an_error_of_training_is_not_hidden_by_trouble(config: Config) -> None:
    store = Path(config.run.dir).parent / "mlflow.db"

    def broken() -> None:
        with open_recorder(config, TINY, WORLD) as recorder, recorder.stage("model"):
            store.write_bytes(b"overwritten" * 1000)
            recorder.metrics({"train/loss": 1.0}, step=1)
            raise KeyError("training")

    with pytest.raises(KeyError, match="training"):
        broken()
