"""Parts of tools/check_gpu.py that run the commands, as a user does, on a small simulated data set."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file

from jomold_dist.methods.registry import METHODS

ROOT = Path(__file__).resolve().parents[1]
SYSTEMS = ROOT / "configs" / "systems"
PRECISIONS = ("float32", "bf16", "float16")
PLAIN = ("tracking.enabled=false", "train.engine=ddp")
PREEMPTED = 75
PATIENCE = 400  # seconds that a command may take


def methods(device: torch.device, out: Path, small: bool) -> None:
    """Every config of a system, else every method, is trained for an epoch, scored, and predicts."""
    found = {path.stem: [f"--config={path}"] for path in sorted(SYSTEMS.glob("*.yaml"))}
    found |= {name: [*quickstart(), f"method={name}"] for name in METHODS if name not in found}
    if small:
        found = {name: found[name] for name in ("jomold",)}
    with data_set(small) as (work, shards):
        epochs = ["train.epochs=1", "estimator.epochs=1", "refine.epochs=1", "train.batch_size=32"]
        tabulate({k: [*words, *epochs] for k, words in found.items()}, device, work, shards, ("evaluate", "predict"))


def precisions(device: torch.device, out: Path, small: bool) -> None:
    """jomold in every precision."""
    words = [*quickstart(), "train.epochs=1", "estimator.epochs=1"]
    with data_set(small) as (work, shards):
        runs = {name: [*words, f"train.precision={name}"] for name in (PRECISIONS[:1] if small else PRECISIONS)}
        tabulate(runs, device, work, shards, ())


def resuming(device: torch.device, out: Path, small: bool) -> None:
    """A training that is stopped and goes on ends as one that nobody has disturbed; two of these show whether the
    device itself repeats its figures."""
    epochs = 3 if small else 30
    words = [*quickstart(), f"train.epochs={epochs}", "estimator.epochs=1"]
    with data_set(small) as (work, shards):
        folders = {name: work / name for name in ("undisturbed", "repeated", "stopped")}
        for folder in (folders["undisturbed"], folders["repeated"]):
            finished(start("train", device, shards, folder, words, 1), folder)
        stopped = folders["stopped"]
        process = start("train", device, shards, stopped, words, 1)
        while process.poll() is None and epochs_done(stopped) < 1:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        code = process.wait(PATIENCE)
        told = epochs_done(stopped)
        print(f"SIGTERM after {told} of {epochs} epochs: exit code {code}.", flush=True)
        assert code == PREEMPTED, f"exit code {code}, expected {PREEMPTED}"
        finished(start("train", device, shards, stopped, words, 1), stopped)
        base = weights(folders["undisturbed"])
        repeated, resumed = (distance(base, weights(folders[name])) for name in ("repeated", "stopped"))
        same = {True: "bit for bit the same", False: "not the same"}
        print(f"Undisturbed twice: {same[repeated == 0]} (weights within {repeated:.1e}).")
        print(f"Stopped and resumed: {same[resumed == 0]} as undisturbed (weights within {resumed:.1e}).", flush=True)
        assert resumed == 0 or repeated > 0, "the device repeats its figures, but resuming does not"


def quickstart() -> list[str]:
    return [f"--config={ROOT / 'configs' / 'quickstart.yaml'}"]


@contextmanager
def data_set(small: bool) -> Iterator[tuple[Path, Path]]:
    """A folder to work in, and simulated videos."""
    with tempfile.TemporaryDirectory() as name:
        work, shards = Path(name), Path(name) / "data"
        words = [sys.executable, str(ROOT / "tools" / "simulate_llp.py"), "--out", str(shards)]
        subprocess.run([*words, "--videos", "64" if small else "512"], check=True, stdout=subprocess.DEVNULL)
        yield work, shards


def tabulate(
    runs: Mapping[str, list[str]], device: torch.device, work: Path, shards: Path, after: tuple[str, ...]
) -> None:
    """Train the runs, some at a time, and use their models; a row each, as it is done."""
    print("| run | result | seconds | loss | segment type |\n| --- | --- | --: | --: | --: |", flush=True)
    at_once = max(1, min(6, len(os.sched_getaffinity(0)) // 2))
    threads = max(1, len(os.sched_getaffinity(0)) // at_once)

    def one(name: str) -> str:
        folder, begun = work / name, time.monotonic()
        try:
            finished(start("train", device, shards, folder, runs[name], threads), folder)
            for script in after:
                finished(start(script, device, shards, folder, [], threads), folder)
            result = "passed"
        except AssertionError as error:
            result = f"**failed**: {error}"
        line = f"| {name} | {result} | {time.monotonic() - begun:.0f} | {' | '.join(outcome(folder))} |"
        print(line, flush=True)
        return result

    with ThreadPoolExecutor(at_once) as pool:
        results = dict(zip(runs, pool.map(one, runs), strict=True))
    failed = [name for name, result in results.items() if result != "passed"]
    assert not failed, f"failed: {', '.join(failed)}"


def start(
    script: str, device: torch.device, shards: Path, folder: Path, words: list[str], threads: int
) -> subprocess.Popen[bytes]:
    """A command on a run's folder, whose log lies beside that."""
    own = {
        "train": [*words, f"run.dir={folder}", f"data.shards={shards}", *PLAIN, f"distributed.device={device.type}"],
        "evaluate": ["--run", str(folder), "--split", "val"],
        "predict": ["--run", str(folder), "--shards", str(shards), "--split", "val", "--out", f"{folder}.events.csv"],
    }
    command = [sys.executable, str(ROOT / "launchers" / f"{script}.py"), *own[script]]
    with log_of(folder).open("ab") as log:
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, env=environment)


def finished(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Waits for a command. AssertionError with its last words if it fails."""
    code = process.wait(PATIENCE)
    if code:
        log = log_of(folder).read_text(encoding="utf-8", errors="replace")
        sys.stderr.write(log)
        raise AssertionError(f"exit code {code}: {log.strip().splitlines()[-1][:200] if log.strip() else 'no word'}")


def log_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.log")


def history(folder: Path) -> list[dict[str, float]]:
    """The lines of the model's training so far."""
    file = folder / "history.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return [line for line in lines if line["stage"] == "model"]


def epochs_done(folder: Path) -> int:
    return len(history(folder))


def outcome(folder: Path) -> list[str]:
    """The last epoch's loss and score."""
    lines = history(folder)
    if not lines:
        return ["-", "-"]
    return [f"{lines[-1][k]:.4f}" if k in lines[-1] else "-" for k in ("train/loss", "val/segment_type")]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """The finished weights of every stage."""
    files = sorted((folder / "checkpoints").glob("*.safetensors"))
    return {f"{file.stem}.{name}": value for file in files for name, value in load_file(file).items()}


def distance(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys(), "not the same weights are there"
    return max(float((value - other[name]).abs().max()) for name, value in one.items())
