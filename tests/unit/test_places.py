"""Paths and URLs as people write them."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jomold_dist.config import Config, RunConfig, TrackingConfig
from jomold_dist.config_files import load_config, resolve
from jomold_dist.config_values import schema
from jomold_dist.errors import ConfigError
from jomold_dist.places import absolute, expanded, local_path, relative_places, with_absolute_places
from jomold_dist.tuning.config import Sweep

ROOT = Path(__file__).resolve().parents[2]

PLACES = [name for name, setting in schema(Sweep).items() if setting.is_place]


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_every_setting_that_names_a_file_or_folder_is_a_place() -> None:
    assert PLACES == [
        "run.dir", "data.shards", "data.cache", "denoise.ratio_file", "denoise.cleaned_labels", "tracking.uri",
        "sweep.dir", "sweep.trials",
    ]  # fmt: skip


@pytest.mark.parametrize("name", PLACES)
def test_the_home_folder_in_every_setting(name: str, home: Path, tmp_path: Path) -> None:
    more = ["denoise.ratios=file"] if name == "denoise.ratio_file" else []
    assert resolve(Sweep, None, [f"{name}=~/x y", *more]).config.flat()[name] == f"{home}/x y"
    section, _, key = name.partition(".")
    file = tmp_path / "config.yaml"
    file.write_text(f"{section}:\n  {key}: ~/x\n" + ("  ratios: file\n" if more else ""))
    assert resolve(Sweep, file).config.flat()[name] == f"{home}/x"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("~", "{home}"),
        ("~/runs", "{home}/runs"),
        ("file://~/runs", "file://{home}/runs"),
        ("sqlite:///~/runs/mlflow.db", "sqlite:///{home}/runs/mlflow.db"),
        ("runs/~/x", "runs/~/x"),
        ("./~", "./~"),
        ("s3://bucket/~/x", "s3://bucket/~/x"),
        ("http://~host/x", "http://~host/x"),
    ],
)
def test_the_home_folder(text: str, wanted: str, home: Path) -> None:
    assert expanded(text) == wanted.replace("{home}", str(home))


def test_a_path_of_this_machine_is_no_address(home: Path) -> None:
    assert [local_path(text) for text in ("a/b", "file://~/x", "~/y")] == [Path("a/b"), home / "x", home / "y"]
    with pytest.raises(argparse.ArgumentTypeError, match="'s3://bucket/x' is an address, and a path on this machine"):
        local_path("s3://bucket/x")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become an account that the machine does not know")
def test_an_account_without_a_home() -> None:
    """HOME not set, and an account that the machine does not know."""
    program = (
        "import os\nfrom jomold_dist.places import expanded\nos.setuid(54321); del os.environ['HOME']\n"
        "expanded('~/runs')"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HOME": "/"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert "'~/runs' begins with '~', and this account has no home folder; write the path in full" in done.stderr


def test_what_must_be_here_is_no_address() -> None:
    for name in ("run.dir", "data.cache", "sweep.dir", "sweep.trials"):
        with pytest.raises(ConfigError, match="must be a path on this machine, not an address") as caught:
            resolve(Sweep, None, [f"{name}=http://anna:s3cret@host/x"])
        assert "s3cret" not in str(caught.value)
    assert load_config(None, ["run.dir=file:///runs/x"]).run.dir == "/runs/x"


def test_an_unknown_account() -> None:
    with pytest.raises(ConfigError, match=r"there is no account 'no-such-account'.*or \./~no-such-account/x"):
        expanded("~no-such-account/x")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("runs/x", "{here}/runs/x"),
        ("../x", "{above}/x"),
        ("/runs/x", "/runs/x"),
        ("s3://bucket/x", "s3://bucket/x"),
        ("file:./mlruns", "file:{here}/mlruns"),
        ("file:///mlruns", "file:///mlruns"),
        ("sqlite:///mlflow.db", "sqlite:///{here}/mlflow.db"),
        ("sqlite:////var/mlflow.db", "sqlite:////var/mlflow.db"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
    ],
)
def test_absolute(text: str, wanted: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute(text) == wanted.replace("{here}", str(tmp_path)).replace("{above}", str(tmp_path.parent))


def test_a_config_for_other_working_directories(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config(None, ["tracking.uri=sqlite:///m.db", "data.shards=s3://bucket/set", "data.cache=/c"])
    assert relative_places(config) == {"run.dir": "runs/run", "tracking.uri": "sqlite:///m.db"}
    there = with_absolute_places(config)
    assert there.run.dir == f"{tmp_path}/runs/run"
    assert there.tracking.uri == f"sqlite:///{tmp_path}/m.db"
    assert (there.data, there.train) == (config.data, config.train)
    assert relative_places(there) == {}
    assert there.digest == config.digest


def test_the_name_of_a_service_is_no_path() -> None:
    config = Config(tracking=TrackingConfig(uri="databricks"), run=RunConfig(dir="/runs/uc"))
    assert with_absolute_places(config).tracking.uri == "databricks"
