"""Ranks that leave each other leave no thread behind that could abort them while the interpreter shuts down."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

RANK = """
from pathlib import Path
import torch
from torch.nn.parallel import DistributedDataParallel
from jomold_dist.distributed.world import open_world

def threads():
    return {path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")}

with open_world("cpu") as world:
    DistributedDataParallel(torch.nn.Linear(3, 2))
    before = threads()
print(*sorted(before), "|", *sorted(threads()))
"""


def test_the_threads_of_gloo_end_with_the_world() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    world = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    world["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK],
            env=os.environ | world | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for rank in ranks:
        before, after = rank.communicate(timeout=120)[0].split("|")
        assert rank.returncode == 0
        assert "gloo" in before
        assert "gloo" not in after
