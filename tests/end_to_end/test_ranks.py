"""The ranks of a command as a launcher's environment describes them: what does not fit is told before anything runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Finished, Tiny
from launchers_help import ENVIRONMENT, ROOT, files_below, free_port, run_here

Capture = pytest.CaptureFixture[str]


def start(rank: int, port: str, *words: str | Path) -> subprocess.Popen[str]:
    """One of two nodes of a rank each."""
    world = {"WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    script, *arguments = map(str, words)
    command = [sys.executable, str(ROOT / "launchers" / f"{script}.py"), *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=ENVIRONMENT | world | meeting, stdout=pipe, stderr=pipe, text=True)


def two_nodes(first: tuple[str | Path, ...], second: tuple[str | Path, ...]) -> list[tuple[int, str]]:
    """How two nodes end that were started with these words, and what they say."""
    port = free_port()
    nodes = [start(rank, port, *words) for rank, words in enumerate((first, second))]
    said = [node.communicate(timeout=120) for node in nodes]
    return [(node.returncode, out + err) for node, (out, err) in zip(nodes, said, strict=True)]


def test_nodes_with_other_settings_do_not_begin(tiny: Tiny, tmp_path: Path) -> None:
    words = ("train", "--config", tiny.config, f"run.dir={tmp_path / 'run'}")
    other = ("train.learning_rate=0.01", "train.batch_size=12", "run.seed=7", "train.optimizer=sgd")
    (code0, said0), (code1, said1) = two_nodes(words, (*words, *other, "--until", "estimator", "data.threads=1"))
    assert (code0, code1) == (2, 2), said0 + said1
    assert "rank 1 (host " in said0
    for difference in (
        "train.learning_rate = 0.01, rank 0 has 0.005",
        "train.batch_size = 12, rank 0 has 24",
        "run.seed = 7, rank 0 has 0",
        "train.optimizer = 'sgd', rank 0 has 'adam'",
        "--until = 'estimator', rank 0 has None",
    ):
        assert difference in said0
    assert "data.threads" not in said0
    assert "Traceback" not in said0 + said1
    assert not files_below(tmp_path)


def test_nodes_that_evaluate_other_splits_do_not_begin(finished: Finished) -> None:
    before = files_below(finished.folder)
    words = ("evaluate", "--run", finished.folder, "--split")
    (code0, said0), (code1, said1) = two_nodes((*words, "val"), (*words, "test"))
    assert (code0, code1) == (2, 2), said0 + said1
    assert "--split = 'test', rank 0 has 'val'" in said0
    assert files_below(finished.folder) == before


ENVIRONMENTS = {
    "a rank without a world": ({"RANK": "1"}, "RANK='1'"),
    "no number": ({"WORLD_SIZE": ""}, "WORLD_SIZE=''"),
    "no meeting place": ({"WORLD_SIZE": "4", "RANK": "0"}, "MASTER_ADDR, which is not set"),
}


@pytest.mark.parametrize("how", ENVIRONMENTS)
@pytest.mark.parametrize("script", ["train", "dry run", "evaluate", "predict"])
def test_an_environment_that_describes_no_world(
    script: str,
    how: str,
    tiny: Tiny,
    finished: Finished,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    environment, part = ENVIRONMENTS[how]
    if (script, how) == ("dry run", "no meeting place"):
        pytest.skip("a dry run meets nobody")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    training = ("--config", tiny.config, f"run.dir={tmp_path / 'run'}")
    words = {
        "train": ("train", *training),
        "dry run": ("train", *training, "--dry-run"),
        "evaluate": ("evaluate", "--run", finished.folder),
        "predict": ("predict", "--run", finished.folder, "--shards", tiny.shards, "--out", tmp_path / "events.csv"),
    }[script]
    outcome = run_here(capsys, *words)
    assert outcome.code == 2
    assert outcome.err.count("error: ") == 1
    assert part in outcome.err
    assert not files_below(tmp_path)


def test_a_dry_run_meets_nobody(tiny: Tiny, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": "4", "RANK": "0", "MASTER_ADDR": "no.such.host", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    outcome = run_here(capsys, "train", "--config", tiny.config, f"run.dir={tmp_path / 'run'}", "--dry-run")
    assert outcome.code == 0
    assert "dry run: jomold on 4 ranks" in outcome.out


def test_predict_does_not_wait_for_other_ranks(
    tiny: Tiny, finished: Finished, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    words = ("--run", finished.folder, "--shards", tiny.shards, "--out", tmp_path / "events.csv")
    outcome = run_here(capsys, "predict", *words)
    assert outcome.code == 2
    assert "predict runs as one process" in outcome.err
