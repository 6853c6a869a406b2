"""Models that others have made: what is wrong with a folder or a name is told in one message, nothing of it is executed
or made up, and the network is asked about names alone that are not there yet."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from jomold_dist.errors import UserError
from jomold_dist.extraction.encoding.encoders import open_encoder
from jomold_dist.extraction.encoding.model_files import ModelFolder, digest_of, find_model
from jomold_dist.extraction.encoding.weight_files import read_weights, weight_files
from tests.tiny_models import tiny_clap, tiny_clip

pytest.importorskip("transformers", reason="the extra `extract` is not installed")
pytestmark = pytest.mark.lengthy


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("models") / "clip")


@pytest.fixture
def folder(clip: Path, tmp_path: Path) -> Path:
    """A CLIP's folder to be spoiled."""
    return shutil.copytree(clip, tmp_path / "model")


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def spoil_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def take_tensor_away(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(folder / "model.safetensors")
    del state["visual_projection.weight"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


SPOILED = {
    "no config": (lambda folder: (folder / "config.json").unlink(), "no folder of a model: it lacks config.json"),
    "damaged config": (lambda folder: (folder / "config.json").write_text("{"), "config.json is damaged"),
    "a list": (lambda folder: (folder / "config.json").write_text("[]"), "config.json is damaged: it holds no object"),
    "a text model": (
        lambda folder: change(folder / "config.json", model_type="bert"),
        r"holds a model of type 'bert', and not a CLIP \(clip, clip_vision_model\)",
    ),
    "no weights": (
        lambda folder: (folder / "model.safetensors").unlink(),
        "holds no weights: neither model.safetensors",
    ),
    "damaged weights": (spoil_weights, "cannot be loaded as a CLIP's part for pictures"),
    "lacking weights": (take_tensor_away, "its weights lack visual_projection.weight"),
    "other sizes": (
        lambda folder: change(folder / "config.json", projection_dim=8),
        "cannot be loaded as a CLIP's part",
    ),
    "no preprocessing": (
        lambda folder: (folder / "preprocessor_config.json").unlink(),
        "does not say how its input is prepared: it lacks preprocessor_config.json",
    ),
    "damaged preprocessing": (
        lambda folder: (folder / "preprocessor_config.json").write_text("nothing"),
        "its preprocessing cannot be read",
    ),
    "preprocessing of another model": (
        lambda folder: change(folder / "preprocessor_config.json", crop_size={"height": 64, "width": 64}),
        "the model does not take a prepared picture",
    ),
}


@pytest.mark.parametrize("how", SPOILED)
def test_a_spoiled_folder_is_one_message(folder: Path, how: str) -> None:
    spoil, message = SPOILED[how]
    spoil(folder)
    with pytest.raises(UserError, match=message) as caught:
        open_encoder(f"clip:{folder}")
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_for_sounds_is_none_for_pictures(tmp_path: Path, clip: Path) -> None:
    clap = tiny_clap(tmp_path / "clap")
    with pytest.raises(UserError, match=r"of type 'clap_audio_model', and not a vision model .*dinov2"):
        open_encoder(f"dino:{clap}")
    with pytest.raises(UserError, match="of type 'clip_vision_model', and not a CLAP"):
        open_encoder(f"clap:{clip}")


class Touch:
    """Pickled, it makes a file where it is loaded without care."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_nothing_of_a_folder_is_executed(folder: Path, tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    code = f"import pathlib\npathlib.Path({str(marker)!r}).touch()\nfrom transformers import CLIPVisionConfig as Own\n"
    (folder / "own.py").write_text(code)
    change(folder / "config.json", auto_map={"AutoConfig": "own.Own", "AutoModel": "own.Own"})
    change(folder / "preprocessor_config.json", auto_map={"AutoImageProcessor": "own.Own"})
    open_encoder(f"clip:{folder}")
    open_encoder(f"dino:{folder}")
    (folder / "model.safetensors").unlink()
    for content in (pickle.dumps(Touch(marker), protocol=2), pickle.dumps({"weight": Touch(marker)}, protocol=2)):
        (folder / "pytorch_model.bin").write_bytes(content)
        with pytest.raises(UserError, match="cannot be loaded"):
            open_encoder(f"clip:{folder}")
        with pytest.raises(UserError, match="no file of weights, or damaged"):
            read_weights(folder / "pytorch_model.bin")
    torch.save({"array": np.array([Touch(marker)], dtype=object)}, tmp_path / "array.pth")
    with pytest.raises(UserError, match="no file of weights, or damaged"):
        read_weights(tmp_path / "array.pth")
    assert not marker.exists()


def test_weights_in_several_files_have_one_digest(tmp_path: Path) -> None:
    parts = [tmp_path / f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    for part in parts:
        part.write_bytes(part.name.encode())
    index = {"weight_map": {"a": parts[1].name, "b": f"../elsewhere/{parts[0].name}", "c": parts[0].name}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    files = ModelFolder(tmp_path, "x").weights
    assert set(files) == set(parts)  # nothing outside the folder
    before = digest_of(files)
    parts[0].write_bytes(b"changed")
    assert digest_of(files) != before
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(UserError, match="names no files of weights"):
        _ = ModelFolder(tmp_path, "x").weights


def test_paths_that_lead_nowhere_are_told(tmp_path: Path) -> None:
    (tmp_path / "file.bin").touch()
    for named, message in (
        (tmp_path / "nothing", "does not exist"),
        (tmp_path / "file.bin", "is a file; name the folder"),
        (tmp_path / "file.bin" / "x", "file.bin/x (is not|does not exist|cannot be read)"),
    ):
        with pytest.raises(UserError, match=message):
            find_model(str(named))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no weights: no file ends with"):
        weight_files(str(tmp_path / "empty"))


class Hub:
    """A server in place of the hub, with one model; `asked` is what it was asked for."""

    def __init__(self, name: str, files: dict[str, bytes]) -> None:
        self.asked: list[str] = []
        info = {"id": name, "sha": COMMIT, "siblings": [{"rfilename": file} for file in files]}
        tree = [{"type": "file", "path": file, "size": len(content), "oid": file} for file, content in files.items()]
        answers = {f"/api/models/{name}": json.dumps(info).encode()}
        answers[f"/api/models/{name}/revision/main"] = answers[f"/api/models/{name}"]
        answers[f"/api/models/{name}/tree/{COMMIT}"] = json.dumps(tree).encode()
        answers |= {f"/{name}/resolve/{COMMIT}/{file}": content for file, content in files.items()}
        asked = self.asked

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path.partition("?")[0])
                content = answers.get(asked[-1])
                self.send_response(503 if content is None else 200)
                self.send_header("Content-Length", str(len(content or b"")))
                self.send_header("Content-Type", "application/json")
                self.send_header("ETag", f'"{asked[-1].rpartition("/")[2]}"')
                self.send_header("X-Repo-Commit", COMMIT)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(content or b"")

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                """Says nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"

    def fetched(self) -> set[str]:
        return {path.rpartition("/")[2] for path in self.asked if "/resolve/" in path}


COMMIT = "a" * 40


@pytest.fixture
def hub(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that knows `org/clip`, and an empty cache."""
    from huggingface_hub import constants

    files = {path.name: path.read_bytes() for path in clip.iterdir()}
    found = Hub("org/clip", files | {"pytorch_model.bin": b"the same", "tf_model.h5": b"again", "README.md": b"# CLIP"})
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", found.address)
    template = found.address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    with found.server:
        thread = threading.Thread(target=found.server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield found
        found.server.shutdown()
        thread.join()


def test_a_model_of_the_hub_is_downloaded_once_and_no_more_of_it_than_is_needed(
    clip: Path, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    here = open_encoder(f"clip:{clip}").describe()
    assert hub.asked == []  # a folder needs no network
    named = open_encoder("clip:org/clip").describe()
    assert named == {**here, "name": "org/clip"}
    assert hub.fetched() == {"config.json", "model.safetensors", "preprocessor_config.json"}
    asked = len(hub.asked)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert open_encoder("clip:org/clip").describe() == named
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert open_encoder("clip:org/clip").describe() == named
    assert len(hub.asked) == asked
    next((tmp_path / "cache").rglob("model.safetensors")).unlink()  # a download that did not end
    open_encoder("clip:org/clip")
    assert len(hub.asked) > asked


def test_a_model_that_cannot_be_had_is_told(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    absent = "there is no folder org/other here, and no model org/other that was downloaded before"
    with pytest.raises(UserError, match=rf"{absent}, and the hub does not give it \(.*503") as caught:
        open_encoder("clip:org/other")
    assert "\n" not in str(caught.value)
    assert [path for path in hub.asked if "models" in path] == ["/api/models/org/other"]  # once, and not for minutes
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"does not give it \(.*refused.*`hf download org/other`.*name the folder"):
        open_encoder("clip:org/other")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=rf"{absent}, and HF_HUB_OFFLINE forbids .*`hf download org/other`"):
        open_encoder("clip:org/other")


@pytest.mark.parametrize(
    ("kind", "package", "message"),
    [
        ("clip", "transformers", r"encoder clip needs the package transformers: pip install 'jomold_dist\[extract\]'"),
        ("clap", "transformers", r"encoder clap needs the package transformers: pip install 'jomold_dist\[extract\]'"),
        ("vggish", "threadpoolctl", r"encoders need the package threadpoolctl: pip install 'jomold_dist\[extract\]'"),
        ("resnet152", "torchvision", "encoder resnet152 needs the package torchvision, .*pip install torchvision"),
        ("r2plus1d", "torchvision", "encoder r2plus1d needs the package torchvision, .*pip install torchvision"),
    ],
)
def test_a_package_that_is_not_installed_is_told(
    kind: str, package: str, message: str, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "jomold_dist.extraction.encoding.computing")  # as in a process that has just begun
    with pytest.raises(UserError, match=message):
        open_encoder(f"{kind}:{clip}")
