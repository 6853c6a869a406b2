"""What a GPU can show in minutes: figures, steps, runs, resuming, speed, a profile. Start it with tools/check_gpu.sh.

Each part is a process of its own, so that one that fails or hangs hides no other, and takes what is left of the minutes
at most. The report is written anew while parts run, as the machine may be taken away. 1 if a part failed, else 0.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from bench_train import processor

from jomold_dist.command_line import command, command_parser, tell
from jomold_dist.distributed.world import make_ready
from jomold_dist.files import write_text
from jomold_dist.tables import markdown_table

LOOK_SECONDS = 1.0
LOG_LINES = 30


@dataclass(frozen=True)
class Part:
    """A part of the check: its function, by module, prints Markdown and ends with an AssertionError if something is
    wrong."""

    name: str
    title: str
    module: str


PARTS = (
    Part("figures", "Golden figures, and steps against the CPU's", "gpu_figures"),
    Part("speed", "Speed of a step", "gpu_speed"),
    Part("profile", "Profile of a step", "gpu_profile"),
    Part("methods", "One epoch of every method", "gpu_runs"),
    Part("precisions", "One epoch in every precision", "gpu_runs"),
    Part("resuming", "Stopped and resumed", "gpu_runs"),
)


@dataclass
class Result:
    """How a part went."""

    part: Part
    text: str
    state: str = "runs"
    seconds: float = 0.0


@command
def main() -> int:
    parser = command_parser(__doc__)
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT") or "runs/check_gpu"))
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--minutes", type=float, default=8.0, help="for all parts together (default: 8)")
    parser.add_argument("--small", action="store_true", help="small sizes, to see whether every part runs")
    names = [part.name for part in PARTS]
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="these parts alone")
    parser.add_argument("--part", choices=names, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    if arguments.part is not None:
        part = next(part for part in PARTS if part.name == arguments.part)
        getattr(importlib.import_module(part.module), part.name)(device, arguments.out, arguments.small)
        return 0
    arguments.out.mkdir(parents=True, exist_ok=True)
    return check(arguments, device, [part for part in PARTS if part.name in arguments.only])


def choose_device(wanted: str) -> torch.device:
    cuda = torch.cuda.is_available() if wanted == "auto" else wanted == "cuda"
    return make_ready(torch.device("cuda", 0) if cuda else torch.device("cpu"))


def check(arguments: argparse.Namespace, device: torch.device, parts: Sequence[Part]) -> int:
    """Run the parts one after the other; the exit code."""
    end, results = time.monotonic() + 60 * arguments.minutes, []
    machine = describe_machine(device)
    with tempfile.TemporaryDirectory() as work:
        for part in parts:
            result = Result(part, "")
            results.append(result)
            begun = time.monotonic()
            files = [Path(work) / f"{part.name}.{kind}" for kind in ("md", "log")]
            for _ in running(part, arguments, device, files, end, result):
                result.seconds, result.text = time.monotonic() - begun, files[0].read_text(encoding="utf-8")
                write_text(arguments.out / "check_gpu.md", report(machine, results))
            tell(f"{part.name}: {result.state} after {result.seconds:.0f} s")
            if result.state != "passed":
                shutil.copyfile(files[1], arguments.out / f"{part.name}.log")
                tell("\n".join(files[1].read_text(encoding="utf-8").splitlines()[-LOG_LINES:]))
    tell(f"written to {arguments.out / 'check_gpu.md'}")
    return int(any(result.state != "passed" for result in results))


def running(
    part: Part, arguments: argparse.Namespace, device: torch.device, files: list[Path], end: float, result: Result
) -> Iterator[None]:
    """Yields now and then while the part's process runs, and once after its end."""
    words = [sys.executable, __file__, "--part", part.name, "--out", str(arguments.out), "--device", device.type]
    words += ["--small"] if arguments.small else []
    with files[0].open("w") as out, files[1].open("w") as log:
        process = subprocess.Popen(words, stdout=out, stderr=log, start_new_session=True)
        try:
            while process.poll() is None and time.monotonic() < end:
                time.sleep(LOOK_SECONDS / 10 if result.seconds < 1 else LOOK_SECONDS)
                yield
        finally:
            code = process.poll()
            if code is None:
                os.killpg(process.pid, 9)  # with the trainings that it has started
                process.wait()
    result.state = "passed" if code == 0 else "stopped: no time was left" if code is None else f"failed ({code})"
    yield


def describe_machine(device: torch.device) -> list[list[str]]:
    rows = [["device", "the CPU"], ["torch", torch.__version__], ["Python", platform.python_version()]]
    if device.type == "cuda":
        seen = torch.cuda.get_device_properties(device)
        rows[0][1] = f"{seen.name}, {seen.total_memory / 2**30:.0f} GiB, {seen.multi_processor_count} multiprocessors"
        rows += [["CUDA", str(torch.version.cuda)], ["driver", driver()]]
    cores = len(os.sched_getaffinity(0))
    return [*rows, ["processor", f"{processor()}, {cores} cores"]]


def driver() -> str:
    """The driver's version, as nvidia-smi tells it."""
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, timeout=20).stdout.split("\n")[0] or "unknown"
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"


def report(machine: list[list[str]], results: Sequence[Result]) -> str:
    """The whole report so far, in Markdown."""
    outcomes = [[r.part.title, r.state, f"{r.seconds:.0f}"] for r in results]
    sections = [f"## {r.part.title}\n\n{r.text.strip()}" for r in results]
    heads = [markdown_table(["", ""], machine), markdown_table(["part", "state", "seconds"], outcomes)]
    return "\n\n".join(["# Check of a device", *heads, *sections]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
