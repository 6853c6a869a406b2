"""Starting the launchers: as real processes, or quickly inside the test's own."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = os.environ | {
    "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
    "DS_ACCELERATOR": "cpu",
    "CUDA_VISIBLE_DEVICES": "",
}

LONG = "estimator.epochs=80"  # a run on which a stop in its first seconds comes before the end


@dataclass(frozen=True)
class Outcome:
    """How a launcher ended."""

    code: int
    out: str
    err: str


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def command(launcher: str, script: str, *arguments: str | Path) -> list[str]:
    """The command line of a script of launchers/ under `python`, `torchrun` or `deepspeed` (two ranks).

    `start torchrun` and the like put launchers/start.py before it; `start deepspeed` is the form without a checkout.
    """
    if launcher.startswith("start "):
        return _started(launcher.removeprefix("start "), script, *arguments)
    module = [sys.executable, "-m"]
    start = {
        "python": [sys.executable],
        "torchrun": [*module, "torch.distributed.run", "--nproc-per-node=2", f"--master-port={free_port()}"],
        "deepspeed": [*module, "deepspeed.launcher.runner", "--num_gpus=2", f"--master_port={free_port()}"],
    }
    return [*start[launcher], str(ROOT / "launchers" / f"{script}.py"), *map(str, arguments)]


def _started(launcher: str, script: str, *arguments: str | Path) -> list[str]:
    if launcher == "deepspeed":
        module = ["--num_gpus=2", f"--master_port={free_port()}", "--module", "jomold_dist", script]
        return [sys.executable, "-m", "jomold_dist", "start", launcher, *module, *map(str, arguments)]
    words = {
        "python": ["python"],
        "torchrun": ["torchrun", "--nproc-per-node=2", f"--master-port={free_port()}"],
    }[launcher]
    scripts = [str(ROOT / "launchers" / f"{name}.py") for name in ("start", script)]
    return [sys.executable, scripts[0], *words, scripts[1], *map(str, arguments)]


def run_process(launcher: str, script: str, *arguments: str | Path) -> Outcome:
    """A launcher as a user starts it."""
    done = subprocess.run(
        command(launcher, script, *arguments), env=ENVIRONMENT, capture_output=True, text=True, timeout=240
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def run_here(capsys: pytest.CaptureFixture[str], script: str, *arguments: str | Path) -> Outcome:
    """A launcher's main() in this process, or that of `jomold` itself, without the seconds that importing takes."""
    main = importlib.import_module("jomold_dist.__main__" if script == "jomold" else f"launchers.{script}").main
    signals = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    loggers = [logging.getLogger(), logging.getLogger("jomold_dist")]
    levels, handlers = [logger.level for logger in loggers], list(loggers[0].handlers)
    for handler in handlers:
        loggers[0].removeHandler(handler)  # the launcher would close them
    capsys.readouterr()
    try:
        with mock.patch.object(sys, "argv", [f"{script}.py", *map(str, arguments)]):
            code = main()
    finally:
        for number, handler in signals.items():
            signal.signal(number, handler)
        loggers[0].handlers[:] = handlers
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
    captured = capsys.readouterr()
    return Outcome(code, captured.out, captured.err)


def files_below(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content, and every folder (with nothing)."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"" for p in sorted(folder.rglob("*"))}


def processes_naming(text: Path) -> Iterable[int]:
    """Processes with this path in their command line."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if str(text).encode() in (entry / "cmdline").read_bytes():
                    yield int(entry.name)
            except OSError:
                continue
