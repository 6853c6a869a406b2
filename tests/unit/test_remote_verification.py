"""`jomold verify` of a set behind a URL finds what it finds in a folder, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

from jomold_dist.commands import verify
from jomold_dist.data.checking.data_set import Verification, verify_data_set
from jomold_dist.data.checking.shard import Level
from jomold_dist.data.format.truth_file import truth_name
from jomold_dist.data.reading.source import Folder, read_manifest
from tests.servers import serving
from tests.shard_fixtures import write_dataset

FEW = "data.attempts=2"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("behind") / "set"
    write_dataset(folder, {"train": 17, "val": 9})
    return folder


@pytest.fixture
def damaged(sound: Path, tmp_path: Path) -> Path:
    """A shard of each kind of damage; one video of the last is altered."""
    folder = Path(shutil.copytree(sound, tmp_path / "set"))
    missing, cut, longer = (folder / "train" / f"shard-00000{number}.tar" for number in range(3))
    missing.unlink()
    os.truncate(cut, 5000)
    with longer.open("ab") as file:
        file.write(b"\0" * 512)
    altered = folder / "val" / "shard-000000.tar"
    content = bytearray(altered.read_bytes())
    content[read_manifest(folder).split("val").record.bytes * 2 + 645] ^= 1
    altered.write_bytes(content)
    return folder


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jomold_dist.data.reading.remote.pause", lambda *_: None)


def verified(url: str, tmp_path: Path, *options: str) -> tuple[int, dict[str, Any]]:
    report = tmp_path / "report.json"
    words = [url, f"data.cache={tmp_path / 'cache'}", FEW, "--report", str(report), *options]
    code = verify.main(words)
    return code, json.loads(report.read_text())


def in_folder(folder: Path, level: Level) -> Verification:
    return verify_data_set(Folder(folder), read_manifest(folder), level)


@pytest.mark.parametrize("level", ["size", "digest", "full"])
def test_the_same_is_found(level: Level, damaged: Path, tmp_path: Path) -> None:
    here = in_folder(damaged, level)
    assert len(here.problems) == {"size": 3, "digest": 4, "full": len(here.problems)}[level]
    with serving(damaged) as server:
        code, told = verified(server.url, tmp_path, "--level", level, "--jobs", "2")
    assert code == 2
    assert told["problems"] == here.to_json()["problems"]
    assert told["splits"] == here.splits
    assert told["folder"] == server.url


@pytest.mark.parametrize("level", ["size", "digest", "full"])
def test_nothing_stays(
    level: Level, sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither in the cache nor among temporary files; and for the size nothing is fetched."""
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    with serving(sound) as server:
        code, told = verified(server.url, tmp_path, "--level", level)
        assert server.gets["val/shard-000000.tar"] == (0 if level == "size" else 1)
    assert code == 0
    assert told["sound"] is True
    assert "all as the manifest says" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["report.json"]


def test_what_goes_wrong_on_the_way_is_no_damage(sound: Path, tmp_path: Path) -> None:
    with serving(sound, corrupt=0.3, drop=0.2, seed=1) as server:
        assert verified(server.url, tmp_path, "data.attempts=9")[0] == 0
        assert server.mishaps


def test_a_truth_behind_a_url_is_looked_at(sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(shutil.copytree(sound, tmp_path / "set"))
    data = json.loads((folder / "manifest.json").read_text())
    del data["digest"]
    (folder / "manifest.json").write_text(json.dumps(data | {"simulated": {"seed": 0}}))
    (folder / truth_name("val")).parent.mkdir()
    (folder / truth_name("val")).write_bytes(b"PK no archive")
    with serving(folder) as server:
        assert verified(server.url, tmp_path)[0] == 2
    assert f"{server.url}/truth/val.npz is damaged" in capsys.readouterr().err


def test_a_server_that_refuses_or_has_no_set(sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = read_manifest(sound)
    with serving(sound) as server:
        assert verified(f"{server.url}/elsewhere", tmp_path)[0] == 2
        assert f"{server.url}/elsewhere/manifest.json does not exist" in capsys.readouterr().err
    gone = verify_data_set(Folder(tmp_path), manifest, "digest")
    assert all(problem.problem.startswith("missing (") for problem in gone.problems)


def test_a_disk_without_room_is_no_damage(
    sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("jomold_dist.data.reading.remote.Remote.fetch", full)
    with serving(sound) as server:
        code, told = verified(server.url, tmp_path, "--level", "digest")
    assert code == 2
    assert told["splits"]["val"]["unreadable_shards"] == 2
    assert f"cannot be read ({tempfile.gettempdir()} cannot hold a copy of {server.url}/" in capsys.readouterr().err


def test_settings_that_are_none_of_reading(capsys: pytest.CaptureFixture[str]) -> None:
    for setting in ("train.epochs=3", "data.shards=elsewhere"):
        assert verify.main(["s3://bucket/set", setting]) == 2
        assert f"error: '{setting}' does not say how s3://bucket/set is to be reached" in capsys.readouterr().err
