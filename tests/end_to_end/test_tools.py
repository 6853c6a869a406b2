"""Tools that print tables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jomold_dist.config import SCORES, Config
from jomold_dist.config_files import dump_config

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


def finished_run(folder: Path, method: str, score: float) -> Path:
    folder.mkdir()
    (folder / "config.yaml").write_text(dump_config(Config(method=method)))
    (folder / "scores.json").write_text(json.dumps({"scores": dict.fromkeys(SCORES, score)}))
    total = {"removed": 10, "precision": 0.5, "recall": None} if method == "jomold" else {"removed": 0}
    (folder / "removals.json").write_text(json.dumps({"total": {"audio": total, "visual": total}}))
    return folder


def test_runs_are_compared_with_mean_and_spread(tmp_path: Path) -> None:
    runs = [finished_run(tmp_path / f"{m}{s}", m, s) for m, s in (("han", 50.0), ("jomold", 60.0), ("jomold", 62.0))]
    done = run("tools/compare_runs.py", *map(str, runs))
    assert done.returncode == 0, done.stderr
    assert "| han (1 run)     |       50.0 |" in done.stdout
    assert "61.0 ± 1.4" in done.stdout
    assert "50.0 ± 0.0" in done.stdout  # the precision of jomold
    (runs[0] / "scores.json").unlink()
    unfinished = run("tools/compare_runs.py", *map(str, runs), str(tmp_path))
    assert unfinished.returncode == 2
    assert "holds no finished run" in unfinished.stderr
