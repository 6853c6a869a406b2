"""Many epochs in one process: memory stays flat, and nothing is left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.shard_fixtures import write_dataset

pytestmark = pytest.mark.lengthy

ROOT = Path(__file__).resolve().parents[2]
EPOCHS, FEW = 20, 5
SCRIPT = """
import json, os, sys, threading
from pathlib import Path
import torch
from jomold_dist.data.reading.loader import Loader
from jomold_dist.data.reading.source import read_manifest
from jomold_dist.distributed.world import open_world

def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))

def left():
    return sorted(os.listdir("/proc/self/fd")), [thread.name for thread in threading.enumerate()]

folder, resident_mode, epochs, few = Path(sys.argv[1]), sys.argv[2] == "True", int(sys.argv[3]), int(sys.argv[4])
manifest = read_manifest(folder)
before = left()
memory = []
with open_world("cpu"), Loader(folder, manifest, "train", batch_size=64, rank=0, world=1, seed=0, streams=12,
                               block=16, threads=2, resident=resident_mode) as loader:
    for epoch in range(1, epochs + 1):
        for batch in loader.epoch(epoch):
            batch.features["frames"].sum()
        memory.append(resident())
    during = left()
del batch
print(json.dumps({"early": max(memory[:few]), "late": min(memory[-few:]),
                  "before": before, "during": during, "after": left(),
                  "read": sum(shard.bytes for shard in manifest.split("train").shards)}))
"""


def measure(folder: Path, resident: bool) -> dict[str, object]:
    arguments = [str(folder), str(resident), str(EPOCHS), str(FEW)]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        env={"PYTHONPATH": str(ROOT), "PATH": "", "OMP_NUM_THREADS": os.environ["OMP_NUM_THREADS"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some 12 MB in records of some 20 kB."""
    folder = tmp_path_factory.mktemp("leaks") / "set"
    write_dataset(folder, {"train": 600}, frames=1200, videos_per_shard=50)
    return folder


@pytest.mark.parametrize("resident", [False, True])
def test_memory_is_flat_and_nothing_is_left_behind(folder: Path, resident: bool) -> None:
    found = measure(folder, resident)
    grown = found["late"] - found["early"]  # type: ignore[operator]
    assert grown < 2 * found["read"], found  # type: ignore[operator] # some fifteen epochs have read fifteen times it
    assert found["after"] == found["before"]
    assert found["during"] != found["before"]  # there were files and threads
