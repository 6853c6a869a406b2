"""Tools that print tables."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jomold_dist.config_files import load_config
from tests.run_fixtures import finished_run

ROOT = Path(__file__).resolve().parents[2]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_benchmark_prints_speed_beside_the_machines_rate() -> None:
    done = run("tools/bench_train.py", "--batch", "4", "--rounds", "1", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    for words in ("GFLOP/s", "| jomold float32 |", "| jomold bf16", "denoising costs", "as fast as float32"):
        assert words in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "words"),
    [
        (
            ("bench_exchange.py", "--largest", "4096", "--rounds", "1"),  # fails if dense matrices give other removals
            ("| 128 ", "| 4096 ", "14.4 kB", "7.2 kB", "dense: sent a rank"),
        ),
        (
            ("bench_loader.py", "--videos", "150", "--rounds", "1"),
            ("| npy, DataLoader, 2 workers |", "| webdataset ", "| ours, resident, 1 thread ", "waiting %"),
        ),
        (
            ("bench_plan.py", "--videos", "20000", "--shards", "40", "--ranks", "8", "--batch", "512"),
            ("20000 videos, 40 shards", "8 ranks, 16 streams", "| its digest ", "| ... (slowest) "),
        ),
        (
            ("measure_shuffle.py", "--videos", "2000", "--epochs", "1"),
            ("2000 videos in 4 shards", "| sorted by category | perfect |"),
        ),
    ],
    ids=["exchange", "loader", "plan", "shuffle"],
)
def test_benchmarks_of_the_data_print_their_tables(command: tuple[str, ...], words: tuple[str, ...]) -> None:
    done = run(f"tools/{command[0]}", *command[1:])
    assert done.returncode == 0, done.stderr
    for word in words:
        assert word in done.stdout, done.stdout


def test_runs_are_compared(tmp_path: Path) -> None:
    """As a process; what belongs together is in tests/unit/test_comparison.py."""
    runs = []
    for name, seed, score in (("han", 0, 50.0), ("jomold", 0, 60.0), ("jomold", 1, 62.0)):
        config = load_config(None, [f"method={name}", f"run.seed={seed}"])
        runs.append(finished_run(tmp_path / f"{name}{seed}", config, score))
    done = run("tools/compare_runs.py", *map(str, runs))
    assert done.returncode == 0, done.stderr
    assert "| han    |     1 |       50.0 |" in done.stdout
    assert "61.0 ± 1.4" in done.stdout
    missing = run("tools/compare_runs.py", *map(str, runs), str(tmp_path / "none"))
    assert missing.returncode == 2
    assert missing.stderr == f"error: {tmp_path / 'none'} cannot be read: No such file or directory\n"
    assert missing.stdout == ""
