"""environment.json: every start with its versions, machine, command line and commit, and no credential."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import os
import platform
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import jomold_dist.git_state as git_module
from jomold_dist.distributed.world import World
from jomold_dist.git_state import git_state
from jomold_dist.training.provenance import blotted_words, record_start
from jomold_dist.training.run_folder import RunFolder
from jomold_dist.versions import code_digest

WORLD = World(0, 1, 0, 1, torch.device("cpu"))


def starts(folder: Path) -> list[dict]:
    return json.loads((folder / "environment.json").read_text(encoding="utf-8"))


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", "-C", folder, *identity, *words], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout of one commit."""
    folder = tmp_path / "checkout"
    (folder / "inside").mkdir(parents=True)
    git(folder, "init", "-q", "-b", "trunk")
    (folder / "file").write_text("as committed")
    git(folder, "add", "file")
    git(folder, "commit", "-q", "-m", "x")
    return folder


def test_every_start_has_an_entry(tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkout)
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", "eth7")
    record_start(RunFolder(tmp_path), WORLD)
    (checkout / "file").write_text("changed since")
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", "eth8")
    record_start(RunFolder(tmp_path), WORLD)

    first, second = starts(tmp_path)
    assert [entry["variables"]["NCCL_SOCKET_IFNAME"] for entry in (first, second)] == ["eth7", "eth8"]
    assert [entry["git"]["working_directory"]["changed_files"] for entry in (first, second)] == [0, 1]
    assert first["git"]["working_directory"]["commit"] == git(checkout, "rev-parse", "HEAD").strip()
    assert first["versions"]["torch"] == importlib.metadata.version("torch")
    assert {"jomold_dist", "numpy", "deepspeed", "webdataset", "ray", "mlflow"} <= set(first["versions"])
    assert first["python"] == platform.python_version()
    assert first["code"] == code_digest()
    assert (first["ranks"], first["device"], first["gpu"]) == (1, "cpu", None)
    assert [(host["host"], host["ranks"]) for host in first["hosts"]] == [(socket.gethostname(), [0])]
    assert first["command"][0] == sys.orig_argv[0]


def test_no_credential_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [
        "python", "train.py", "run.seed=3", "tracking.uri=https://me:hunter2@host/x", "data.storage.secret=hunter2",
        "--token", "hunter2", "--token=hunter2", "data.shards=https://host/x?Signature=hunter2", "s3://me:hunter2@host",
    ]  # fmt: skip
    variables = ("MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "NCCL_AUTH_TOKEN", "TORCH_SECRET_KEY")
    for name in (*variables, "SLURM_JOB_COMMENT"):
        monkeypatch.setenv(name, "hunter2")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("TORCH_HOME", "https://me:hunter2@host/cache")
    monkeypatch.setattr(sys, "orig_argv", [*words, os.fsdecode(b"caf\xe9")])
    record_start(RunFolder(tmp_path), WORLD)
    text = (tmp_path / "environment.json").read_text(encoding="utf-8")
    assert "hunter2" not in text
    assert "MLFLOW_TRACKING_PASSWORD" not in text
    (entry,) = starts(tmp_path)
    assert entry["variables"]["SLURM_JOB_ID"] == "77"
    assert entry["command"][:3] == words[:3]
    assert entry["command"][4:7] == ["data.storage.secret=***", "--token", "***"]


def test_words_that_are_no_secrets_stay_as_they_are() -> None:
    words = ["python", "-m", "jomold_dist", "train", "--config", "a=b.yaml", "model.options={keys: 3}", "--until", "x"]
    assert blotted_words(words)[:6] == words[:6]
    assert blotted_words(words)[7:] == words[7:]


@pytest.mark.parametrize(
    "words",
    [
        ["--password", "--x", "hunter2"],
        ["--token=", "hunter2"],
        ["data.storage.secret=", "hunter2"],
        ["Authorization:", "hunter2"],
        ["-H", "Authorization: Bearer hunter2"],
        ["-c", "token = 'hunter2 hunter2'; main()"],
        ["a.note={secret: 'x, hunter2'}"],
    ],
    ids=" ".join,
)
def test_a_secret_is_hidden_however_it_is_given(words: list[str]) -> None:
    clean = blotted_words([*words, "run.seed=3"])
    assert "hunter2" not in " ".join(clean)
    assert clean[-1] == "run.seed=3"


@pytest.mark.parametrize("content", ["{", '{"a": 1}', ""])
def test_a_damaged_file_is_begun_anew(content: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "environment.json").write_text(content)
    with caplog.at_level(logging.WARNING):
        record_start(RunFolder(tmp_path), WORLD)
    assert len(starts(tmp_path)) == 1
    assert "environment.json is damaged" in caplog.text


def test_a_folder_that_cannot_be_written_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        record_start(RunFolder(tmp_path / "gone"), WORLD)
    assert "cannot be written" in caplog.text
    assert not (tmp_path / "gone").exists()


def test_the_state_of_a_checkout(checkout: Path) -> None:
    at = git_state(checkout / "inside")
    assert at is not None
    assert (Path(at.root), at.branch, at.changed_files) == (checkout.resolve(), "trunk", 0)
    (checkout / "new file").write_text("git does not know it")
    (checkout / "file").unlink()
    git(checkout, "checkout", "-q", "--detach")
    at = git_state(checkout)
    assert at is not None
    assert (at.branch, at.changed_files, len(at.commit)) == ("", 1, 40)


def test_no_state_without_checkout_commit_or_git(
    tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    assert git_state(tmp_path / "empty") is None
    git(tmp_path / "empty", "init", "-q")
    assert git_state(tmp_path / "empty") is None
    assert git_state(tmp_path / "not there") is None
    monkeypatch.setenv("PATH", "")
    assert git_state(checkout) is None


def test_a_git_that_does_not_answer_is_not_waited_for(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nsleep 3\nexec {shutil.which("git")} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(git_module, "PATIENCE_SECONDS", 0.2)
    assert git_state(checkout) is None
