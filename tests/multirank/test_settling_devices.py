"""Ranks that settle together on what they compute."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ranks import free_port

ROOT = Path(__file__).resolve().parents[2]

OPENING = """
import sys, time
import jomold_dist.distributed.world as worlds
from jomold_dist.distributed.devices import Sight
from jomold_dist.errors import ConfigError
rank, gpus = int(sys.argv[1]), sys.argv[2]
worlds.look = lambda rank, local_rank, size, wanted: Sight(rank, f"host{rank}", 0, 1, wanted, tuple(gpus.split()))
try:
    with worlds.open_world("auto", 20) as world:
        print(world.device)
except ConfigError as error:
    print(error)
    time.sleep(0 if rank == 0 else 1)
"""


def opened(gpus: list[str]) -> list[str]:
    """What each rank of a node of its own says, which sees the GPUs of these names."""
    port = free_port()
    processes = []
    for rank, seen in enumerate(gpus):
        own = {"RANK": rank, "WORLD_SIZE": len(gpus), "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1}
        own |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        environment = os.environ | {name: str(value) for name, value in own.items()}
        words = [sys.executable, "-c", OPENING, str(rank), seen]
        processes.append(
            subprocess.Popen(
                words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )
    ended = [process.communicate(timeout=60) for process in processes]
    return [out + err for out, err in ended]


def test_a_rank_without_a_gpu_is_named_on_every_rank_before_any_of_them_waits() -> None:
    said = opened(["a", "", "a"])
    assert len(set(said)) == 1, said
    assert said[0].startswith("only 2 of 3 ranks have a GPU of their own: rank 1 on host1 sees 0 GPUs for 1 ranks")


def test_ranks_without_gpus_meet_on_cpus() -> None:
    assert opened(["", ""]) == ["cpu\n", "cpu\n"]
