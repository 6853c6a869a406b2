"""The model in MLflow: the network to train on, events from plain arrays, and one that needs nothing installed."""

from __future__ import annotations

import importlib
import json
import os
import pickle
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from jomold_dist.config import Config, RunConfig, TrackingConfig
from jomold_dist.config_files import load_config
from jomold_dist.distributed.world import World
from jomold_dist.errors import ConfigError, DataError
from jomold_dist.evaluation.event_files import Events
from jomold_dist.models.han import FeatureSizes, HybridAttentionNetwork
from jomold_dist.models.registry import form_of
from jomold_dist.models.weights import WeightsInfo, load_model, save_model
from jomold_dist.tracking import open_recorder
from jomold_dist.tracking.model import log_model
from jomold_dist.tracking.served import ServedNetwork, write_model
from jomold_dist.tracking.store import store_uri
from jomold_dist.training.evaluate import decide_events
from jomold_dist.versions import PACKAGE
from tests.run_fixtures import TINY, TINY_CATEGORIES

pytestmark = pytest.mark.lengthy

mlflow = pytest.importorskip("mlflow", reason="MLflow is a dependency; without it nothing here can run")


def tiny_network(motion: int | None = 5, cross_modal: bool = True) -> HybridAttentionNetwork:
    torch.manual_seed(0)
    sizes = FeatureSizes(audio=3, frames=6, motion=motion)
    return HybridAttentionNetwork(num_classes=3, feature_sizes=sizes, cross_modal=cross_modal).eval()


def write_weights(path: Path, network: HybridAttentionNetwork) -> Path:
    save_model(path, network, WeightsInfo(TINY_CATEGORIES, 4, 1.0, network.feature_sizes, form_of(network), {}))
    return path


def arrays(videos: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {name: generator.random((videos, *spec.shape), dtype=np.float32) for name, spec in TINY.features.items()}


def served(folder: Path, network: HybridAttentionNetwork) -> ServedNetwork:
    write_model(folder / "model", write_weights(folder / "w.safetensors", network))
    return ServedNetwork(folder / "model")


@dataclass(frozen=True)
class Logged:
    """A model in a store."""

    network: HybridAttentionNetwork
    client: Any
    experiment: str
    store: str
    uri: str
    folder: Path
    """The model's files, in the store's folder of artifacts."""


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Logged:
    folder = tmp_path_factory.mktemp("logged")
    shutil.copy(empty_store, folder / "mlflow.db")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    client = mlflow.MlflowClient(uri)
    experiment = client.create_experiment("models", artifact_location=str(folder / "artifacts"))
    run = client.create_run(experiment).info.run_id
    network = tiny_network()
    weights = write_weights(folder / "best.safetensors", network)
    model = log_model(client, experiment, run, "tiny", weights, TINY, {"method": "jomold"})
    weights.unlink()
    place = client.get_logged_model(model.removeprefix("models:/")).artifact_location
    return Logged(network, client, experiment, uri, model, Path(place.removeprefix("file://")))


@pytest.fixture
def logged(kept: Logged, monkeypatch: pytest.MonkeyPatch) -> Logged:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", kept.store)
    return kept


# --- the network itself --------------------------------------------------------------------------------------------


def test_training_goes_on_with_the_network_of_a_model(logged: Logged) -> None:
    network = mlflow.pytorch.load_model(logged.uri)
    assert type(network) is HybridAttentionNetwork
    assert not network.training
    for (name, own), wanted in zip(network.named_parameters(), logged.network.parameters(), strict=True):
        assert own.requires_grad, name
        assert own.dtype == torch.float32
        torch.testing.assert_close(own, wanted, rtol=0, atol=0)

    network.train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    features = {name: torch.from_numpy(array) for name, array in arrays(16).items()}
    labels = torch.from_numpy(np.random.default_rng(1).integers(0, 2, (16, 3))).float()
    losses = []
    for _ in range(30):
        loss = F.binary_cross_entropy(network.parse(**features).video_prob.clamp(0, 1), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_a_model_in_float64_stays_so(tmp_path: Path) -> None:
    network = tiny_network(motion=None).double()
    write_model(tmp_path / "data", write_weights(tmp_path / "w.safetensors", network))
    found = mlflow.pytorch._load_model(tmp_path / "data")
    assert {parameter.dtype for parameter in found.parameters()} == {torch.float64}
    inputs = {name: array for name, array in arrays(2).items() if name != "motion"}
    parsed = ServedNetwork(tmp_path / "data").predict(inputs)
    assert parsed["segment_prob"].shape == (2, 4, 2, 3)
    assert parsed["segment_prob"].dtype == np.float32


def test_a_models_file_holds_no_code(logged: Logged, tmp_path: Path) -> None:
    (path,) = logged.folder.rglob("*.pth")
    content = torch.load(path, weights_only=True)
    assert content["state_dict"].keys() == logged.network.state_dict().keys()
    assert all(type(text) is str for text in content["metadata"].values())

    shutil.copytree(path.parent, tmp_path / "data")
    torch.save({**content, "more": os.getcwd}, tmp_path / "data" / path.name)
    with pytest.raises(pickle.UnpicklingError, match=r"this one names posix\.getcwd"):
        mlflow.pytorch._load_model(tmp_path / "data")


# --- what takes arrays ---------------------------------------------------------------------------------------------


def test_a_model_parses_arrays(logged: Logged) -> None:
    loaded = mlflow.pyfunc.load_model(logged.uri)
    inputs = arrays(300)  # more than go through the network at once
    found = loaded.predict(inputs)
    with torch.inference_mode():
        wanted = logged.network(**{name: torch.from_numpy(array) for name, array in inputs.items()})
    assert set(found) == set(wanted._fields)
    for name, tensor in wanted._asdict().items():
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], tensor.numpy(), atol=1e-5)  # in float32, in parts of another size

    signature = loaded.metadata.signature
    assert [(i.name, i.shape, i.type) for i in signature.inputs] == [
        ("audio", (-1, 4, 3), np.float32),
        ("frames", (-1, -1, 6), np.float32),
        ("motion", (-1, 4, 5), np.float32),
    ]
    assert {o.name: o.shape for o in signature.outputs} == {k: (-1, *v.shape[1:]) for k, v in found.items()}
    assert [param.name for param in signature.params] == ["events", "threshold", "keys"]
    about = loaded.metadata.metadata
    assert about == {"categories": list(TINY_CATEGORIES), "segments": 4, "segment_seconds": 1.0}
    example = loaded.input_example
    assert {name: array.shape[1:] for name, array in example.items()} == {k: v.shape[1:] for k, v in inputs.items()}
    assert loaded.predict(example)["video_prob"].shape == (1, 3)

    model = logged.client.get_logged_model(logged.uri.removeprefix("models:/"))
    assert model.status.value == "READY"
    assert model.params == {"method": "jomold"}
    (output,) = logged.client.get_run(model.source_run_id).outputs.model_outputs
    assert f"models:/{output.model_id}" == logged.uri


def test_a_network_without_cross_modal_attention_is_served(tmp_path: Path) -> None:
    found = served(tmp_path, tiny_network(cross_modal=False)).predict(arrays(2))
    assert found["segment_prob"].shape == (2, 4, 2, 3)


def test_inputs_of_any_number_type_and_frame_rate(logged: Logged) -> None:
    loaded = mlflow.pyfunc.load_model(logged.uri)
    inputs = arrays(3)
    wanted = loaded.predict(inputs)["segment_prob"]
    for others in (
        {name: array.astype(np.float64) for name, array in inputs.items()},
        {name: array.tolist() for name, array in inputs.items()},
        {**inputs, "frames": np.repeat(inputs["frames"], 8, axis=1)},  # a segment's frames are averaged
    ):
        np.testing.assert_allclose(loaded.predict(others)["segment_prob"], wanted, atol=1e-6)


@pytest.mark.parametrize("threshold", [None, 0.3])
def test_events_are_those_that_predicting_writes(logged: Logged, tmp_path: Path, threshold: float | None) -> None:
    inputs, keys = arrays(300), [f"video{number}" for number in range(300)]
    network = load_model(write_weights(tmp_path / "w.safetensors", logged.network))
    with torch.inference_mode():
        parsing = network.parse(**{name: torch.from_numpy(array) for name, array in inputs.items()})
    events_file = Events(TINY.categories, 1.0, ".tsv")
    events_file.add(keys, *decide_events(network, parsing, threshold), parsing.segment_prob, parsing.segment_prob[:, 0])
    events_file.write(tmp_path / "events.tsv")
    rows = [line.split("\t")[:-1] for line in (tmp_path / "events.tsv").read_text(encoding="utf-8").splitlines()[1:]]

    params = {"events": True, "keys": keys} | ({} if threshold is None else {"threshold": threshold})
    events = mlflow.pyfunc.load_model(logged.uri).predict(inputs, params=params)
    assert list(events) == ["key", "video", "onset", "offset", "category", "modality", "probability"]
    assert [keys[video] for video in events["video"]] == events["key"].tolist()
    found = events[["key", "onset", "offset", "category", "modality"]].astype(str)
    assert found.to_numpy().tolist() == rows
    assert len(rows) > 300

    modality = (events["modality"] == "visual").astype(int)
    for row, m in zip(events.itertuples(), modality, strict=True):
        own = parsing.segment_prob[row.video, row.onset : row.offset, m, TINY_CATEGORIES.index(row.category)]
        assert row.probability == pytest.approx(own.mean().item(), abs=1e-5)


def test_events_without_keys_name_videos_by_their_number(tmp_path: Path) -> None:
    model = served(tmp_path, tiny_network())
    events = model.predict(arrays(300), {"events": True, "threshold": 1e-9})
    assert sorted(set(events["video"])) == list(range(300))
    assert (events["offset"] == 4).all()
    nothing = model.predict(arrays(3), {"events": True, "threshold": 1.0})
    assert (len(nothing), len(nothing.columns)) == (0, 6)


@pytest.mark.parametrize(
    ("change", "params", "problem"),
    [
        ({"audio": None}, {}, r"audio is of shape \(\)"),
        ({"audio": [[[1, 2, None]] * 4] * 2}, {}, "audio holds numbers that are not finite"),
        ({"audio": [[[1, 2, 3]], [[1, 2]]]}, {}, "audio is no array of numbers whose rows are equally long"),
        ({"audio": np.zeros((2, 4, 2))}, {}, r"audio is of shape \(2, 4, 2\), not \(videos, 4, 3\)"),
        ({"audio": np.zeros((2, 8, 3))}, {}, r"audio is of shape \(2, 8, 3\)"),
        ({"frames": np.zeros((2, 6, 6))}, {}, r"not \(videos, 4, 6\), or a multiple of 4 rows"),
        ({"frames": np.zeros((2, 0, 6))}, {}, r"frames is of shape \(2, 0, 6\)"),
        ({"motion": np.zeros((3, 4, 5))}, {}, r"different numbers of videos \(audio: 2, frames: 2, motion: 3\)"),
        ({}, {"events": True, "keys": ["a"]}, "keys names 1 videos, and the inputs are of 2"),
        ({}, {"events": True, "threshold": 1.5}, "threshold = 1.5 is no probability"),
        ({}, {"events": True, "threshold": 0.0}, "threshold = 0.0 is no probability"),
        ({}, {"threshold": 0.5}, "threshold of the params are about events"),
    ],
)
def test_inputs_that_cannot_be_meant(
    logged: Logged, change: dict[str, Any], params: dict[str, Any], problem: str
) -> None:
    with pytest.raises(DataError, match=problem):
        mlflow.pyfunc.load_model(logged.uri).predict({**arrays(2), **change}, params=params)


def test_missing_inputs_are_named(tmp_path: Path) -> None:
    model = served(tmp_path, tiny_network())
    with pytest.raises(DataError, match="the inputs lack frames, motion; give audio, frames, motion"):
        model.predict({"audio": np.zeros((2, 4, 3))})
    with pytest.raises(DataError, match="the inputs lack audio, frames, motion"):
        model.predict(np.zeros((2, 4, 3)))  # type: ignore[arg-type]


# --- code of one's own, and no code installed -----------------------------------------------------------------------

OWN = """
from jomold_dist import HybridAttentionNetwork

class Own(HybridAttentionNetwork):
    pass
"""


@pytest.mark.parametrize("place", ["own_network.py", "own_package/networks.py"])
def test_a_network_of_ones_own_is_kept_with_its_code(
    kept: Logged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    file = tmp_path / "code" / place
    file.parent.mkdir(parents=True)
    file.write_text(OWN, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path / "code")
    module = place.removesuffix(".py").replace("/", ".")
    network = importlib.import_module(module).Own(num_classes=3, feature_sizes=tiny_network().feature_sizes)
    run = kept.client.create_run(kept.experiment).info.run_id
    weights = write_weights(tmp_path / "w.safetensors", network)
    uri = log_model(kept.client, kept.experiment, run, "own", weights, TINY, {})

    for name in [name for name in sys.modules if name.startswith("own_")]:
        monkeypatch.delitem(sys.modules, name)
    shutil.rmtree(tmp_path / "code")
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(tmp_path / "code")])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", kept.store)
    found = mlflow.pytorch.load_model(uri)
    assert f"{type(found).__module__}:{type(found).__name__}" == f"{module}:Own"
    assert mlflow.pyfunc.load_model(uri).predict(arrays(2))["segment_prob"].shape == (2, 4, 2, 3)


def test_a_model_holds_the_packages_code_and_nothing_else(kept: Logged) -> None:
    code = kept.folder / "code"
    assert [path.name for path in code.iterdir()] == ["jomold_dist"]
    wanted = {path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py")}
    assert {path.relative_to(code / "jomold_dist") for path in code.rglob("*.py")} == wanted
    assert not list(code.rglob("*.pyc"))


# --- registered ----------------------------------------------------------------------------------------------------


def test_the_finished_network_becomes_a_version_once(tmp_path: Path, empty_store: Path) -> None:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    tracking = TrackingConfig(register_model="parser")
    config = Config(run=RunConfig(dir=str(tmp_path / "run")), tracking=tracking)
    first, second = (write_weights(tmp_path / name, tiny_network()) for name in ("a.safetensors", "b.safetensors"))
    longer = tiny_network()
    with torch.no_grad():
        next(longer.parameters()).add_(1)
    write_weights(second, longer)
    world = World(0, 1, 0, 1, torch.device("cpu"))

    def record(weights: Path, settings: Config = config) -> list[Any]:
        with open_recorder(settings, TINY, world) as recorder, recorder.stage("model"):
            recorder.model(weights)
        client = mlflow.MlflowClient(store_uri(config))
        return sorted(client.search_model_versions("name = 'parser'"), key=lambda version: int(version.version))

    record(first, replace(config, tracking=TrackingConfig()))
    (version,) = record(first)
    assert version.tags["run"] == version.run_id
    assert version.tags["config_digest"] == config.digest
    assert version.tags["manifest_digest"] == TINY.digest
    assert len(record(first)) == 1  # killed between this and the end of the stage
    assert len(record(second)) == 2  # trained on
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", store_uri(config))
        assert type(mlflow.pytorch.load_model("models:/parser/2")) is HybridAttentionNetwork


def test_a_name_that_mlflow_refuses_costs_no_model(
    tmp_path: Path, empty_store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    config = Config(run=RunConfig(dir=str(tmp_path / "run")), tracking=TrackingConfig(register_model="a/b"))
    with (
        open_recorder(config, TINY, World(0, 1, 0, 1, torch.device("cpu"))) as recorder,
        recorder.stage("model"),
    ):
        recorder.model(write_weights(tmp_path / "w.safetensors", tiny_network()))
    assert "trouble while registering the model a/b" in caplog.text
    client = mlflow.MlflowClient(store_uri(config))
    (experiment,) = client.search_experiments(filter_string="name = 'jomold_dist'")
    assert [model.status.value for model in client.search_logged_models([experiment.experiment_id])] == ["READY"]


@pytest.mark.parametrize("name", ["a/b", "models:parser", " "])
def test_such_a_name_is_told_of_before_the_run(name: str) -> None:
    with pytest.raises(ConfigError, match=r"tracking\.register_model = '.*' must be a name without / and :"):
        load_config(None, [f"tracking.register_model={json.dumps(name)}"])
