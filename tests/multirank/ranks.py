"""Real processes that form a world over gloo, for tests."""

from __future__ import annotations

import faulthandler
import os
import pickle
import socket
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch.multiprocessing as mp

from jomold_dist.distributed.world import open_world


def run_ranks(
    body: Callable[..., Any],
    size: int,
    folder: Path,
    *arguments: Any,
    timeout: float = 120,
    patience: float | None = None,
) -> list[Any]:
    """`body(world, *arguments)` in `size` processes; what each returned, by rank.

    A failing rank's traceback is raised here; ranks that hang are killed after `timeout` seconds, with their stacks.
    A rank waits for the others in a collective for `patience` seconds (None: `timeout`).
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = int(free_port())
    context = mp.get_context("spawn")
    processes = [
        context.Process(target=_rank, args=(body, rank, size, port, folder, arguments, timeout, patience or timeout))
        for rank in range(size)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout + 10)
    hanging = [n for n, p in enumerate(processes) if p.is_alive()]
    for process in processes:
        process.kill()
    results = [_result(folder / f"rank{n}.pkl") for n in range(size)]
    failures = [f"rank {n}:\n{r[1]}" for n, r in enumerate(results) if r is None or not r[0] if r is not None]
    assert not failures, "\n".join(failures)
    assert not hanging, f"ranks {hanging} did not end within {timeout} s"
    missing = [n for n, r in enumerate(results) if r is None]
    assert not missing, f"ranks {missing} ended without a result"
    return [r[1] for r in results if r is not None]


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def _rank(
    body: Callable[..., Any],
    rank: int,
    size: int,
    port: int,
    folder: Path,
    arguments: tuple[Any, ...],
    timeout: float,
    patience: float,
) -> None:
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    faulthandler.dump_traceback_later(timeout, exit=True)
    try:
        with open_world("cpu", timeout_seconds=patience) as world:
            result = (True, body(world, *arguments))
    except BaseException:
        result = (False, traceback.format_exc())
    (folder / f"rank{rank}.pkl").write_bytes(pickle.dumps(result))


def _result(path: Path) -> tuple[bool, Any] | None:
    """What a rank left, which is taken away: it may be hundreds of megabytes."""
    if not path.exists():
        return None
    content = path.read_bytes()
    path.unlink()
    return pickle.loads(content)
