"""Features that were extracted from video files, packed: how they were made goes along, and misfits are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jomold_dist.commands import data, pack_llp
from jomold_dist.config import DataConfig
from jomold_dist.data.format.extraction import fingerprint_of
from jomold_dist.data.format.extraction_file import ExtractedFeature, ExtractionFile, write_extraction
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.data.reading.source import read_manifest
from jomold_dist.errors import DataError
from jomold_dist.models.network import feature_sizes
from jomold_dist.models.weights import WeightsInfo
from jomold_dist.training.preflight import open_matching
from tests.unit.test_pack_command import Said, command

KEYS = [f"video{n}" for n in range(4)]
HOW: dict[str, dict[str, Any]] = {
    "audio": {"encoder": {"kind": "clap", "name": "hub/clap", "weights": "ab" * 32}, "media": {"rate": 48000}},
    "frames": {"encoder": {"kind": "clip", "name": "hub/clip", "weights": "cd" * 32}, "media": {"side": 32}},
}
SHAPES = {"audio": (5, 3), "frames": (10, 4)}


LLP_SHAPES = {"audio": (10, 3), "frames": (80, 4), "motion": (10, 2)}
LLP_FOLDERS = {"audio": "vggish", "frames": "res152", "motion": "r2plus1d_18"}


def extracted(
    folder: Path,
    how: dict[str, dict[str, Any]] = HOW,
    folders: dict[str, str] | None = None,
    shapes: dict[str, tuple[int, int]] = SHAPES,
) -> Path:
    """Ten seconds of each video in as many segments as audio has rows, as `jomold extract` leaves them."""
    folders = folders or {}
    draw = np.random.default_rng(1)
    features = {}
    for name, shape in shapes.items():
        own = folders.get(name, name)
        (folder / own).mkdir(parents=True)
        for key in KEYS:
            np.save(folder / own / f"{key}.npy", draw.standard_normal(shape).astype(np.float32))
        features[name] = ExtractedFeature(own, shape, how[name])
    write_extraction(folder, ExtractionFile(shapes["audio"][0], 10 / shapes["audio"][0], features, {"device": "cpu"}))
    return folder


def packed(folder: Path, out: Path, *words: str | Path) -> Said:
    labels = folder.parent / "labels.csv"
    labels.write_text("key,labels\n" + "".join(f"{key},dog\n" for key in KEYS))
    return command("--labels", labels, "--out", out, "--segments=5", "--segment-seconds=2", *words)


def manifest_of(said: Said, out: Path) -> Manifest:
    assert said.code == 0, said.err
    return read_manifest(out)


def test_all_features_of_a_folder_are_packed_with_how_they_were_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = extracted(tmp_path / "features", folders={"audio": "vggish"}), tmp_path / "set"
    manifest = manifest_of(packed(folder, out, "--extracted", folder), out)
    assert manifest.extraction == HOW
    assert {name: spec.shape for name, spec in manifest.features.items()} == {"audio": (5, 3), "frames": (5, 4)}
    patterns = [
        f"--feature={name}={folder}/{where}/{{key}}.npy" for name, where in (("audio", "vggish"), ("frames",) * 2)
    ]
    same = manifest_of(packed(folder, tmp_path / "same", *patterns, "--name=set"), tmp_path / "same")
    assert same.digest == manifest.digest
    assert data.main([str(out)]) == 0
    text = capsys.readouterr().out
    assert f"audio: extracted by clap hub/clap, fingerprint {fingerprint_of(HOW['audio'])[:12]}" in text
    (folder / "extraction.json").write_text("{}")  # somebody else's
    unknown = manifest_of(packed(folder, tmp_path / "unknown", *patterns), tmp_path / "unknown")
    assert unknown.extraction == {}


def test_what_does_not_fit_is_told(tmp_path: Path) -> None:
    folder, out = extracted(tmp_path / "features"), tmp_path / "set"
    said = packed(folder, out, "--extracted", folder, "--segment-seconds=1")
    assert (said.code, "audio was extracted from 10 s of each video, and 5 segments of 1 s are 5 s" in said.err) == (
        2,
        True,
    )
    np.save(folder / "audio" / "video2.npy", np.zeros((5, 7), np.float32))
    said = packed(folder, out, "--extracted", folder)
    assert said.code == 2
    assert "video2.npy: shape (5, 7), but extraction.json says (5, 3): this is not what jomold extract" in said.err
    said = packed(folder, out, "--extracted", tmp_path)
    assert (said.code, "there is no extraction.json, which jomold extract writes" in said.err) == (2, True)
    file = folder / "extraction.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"segments": -1}))
    said = packed(folder, out, "--extracted", folder)
    assert said.code == 2
    assert f"{file} cannot be used: segments is -1" in said.err
    assert not out.exists()


def test_pack_llp_takes_it_or_says_what_it_lacks(tmp_path: Path) -> None:
    folder = extracted(tmp_path / "features")
    said = command("--features", folder, "--unlabelled", "--out", tmp_path / "set", main=pack_llp.main)
    assert said.code == 2
    assert (
        "holds audio, frames of jomold extract and no motion; extract the rest, or pack what is there with" in said.err
    )


@pytest.mark.parametrize("folders", [{}, LLP_FOLDERS])
def test_pack_llp_finds_all_three_whatever_their_folders_are_called(folders: dict[str, str], tmp_path: Path) -> None:
    how = HOW | {"motion": {"encoder": {"kind": "r2plus1d"}}}
    folder, out = extracted(tmp_path / "features", how, folders, LLP_SHAPES), tmp_path / "set"
    said = command("--features", folder, "--unlabelled", "--out", out, main=pack_llp.main)
    assert manifest_of(said, out).extraction == how
    assert {name: spec.shape for name, spec in read_manifest(out).features.items()} == {
        "audio": (10, 3),
        "frames": (10, 4),
        "motion": (10, 2),
    }


def test_a_model_refuses_features_that_were_made_in_another_way(tmp_path: Path) -> None:
    other = HOW | {"audio": HOW["audio"] | {"media": {"rate": 16000}}}
    folder, out = extracted(tmp_path / "features", other), tmp_path / "set"
    manifest = manifest_of(packed(folder, out, "--extracted", folder), out)
    info = WeightsInfo(manifest.categories.names, 5, 2.0, feature_sizes(manifest), {"network": "han"}, {})
    config = DataConfig(shards=str(out))
    for model in (info, WeightsInfo(**{**vars(info), "extraction": other})):
        assert open_matching(config, model)[1].digest == manifest.digest
    trained = WeightsInfo(**{**vars(info), "extraction": HOW})
    with pytest.raises(
        DataError, match=r"audio media.rate: 16000 in the data set, 48000 in the model's training\. .*--other-f"
    ):
        open_matching(config, trained)
    assert open_matching(config, trained, other_features=True)[1].digest == manifest.digest


def test_packing_that_goes_on_sees_other_features(tmp_path: Path) -> None:
    """Sets are joined and added to by the same rule, see test_extraction_fingerprint.py."""
    folder, out = extracted(tmp_path / "features"), tmp_path / "set"
    manifest_of(packed(folder, out, "--extracted", folder), out)
    other = extracted(tmp_path / "others", HOW | {"audio": {"encoder": {"kind": "vggish"}}})
    for key in KEYS:
        for name in SHAPES:
            (other / name / f"{key}.npy").rename(other / name / f"new-{key}.npy")
    labels = tmp_path / "new.csv"
    labels.write_text("key,labels\n" + "".join(f"new-{key},dog\n" for key in KEYS))
    words = ["--labels", labels, "--out", out, "--segments=5", "--segment-seconds=2", "--append", "--extracted", other]
    said = command(*words)
    assert said.code == 2
    assert (
        "its features were extracted in another way: audio encoder.kind: clap there, vggish in what is added"
        in said.err
    )
