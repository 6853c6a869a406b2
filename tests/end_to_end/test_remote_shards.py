"""Training, evaluation and prediction from a URL are those from the folder; and what users get wrong."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from conftest import Finished, Tiny
from launchers_help import files_below, run_here

from jomold_dist.data.reading import remote
from tests.servers import bucket, serving

RESULTS = ("scores.json", "noise_ratios.json", "removed_labels.csv", "removals.json")
Capture = pytest.CaptureFixture[str]


def test_training_from_a_url_is_training_from_the_folder(
    tiny: Tiny, finished: Finished, tmp_path: Path, capsys: Capture
) -> None:
    """... also where some transfers fail."""
    run, cache, out = tmp_path / "run", tmp_path / "cache", tmp_path / "events.csv"
    with serving(tiny.shards, drop=0.05, corrupt=0.05, seed=1) as server:
        settings = (f"data.shards={server.url}", f"data.cache={cache}", f"run.dir={run}")
        outcome = run_here(capsys, "train", "--config", tiny.config, *settings)
        assert outcome.code == 0, outcome.err
        for name in RESULTS:
            assert (run / name).read_bytes() == (finished.folder / name).read_bytes(), name
        assert sum(server.mishaps.values()) > 0
        shards = list(tiny.shards.rglob("*.tar"))
        assert len(list((cache / "shards").glob("*.tar"))) == len(shards)
        assert run_here(capsys, "evaluate", "--run", run, "--split", "val").code == 0
        outcome = run_here(capsys, "predict", "--run", run, "--shards", server.url, "--split", "test", "--out", out)
        assert outcome.code == 0, outcome.err
        assert "15 videos parsed" in outcome.out


@pytest.mark.parametrize("script", ["train", "predict"])
def test_a_forged_digest_reaches_no_file(
    script: str, tiny: Tiny, finished: Finished, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The digest is a path that leads to a file of the user's, which would be taken for a shard of another size."""
    served, home, cache = tmp_path / "set", tmp_path / "home", tmp_path / "cache"
    for path in (served, home, cache):
        path.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    (home / "backup.tar").write_text("precious")
    manifest = json.loads((tiny.shards / "manifest.json").read_text())
    for split in manifest["splits"].values():
        (served / split["shards"][0]["name"]).parent.symlink_to((tiny.shards / split["shards"][0]["name"]).parent)
        split["shards"][0]["sha256"] = str(home / "backup")
    del manifest["digest"]
    (served / "manifest.json").write_text(json.dumps(manifest))
    before = files_below(tmp_path)
    with serving(served) as server:
        arguments: dict[str, tuple[str | Path, ...]] = {
            "train": ("--config", tiny.config, f"data.shards={server.url}", f"data.cache={cache}"),
            "predict": ("--run", finished.folder, "--shards", server.url, "--out", tmp_path / "events.csv"),
        }
        settings = (f"run.dir={tmp_path}/run",) if script == "train" else ()
        outcome = run_here(capsys, script, *arguments[script], *settings)
    assert outcome.code == 2
    assert outcome.err.count("error: ") == 1
    assert "is damaged (shard" in outcome.err
    assert "not 64 digits from 0 to f" in outcome.err
    assert files_below(tmp_path) == before


def mistakes(tiny: Tiny, tmp_path: Path, capsys: Capture, *settings: str) -> str:
    """What a training says that must not begin."""
    run = tmp_path / "run"
    outcome = run_here(capsys, "train", "--config", tiny.config, f"run.dir={run}", *settings)
    assert outcome.code == 2, outcome.err
    assert outcome.err.count("error: ") == 1
    assert "Traceback" not in outcome.err
    assert not run.exists()
    return outcome.err


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("nosuch://bucket/set", "Protocol not known"),
        ("gs://bucket/set", "install jomold_dist[gs]"),
        ("http://me:secret@127.0.0.1:9/set", "give credentials as the storage's own tools take them"),
        ("http://127.0.0.1:9/set", "manifest.json could not be read in 2 attempts"),
        ("http://no-such-host.invalid/set", "manifest.json could not be read in 2 attempts"),
        ("file:///no/such/folder", "the shards' folder /no/such/folder does not exist"),
    ],
)
def test_wrong_urls(
    url: str, part: str, tiny: Tiny, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "FIRST_PAUSE", 0.01)
    said = mistakes(tiny, tmp_path, capsys, f"data.shards={url}", "data.attempts=2", f"data.cache={tmp_path}/cache")
    assert part in said
    assert "secret" not in said


@pytest.mark.parametrize(
    ("setting", "part"),
    [
        ("data.shard=http://me:secret@127.0.0.1:9/set", "did you mean 'data.shards'"),
        ("data.storage={client_kwargs: {secret: secretest}}", "data.storage.client_kwargs.secret is written into"),
        ("data.storage={secret: secretest}", "data.storage.secret is written into the run's folder"),
    ],
)
def test_credentials_are_refused_and_not_repeated(
    setting: str, part: str, tiny: Tiny, tmp_path: Path, capsys: Capture
) -> None:
    said = mistakes(tiny, tmp_path, capsys, setting)
    assert part in said
    assert "me:secret" not in said
    assert "secretest" not in said


def test_wrong_credentials(tiny: Tiny, tmp_path: Path, capsys: Capture) -> None:
    with serving(tiny.shards) as server:
        server.refused = 403
        said = mistakes(tiny, tmp_path, capsys, f"data.shards={server.url}", f"data.cache={tmp_path}/cache")
    assert "manifest.json: access was refused (HTTP 403 Forbidden); check the credentials" in said


def test_no_credentials_for_a_bucket(
    tiny: Tiny, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with bucket(tiny.shards / "val", monkeypatch):
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        said = mistakes(tiny, tmp_path, capsys, "data.shards=s3://shards/other", f"data.cache={tmp_path}/cache")
    assert "s3://shards/other/manifest.json" in said


def test_a_manifest_that_does_not_match_its_shards(tiny: Tiny, tmp_path: Path, capsys: Capture) -> None:
    here = tmp_path / "set"
    for name, content in files_below(tiny.shards).items():
        if (tiny.shards / name).is_file():
            (here / name).parent.mkdir(parents=True, exist_ok=True)
            (here / name).write_bytes(content + b"more" * (name == "val/shard-000000.tar"))
    (here / "test" / "shard-000000.tar").unlink()
    with serving(here) as server:
        said = mistakes(tiny, tmp_path, capsys, f"data.shards={server.url}", f"data.cache={tmp_path}/cache")
    assert "2 problems:" in said
    assert "val/shard-000000.tar has" in said
    assert "test/shard-000000.tar does not exist" in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_cache_folder_that_is_not_writable(tiny: Tiny, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "cache").mkdir(mode=0o500)
    with serving(tiny.shards) as server:
        said = mistakes(tiny, tmp_path, capsys, f"data.shards={server.url}", f"data.cache={tmp_path}/cache")
    assert "set data.cache to another folder" in said


def test_a_cache_that_is_no_folder(tiny: Tiny, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "cache").touch()
    with serving(tiny.shards) as server:
        said = mistakes(tiny, tmp_path, capsys, f"data.shards={server.url}", f"data.cache={tmp_path}/cache")
    assert (
        f"cannot be used: {tmp_path}/cache: Not a directory; make it readable and writable, or set data.cache" in said
    )
