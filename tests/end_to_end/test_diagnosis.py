"""What a run leaves for whoever asks why it hung, why it was slow, or why it came out otherwise."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import torch
from conftest import Finished, Tiny
from launchers_help import ENVIRONMENT, ROOT, free_port, run_here
from safetensors.torch import load_file

from jomold_dist.training.run_folder import RunFolder

RESULTS = ("scores.json", "noise_ratios.json", "removed_labels.csv", "removals.json")


@contextmanager
def two_ranks(tiny: Tiny, run: Path, said: Path, *settings: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    """A long training; whatever the test finds, its ranks end."""
    world = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    words = [ROOT / "launchers" / "train.py", "--config", tiny.config, f"run.dir={run}", "estimator.epochs=5000"]
    with ExitStack() as stack, said.open("wb") as file:
        ranks = []
        for rank in ("0", "1"):
            place = world | {"RANK": rank, "LOCAL_RANK": rank}
            process = subprocess.Popen(
                [sys.executable, *map(str, words), *settings], env=ENVIRONMENT | place, stdout=file, stderr=file
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            ranks.append(process)
        yield ranks


def wait_until(reached: Callable[[], object], said: Path) -> None:
    until = time.monotonic() + 90
    while not reached():
        assert time.monotonic() < until, said.read_text(errors="replace")
        time.sleep(0.05)


def text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def test_a_stopped_rank_leaves_the_stacks_of_the_other(tiny: Tiny, tmp_path: Path) -> None:
    run, said = tmp_path / "run", tmp_path / "said"
    stacks = [run / "stacks" / f"rank-{rank}.txt" for rank in (0, 1)]
    with two_ranks(tiny, run, said, "distributed.timeout_seconds=10") as (first, second):
        wait_until(lambda: text(run / "history.jsonl"), said)
        second.send_signal(signal.SIGUSR1)  # somebody asks a rank that does not hang
        wait_until(lambda: "asked for by SIGUSR1" in text(stacks[1]), said)
        assert second.poll() is None
        second.send_signal(signal.SIGSTOP)
        assert first.wait(timeout=60) == 1, said.read_text(errors="replace")

    heading = rf"==== rank 0 of 2, host {re.escape(socket.gethostname())}, pid {first.pid}, started "
    # in an exchange, in the backward pass, in the validation after it, or where an epoch is summed up
    waited = r"(?s)\[estimator(, [^]]+ \d of \d)?] nothing has moved for 5 s\n.*recent call first.* in run_stages\n"
    found = text(stacks[0])
    assert re.search(heading, found), found
    assert re.search(waited, found), found
    assert "has failed:\nTraceback" in found
    assert f"rank 1 (host {socket.gethostname()}, pid {second.pid}) has died or was stopped" in text(said)
    assert "in <module>\n^ asked for by SIGUSR1" in text(stacks[1])
    (entry,) = json.loads((run / "environment.json").read_text())
    assert (entry["ranks"], entry["backend"]) == (2, "gloo")
    assert [host["ranks"] for host in entry["hosts"]] == [[0, 1]]
    status = json.loads((run / "status.json").read_text())
    assert status["exit_code"] == 1
    assert status["message"].endswith(f"; the stacks of the ranks that waited are in {run / 'stacks'}")


def test_a_profiled_run_has_the_same_result(
    tiny: Tiny, finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, settings = tmp_path / "run", ("profile.steps=2", "profile.after=1")
    outcome = run_here(capsys, "train", "--config", tiny.config, f"run.dir={run}", *settings)
    assert outcome.code == 0, outcome.err
    for name in RESULTS:
        assert (run / name).read_bytes() == (finished.folder / name).read_bytes(), name
    for stage in ("estimator", "model"):
        own, plain = (load_file(RunFolder(folder).weights(stage)) for folder in (run, finished.folder))
        assert all(torch.equal(tensor, own[name]) for name, tensor in plain.items())
        trace = json.loads(gzip.decompress((run / "profile" / f"{stage}-rank-0.json.gz").read_bytes()))
        assert any(event["name"] == "Optimizer.step#Adam.step" for event in trace["traceEvents"])
        assert "Self CPU Mem" in (run / "profile" / f"{stage}-rank-0.txt").read_text()
    assert not (finished.folder / "profile").exists()


def test_a_run_keeps_how_it_was_started_and_no_stacks(finished: Finished) -> None:
    (entry,) = json.loads((finished.folder / "environment.json").read_text())
    assert entry["command"][1].endswith(os.path.join("launchers", "train.py"))
    assert f"run.dir={finished.folder}" in entry["command"]
    assert not (finished.folder / "stacks").exists()
    lines = [json.loads(line) for line in (finished.folder / "history.jsonl").read_text().splitlines()]
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d", line["time"]) for line in lines)
