"""docs/mlflow_models.md, as its reader follows it: a model is served where nothing of jomold_dist is installed."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sysconfig
import time
import urllib.request
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from jomold_dist.config import Config, RunConfig, TrackingConfig
from jomold_dist.data.format.manifest import FeatureSpec, Manifest
from jomold_dist.distributed.world import World
from jomold_dist.labels import LLP_CATEGORIES
from jomold_dist.models.han import HybridAttentionNetwork
from jomold_dist.models.registry import form_of
from jomold_dist.models.weights import WeightsInfo, save_model
from jomold_dist.tracking import open_recorder

pytestmark = pytest.mark.lengthy

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/mlflow_models.md").read_text(encoding="utf-8")
PORT = "5001"
SCRIPTS = {"mlflow": "mlflow.cli:cli", "uvicorn": "uvicorn.main:main"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def finished_run(folder: Path, empty_store: Path) -> None:
    """A run's folder as the page takes it, with a model registered as `parser`; its network is not trained."""
    (folder / "runs").mkdir()
    shutil.copy(empty_store, folder / "runs/mlflow.db")
    shapes = {"audio": (10, 128), "frames": (10, 2048), "motion": (10, 512)}
    features = {name: FeatureSpec(shape, "float16") for name, shape in shapes.items()}
    manifest = Manifest("llp", segments=10, categories=LLP_CATEGORIES, features=features, splits={})
    network = HybridAttentionNetwork()
    weights = folder / "best.safetensors"
    save_model(
        weights, network, WeightsInfo(LLP_CATEGORIES.names, 10, 1.0, network.feature_sizes, form_of(network), {})
    )
    config = Config(
        run=RunConfig(dir=str(folder / "runs/llp-jomold")), tracking=TrackingConfig(register_model="parser")
    )
    with open_recorder(config, manifest, World(0, 1, 0, 1, torch.device("cpu"))) as recorder, recorder.stage("model"):
        recorder.model(weights)


def bare_environment(folder: Path) -> dict[str, str]:
    """The variables of an environment with all that is installed here but jomold_dist, made in the folder."""
    venv.create(folder, symlinks=True)
    here, there = (Path(sysconfig.get_path("purelib", vars=where)) for where in (None, {"base": str(folder)}))
    for entry in here.iterdir():
        if not entry.name.startswith(("jomold_dist", "__editable__")):
            (there / entry.name).symlink_to(entry)
    for name, entry_point in SCRIPTS.items():
        module, function = entry_point.split(":")
        script = folder / "bin" / name
        script.write_text(f"#!{folder}/bin/python\nfrom {module} import {function}\n{function}()\n", encoding="utf-8")
        script.chmod(0o755)
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return variables | {"PATH": f"{folder}/bin:{os.environ['PATH']}", "no_proxy": "*"}


@contextmanager
def serving(command: str, port: int, folder: Path, environment: dict[str, str]) -> Iterator[None]:
    log = folder / "serve.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            ["bash", "-c", command], cwd=folder, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        while True:
            try:
                urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://127.0.0.1:{port}/ping")
                break
            except OSError:
                assert server.poll() is None, log.read_text(encoding="utf-8")
                time.sleep(0.1)
        yield
    finally:
        os.killpg(server.pid, 9)
        server.wait()


def test_what_the_page_says_of_models(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")  # so that it is put back
    monkeypatch.chdir(tmp_path)
    finished_run(tmp_path, empty_store)
    names: dict[str, object] = {}
    for block in blocks("python"):  # MLflow keeps a store by its address, also one that means another folder by now
        exec(block.replace("sqlite:///runs", f"sqlite:///{tmp_path}/runs"), names)
    assert {"first", "second"} >= set(names["events"]["key"])  # type: ignore[index]

    environment = bare_environment(tmp_path / "bare")
    serve, request = blocks("bash")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve, request = (text.replace(PORT, str(port)) for text in (serve, request))
    # An environment of the model's requirements takes minutes to make; this one has as little of jomold_dist.
    assert serve.count("--env-manager virtualenv") == 1
    found = subprocess.run(["python", "-c", "import jomold_dist"], env=environment, cwd=tmp_path, capture_output=True)
    assert b"No module named 'jomold_dist'" in found.stderr
    with serving(serve.replace("virtualenv", "local"), port, tmp_path, environment):
        answer = subprocess.run(["bash", "-c", request], cwd=tmp_path, env=environment, capture_output=True, check=True)
    events = json.loads(answer.stdout)["predictions"]
    columns = ("video", "onset", "offset", "category", "modality", "probability")
    assert events
    assert all(tuple(event) == columns for event in events)
    assert [event["probability"] for event in events] == pytest.approx(list(names["events"]["probability"]))  # type: ignore[index]
