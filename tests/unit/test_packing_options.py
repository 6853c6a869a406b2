"""What all commands that pack have in common, seen through `jomold simulate`."""

from __future__ import annotations

import sys
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from jomold_dist.commands import simulate
from jomold_dist.data.packing import workers
from jomold_dist.data.reading.source import read_manifest
from tests.packing_videos import contents

SMALL = ("--videos", "30", "--videos-per-shard", "10")


def run(monkeypatch: pytest.MonkeyPatch, out: Path | str, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["jomold simulate", "--out", str(out), *SMALL, *words])
    return int(simulate.main() or 0)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as monkeypatch:
        out = tmp_path_factory.mktemp("simulated") / "set"
        assert run(monkeypatch, out, "--jobs", "1") == 0
    return out


@pytest.mark.lengthy
def test_a_world_is_the_same_by_several_processes(
    simulated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "PAYS_SECONDS", 0.0)
    assert run(monkeypatch, tmp_path / "set", "--jobs", "2") == 0
    assert contents(tmp_path / "set") == contents(simulated)


def test_a_url_takes_what_a_folder_takes_and_is_summed_up(
    simulated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"memory://{tmp_path.name}/set"
    assert run(monkeypatch, url, "--jobs", "1", "--work", str(tmp_path / "work")) == 0
    assert (
        f"train: videos 30, labels {read_manifest(simulated).split('train').positives.sum()}" in capsys.readouterr().out
    )
    system, path = fsspec.core.url_to_fs(url)
    assert {name[len(path) + 1 :]: system.cat_file(name) for name in system.find(path)} == contents(simulated)
    MemoryFileSystem.store.clear()


@pytest.mark.parametrize(
    ("out", "words", "message"),
    [
        ("set", ("--jobs", "0"), "--jobs must be at least 1, not 0"),
        ("set", ("--append", "--repair"), "--append and --repair exclude each other"),
        ("memory://x/set", ("--repair",), "--repair needs a folder as --out; to mend a set at a URL, repair a copy"),
        ("set", ("--work", "elsewhere"), "--work is for a URL as --out; a folder is packed beside itself"),
        ("https://example.org/set", (), "a web server is only read"),
        ("s3://me:secret@bucket/set", (), "must not hold a name, password or signature"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    out: str,
    words: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, out, *words) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert message in said
    assert "secret" not in said
    assert list(tmp_path.iterdir()) == []


def test_what_has_a_hidden_truth_is_not_added_to(
    simulated: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(simulated)
    assert run(monkeypatch, simulated, "--append", "--jobs", "1") == 2
    assert "split 'train' cannot be added to: truth/train.npz tells what is really heard" in capsys.readouterr().err
    assert contents(simulated) == before
